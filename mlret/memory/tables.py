"""A memory's own tables, in the database of the index: the journal, and the state that it adds up to.

Both are written in the transaction that writes the index's records, so that a crash leaves all of them or none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlret.errors import MlretError
from mlret.index.records import Records
from mlret.memory.journal import (
    Change,
    Entry,
    NewVersion,
    RecordState,
    SetEnd,
    SetField,
    SetLink,
    State,
    Verb,
    VersionState,
    checksum,
    read_changes,
    write_changes,
)
from mlret.memory.records import dump
from mlret.memory.scope import place_of, scope_at
from mlret.memory.times import FOREVER

# Times are microseconds since 1970 in UTC. A version is named by the row of its text in the index; its language is
# there. An open end is FOREVER, of eight bytes as every end is: a row that outgrew its page would leave a copy there,
# which erasing must look for. `hash` tells texts that are the same but for their form; `grams` are its n-grams
# (mlret.memory.lexical).
SCHEMA = """
CREATE TABLE memory_scopes (
    scope INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    agent TEXT NOT NULL,
    run TEXT NOT NULL,
    UNIQUE (tenant, user, agent, run)
);
CREATE TABLE memory_journal (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    operation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    record TEXT NOT NULL,
    changes TEXT,
    note TEXT NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX memory_journal_record ON memory_journal (record);
CREATE INDEX memory_journal_feedback ON memory_journal (entry) WHERE verb = 'feedback';
CREATE TABLE memory_versions (
    row INTEGER PRIMARY KEY,
    record TEXT NOT NULL,
    version INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    session TEXT,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    language TEXT,
    scripts TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER,
    event_from INTEGER,
    event_to INTEGER,
    expires_at INTEGER,
    length INTEGER NOT NULL,
    hash BLOB NOT NULL,
    grams BLOB NOT NULL
);
CREATE INDEX memory_versions_record ON memory_versions (record);
-- Windows of a long text, by the row of each and of the whole.
CREATE TABLE memory_parts (row INTEGER PRIMARY KEY, whole INTEGER NOT NULL);
CREATE TABLE memory_records (
    record TEXT PRIMARY KEY,
    row INTEGER,
    state TEXT NOT NULL,
    strength REAL NOT NULL,
    accesses INTEGER NOT NULL,
    accessed_at INTEGER,
    merged_into TEXT
) WITHOUT ROWID;
CREATE TABLE memory_links (
    record TEXT NOT NULL,
    type TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (record, type, target)
) WITHOUT ROWID;
CREATE INDEX memory_links_target ON memory_links (target);
-- Rows that are erased, but may be in a vector file or in the write-ahead log still.
CREATE TABLE memory_erasing (row INTEGER PRIMARY KEY);
-- What was fitted on the encoder in use: JSON by name.
CREATE TABLE memory_settings (name TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
"""
_ENTRY = "SELECT entry, operation, at, verb, record, changes, note, crc FROM memory_journal"
_FIELDS = ("row", "state", "strength", "accesses", "accessed_at", "merged_into")


def append_entry(
    connection: sqlite3.Connection,
    operation: int,
    at: int,
    verb: Verb,
    record: str,
    changes: Sequence[Change],
    note: Mapping[str, Any],
) -> int:
    """Write an entry; its number."""
    text, extra = write_changes(changes), dump(dict(note))
    crc = checksum(operation, at, verb, record, text, extra)
    cursor = connection.execute(
        "INSERT INTO memory_journal (operation, at, verb, record, changes, note, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (operation, at, verb, record, text, extra, crc),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def project(
    connection: sqlite3.Connection,
    entry: int,
    record: str,
    changes: Iterable[Change],
    columns: Mapping[int, Mapping[str, Any]],
) -> None:
    """Carry the changes of an entry out in the tables of the state.

    Parameters
    ----------
    connection
        In a transaction.
    entry
        The number of the entry.
    record
        Whose.
    changes
        What.
    columns
        For each new version, by row: the columns of ``memory_versions`` that only its text tells.
    """
    for change in changes:
        match change:
            case NewVersion():
                _insert_version(connection, entry, record, change, columns[change.row])
            case SetField("row", None, row):
                connection.execute(
                    "INSERT INTO memory_records VALUES (?, ?, 'active', 1.0, 0, NULL, NULL)", (record, row)
                )
            case SetField(name, _, after):
                assert name in _FIELDS
                connection.execute(f"UPDATE memory_records SET {name} = ? WHERE record = ?", (after, record))
            case SetEnd(row, _, after):
                end = FOREVER if after is None else after
                connection.execute("UPDATE memory_versions SET valid_to = ? WHERE row = ?", (end, row))
            case SetLink(type, target, True):
                connection.execute("INSERT OR IGNORE INTO memory_links VALUES (?, ?, ?)", (record, type, target))
            case SetLink(type, target, _):
                connection.execute(
                    "DELETE FROM memory_links WHERE record = ? AND type = ? AND target = ?", (record, type, target)
                )


def _insert_version(
    connection: sqlite3.Connection, entry: int, record: str, new: NewVersion, columns: Mapping[str, Any]
) -> None:
    values = {
        "row": new.row,
        "record": record,
        "version": new.version,
        "entry": entry,
        "scope": scope_number(connection, new.scope),
        "session": new.content.get("session"),
        "seq": new.content["seq"],
        "kind": new.content.get("kind", "raw"),
        "level": new.content.get("level", "turn"),
        "valid_from": new.valid_from,
        **columns,
        "valid_to": FOREVER,
    }
    connection.execute(
        f"INSERT INTO memory_versions ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    connection.executemany("INSERT INTO memory_parts VALUES (?, ?)", [(row, new.row) for row in new.parts])


def scope_number(connection: sqlite3.Connection, scope: Mapping[str, str]) -> int:
    """The number of a scope; it is given one if it has none."""
    place = place_of(scope)
    found = connection.execute(
        "SELECT scope FROM memory_scopes WHERE (tenant, user, agent, run) = (?, ?, ?, ?)", place
    ).fetchone()
    if found is None:
        cursor = connection.execute("INSERT INTO memory_scopes (tenant, user, agent, run) VALUES (?, ?, ?, ?)", place)
        found = (cursor.lastrowid,)
    return int(found[0])


def wipe(connection: sqlite3.Connection, records: Sequence[str], rows: Sequence[int], at: int, operation: int) -> None:
    """Take records out of all tables, empty their entries, and note that they were erased; in a transaction."""
    run = connection.executemany
    names = [(record,) for record in records]
    run("DELETE FROM memory_versions WHERE record = ?", names)
    run("DELETE FROM memory_records WHERE record = ?", names)
    run("DELETE FROM memory_links WHERE record = ?", names)
    run("DELETE FROM memory_links WHERE target = ?", names)
    run("DELETE FROM memory_parts WHERE row = ?", [(row,) for row in rows])
    emptied = [
        (checksum(operation, at, verb, record, None, "{}"), entry)
        for name in names
        for entry, operation, at, verb, record in connection.execute(
            "SELECT entry, operation, at, verb, record FROM memory_journal WHERE record = ?", name
        ).fetchall()
    ]
    run("UPDATE memory_journal SET changes = NULL, note = '{}', crc = ? WHERE entry = ?", emptied)
    for record in records:
        append_entry(connection, operation, at, "erase", record, [], {})
    run("INSERT OR IGNORE INTO memory_erasing VALUES (?)", [(row,) for row in rows])
    connection.execute("DELETE FROM memory_scopes WHERE scope NOT IN (SELECT scope FROM memory_versions)")


def erased(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Note that nothing is left of erased rows."""
    connection.executemany("DELETE FROM memory_erasing WHERE row = ?", [(row,) for row in rows])


def entries(records: Records, where: str = "1", parameters: Sequence[Any] = ()) -> Iterator[Entry]:
    """Entries of the journal that meet a condition, in order.

    Raises
    ------
    MlretError
        If one is damaged.
    """
    for row in records.read(f"{_ENTRY} WHERE {where} ORDER BY entry", parameters):
        yield _entry(records, *row)


def _entry(
    records: Records,
    number: int,
    operation: int,
    at: int,
    verb: Verb,
    record: str,
    changes: str | None,
    note: str,
    crc: int,
) -> Entry:
    if checksum(operation, at, verb, record, changes, note) != crc:
        raise MlretError(f"{records.path}: entry {number} of the journal is damaged; restore the folder from a copy")
    read = None if changes is None else read_changes(changes)
    return Entry(number, operation, at, verb, record, read, json.loads(note))


def last_entry(records: Records) -> int:
    """The number of the newest entry; 0 if there is none."""
    return int(records.read("SELECT coalesce(max(entry), 0) FROM memory_journal")[0][0])


def read_state(records: Records) -> State:
    """The state as the tables have it, to be compared with what the journal adds up to."""
    state = State()
    for record, *values in records.read(f"SELECT record, {', '.join(_FIELDS)} FROM memory_records"):
        state.records[record] = RecordState(*values)
    parts: dict[int, list[int]] = {}
    for row, whole in records.read("SELECT row, whole FROM memory_parts ORDER BY row"):
        parts.setdefault(whole, []).append(row)
    places: dict[int, Any] = {scope: tuple(place) for scope, *place in records.read("SELECT * FROM memory_scopes")}
    contents = {
        change.row: change for entry in entries(records) for change in entry.changes or () if type(change) is NewVersion
    }
    query = "SELECT row, record, version, scope, valid_from, valid_to, session, seq, kind, level FROM memory_versions"
    for row, record, version, scope, valid_from, valid_to, session, seq, kind, level in records.read(query):
        content = dict(contents[row].content) if row in contents else {}
        content |= {"seq": seq, "kind": kind, "level": level}
        content |= {} if session is None else {"session": session}
        recorded_at = contents[row].recorded_at if row in contents else 0
        state.versions[row] = VersionState(
            record,
            version,
            scope_at(places[scope]),
            valid_from,
            None if valid_to == FOREVER else valid_to,
            recorded_at,
            content,
            tuple(parts.get(row, ())),
        )
    state.links = set(records.read("SELECT record, type, target FROM memory_links"))
    return state


def read_setting(records: Records, name: str) -> Any:
    """What is kept under a name; ``None`` if nothing is."""
    found = records.read("SELECT content FROM memory_settings WHERE name = ?", (name,))
    return json.loads(found[0][0]) if found else None


def write_setting(connection: sqlite3.Connection, name: str, content: Any) -> None:
    """Keep JSON under a name."""
    connection.execute("INSERT OR REPLACE INTO memory_settings VALUES (?, ?)", (name, dump(content)))
