"""Read and write the rows of a memory's tables, always with their checksums.

SQLite does not verify what it reads. Every row of the memory's tables has a checksum over its columns, so that a cell
that changed by accident is noticed before anything is answered from it. Here one row is summed with Python integers;
:mod:`mlret.memory.storage.loading` sums whole columns with NumPy, with the same result. Each step of the sum is a
bijection of 64 bits, so that a change of one cell always changes the sum before it is shortened by two bits.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.errors import Corrupt, MlretError
from mlret.index.storage.records import Records
from mlret.memory.scope import Scope
from mlret.memory.storage.schema import COVERED, NULLS, USE, VERSION_COLUMNS

_SOME = 500  # Maximum number of rows in one SQL statement.
_RESTORE = "restore the folder from a copy"
# The exceptions that result from cells whose types or values are not those that were written.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError)
_MASK = 2**64 - 1
START, FACTOR = 0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD
NULL = 0xA5A5A5A5A5A5A5A5
# Type marks, so that a text and a number with the same digits have different words.
TEXT, BYTES = 1 << 48, 1 << 49
# This bit makes the sum always take eight bytes, so that an updated row keeps its size.
WIDE = 1 << 62


def word(value: Any) -> int:
    """Return the 64-bit word that represents the value of a cell."""
    kind = type(value)
    if kind is int:
        return int(value) & _MASK
    if kind is str:
        return zlib.crc32(value.encode()) | TEXT
    if value is None:
        return NULL
    if kind is float:
        return int.from_bytes(struct.pack("<d", value), "little")
    return zlib.crc32(value) | BYTES


def checksum(values: Iterable[Any]) -> int:
    """Return the checksum of a row from the values of its cells, in order."""
    found = START
    for value in values:
        # Integers, the most frequent type, are handled inline to avoid a call.
        found ^= value & _MASK if type(value) is int else word(value)
        found = found * FACTOR & _MASK
        found ^= found >> 32
    return found >> 2 | WIDE


def damage(path: Path, where: str) -> MlretError:
    """Return the error for damaged data.

    Parameters
    ----------
    path
        Path of the database.
    where
        The damaged place, for the message.
    """
    return Corrupt(f"{path} is damaged ({where}); {_RESTORE}, `mlret memory verify` names all damage")


def crc_of(table: str, values: Sequence[Any]) -> int:
    """Return the checksum of a row.

    Parameters
    ----------
    table
        Name of the table.
    values
        Values of its columns in :data:`COVERED`.
    """
    return _crc(COVERED[table], values)


def use_crc(values: Sequence[Any]) -> int:
    """Return the checksum of a record's counters, from the values of its columns in :data:`USE`."""
    return _crc(USE, values)


def _crc(columns: Sequence[str], values: Sequence[Any]) -> int:
    if None in values:
        names = zip(columns, values, strict=True)
        values = [NULLS.get(name) if value is None else value for name, value in names]
    return checksum(values)


def text_crc(hash: bytes, grams: bytes) -> int:
    """Return the checksum of what is derived from a text: its hash and its n-grams."""
    return zlib.crc32(grams, zlib.crc32(hash))


def named(table: str, values: Sequence[Any]) -> str:
    """Return a description of a row for messages.

    Parameters
    ----------
    table
        Name of the table.
    values
        Values of its columns in :data:`COVERED`.
    """
    if table == "memory_links":
        return f"{table}, a link of record {values[0]!r}"
    return f"{table}, {COVERED[table][0]} {values[0]!r}"


