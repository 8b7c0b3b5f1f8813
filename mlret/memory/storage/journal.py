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
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlret.errors import Corrupt
from mlret.index.storage.records import Records
from mlret.memory.records import State as StateName
from mlret.memory.scope import Scope, mask_of
from mlret.memory.storage.cells import UNREADABLE, damage, held_by, read_uses

# The key of a record in the database, or its id.
Name = int | str
# Stands for the id of an erased record; no record can have it.
GONE = ""
ENTRY = "SELECT entry, operation, counted, at, verb, scope, asked, record, changes, note, crc FROM memory_journal"
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
    state: StateName = "active"
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


def renamed(changes: Iterable[Change], rename: Callable[[Any], Any]) -> tuple[Change, ...]:
    """Return changes with the names of records converted.

    Parameters
    ----------
    changes
        Changes.
    rename
        Called with the name of each record; returns the new name.
    """
    found: list[Change] = []
    for change in changes:
        match change:
            case SetField("merged_into", before, after):
                before, after = (None if one is None else rename(one) for one in (before, after))
                found.append(SetField("merged_into", before, after))
            case SetLink(type, target, on):
                found.append(SetLink(type, rename(target), on))
            case _:
                found.append(change)
    return tuple(found)


def dump(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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


def append_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Write entries that name records by keys."""
    rows = []
    for entry in entries:
        values = (
            *(entry.number, entry.operation, entry.counted, entry.at, entry.verb, entry.scope, entry.asked),
            *(entry.record, None if entry.changes is None else write_changes(entry.changes)),
            dump(dict(entry.note)) if entry.note else "{}",
        )
        rows.append((*values, checksum(*values)))
    connection.executemany("INSERT INTO memory_journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def read_entries(
    records: Records, where: str = "1", parameters: Sequence[Any] = (), most: int | None = None
) -> Iterator[Entry]:
    """Yield the entries of the journal that meet a condition, in order.

    Parameters
    ----------
    records
        The database.
    where, parameters
        SQL condition and its parameters; all entries by default.
    most
        Maximum number of entries; all by default.

    Raises
    ------
    MlretError
        If one is damaged.
    """
    limit = -1 if most is None else most
    for row in records.read(f"{ENTRY} WHERE {where} ORDER BY entry LIMIT ?", (*parameters, limit)):
        yield read_entry(records.path, row)


def read_entry(path: Path, row: Sequence[Any]) -> Entry:
    """Return the entry that is stored in a row of the journal.

    Parameters
    ----------
    path
        Path of the database, for the message.
    row
        The columns selected by :data:`ENTRY`.

    Raises
    ------
    MlretError
        If it is damaged.
    """
    *values, crc = row
    try:
        if checksum(*values) != crc:
            raise ValueError
        number, operation, counted, at, verb, scope, asked, record, changes, note = values
        first = number, operation, counted, at, verb, scope, asked, record
        return Entry(*first, None if changes is None else read_changes(changes), json.loads(note))
    except UNREADABLE as error:
        raise damage(path, f"entry {row[0]!r} of the journal") from error


def entries_of(records: Records, key: int) -> list[Entry]:
    """Return all journal entries of a record, in order.

    Parameters
    ----------
    records
        The database.
    key
        Key of the record.

    Raises
    ------
    MlretError
        If one is damaged, or some are missing.
    """
    found = list(read_entries(records, "record = ?", (key,)))
    if read_uses(records, [key])[key][-1] != len(found):
        raise damage(records.path, f"memory_journal, entries of record {key} are missing")
    return found


def entries_of_operation(records: Records, number: int, scope: Scope) -> list[list[Entry]]:
    """Return the entries of each operation that a scope knows by a number, if all its records are in the scope.

    Operations that touched a record outside the scope, or one that has since been erased, are excluded.

    Parameters
    ----------
    records
        The database.
    number
        Number of the operation, as counted in the scope.
    scope
        A checked scope.

    Returns
    -------
    list of list of Entry
        If the scope itself was the one asked with, that operation alone; else those of the scopes that it holds.
    """
    condition, parameters = held_by(scope)
    held = {scope for (scope,) in records.read(f"SELECT scope FROM memory_scopes WHERE {condition}", parameters)}
    first = "SELECT DISTINCT operation, scope FROM memory_journal WHERE counted = ?"
    operations = {operation for operation, scope in records.read(first, (number,)) if scope in held}
    found = []
    for operation in sorted(operations):
        # An operation is numbered by its first entry, and its entries are consecutive.
        every = list(read_entries(records, "entry >= ? AND operation = ?", (operation, operation)))
        if every and all(one.scope in held and one.changes is not None and one.verb != "erase" for one in every):
            found.append(every)
    # Prefer the operation that was requested with exactly this scope, within which numbers are unique.
    own = [every for every in found if every[0].asked == mask_of(scope)]
    return own or found


def last_entry(records: Records) -> int:
    """Return the number of the newest entry; 0 if there is none."""
    return int(records.read("SELECT coalesce(max(entry), 0) FROM memory_journal")[0][0])


def last_key(records: Records) -> int:
    """Return the highest key that was ever given to a record; 0 if none was.

    Raises
    ------
    MlretError
        If the journal names a record by anything but an integer.
    """
    found = records.read("SELECT coalesce(max(record), 0) FROM memory_journal")[0][0]
    if type(found) is not int:
        raise damage(records.path, f"memory_journal, an entry of record {found!r}")
    return found
