"""The tables of a memory in the database of its index: the journal, and the state that results from it.

Both are written in the transaction that writes the index's records, so that a crash leaves all of them or none. Every
row has a checksum (:mod:`mlret.memory.storage.row_checksums`). Records are named by keys here; the ids that users know
are stored only with the versions and in the journal's account of them, so that erasing a record erases its id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlret.index.storage.records import Records
from mlret.memory.records import dump
from mlret.memory.scope import Place, Scope, mask_of, scope_at
from mlret.memory.storage.cells import (
    UNREADABLE,
    crc_of,
    damage,
    damage_of,
    put,
    put_record,
    put_version,
    read_record,
    read_rows,
    read_uses,
    text_crc,
    whole,
    whole_row,
)
from mlret.memory.storage.journal import (
    FIRST,
    Entry,
    NewVersion,
    RecordState,
    SetEnd,
    SetField,
    SetLink,
    State,
    VersionState,
    checksum,
    read_changes,
    write_changes,
)
from mlret.memory.storage.schema import COVERED
from mlret.memory.storage.schema import SCHEMA as SCHEMA
from mlret.memory.times import FOREVER

# The columns of an entry before its changes, under the names of the fields of Entry.
_FIRST_COLUMNS = ("number", "operation", "counted", "at", "verb", "scope", "asked", "record")
ENTRY = "SELECT entry, operation, counted, at, verb, scope, asked, record, changes, note, crc FROM memory_journal"


def append_entry(connection: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry that names records by keys."""
    changes = None if entry.changes is None else write_changes(entry.changes)
    values = (
        *(entry.number, entry.operation, entry.counted, entry.at, entry.verb, entry.scope, entry.asked, entry.record),
        *(changes, dump(dict(entry.note))),
    )
    connection.execute(
        "INSERT INTO memory_journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, checksum(*values))
    )


def project(connection: sqlite3.Connection, entry: Entry, columns: Mapping[int, Mapping[str, Any]]) -> None:
    """Apply the changes of an entry to the tables of the state.

    Parameters
    ----------
    connection
        A connection in a transaction.
    entry
        An entry that names records by keys.
    columns
        For each new version, by row: the columns of ``memory_versions`` that depend on its text.
    """
    key, changes = entry.record, entry.changes or ()
    assert isinstance(key, int)
    if any(type(one) is SetField and one.field == "row" and one.before is None for one in changes):
        record = {"record": key, **FIRST, "links": 0, "entries": 0}
    else:
        record = read_record(connection, key)
    record["entries"] += 1
    for change in changes:
        match change:
            case NewVersion():
                _insert_version(connection, entry, change, columns[change.row])
            case SetField(name, _, after):
                record[name] = float(after) if name == "strength" else after
            case SetEnd(row, _, after):
                end = FOREVER if after is None else after
                version = whole_row(connection, "memory_versions", row) | {"valid_to": end}
                crc = crc_of("memory_versions", list(version.values()))
                connection.execute("UPDATE memory_versions SET valid_to = ?, crc = ? WHERE row = ?", (end, crc, row))
            case SetLink(type_, target, on):
                link = (key, type_, target)
                where = "WHERE record = ? AND type = ? AND target = ?"
                record["links"] -= connection.execute(f"DELETE FROM memory_links {where}", link).rowcount
                if on:
                    record["links"] += 1
                    put(connection, "memory_links", link)
    put_record(connection, record)


def _insert_version(connection: sqlite3.Connection, entry: Entry, new: NewVersion, columns: Mapping[str, Any]) -> None:
    values = {
        "row": new.row,
        "record": entry.record,
        "id": new.id,
        "entry": entry.number,
        "scope": entry.scope,
        **columns,
        "valid_to": FOREVER,
    }
    put_version(connection, values)
    for row in new.parts:
        put(connection, "memory_parts", (new.row, row))


def derive_again(connection: sqlite3.Connection, versions: Iterable[tuple[int, bytes, bytes, int]]) -> None:
    """Rewrite what is derived from texts.

    Parameters
    ----------
    connection
        A connection in a transaction.
    versions
        The row, text hash, n-grams and number of n-grams of each version to rewrite.
    """
    for row, hash, grams, length in versions:
        version = whole_row(connection, "memory_versions", row) | {"length": length}
        connection.execute(
            "UPDATE memory_versions SET hash = ?, grams = ?, length = ?, crc = ?, text_crc = ? WHERE row = ?",
            (hash, grams, length, crc_of("memory_versions", list(version.values())), text_crc(hash, grams), row),
        )


