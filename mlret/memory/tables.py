"""A memory's own tables, in the database of the index: the journal, and the state that it adds up to.

Both are written in the transaction that writes the index's records, so that a crash leaves all of them or none. Every
row has a checksum (:mod:`mlret.memory.proofs`). Records are named by their keys here; the ids that users know stand
with the versions, and nowhere else but in the journal's account of them, so that erasing a record erases its id.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlret.errors import MlretError
from mlret.index.records import Records
from mlret.memory.journal import (
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
from mlret.memory.proofs import checksum as row_checksum
from mlret.memory.records import dump
from mlret.memory.scope import Place, Scope, mask_of, scope_at
from mlret.memory.times import FOREVER, UNTIMED

# Times are microseconds since 1970 in UTC. A version is named by the row of its text in the index; its language is
# there. An open end is FOREVER, of eight bytes as every end is: a row that outgrew its page would leave a copy there,
# which erasing must look for. `hash` tells texts that are the same but for their form; `grams` are its n-grams
# (mlret.memory.lexical); `text_crc` is the checksum of both, `crc` that of what search reads of every row, `use_crc`
# that of what is read of a record when it is found. Rows that go missing have no checksum to fail: they are counted,
# links and entries of the journal with their record, versions and parts with their scope.
TABLES = """
CREATE TABLE memory_scopes (
    scope INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    agent TEXT NOT NULL,
    run TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (tenant, user, agent, run)
);
-- Of a scope: the number of the last operation that touched a record of it, how many versions it holds, and how many
-- parts they have.
CREATE TABLE memory_totals (
    scope INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    versions INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE memory_journal (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    operation INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    scope INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    record INTEGER NOT NULL,
    changes TEXT,
    note TEXT NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX memory_journal_record ON memory_journal (record);
CREATE INDEX memory_journal_feedback ON memory_journal (entry) WHERE verb = 'feedback';
CREATE TABLE memory_versions (
    row INTEGER PRIMARY KEY,
    record INTEGER NOT NULL,
    id TEXT NOT NULL,
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
    crc INTEGER NOT NULL,
    text_crc INTEGER NOT NULL,
    hash BLOB NOT NULL,
    grams BLOB NOT NULL
);
CREATE INDEX memory_versions_scope ON memory_versions (scope);
-- Windows of a long text, by the row of the whole and of each.
CREATE TABLE memory_parts (
    whole INTEGER NOT NULL,
    row INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (whole, row)
) WITHOUT ROWID;
CREATE TABLE memory_records (
    record INTEGER PRIMARY KEY,
    row INTEGER NOT NULL,
    state TEXT NOT NULL,
    crc INTEGER NOT NULL,
    strength REAL NOT NULL,
    accesses INTEGER NOT NULL,
    accessed_at INTEGER,
    merged_into INTEGER,
    links INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    use_crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE memory_links (
    record INTEGER NOT NULL,
    type TEXT NOT NULL,
    target INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (record, type, target)
) WITHOUT ROWID;
CREATE INDEX memory_links_target ON memory_links (target);
-- Rows that are erased, but may be in a vector file or in the write-ahead log still.
CREATE TABLE memory_erasing (row INTEGER PRIMARY KEY, crc INTEGER NOT NULL);
-- What was fitted on the encoder in use: JSON by name.
CREATE TABLE memory_settings (name TEXT PRIMARY KEY, content TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
"""
# The version of these tables (mlret.index.migration), and what a new database runs.
VERSION = 3
SCHEMA = f"{TABLES}INSERT INTO counters VALUES ('memory', {VERSION});"
# The columns that the checksum `crc` of a row covers, in order. The hash and the n-grams of a text have one of their
# own, and the entry that made a version is known by the row that it names.
COVERED: Mapping[str, tuple[str, ...]] = {
    "memory_scopes": ("scope", "tenant", "user", "agent", "run"),
    "memory_totals": ("scope", "last", "versions", "parts"),
    "memory_versions": (
        *("row", "record", "id", "scope", "session", "seq", "kind", "level", "language", "scripts"),
        *("valid_from", "valid_to", "event_from", "event_to", "expires_at", "length"),
    ),
    "memory_parts": ("whole", "row"),
    "memory_records": ("record", "row", "state"),
    "memory_links": ("record", "type", "target"),
    "memory_erasing": ("row",),
    "memory_settings": ("name", "content"),
}
# Those that `use_crc` covers.
USE = ("record", "strength", "accesses", "accessed_at", "merged_into", "links", "entries")
# What NULL says in a column.
NULLS: Mapping[str, int] = {
    "valid_to": FOREVER,
    "event_from": UNTIMED,
    "event_to": UNTIMED,
    "expires_at": FOREVER,
    "accessed_at": UNTIMED,
    "merged_into": 0,
}
# All columns of a version, in the order of the table.
_VERSION = (
    *("row", "record", "id", "entry", "scope", "session", "seq", "kind", "level", "language", "scripts"),
    *("valid_from", "valid_to", "event_from", "event_to", "expires_at", "length", "crc", "text_crc", "hash", "grams"),
)
_SOME = 500  # rows in one statement
ENTRY = "SELECT entry, operation, counted, at, verb, scope, asked, record, changes, note, crc FROM memory_journal"
_RESTORE = "restore the folder from a copy"
# What reading cells of other types or values than were written ends in.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError)


def damage(path: Path, where: str) -> MlretError:
    """The error that says that a table is not what was written."""
    return MlretError(f"{path} is damaged ({where}); {_RESTORE}, `mlret memory verify` names all damage")


def crc_of(table: str, values: Sequence[Any]) -> int:
    """The checksum of a row; ``values`` are those of its columns in :data:`COVERED`."""
    return _crc(COVERED[table], values)


def use_crc(values: Sequence[Any]) -> int:
    """The checksum of what a record counts; ``values`` are those of its columns in :data:`USE`."""
    return _crc(USE, values)


def _crc(columns: Sequence[str], values: Sequence[Any]) -> int:
    if None in values:
        names = zip(columns, values, strict=True)
        values = [NULLS.get(name) if value is None else value for name, value in names]
    return row_checksum(values)


def text_crc(hash: bytes, grams: bytes) -> int:
    """The checksum of what is derived from a text."""
    return zlib.crc32(grams, zlib.crc32(hash))


def named(table: str, values: Sequence[Any]) -> str:
    """A row in words."""
    if table == "memory_links":
        return f"{table}, a link of record {values[0]!r}"
    return f"{table}, {COVERED[table][0]} {values[0]!r}"


def checked(path: Path, table: str, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows of a table, each its columns in :data:`COVERED` and its checksum, without the checksum.

    Raises
    ------
    MlretError
        If one is not what was written.
    """
    found = []
    for *values, crc in rows:
        if not whole(table, values, crc):
            raise damage(path, named(table, values))
        found.append(tuple(values))
    return found


def whole(table: str, values: Sequence[Any], crc: Any) -> bool:
    """Whether a row is what was written."""
    try:
        return crc_of(table, values) == crc
    except UNREADABLE:
        return False


def read_rows(records: Records, table: str, where: str = "1", parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a table that meet a condition, their columns in :data:`COVERED`.

    Raises
    ------
    MlretError
        If one is not what was written.
    """
    query = f"SELECT {', '.join(COVERED[table])}, crc FROM {table} WHERE {where}"
    return checked(records.path, table, records.read(query, parameters))


def put(connection: sqlite3.Connection, table: str, values: Sequence[Any]) -> None:
    """Write a row in place of the one with its key."""
    connection.execute(
        f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))}, ?)", (*values, crc_of(table, values))
    )


def _whole_row(connection: sqlite3.Connection, table: str, key: int) -> dict[str, Any]:
    """A row that is about to be changed: damage must not be covered by a new checksum."""
    columns = COVERED[table]
    query = f"SELECT {', '.join(columns)}, crc FROM {table} WHERE {columns[0]} = ?"
    *values, crc = connection.execute(query, (key,)).fetchone() or (key, None)
    if not whole(table, values, crc):
        raise _damage_of(connection, table, values)
    return dict(zip(columns, values, strict=True))


def _damage_of(connection: sqlite3.Connection, table: str, values: Sequence[Any]) -> MlretError:
    _, _, file = connection.execute("PRAGMA database_list").fetchone()
    return damage(Path(file), named(table, values))


def append_entry(connection: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry, whose records are named by keys."""
    changes = None if entry.changes is None else write_changes(entry.changes)
    values = (
        *(entry.number, entry.operation, entry.counted, entry.at, entry.verb, entry.scope, entry.asked, entry.record),
        *(changes, dump(dict(entry.note))),
    )
    connection.execute(
        "INSERT INTO memory_journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, checksum(*values))
    )


def project(connection: sqlite3.Connection, entry: Entry, columns: Mapping[int, Mapping[str, Any]]) -> None:
    """Carry the changes of an entry out in the tables of the state.

    Parameters
    ----------
    connection
        In a transaction.
    entry
        Its records are named by keys.
    columns
        For each new version, by row: the columns of ``memory_versions`` that only its text tells.
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
                version = _whole_row(connection, "memory_versions", row) | {"valid_to": end}
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


def read_record(connection: sqlite3.Connection, key: int) -> dict[str, Any]:
    """The row of a record that is about to be changed, by column.

    Raises
    ------
    MlretError
        If it is not what was written, or there is none.
    """
    use = connection.execute(
        f"SELECT {', '.join(USE)}, use_crc FROM memory_records WHERE record = ?", (key,)
    ).fetchone()
    record = _whole_row(connection, "memory_records", key)
    if use is None or use[-1] != use_crc(use[:-1]):
        raise _damage_of(connection, "memory_records", (key,))
    return record | dict(zip(USE, use[:-1], strict=True))


def put_record(connection: sqlite3.Connection, record: Mapping[str, Any]) -> None:
    """Write the row of a record in place of what is there."""
    first, use = ([record[name] for name in names] for names in (COVERED["memory_records"], USE))
    values = (*first, crc_of("memory_records", first), *use[1:], use_crc(use))
    connection.execute(f"INSERT OR REPLACE INTO memory_records VALUES ({', '.join('?' * len(values))})", values)


def read_uses(records: Records, keys: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What some records count, by key: the columns of :data:`USE` after the key.

    Raises
    ------
    MlretError
        If a row is not what was written, or is missing.
    """
    found = {}
    for start in range(0, len(keys), _SOME):
        some = keys[start : start + _SOME]
        query = f"SELECT {', '.join(USE)}, use_crc FROM memory_records WHERE record IN ({','.join('?' * len(some))})"
        for *values, crc in records.read(query, some):
            if not _is_use(values, crc):
                raise damage(records.path, named("memory_records", values))
            found[values[0]] = tuple(values[1:])
    if lost := [key for key in keys if key not in found]:
        raise damage(records.path, f"memory_records, record {lost[0]} is missing")
    return found


def _is_use(values: Sequence[Any], crc: Any) -> bool:
    try:
        return use_crc(values) == crc
    except UNREADABLE:
        return False


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


def put_version(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Write a row of ``memory_versions``, from its columns but the checksums."""
    covered = [values[name] for name in COVERED["memory_versions"]]
    checksums = {
        "crc": crc_of("memory_versions", covered),
        "text_crc": text_crc(values["hash"], values["grams"]),
    }
    every = {name: {**values, **checksums}[name] for name in _VERSION}
    connection.execute(f"INSERT INTO memory_versions VALUES ({', '.join('?' * len(every))})", tuple(every.values()))


def derive_again(connection: sqlite3.Connection, versions: Iterable[tuple[int, bytes, bytes, int]]) -> None:
    """Write again what is derived from texts: the hash, the n-grams and how many they are, of some rows."""
    for row, hash, grams, length in versions:
        version = _whole_row(connection, "memory_versions", row) | {"length": length}
        connection.execute(
            "UPDATE memory_versions SET hash = ?, grams = ?, length = ?, crc = ?, text_crc = ? WHERE row = ?",
            (hash, grams, length, crc_of("memory_versions", list(version.values())), text_crc(hash, grams), row),
        )


def scope_number(connection: sqlite3.Connection, place: Place) -> int:
    """The number of a scope; it is given one if it has none."""
    found = connection.execute(
        "SELECT scope FROM memory_scopes WHERE (tenant, user, agent, run) = (?, ?, ?, ?)", place
    ).fetchone()
    if found is not None:
        return int(found[0])
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memory_scopes'").fetchone()
    number = 1 + (last[0] if last else 0)  # never that of a scope that is erased
    put(connection, "memory_scopes", (number, *place))
    return int(number)


def held_by(scope: Scope) -> tuple[str, list[str]]:
    """The condition of the rows of ``memory_scopes`` that a checked scope holds, and its parameters."""
    names = {"tenant": "", **scope}
    return " AND ".join(f"{name} = ?" for name in names), list(names.values())


def last_operation(records: Records, scope: Scope) -> int:
    """The number of the last operation that touched what a scope holds; 0 if there was none."""
    condition, parameters = held_by(scope)
    found = read_rows(
        records, "memory_totals", f"scope IN (SELECT scope FROM memory_scopes WHERE {condition})", parameters
    )
    return max((last for _, last, *_ in found), default=0)


def count(connection: sqlite3.Connection, more: Mapping[int, tuple[int, int]], operation: int) -> None:
    """Bring the totals of scopes up to date: how many versions and parts came, or went, in an operation."""
    for scope, (versions, parts) in more.items():
        query = "SELECT scope, last, versions, parts, crc FROM memory_totals WHERE scope = ?"
        *values, crc = connection.execute(query, (scope,)).fetchone() or (scope, 0, 0, 0, None)
        if crc is not None and not whole("memory_totals", values, crc):
            raise _damage_of(connection, "memory_totals", values)
        put(connection, "memory_totals", (scope, operation, values[2] + versions, values[3] + parts))


def entries_of_operation(records: Records, number: int, scope: Scope) -> list[list[Entry]]:
    """The entries of each operation that users of a scope know by a number, as far as it is theirs alone.

    It is not theirs where it touched a record outside the scope, or one that is erased since.
    """
    condition, parameters = held_by(scope)
    held = {scope for (scope,) in records.read(f"SELECT scope FROM memory_scopes WHERE {condition}", parameters)}
    first = "SELECT DISTINCT operation, scope FROM memory_journal WHERE counted = ?"
    operations = {operation for operation, scope in records.read(first, (number,)) if scope in held}
    found = []
    for operation in sorted(operations):
        # It is the number of the first of its entries, which follow each other.
        every = list(entries(records, "entry >= ? AND operation = ?", (operation, operation)))
        if every and all(one.scope in held and one.changes is not None and one.verb != "erase" for one in every):
            found.append(every)
    # What was asked for in this very scope; within it each number is given once.
    own = [every for every in found if every[0].asked == mask_of(scope)]
    return own or found


def wipe(
    connection: sqlite3.Connection,
    records: Mapping[int, int],
    rows: Sequence[int],
    gone: Mapping[int, tuple[int, int]],
    entry: Entry,
) -> None:
    """Take records out of all tables, empty their entries, and note that they were erased; in a transaction.

    Parameters
    ----------
    connection
        The database.
    records
        Keys of records, and the number of the scope of each.
    rows
        All rows of theirs in the index.
    gone
        How many versions and parts go, by the number of their scope, below 0.
    entry
        The first entry of the operation: the number, which the next ones follow, the operation and the time.
    """
    run = connection.executemany
    keys = [(key,) for key in records]
    run("DELETE FROM memory_versions WHERE row = ?", [(row,) for row in rows])
    run("DELETE FROM memory_parts WHERE whole = ?", [(row,) for row in rows])
    run("DELETE FROM memory_records WHERE record = ?", keys)
    # What was merged into them, and stays, is merged into nothing that could be named.
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
    for place, (key, scope) in enumerate(records.items()):
        append_entry(
            connection,
            replace(entry, number=entry.number + place, scope=scope, record=key),
        )
    for row in rows:
        put(connection, "memory_erasing", (row,))
    count(connection, gone, entry.counted)
    connection.execute("DELETE FROM memory_scopes WHERE scope NOT IN (SELECT scope FROM memory_versions)")
    connection.execute("DELETE FROM memory_totals WHERE scope NOT IN (SELECT scope FROM memory_scopes)")


def erased(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Note that nothing is left of erased rows."""
    connection.executemany("DELETE FROM memory_erasing WHERE row = ?", [(row,) for row in rows])


def erasing(records: Records) -> list[int]:
    """The rows of which something may be left on disk, in order."""
    return [row for (row,) in read_rows(records, "memory_erasing", "1 ORDER BY row")]


def entries(records: Records, where: str = "1", parameters: Sequence[Any] = ()) -> Iterator[Entry]:
    """Entries of the journal that meet a condition, in order.

    Raises
    ------
    MlretError
        If one is damaged.
    """
    for row in records.read(f"{ENTRY} WHERE {where} ORDER BY entry", parameters):
        yield read_entry(records.path, row)


def read_entry(path: Path, row: Sequence[Any]) -> Entry:
    """An entry from its columns."""
    *values, crc = row
    try:
        if checksum(*values) != crc:
            raise ValueError
        *first, changes, note = values
        read = None if changes is None else read_changes(changes)
        return Entry(*first, read, json.loads(note))
    except UNREADABLE as error:
        raise damage(path, f"entry {row[0]!r} of the journal") from error


def entries_of(records: Records, key: int) -> list[Entry]:
    """All entries about a record, in order.

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
    """The number of the newest entry; 0 if there is none."""
    return int(records.read("SELECT coalesce(max(entry), 0) FROM memory_journal")[0][0])


def last_key(records: Records) -> int:
    """The highest key that was ever given to a record; 0 if none was."""
    found = records.read("SELECT coalesce(max(record), 0) FROM memory_journal")[0][0]
    if type(found) is not int:
        raise damage(records.path, f"memory_journal, an entry of record {found!r}")
    return found


def read_state(records: Records) -> State:
    """The state as the tables have it, to be compared with what the journal adds up to.

    Raises
    ------
    MlretError
        If a row is not what was written.
    """
    state = State()
    standing = read_rows(records, "memory_records")
    uses = read_uses(records, [record for record, *_ in standing])
    for record, row, standing_state in standing:
        state.records[record] = RecordState(row, standing_state, *uses[record][:-2])
    parts: dict[int, list[int]] = {}
    for whole_row, row in read_rows(records, "memory_parts"):
        parts.setdefault(whole_row, []).append(row)
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
    state.links = set(read_rows(records, "memory_links"))  # type: ignore[arg-type]
    return state


def read_setting(records: Records, name: str) -> Any:
    """What is kept under a name; ``None`` if nothing is."""
    found = read_rows(records, "memory_settings", "name = ?", (name,))
    return json.loads(found[0][1]) if found else None


def write_setting(connection: sqlite3.Connection, name: str, content: Any) -> None:
    """Keep JSON under a name."""
    put(connection, "memory_settings", (name, dump(content)))