def checked(path: Path, table: str, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Return rows without their checksums, after verifying them.

    Parameters
    ----------
    path
        Path of the database, for the message.
    table
        Name of the table.
    rows
        For each row, its columns in :data:`COVERED` and its checksum.

    Raises
    ------
    MlretError
        If one is damaged.
    """
    found = []
    for *values, crc in rows:
        if not whole(table, values, crc):
            raise damage(path, named(table, values))
        found.append(tuple(values))
    return found


def whole(table: str, values: Sequence[Any], crc: Any) -> bool:
    """Return whether a row matches its checksum.

    Parameters
    ----------
    table
        Name of the table.
    values
        Values of its columns in :data:`COVERED`.
    crc
        The stored checksum.
    """
    try:
        return bool(crc_of(table, values) == crc)
    except UNREADABLE:
        return False


def read_rows(records: Records, table: str, where: str = "1", parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a table that meet a condition, with their columns in :data:`COVERED`.

    Parameters
    ----------
    records
        The database.
    table
        Name of the table.
    where, parameters
        SQL condition and its parameters; all rows by default.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    return checked(records.path, table, records.read(f"{select(table)} WHERE {where}", parameters))


def select(table: str) -> str:
    """Return the beginning of an SQL statement that reads the columns in :data:`COVERED` and the checksum of rows."""
    return f"SELECT {', '.join(COVERED[table])}, crc FROM {table}"


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


def erasing(records: Records) -> list[int]:
    """Return the erased rows that may not be gone from disk yet, in ascending order."""
    return [row for (row,) in read_rows(records, "memory_erasing", "1 ORDER BY row")]


def put(connection: sqlite3.Connection, table: str, values: Sequence[Any]) -> None:
    """Insert a row, replacing the one with the same key.

    Parameters
    ----------
    connection
        A connection in a transaction.
    table
        Name of the table.
    values
        Values of its columns in :data:`COVERED`.
    """
    connection.execute(
        f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))}, ?)", (*values, crc_of(table, values))
    )


def whole_row(connection: sqlite3.Connection, table: str, key: int) -> dict[str, Any]:
    """Return a row that is about to be changed, verified, so that a new checksum cannot hide damage.

    Parameters
    ----------
    connection
        A connection in a transaction.
    table
        Name of the table.
    key
        Value of its first column.

    Raises
    ------
    MlretError
        If the row is damaged or missing.
    """
    columns = COVERED[table]
    query = f"{select(table)} WHERE {columns[0]} = ?"
    *values, crc = connection.execute(query, (key,)).fetchone() or (key, None)
    if not whole(table, values, crc):
        raise damage_of(connection, table, values)
    return dict(zip(columns, values, strict=True))


def damage_of(connection: sqlite3.Connection, table: str, values: Sequence[Any]) -> MlretError:
    """Return the error for a damaged row, with the path of the connection's database."""
    _, _, file = connection.execute("PRAGMA database_list").fetchone()
    return damage(Path(file), named(table, values))


def read_record(connection: sqlite3.Connection, key: int) -> dict[str, Any]:
    """Return the row of a record that is about to be changed, by column.

    Raises
    ------
    MlretError
        If it is damaged or missing.
    """
    use = connection.execute(
        f"SELECT {', '.join(USE)}, use_crc FROM memory_records WHERE record = ?", (key,)
    ).fetchone()
    record = whole_row(connection, "memory_records", key)
    if use is None or use[-1] != use_crc(use[:-1]):
        raise damage_of(connection, "memory_records", (key,))
    return record | dict(zip(USE, use[:-1], strict=True))


def put_record(connection: sqlite3.Connection, record: Mapping[str, Any]) -> None:
    """Write the row of a record, replacing the existing one."""
    first, use = ([record[name] for name in names] for names in (COVERED["memory_records"], USE))
    values = (*first, crc_of("memory_records", first), *use[1:], use_crc(use))
    connection.execute(f"INSERT OR REPLACE INTO memory_records VALUES ({', '.join('?' * len(values))})", values)


def read_uses(records: Records, keys: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Return the counters of some records by key: the columns of :data:`USE` after the key.

    Parameters
    ----------
    records
        The database.
    keys
        Keys of the records.

    Raises
    ------
    MlretError
        If a row is damaged or missing.
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
        return bool(use_crc(values) == crc)
    except UNREADABLE:
        return False


def put_version(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Insert a row of ``memory_versions``, computing its checksums from the other columns."""
    covered = [values[name] for name in COVERED["memory_versions"]]
    checksums = {
        "crc": crc_of("memory_versions", covered),
        "text_crc": text_crc(values["hash"], values["grams"]),
    }
    every = {name: {**values, **checksums}[name] for name in VERSION_COLUMNS}
    connection.execute(f"INSERT INTO memory_versions VALUES ({', '.join('?' * len(every))})", tuple(every.values()))
