"""Load the rows of a memory's tables as columns, verifying all of them at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.storage.records import Records
from mlret.memory.scope import Place, Scope
from mlret.memory.storage.cells import (
    FACTOR,
    NULL,
    START,
    TEXT,
    UNREADABLE,
    WIDE,
    checked,
    damage,
    held_by,
    named,
    select,
)
from mlret.memory.storage.schema import COVERED, NULLS

_TEXTS = frozenset(
    ("tenant", "user", "agent", "run", "id", "session", "kind", "level", "language", "scripts", "state", "type")
)
_SOME = 500  # Maximum number of rows in one SQL statement.
_SAMPLE = 64  # Number of first values from which it is estimated how often values repeat.
Words = NDArray[np.uint64]


class DamagedColumnError(ValueError):
    """A column holds a value of a type that is never written there."""


@dataclass(frozen=True)
class Loaded:
    """Rows of a table by column: all columns as they were read, and the numeric ones also as arrays without NULL."""

    columns: Mapping[str, Sequence[Any]]
    arrays: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def load(records: Records, table: str, where: str = "1", parameters: Sequence[Any] = ()) -> Loaded:
    """Return the verified rows of a table that meet a condition, sorted by their first column.

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
    names = COVERED[table]
    found = records.read(f"{select(table)} WHERE {where} ORDER BY {names[0]}", parameters)
    if not found:
        nothing = np.empty(0, dtype=np.int64)
        return Loaded(dict.fromkeys(names, ()), {name: nothing for name in names if name not in _TEXTS})
    *columns, crcs = zip(*found, strict=True)
    arrays: dict[str, NDArray[Any]] = {}
    words = []
    try:
        for name, values in zip(names, columns, strict=True):
            if name in _TEXTS:
                words.append(texts(values))
            else:
                arrays[name] = integers(values, NULLS.get(name))
                words.append(arrays[name].view(np.uint64))
        wrong = np.flatnonzero(checksums(words) != integers(crcs))
    except UNREADABLE as error:
        checked(records.path, table, found)  # Raises an error that names the row.
        raise damage(records.path, table) from error
    if len(wrong):
        raise damage(records.path, named(table, found[int(wrong[0])]))
    return Loaded(dict(zip(names, columns, strict=True)), arrays)


def checksums(columns: Sequence[Words]) -> NDArray[np.int64]:
    """Return the checksums of ``n`` rows.

    Parameters
    ----------
    columns
        One or more ``(n,)`` uint64: the words of each column (:func:`integers`, :func:`texts`).

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64: the result of :func:`checksum` for each row.
    """
    found = np.full(len(columns[0]), START, dtype=np.uint64)
    for column in columns:
        found ^= column
        found *= np.uint64(FACTOR)
        found ^= found >> np.uint64(32)
    return (found >> np.uint64(2) | np.uint64(WIDE)).view(np.int64)


def integers(values: Sequence[int | None], null: int | None = None) -> NDArray[np.int64]:
    """Return a column of integers as an array; viewed as uint64 it holds the words of the column.

    Parameters
    ----------
    values
        ``n`` integers, or ``None`` for NULL.
    null
        The integer that represents NULL.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64.

    Raises
    ------
    DamagedColumnError
        If a value is not an integer.
    """
    if is_constant(values):
        one = null if values[0] is None else values[0]
        return np.full(len(values), _integers([one])[0])
    if null is not None and None in values:
        values = [null if value is None else value for value in values]
    return _integers(values)


def is_constant(values: Sequence[Any]) -> bool:
    """Return whether a column has the same value in all of two or more rows, as many columns do."""
    return len(values) > 1 and values[0] is values[1] and values.count(values[0]) == len(values)


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    found = np.array(values) if len(values) else np.empty(0, dtype=np.int64)
    if found.dtype != np.int64:
        raise DamagedColumnError
    return found


def texts(values: Sequence[str | None]) -> Words:
    """Return the words of a column of texts, some of which may be NULL.

    Raises
    ------
    DamagedColumnError
        If a value is not a text.
    """
    try:
        if is_constant(values):
            return np.full(len(values), NULL if values[0] is None else _word_of_text(values[0]), np.uint64)
        if len(values) > _SAMPLE and len(set(values[:_SAMPLE])) > _SAMPLE // 2:  # Few repeated values.
            found = np.fromiter(map(zlib.crc32, map(str.encode, values)), dtype=np.uint64, count=len(values))  # type: ignore[arg-type]
            return found | np.uint64(TEXT)
        words = {value: NULL if value is None else _word_of_text(value) for value in set(values)}
    except TypeError as error:  # The value is a number or bytes.
        raise DamagedColumnError from error
    return np.fromiter(map(words.__getitem__, values), dtype=np.uint64, count=len(values))


