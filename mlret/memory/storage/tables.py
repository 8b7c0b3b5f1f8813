"""The tables of a memory in the database of its index: the journal, and the state that results from it.

Both are written in the transaction that writes the index's records, so that a crash leaves all of them or none. Every
row has a checksum (:mod:`mlret.memory.storage.cells`). Records are named by keys here; the ids that users know
are stored only with the versions and in the journal's account of them, so that erasing a record erases its id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlret.index.storage.records import Records
from mlret.memory.scope import Place, scope_at
from mlret.memory.storage.cells import (
    checked,
    crc_of,
    damage_of,
    put,
    put_record,
    put_version,
    read_record,
    read_rows,
    read_uses,
    select,
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
    append_entries,
    checksum,
    dump,
    read_entries,
)
from mlret.memory.storage.schema import COVERED
from mlret.memory.storage.schema import SCHEMA as SCHEMA
from mlret.memory.times import FOREVER

# Selects a setting by its name; see :func:`parse_setting`.
SETTING = f"{select('memory_settings')} WHERE name = ?"


def write_entries(
    connection: sqlite3.Connection,
    entries: Sequence[Entry],
    versions: Mapping[int, Mapping[str, Any]],
    more: Mapping[int, tuple[int, int]],
) -> None:
    """Write the journal entries of an operation, and apply their changes to the tables of the state.

    Parameters
    ----------
    connection
        A connection in a transaction.
    entries
        Entries that name records by keys.
    versions
        For each new version, by row: its columns, except for those that the entry determines.
    more
        Number of each scope that the entries are about -> how many versions and parts were added.
    """
    append_entries(connection, entries)
    for entry in entries:
        _project(connection, entry, versions)
    _count(connection, more, entries[0].counted)


def _project(connection: sqlite3.Connection, entry: Entry, versions: Mapping[int, Mapping[str, Any]]) -> None:
    key, changes = entry.record, entry.changes or ()
    assert isinstance(key, int)
    if any(type(one) is SetField and one.field == "row" and one.before is None for one in changes):
        record = {"record": key, **FIRST, "links": 0, "entries": 0}
    else:
        record = read_record(connection, key)
    record["entries"] += 1
    for change in changes:
        match change:
            case NewVersion(row, id):
                of_entry = {"id": id, "entry": entry.number, "scope": entry.scope, "valid_to": FOREVER}
                put_version(connection, {**versions[row], **of_entry})
                for part in change.parts:
                    put(connection, "memory_parts", (row, part))
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


def scope_numbers(connection: sqlite3.Connection, places: Iterable[Place]) -> dict[Place, int]:
    """Return the numbers of scopes, assigning one to each that has none."""
    return {place: _scope_number(connection, place) for place in dict.fromkeys(places)}


def _scope_number(connection: sqlite3.Connection, place: Place) -> int:
    found = connection.execute(
        "SELECT scope FROM memory_scopes WHERE (tenant, user, agent, run) = (?, ?, ?, ?)", place
    ).fetchone()
    if found is not None:
        return int(found[0])
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memory_scopes'").fetchone()
    number = 1 + (last[0] if last else 0)  # Numbers of erased scopes are not reused.
    put(connection, "memory_scopes", (number, *place))
    return int(number)


def _count(connection: sqlite3.Connection, more: Mapping[int, tuple[int, int]], operation: int) -> None:
    """Add to the totals of scopes how many versions and parts an operation adds, and set its number as the last."""
    for scope, (versions, parts) in more.items():
        query = "SELECT scope, last, versions, parts, crc FROM memory_totals WHERE scope = ?"
        *values, crc = connection.execute(query, (scope,)).fetchone() or (scope, 0, 0, 0, None)
        if crc is not None and not whole("memory_totals", values, crc):
            raise damage_of(connection, "memory_totals", values)
        put(connection, "memory_totals", (scope, operation, values[2] + versions, values[3] + parts))


def wipe(
    connection: sqlite3.Connection,
    records: Mapping[int, int],
    rows: Sequence[int],
    gone: Mapping[int, tuple[int, int]],
    entry: Entry,
    merged: Sequence[int],
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
    merged
        Keys of the records that remain but were merged into erased ones: they no longer name these.
    """
    run = connection.executemany
    keys = [(key,) for key in records]
    run("DELETE FROM memory_versions WHERE row = ?", [(row,) for row in rows])
    run("DELETE FROM memory_parts WHERE whole = ?", [(row,) for row in rows])
    run("DELETE FROM memory_records WHERE record = ?", keys)
    for one in merged:
        put_record(connection, read_record(connection, one) | {"merged_into": None})
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
    numbered = enumerate(records.items(), start=entry.number)
    append_entries(connection, [replace(entry, number=n, scope=scope, record=key) for n, (key, scope) in numbered])
    for row in rows:
        put(connection, "memory_erasing", (row,))
    _count(connection, gone, entry.counted)
    connection.execute("DELETE FROM memory_scopes WHERE scope NOT IN (SELECT scope FROM memory_versions)")
    connection.execute("DELETE FROM memory_totals WHERE scope NOT IN (SELECT scope FROM memory_scopes)")


def erased(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Record that nothing is left on disk of erased rows."""
    connection.executemany("DELETE FROM memory_erasing WHERE row = ?", [(row,) for row in rows])


def read_state(records: Records) -> State:
    """Return the state stored in the tables, for comparison with the replayed journal.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    state = State()
    rows = read_rows(records, "memory_records")
    uses = read_uses(records, [record for record, *_ in rows])
    for record, row, name in rows:
        state.records[record] = RecordState(row, name, *uses[record][:-2])
    parts: dict[int, list[int]] = {}
    for of, row in read_rows(records, "memory_parts"):
        parts.setdefault(of, []).append(row)
    places: dict[int, Place] = {scope: place for scope, *place in read_rows(records, "memory_scopes")}  # type: ignore[misc]
    every = [change for entry in read_entries(records) for change in entry.changes or ()]
    contents = {change.row: change for change in every if type(change) is NewVersion}
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


def parse_setting(path: Path, rows: Sequence[Sequence[Any]]) -> Any:
    """Return the value of a setting from the rows that :data:`SETTING` selects; ``None`` if it is not set.

    Parameters
    ----------
    path
        Path of the database, for the message.
    rows
        At most one row.

    Raises
    ------
    MlretError
        If the row is damaged.
    """
    found = checked(path, "memory_settings", rows)
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
