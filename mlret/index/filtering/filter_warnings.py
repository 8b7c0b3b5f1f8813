"""Warnings about filters that can match nothing: no document has the field, or none with that type of value."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.errors import FilterWarning, warn
from mlret.index.filtering.field_table import field_names, has_field
from mlret.index.filtering.fields import Kind
from mlret.index.filtering.filters import All, Among, Condition, Contains, Exists, Filled, Not, OfKind, Range, Some

_IN_WORDS: dict[Kind, str] = {
    "number": "numbers",
    "string": "strings",
    "boolean": "true or false",
    "null": "null",
    "list": "lists",
    "object": "objects",
}
_MOST_FIELDS = 20  # Fields that are looked up for one filter.
_NEAR = 3
_CONSIDERED = 30
_REMEMBERED = 64
# How many have no such field: it grows while documents are added, and is no reason to warn again.
_COUNT = re.compile(r" \(of [0-9,]+\)")


class _Records(Protocol):
    """The database of the records, as :class:`mlret.index.storage.records.Records` is."""

    @property
    def connection(self) -> sqlite3.Connection: ...

    def counter(self, name: str) -> int: ...

    def reporting(self) -> AbstractContextManager[None]: ...


# A field and the kinds of value that it is compared with -> why that matches nothing.
Messages = dict[tuple[str, frozenset[Kind]], str]


def common_messages(parts: Sequence[Messages], documents: int) -> Messages:
    """Return the messages on what matches nothing in any part of an index.

    Parameters
    ----------
    parts
        The messages of each part that holds documents.
    documents
        The number of documents of all parts.
    """
    if not parts:
        return {}
    common = [part for part in parts[0] if all(part in other for other in parts)]
    found = {}
    for part in common:
        # An answer of documents that have the field says more of it than one of documents that lack it.
        message = max((other[part] for other in parts), key=lambda one: not _COUNT.search(one))
        found[part] = _COUNT.sub(f" (of {documents:,})", message)
    return found


class Unmatched:
    """Warns once about each field that filters name in vain.

    Parameters
    ----------
    holders
        What has fields, as messages name it: ``"document"``.
    """

    def __init__(self, holders: str) -> None:
        self._holders = holders
        self._warned: set[str] = set()
        # Filters that were checked recently. Finding that no visible row has a field may require reading all rows that
        # have it.
        self._checked: set[Hashable] = set()

    def check(
        self,
        records: _Records,
        condition: Condition,
        matching: NDArray[np.int64],
        visible: NDArray[np.int64] | None = None,
    ) -> None:
        """Warn if a part of a filter cannot match anything.

        Parameters
        ----------
        records
            The database.
        condition
            The filter.
        matching
            ``(m,)`` int64: the visible rows that satisfy it.
        visible
            ``(n,)`` int64, ascending: the rows that the caller may know of; all by default. Fields of other rows are
            neither counted nor named.
        """
        # If all of several conditions must hold and something was found, each of them matches something.
        if len(matching) and is_plain(condition):
            return
        if visible is not None and not len(visible):
            return
        state = (condition, None if visible is None else (len(visible), int(visible[0]), int(visible[-1])))
        if self.is_new(state):
            self.report(self.messages(records, condition, visible).values())

    def is_new(self, state: Hashable) -> bool:
        """Return whether a filter has not been checked yet, and remember that it was.

        Parameters
        ----------
        state
            The filter, with what else its messages depend on.
        """
        if state in self._checked:
            return False
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked.add(state)
        return True

    def report(self, messages: Iterable[str]) -> None:
        """Issue warnings, each once."""
        for message in messages:
            without_count = _COUNT.sub("", message)
            if without_count not in self._warned:
                self._warned.add(without_count)
                warn(message, FilterWarning)

    def messages(self, records: _Records, condition: Condition, visible: NDArray[np.int64] | None = None) -> Messages:
        """Return a message for each part of a filter that cannot match anything.

        Parameters
        ----------
        records, condition, visible
            As for :meth:`check`.
        """
        if not records.counter("documents"):
            return {}
        fields = dict.fromkeys(_fields(condition, False))
        count = records.counter("documents") if visible is None else len(visible)
        with records.reporting():
            found = {
                part: self._message(records.connection, *part, visible, count) for part in list(fields)[:_MOST_FIELDS]
            }
        return {part: message for part, message in found.items() if message is not None}

    def _message(
        self,
        connection: sqlite3.Connection,
        key: str,
        kinds: frozenset[Kind],
        visible: NDArray[np.int64] | None,
        count: int,
    ) -> str | None:
        there = [kind for kind in _IN_WORDS if has_field(connection, key, kind, visible)]
        if not there:
            near = _near(key, connection, visible)
            hint = f"; there is {' and '.join(map(repr, near))}" if near else ""
            what = f"no {self._holders} has the field {key!r} (of {count:,})"
            return f"{what}, so that the filter on it matches nothing{hint}"
        if not kinds or kinds & set(there):
            return None
        if set(there) == {"object"}:
            near = _near(key + ".", connection, visible)
            hint = f", such as {' or '.join(map(repr, near))}" if near else ""
            return f"the field {key!r} holds objects: name what is in them{hint}"
        has = " and ".join(_IN_WORDS[kind] for kind in there if kind not in ("list", "object")) or "empty lists"
        wanted = " or ".join(_IN_WORDS[kind] for kind in _IN_WORDS if kind in kinds)
        return f"the field {key!r} holds {has}, never {wanted}: the filter on it matches nothing"


def is_plain(condition: Condition) -> bool:
    """Return whether every part of a condition must match something for the whole to match."""
    if isinstance(condition, All):
        return all(map(is_plain, condition.parts))
    if isinstance(condition, Some):
        return all(map(is_plain, condition.parts)) and len(list(_fields(condition, False))) < 2
    return not isinstance(condition, Not)


def _fields(condition: Condition, negated: bool) -> Iterator[tuple[str, frozenset[Kind]]]:
    """Iterate over the names in a filter, with the kinds of value that each is compared with.

    An empty set of kinds means any kind.
    """
    match condition:
        case Among(key, kind) | Contains(key, kind):
            yield key, frozenset() if kind == "null" else frozenset([kind])
        case Range(key, _, value):
            yield key, frozenset(["string" if isinstance(value, str) else "number"])
        case Exists(key) | Filled(key) if not negated:
            yield key, frozenset()
        case OfKind(key, kind) if not negated:
            yield key, frozenset() if kind == "null" else frozenset([kind])
        case Not(part):
            yield from _fields(part, not negated)
        case All(parts):
            for part in parts:
                yield from _fields(part, negated)
        case Some(parts):
            yield from _of_some(parts, negated)


def _of_some(parts: Sequence[Condition], negated: bool) -> Iterator[tuple[str, frozenset[Kind]]]:
    """Merge the alternatives that compare the same name, of which one existing kind suffices."""
    kinds: dict[str, frozenset[Kind]] = {}
    anything: set[str] = set()
    for part in parts:
        for key, some in _fields(part, negated):
            kinds[key] = kinds.get(key, frozenset()) | some
            if not some:
                anything.add(key)
    yield from ((key, frozenset() if key in anything else some) for key, some in kinds.items())


def _near(key: str, connection: sqlite3.Connection, visible: NDArray[np.int64] | None) -> list[str]:
    """Return names that were perhaps meant: spelled alike, or with ``key`` as the end or beginning of the path."""
    names = field_names(connection)
    within = [name for name in names if name.endswith("." + key) or (key.endswith(".") and name.startswith(key))]
    alike = difflib.get_close_matches(key, names, n=_CONSIDERED)
    found: list[str] = []
    for name in dict.fromkeys([*within[:_CONSIDERED], *alike]):
        if len(found) < _NEAR and any(has_field(connection, name, kind, visible) for kind in _IN_WORDS):
            found.append(name)
    return found
