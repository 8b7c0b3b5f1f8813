"""The journal: everything that ever happened to a memory, in order; the state is what it adds up to.

An entry is about one record and holds its changes, each with what it replaced, so that entries can be played forward
(:meth:`State.apply`: the journal, replayed, is the state) and taken back (:func:`inverse`: undo). One call of a verb is
one operation, of an entry for each record that it touches. Texts are not in the journal: a version's text never
changes, and stands once, in the index. Erasing a record empties its entries; that it was there, what was done to it and
when, stays, under a number that says nothing. A hash of the text or the id is not kept: that of a short one can be
guessed.

Records have two names. In the database each has a *key*, an integer that is never given twice; users know it by its
*id*, which is a text, belongs to a tenant, and stands with the versions alone. Entries name records by keys where they
are stored, and by ids where a tenant's verbs see them; :func:`renamed` turns one into the other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlret.errors import MlretError
from mlret.memory.records import State as Standing
from mlret.memory.records import dump

# The key of a record in the database, or its id.
Name = int | str
# The id of what has none any more: no record can have it.
GONE = ""
Verb = Literal["add", "update", "link", "merge", "forget", "delete", "erase", "restore", "undo", "import", "feedback"]
# What can change of a record, and what it is at first.
FIRST: Mapping[str, Any] = {
    "row": None,
    "state": "active",
    "strength": 1.0,
    "accesses": 0,
    "accessed_at": None,
    "merged_into": None,
}


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version came to be: the row of its text in the index, those of its parts, and what it says.

    ``id`` is what users call the record, whatever names the entry uses.
    """

    row: int
    id: str
    version: int
    scope: Mapping[str, str]
    valid_from: int
    recorded_at: int
    content: Mapping[str, Any]
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SetField:
    """A field of the record (:data:`FIRST`) took another value."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SetEnd:
    """The validity of a version took another end."""

    row: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class SetLink:
    """A link from the record was drawn, or cut."""

    type: str
    target: Name
    on: bool


Change = NewVersion | SetField | SetEnd | SetLink
_CODES: dict[str, type[Change]] = {"version": NewVersion, "set": SetField, "end": SetEnd, "link": SetLink}
_NAMES = {kind: code for code, kind in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """What an operation did to a record.

    ``number`` counts from 1 in the order in which entries were committed. ``operation`` is the number of the first
    entry of the operation, ``counted`` the number that users know it by, which counts in the scope of the record.
    ``at`` is microseconds since 1970 in UTC; ``scope`` is the number of the scope that held the record, 0 where it is
    not known any more; ``asked`` says which of its names the operation was asked for with
    (:func:`mlret.memory.scope.mask_of`); ``changes`` is ``None`` once the record is erased.
    """

    number: int
    operation: int
    counted: int
    at: int
    verb: Verb
    scope: int
    asked: int
    record: Name
    changes: tuple[Change, ...] | None
    note: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class VersionState:
    """A version as it stands: ``valid_to`` is open where it is ``None``."""

    record: Name
    id: str
    version: int
    scope: dict[str, str]
    valid_from: int
    valid_to: int | None
    recorded_at: int
    content: dict[str, Any]
    parts: tuple[int, ...]


@dataclass
class RecordState:
    """A record as it stands; ``row`` is that of its current version."""

    row: int | None = None
    state: Standing = "active"
    strength: float = 1.0
    accesses: int = 0
    accessed_at: int | None = None
    merged_into: Name | None = None


@dataclass
class State:
    """What a journal adds up to: records by name, versions by row, links."""

    records: dict[Name, RecordState] = field(default_factory=dict)
    versions: dict[int, VersionState] = field(default_factory=dict)
    links: set[tuple[Name, str, Name]] = field(default_factory=set)

    def apply(self, entry: Entry) -> None:
        """Take in the next entry.

        Raises
        ------
        MlretError
            If it does not follow from what was before.
        """
        if entry.verb == "erase":
            self.records.pop(entry.record, None)
            self.versions = {row: one for row, one in self.versions.items() if one.record != entry.record}
            self.links = {link for link in self.links if entry.record not in (link[0], link[2])}
            for record in self.records.values():
                if record.merged_into == entry.record:
                    record.merged_into = None
            return
        for change in entry.changes or ():
            self._apply(entry, change)

    def _apply(self, entry: Entry, change: Change) -> None:
        record = self.records.setdefault(entry.record, RecordState())
        match change:
            case NewVersion(row, id, version, scope, valid_from, recorded_at, content, parts):
                self.versions[row] = VersionState(
                    entry.record, id, version, dict(scope), valid_from, None, recorded_at, dict(content), parts
                )
            case SetField(name, before, after):
                if getattr(record, name) != before:
                    raise MlretError(f"journal entry {entry.number} takes {name} of {entry.record!r} for {before!r}")
                setattr(record, name, after)
            case SetEnd(row, before, after):
                if row not in self.versions or self.versions[row].valid_to != before:
                    raise MlretError(f"journal entry {entry.number} takes the end of row {row} for {before!r}")
                self.versions[row].valid_to = after
            case SetLink(type, target, on):
                (self.links.add if on else self.links.discard)((entry.record, type, target))


def replay(entries: Iterable[Entry]) -> State:
    """The state that all entries of a journal, in order, add up to."""
    state = State()
    for entry in entries:
        state.apply(entry)
    return state


def inverse(changes: Iterable[Change]) -> list[Change]:
    """The changes that take those of an entry back, the last first.

    A version cannot be unmade, as nothing but erasing removes a text; its record goes back to the version before, or,
    if it was the first, is deleted.
    """
    found: list[Change] = []
    for change in reversed(tuple(changes)):
        match change:
            case NewVersion(row, _, version, _, valid_from) if version > 1:
                found.append(SetEnd(row, None, valid_from))  # it was never valid
            case SetField("row", None, _):
                found.append(SetField("state", "active", "deleted"))
            case SetField(name, before, after):
                found.append(SetField(name, after, before))
            case SetEnd(row, before, after):
                found.append(SetEnd(row, after, before))
            case SetLink(type, target, on):
                found.append(SetLink(type, target, not on))
    return found


def renamed(change: Change, rename: Callable[[Any], Any]) -> Change:
    """A change with other names for the records that it names."""
    match change:
        case SetField("merged_into", before, after):
            before, after = (None if one is None else rename(one) for one in (before, after))
            return SetField("merged_into", before, after)
        case SetLink(_, target, _):
            return replace(change, target=rename(target))
    return change


def write_changes(changes: Sequence[Change]) -> str:
    """Changes as JSON."""
    return dump([[_NAMES[type(change)], *_values(change)] for change in changes])


def read_changes(text: str) -> tuple[Change, ...]:
    """What :func:`write_changes` wrote."""
    found: list[Change] = []
    for code, *values in json.loads(text):
        kind: Any = _CODES[code]
        if kind is NewVersion:
            values[-1] = tuple(values[-1])
        found.append(kind(*values))
    return tuple(found)


def checksum(*values: int | str | None) -> int:
    """Tells a damaged entry: the checksum of all its columns.

    Raises
    ------
    TypeError
        If one is of a type that is never written.
    """
    parts = []
    for value in values:
        if type(value) is str:
            parts.append(f"t{value}")
        elif type(value) is int:
            parts.append(f"i{value}")
        elif value is None:
            parts.append("n")
        else:
            raise TypeError
    return zlib.crc32("\0".join(parts).encode("utf-8", "surrogatepass"))


def _values(change: Change) -> list[Any]:
    return [getattr(change, name) for name in change.__dataclass_fields__]
