"""The journal: an ordered record of every operation on a memory, from which the current state can be rebuilt.

An entry is about one record and holds its changes, each with the value that it replaced, so that entries can be
replayed (:meth:`State.apply`) and reversed (:func:`inverse`). One method call is one operation, with an entry for each
record that it touches. Texts are not in the journal: the text of a version never changes and is stored once, in the
index. Erasing a record empties its entries; what remains is when the record existed and what was done to it, under a
number that reveals nothing. No hash of the text or the id is kept, because a hash of a short string can be guessed.

Records have two names. In the database each has a *key*, an integer that is never reused. Users know it by its *id*, a
string that belongs to a tenant and is stored only with the versions. Stored entries name records by keys, and entries
handed to a tenant's methods name them by ids; :func:`renamed` converts one into the other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlret.errors import Corrupt
from mlret.memory.records import State as Standing
from mlret.memory.records import dump

# The key of a record in the database, or its id.
Name = int | str
# Stands for the id of an erased record; no record can have it.
GONE = ""
Verb = Literal["add", "update", "link", "merge", "forget", "delete", "erase", "restore", "undo", "import", "feedback"]
# The fields of a record that can change, with their initial values.
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
    """A new version: the row of its text in the index, the rows of its parts, and its content.

    ``id`` is the id that users know the record by, whichever names the entry uses.
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
    """A change of one field of the record; the fields are those of :data:`FIRST`."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SetEnd:
    """A change of the end of a version's validity; ``None`` means no end."""

    row: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class SetLink:
    """A link from the record that was added (``on``) or removed."""

    type: str
    target: Name
    on: bool


Change = NewVersion | SetField | SetEnd | SetLink
_CODES: dict[str, type[Change]] = {"version": NewVersion, "set": SetField, "end": SetEnd, "link": SetLink}
_NAMES = {kind: code for code, kind in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """What an operation did to one record.

    Attributes
    ----------
    number
        Number of the entry, from 1 in the order of commits.
    operation
        Number of the first entry of the operation.
    counted
        The number that users know the operation by, counted within the scope of the record.
    at
        Microseconds since 1970 in UTC.
    verb
        What was done.
    scope
        Number of the scope that the record was in, 0 if it is no longer known.
    asked
        Which names the scope of the call gave (:func:`mlret.memory.scope.mask_of`).
    record
        The record.
    changes
        The changes to it; ``None`` once the record is erased.
    note
        Further facts, such as a reason.
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
    """The current state of a version; ``valid_to`` is ``None`` while it has no end."""

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
    """The current state of a record; ``row`` is that of its current version."""

    row: int | None = None
    state: Standing = "active"
    strength: float = 1.0
    accesses: int = 0
    accessed_at: int | None = None
    merged_into: Name | None = None


@dataclass
class State:
    """The state that results from a journal: records by name, versions by row, and links."""

    records: dict[Name, RecordState] = field(default_factory=dict)
    versions: dict[int, VersionState] = field(default_factory=dict)
    links: set[tuple[Name, str, Name]] = field(default_factory=set)

    def apply(self, entry: Entry) -> None:
        """Apply the next entry.

        Raises
        ------
        MlretError
            If the entry does not follow from the state before it.
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
                    raise Corrupt(f"journal entry {entry.number} takes {name} of {entry.record!r} for {before!r}")
                setattr(record, name, after)
            case SetEnd(row, before, after):
                if row not in self.versions or self.versions[row].valid_to != before:
                    raise Corrupt(f"journal entry {entry.number} takes the end of row {row} for {before!r}")
                self.versions[row].valid_to = after
            case SetLink(type, target, on):
                (self.links.add if on else self.links.discard)((entry.record, type, target))


def replay(entries: Iterable[Entry]) -> State:
    """Return the state that results from all entries of a journal, in order."""
    state = State()
    for entry in entries:
        state.apply(entry)
    return state


def inverse(changes: Iterable[Change]) -> list[Change]:
    """Return the changes that reverse those of an entry, the last first.

    A version cannot be removed, because only erasing removes a text: its record goes back to the version before, or, if
    it was the first, is deleted.
    """
    found: list[Change] = []
    for change in reversed(tuple(changes)):
        match change:
            case NewVersion(row, _, version, _, valid_from) if version > 1:
                found.append(SetEnd(row, None, valid_from))  # An empty period of validity.
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
    """Return a change with the names of records converted.

    Parameters
    ----------
    change
        A change.
    rename
        Called with the name of each record; returns the new name.
    """
    match change:
        case SetField("merged_into", before, after):
            before, after = (None if one is None else rename(one) for one in (before, after))
            return SetField("merged_into", before, after)
        case SetLink(_, target, _):
            return replace(change, target=rename(target))
    return change


def write_changes(changes: Sequence[Change]) -> str:
    """Return changes as JSON text."""
    return dump([[_NAMES[type(change)], *_values(change)] for change in changes])


def read_changes(text: str) -> tuple[Change, ...]:
    """Return the changes that :func:`write_changes` wrote."""
    found: list[Change] = []
    for code, *values in json.loads(text):
        kind: Any = _CODES[code]
        if kind is NewVersion:
            values[-1] = tuple(values[-1])
        found.append(kind(*values))
    return tuple(found)


def checksum(*values: int | str | None) -> int:
    """Return the checksum of all columns of an entry, by which a damaged entry is detected.

    Raises
    ------
    TypeError
        If a value is of a type that is never written.
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