def scope_number(connection: sqlite3.Connection, place: Place) -> int:
    """Return the number of a scope, assigning one if it has none."""
    found = connection.execute(
        "SELECT scope FROM memory_scopes WHERE (tenant, user, agent, run) = (?, ?, ?, ?)", place
    ).fetchone()
    if found is not None:
        return int(found[0])
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memory_scopes'").fetchone()
    number = 1 + (last[0] if last else 0)  # Numbers of erased scopes are not reused.
    put(connection, "memory_scopes", (number, *place))
    return int(number)


def held_by(scope: Scope) -> tuple[str, list[str]]:
    """Return the SQL condition for the rows of ``memory_scopes`` that a checked scope holds, and its parameters."""
    names = {"tenant": "", **scope}
    return " AND ".join(f"{name} = ?" for name in names), list(names.values())


def last_operation(records: Records, scope: Scope) -> int:
    """Return the number of the last operation that touched records of a scope; 0 if there was none.

    Parameters
    ----------
    records
        The database.
    scope
        A checked scope.
    """
    condition, parameters = held_by(scope)
    found = read_rows(
        records, "memory_totals", f"scope IN (SELECT scope FROM memory_scopes WHERE {condition})", parameters
    )
    return max((last for _, last, *_ in found), default=0)


def count(connection: sqlite3.Connection, more: Mapping[int, tuple[int, int]], operation: int) -> None:
    """Update the totals of scopes after an operation.

    Parameters
    ----------
    connection
        A connection in a transaction.
    more
        Number of a scope -> how many versions and parts were added; negative for removed ones.
    operation
        Number of the operation.
    """
    for scope, (versions, parts) in more.items():
        query = "SELECT scope, last, versions, parts, crc FROM memory_totals WHERE scope = ?"
        *values, crc = connection.execute(query, (scope,)).fetchone() or (scope, 0, 0, 0, None)
        if crc is not None and not whole("memory_totals", values, crc):
            raise damage_of(connection, "memory_totals", values)
        put(connection, "memory_totals", (scope, operation, values[2] + versions, values[3] + parts))


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
        every = list(entries(records, "entry >= ? AND operation = ?", (operation, operation)))
        if every and all(one.scope in held and one.changes is not None and one.verb != "erase" for one in every):
            found.append(every)
    # Prefer the operation that was requested with exactly this scope, within which numbers are unique.
    own = [every for every in found if every[0].asked == mask_of(scope)]
    return own or found


def wipe(
    connection: sqlite3.Connection,
    records: Mapping[int, int],
    rows: Sequence[int],
    gone: Mapping[int, tuple[int, int]],
    entry: Entry,
) -> None:
    """Delete records from all tables, empty their journal entries, and record the erasure; in a transaction.

    Parameters
    ----------
    connection
        The database.
    records
        Key of each record -> number of its scope.
    rows
        All their rows in the index.
    gone
        Number of a scope -> how many versions and parts are removed, as negative numbers.
    entry
        The first entry of the operation. It supplies the operation and the time; further entries are numbered after it.
    """
    run = connection.executemany
    keys = [(key,) for key in records]
    run("DELETE FROM memory_versions WHERE row = ?", [(row,) for row in rows])
    run("DELETE FROM memory_parts WHERE whole = ?", [(row,) for row in rows])
    run("DELETE FROM memory_records WHERE record = ?", keys)
    # Records that remain but were merged into erased ones no longer name what they were merged into.
    merged = connection.execute("SELECT record, merged_into FROM memory_records WHERE merged_into IS NOT NULL")
    for left in [record for record, into in merged if into in records]:
        put_record(connection, read_record(connection, left) | {"merged_into": None})
    run("DELETE FROM memory_links WHERE record = ?", keys)
    for key in keys:
        for (source,) in connection.execute("SELECT record FROM memory_links WHERE target = ?", key).fetchall():
            record = read_record(connection, source)
            put_record(connection, record | {"links": record["links"] - 1})
    run("DELETE FROM memory_links WHERE target = ?", keys)
    query = "SELECT entry, operation, counted, at, verb, scope, asked, record FROM memory_journal WHERE record = ?"
    emptied = [
        (checksum(*values, None, "{}"), values[0])
        for key in keys
        for values in connection.execute(query, key).fetchall()
    ]
    run("UPDATE memory_journal SET changes = NULL, note = '{}', crc = ? WHERE entry = ?", emptied)
    for number, (record_key, scope) in enumerate(records.items(), start=entry.number):
        append_entry(connection, replace(entry, number=number, scope=scope, record=record_key))
    for row in rows:
        put(connection, "memory_erasing", (row,))
    count(connection, gone, entry.counted)
    connection.execute("DELETE FROM memory_scopes WHERE scope NOT IN (SELECT scope FROM memory_versions)")
    connection.execute("DELETE FROM memory_totals WHERE scope NOT IN (SELECT scope FROM memory_scopes)")