def _word_of_text(value: str) -> int:
    return zlib.crc32(str.encode(value)) | TEXT


def load_places(records: Records) -> dict[int, Place]:
    """Return all scopes by number.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    return _places(load(records, "memory_scopes"))


def places_in(records: Records, scope: Scope) -> dict[int, Place]:
    """Return the scopes of the database that a checked scope holds, by number.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    return _places(load(records, "memory_scopes", *held_by(scope)))


def place_at(records: Records, number: int) -> Place | None:
    """Return the scope with a number; ``None`` if there is none.

    Raises
    ------
    MlretError
        If the row is damaged.
    """
    return _places(load(records, "memory_scopes", "scope = ?", (number,))).get(number)


def _places(found: Loaded) -> dict[int, Place]:
    places: Any = zip(*(found.columns[name] for name in ("tenant", "user", "agent", "run")), strict=True)
    return dict(zip(found.columns["scope"], places, strict=True))


def count_versions(records: Records, scopes: Iterable[int]) -> int:
    """Return the number of versions that some scopes hold.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    where = f"scope IN ({','.join(map(str, scopes))})"
    return int(load(records, "memory_totals", where).arrays["versions"].sum())


def ids_of(records: Records, keys: Iterable[int]) -> dict[int, str]:
    """Return the ids of records by key, without those that do not exist.

    Raises
    ------
    MlretError
        If a row is damaged.
    """
    found: dict[int, str] = {}
    some = list(keys)
    for start in range(0, len(some), _SOME):
        marks = ",".join(map(str, some[start : start + _SOME]))
        where = f"row IN (SELECT row FROM memory_records WHERE record IN ({marks}))"
        versions = load(records, "memory_versions", where).columns
        found |= dict(zip(versions["record"], versions["id"], strict=True))
    return found


class Rows:
    """Selects the rows of the tables that belong to a tenant, or to some of its scopes.

    Parameters
    ----------
    records
        The database.
    tenant
        The tenant, ``""`` for records without one.
    scopes
        The numbers of scopes of the tenant, of which alone the rows are read; all of them by default.
    """

    def __init__(self, records: Records, tenant: str, scopes: Sequence[int] | None = None) -> None:
        self._records = records
        self._tenant = tenant
        self._scopes = None if scopes is None else f"scope IN ({','.join(map(str, scopes))})"

    def versions(self) -> Loaded:
        """Return the versions."""
        return load(self._records, "memory_versions", *self._mine())

    def of_versions(self, table: str, column: str, version: str) -> Loaded:
        """Return the rows of a table that belong to the versions.

        Parameters
        ----------
        table
            Name of the table.
        column, version
            Column of the table, and the column of ``memory_versions`` that it refers to.
        """
        mine, parameters = self._mine()
        if mine == "1":
            return load(self._records, table)
        where = f"{column} IN (SELECT {version} FROM memory_versions WHERE {mine})"
        return load(self._records, table, where, parameters)

    def totals(self) -> Loaded:
        """Return the totals of the scopes."""
        mine, parameters = self._mine()
        return load(self._records, "memory_totals", mine.removeprefix("+"), parameters)

    def read(self, columns: str, rows: Sequence[int] | None = None) -> list[tuple[Any, ...]]:
        """Return columns of the versions, without verifying them.

        Parameters
        ----------
        columns
            Names of columns, separated by commas.
        rows
            Rows to read; all by default.
        """
        if rows is None:
            mine, parameters = self._mine()
            return self._records.read(f"SELECT {columns} FROM memory_versions WHERE {mine} ORDER BY row", parameters)
        found = []
        for start in range(0, len(rows), _SOME):
            part = rows[start : start + _SOME]
            query = f"SELECT {columns} FROM memory_versions WHERE row IN ({','.join('?' * len(part))})"
            found += self._records.read(query, part)
        return found

    def _mine(self) -> tuple[str, tuple[str, ...]]:
        """Return the SQL condition for the versions, and its parameters."""
        if self._scopes is not None:
            return self._scopes, ()
        read = self._records.read
        if read("SELECT min(tenant), max(tenant) FROM memory_scopes") in ([(self._tenant,) * 2], [(None, None)]):
            return "1", ()
        mine = "scope IN (SELECT scope FROM memory_scopes WHERE tenant = ?)"
        count = read(f"SELECT count(*) FROM memory_versions WHERE {mine}", (self._tenant,))[0][0]
        every = read("SELECT count(*) FROM memory_versions")[0][0]
        # Scanning a table is faster than looking up most of its rows; the plus sign disables the index.
        return f"+{mine}" if 4 * count > every else mine, (self._tenant,)
