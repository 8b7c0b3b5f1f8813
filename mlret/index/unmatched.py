"""Filters that can match nothing because no document has the field, or has it with values of another type."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.errors import FilterWarning, warn
from mlret.index.fields import Kind, field_names, has_field
from mlret.index.filters import All, Among, Condition, Contains, Exists, Not, Range, Some
from mlret.index.records import Records

_IN_WORDS: dict[Kind, str] = {
    "number": "numbers",
    "string": "strings",
    "boolean": "true or false",
    "null": "null",
    "list": "lists",
    "object": "objects",
}
_MOST_FIELDS = 20  # that are looked up for one filter
_NEAR = 3
_CONSIDERED = 30
_REMEMBERED = 64


class Unmatched:
    """Warns once of each field that filters name in vain.

    Parameters
    ----------
    holders
        What has fields, in messages: ``"document"``.
    """

    def __init__(self, holders: str) -> None:
        self._holders = holders
        self._said: set[str] = set()
        # What was looked at lately: to find that a field is nowhere may take reading it of all that is not visible.
        self._checked: set[Hashable] = set()

    def check(
        self,
        records: Records,
        condition: Condition,
        matching: NDArray[np.int64],
        visible: NDArray[np.int64] | None = None,
    ) -> None:
        """Warn where a part of a filter cannot match anything.

        Parameters
        ----------
        records
            The database.
        condition
            The filter.
        matching
            ``(m,)`` the rows that meet it, of those that are visible.
        visible
            ``(n,)`` the rows that may be known of, ascending; all by default. What other rows have is neither counted
            nor named.
        """
        # Where all of several conditions must hold and something was found, each of them matches something.
        if len(matching) and _is_plain(condition):
            return
        if visible is not None and not len(visible):
            return
        state = (condition, None if visible is None else (len(visible), int(visible[0]), int(visible[-1])))
        if state in self._checked:
            return
        if len(self._checked) >= _REMEMBERED:
            self._checked.clear()
        self._checked.add(state)
        if not records.counter("documents"):
            return
        fields = dict.fromkeys(_fields(condition, False))
        with records.reporting():
            found = [self._message(records.connection, *one, visible) for one in list(fields)[:_MOST_FIELDS]]
        for message in found:
            if message is not None and message not in self._said:
                self._said.add(message)
                warn(message, FilterWarning)

    def _message(
        self, connection: sqlite3.Connection, key: str, kinds: frozenset[Kind], visible: NDArray[np.int64] | None
    ) -> str | None:
        there = [kind for kind in _IN_WORDS if has_field(connection, key, kind, visible)]
        if not there:
            near = _near(key, connection, visible)
            hint = f"; there is {' and '.join(map(repr, near))}" if near else ""
            return f"no {self._holders} has the field {key!r}, so that the filter on it matches nothing{hint}"
        if not kinds or kinds & set(there):
            return None
        if set(there) == {"object"}:
            near = _near(key + ".", connection, visible)
            hint = f", such as {' or '.join(map(repr, near))}" if near else ""
            return f"the field {key!r} holds objects: name what is in them{hint}"
        has = " and ".join(_IN_WORDS[kind] for kind in there if kind not in ("list", "object")) or "empty lists"
        wanted = " or ".join(_IN_WORDS[kind] for kind in _IN_WORDS if kind in kinds)
        return f"the field {key!r} holds {has}, never {wanted}: the filter on it matches nothing"


def _is_plain(condition: Condition) -> bool:
    """Whether every part must match something for the whole to."""
    if isinstance(condition, All):
        return all(map(_is_plain, condition.parts))
    if isinstance(condition, Some):
        return all(map(_is_plain, condition.parts)) and len(list(_fields(condition, False))) < 2
    return not isinstance(condition, Not)


def _fields(condition: Condition, negated: bool) -> Iterator[tuple[str, frozenset[Kind]]]:
    """The names of a filter, each with the kinds of value that it is compared with; none where any will do."""
    match condition:
        case Among(key, kind) | Contains(key, kind):
            yield key, frozenset() if kind == "null" else frozenset([kind])
        case Range(key, _, value):
            yield key, frozenset(["string" if isinstance(value, str) else "number"])
        case Exists(key) if not negated:
            yield key, frozenset()
        case Not(part):
            yield from _fields(part, not negated)
        case All(parts):
            for part in parts:
                yield from _fields(part, negated)
        case Some(parts):
            yield from _of_some(parts, negated)


def _of_some(parts: Sequence[Condition], negated: bool) -> Iterator[tuple[str, frozenset[Kind]]]:
    """Of what is compared with one name, one kind that is there will do."""
    kinds: dict[str, frozenset[Kind]] = {}
    anything: set[str] = set()
    for part in parts:
        for key, some in _fields(part, negated):
            kinds[key] = kinds.get(key, frozenset()) | some
            if not some:
                anything.add(key)
    yield from ((key, frozenset() if key in anything else some) for key, some in kinds.items())


def _near(key: str, connection: sqlite3.Connection, visible: NDArray[np.int64] | None) -> list[str]:
    """Names that were perhaps meant: spelled alike, or the end or the beginning of a path."""
    names = field_names(connection)
    within = [name for name in names if name.endswith("." + key) or (key.endswith(".") and name.startswith(key))]
    alike = difflib.get_close_matches(key, names, n=_CONSIDERED)
    found: list[str] = []
    for name in dict.fromkeys([*within[:_CONSIDERED], *alike]):
        if len(found) < _NEAR and any(has_field(connection, name, kind, visible) for kind in _IN_WORDS):
            found.append(name)
    return found