def erased(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Record that nothing is left on disk of erased rows."""
    connection.executemany("DELETE FROM memory_erasing WHERE row = ?", [(row,) for row in rows])


def erasing(records: Records) -> list[int]:
    """Return the erased rows that may not be gone from disk yet, in ascending order."""
    return [row for (row,) in read_rows(records, "memory_erasing", "1 ORDER BY row")]


def entries(records: Records, where: str = "1", parameters: Sequence[Any] = ()) -> Iterator[Entry]:
    """Yield the entries of the journal that meet a condition, in order.

    Parameters
    ----------
    records
        The database.
    where, parameters
        SQL condition and its parameters; all entries by default.

    Raises
    ------
    MlretError
        If one is damaged.
    """
    for row in records.read(f"{ENTRY} WHERE {where} ORDER BY entry", parameters):
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
        *first, changes, note = values
        named = dict(zip(_FIRST_COLUMNS, first, strict=True))
        return Entry(**named, changes=None if changes is None else read_changes(changes), note=json.loads(note))
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
    found = list(entries(records, "record = ?", (key,)))
    if read_uses(records, [key])[key][-1] != len(found):
        raise damage(records.path, f"memory_journal, entries of record {key} are missing")
    return found


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


def read_state(records: Records) -> State:
    """Return the state stored in the tables, for comparison with the replayed journal.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    state = State()
    standing = read_rows(records, "memory_records")
    uses = read_uses(records, [record for record, *_ in standing])
    for record, row, standing_state in standing:
        state.records[record] = RecordState(row, standing_state, *uses[record][:-2])
    parts: dict[int, list[int]] = {}
    for of, row in read_rows(records, "memory_parts"):
        parts.setdefault(of, []).append(row)
    places: dict[int, Place] = {scope: place for scope, *place in read_rows(records, "memory_scopes")}  # type: ignore[misc]
    contents = {
        change.row: change for entry in entries(records) for change in entry.changes or () if type(change) is NewVersion
    }
    for values in read_rows(records, "memory_versions"):
        one = dict(zip(COVERED["memory_versions"], values, strict=True))
        row = one["row"]
        content = dict(contents[row].content) if row in contents else {}
        content |= {name: one[name] for name in ("seq", "kind", "level")}
        content |= {} if one["session"] is None else {"session": one["session"]}
        state.versions[row] = VersionState(
            one["record"],
            one["id"],
            contents[row].version if row in contents else 0,
            scope_at(places[one["scope"]]) if one["scope"] in places else {},
            one["valid_from"],
            None if one["valid_to"] in (None, FOREVER) else one["valid_to"],
            contents[row].recorded_at if row in contents else 0,
            content,
            tuple(sorted(parts.get(row, ()))),
        )
    state.links = set(read_rows(records, "memory_links"))
    return state


def read_setting(records: Records, name: str) -> Any:
    """Return the value of a setting; ``None`` if it is not set.

    Parameters
    ----------
    records
        The database.
    name
        Name of the setting.
    """
    found = read_rows(records, "memory_settings", "name = ?", (name,))
    return json.loads(found[0][1]) if found else None


def write_setting(connection: sqlite3.Connection, name: str, content: Any) -> None:
    """Save a JSON value as a setting.

    Parameters
    ----------
    connection
        A connection in a transaction.
    name, content
        Name and value of the setting.
    """
    put(connection, "memory_settings", (name, dump(content)))
