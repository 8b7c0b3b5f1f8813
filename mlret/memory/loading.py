"""The rows of a memory's tables, read as columns and checked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.records import Records
from mlret.memory.cells import UNREADABLE, checked, damage, named
from mlret.memory.proofs import checksums, integers, texts
from mlret.memory.schema import COVERED, NULLS
from mlret.memory.scope import Place

_TEXTS = frozenset(
    ("tenant", "user", "agent", "run", "id", "session", "kind", "level", "language", "scripts", "state", "type")
)
_SOME = 500  # rows in one statement


@dataclass(frozen=True)
class Loaded:
    """``n`` rows of a table: every column as it was read, and those of numbers as arrays with what NULL says."""

    columns: Mapping[str, Sequence[Any]]
    arrays: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def load(records: Records, table: str, where: str = "1", parameters: Sequence[Any] = ()) -> Loaded:
    """The rows of a table that meet a condition, by their first column, each held against its checksum.

    Raises
    ------
    MlretError
        If one is not what was written.
    """
    names = COVERED[table]
    query = f"SELECT {', '.join(names)}, crc FROM {table} WHERE {where} ORDER BY {names[0]}"
    found = records.read(query, parameters)
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
        checked(records.path, table, found)  # says which
        raise damage(records.path, table) from error
    if len(wrong):
        raise damage(records.path, named(table, found[int(wrong[0])]))
    return Loaded(dict(zip(names, columns, strict=True)), arrays)


def load_places(records: Records) -> dict[int, Place]:
    """All scopes, by number.

    Raises
    ------
    MlretError
        If one is not what was written.
    """
    found = load(records, "memory_scopes").columns
    places: Any = zip(*(found[name] for name in ("tenant", "user", "agent", "run")), strict=True)
    return dict(zip(found["scope"], places, strict=True))


class Rows:
    """Which rows of the tables are a tenant's.

    Parameters
    ----------
    records
        The database.
    tenant
        Whose, ``""`` for what has none.
    """

    def __init__(self, records: Records, tenant: str) -> None:
        self._records = records
        self._tenant = tenant

    def versions(self) -> Loaded:
        """The tenant's versions."""
        return load(self._records, "memory_versions", *self._mine())

    def of_versions(self, table: str, column: str, version: str) -> Loaded:
        """The rows of a table of which a column has what a column of the tenant's versions has."""
        mine, parameters = self._mine()
        if not parameters:
            return load(self._records, table)
        where = f"{column} IN (SELECT {version} FROM memory_versions WHERE {mine})"
        return load(self._records, table, where, parameters)

    def totals(self) -> Loaded:
        """The totals of the tenant's scopes."""
        mine, parameters = self._mine()
        return load(self._records, "memory_totals", mine.removeprefix("+"), parameters)

    def read(self, columns: str, rows: Sequence[int] | None = None) -> list[tuple[Any, ...]]:
        """Columns of the tenant's versions, or of some rows of them, unchecked."""
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
        """The condition of the tenant's versions, and its parameters."""
        read = self._records.read
        if read("SELECT min(tenant), max(tenant) FROM memory_scopes") in ([(self._tenant,) * 2], [(None, None)]):
            return "1", ()
        mine = "scope IN (SELECT scope FROM memory_scopes WHERE tenant = ?)"
        count = read(f"SELECT count(*) FROM memory_versions WHERE {mine}", (self._tenant,))[0][0]
        every = read("SELECT count(*) FROM memory_versions")[0][0]
        # To read most of a table in order is faster than to look its rows up.
        return f"+{mine}" if 4 * count > every else mine, (self._tenant,)
