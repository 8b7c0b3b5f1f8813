"""The fields of records in the database, where a filter looks them up.

A field is a value under a name and of a kind. Names and kinds are numbered in one table, and another has a row for each
value; the view ``fields`` joins them. Databases of earlier formats have a table ``fields`` with the same columns, until
they are compacted: what is only read is read in the same way from either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.index.filtering.field_sums import FieldSums
from mlret.index.filtering.fields import Kind, fields_of

SCHEMA = """
CREATE TABLE field_names (number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (key, kind));
CREATE TABLE field_values (
    name INTEGER NOT NULL, value NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (name, value, row)
) WITHOUT ROWID;
CREATE VIEW fields AS SELECT key, kind, value, row FROM field_names JOIN field_values ON name = number;
"""
# Of formats 2 to 4.
OLD_SCHEMA = """
CREATE TABLE fields (
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (key, kind, value, row)
) WITHOUT ROWID;
"""
_READ = 10_000  # Number of rows that are read at once.


class FieldTable:
    """The fields of records. No method begins or ends a transaction.

    Parameters
    ----------
    connection
        The database of the records.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known_as_numbered = False

    @property
    def numbered(self) -> bool:
        """Whether names are numbered; another process may number them at any time, after which they stay so."""
        self._known_as_numbered = self._known_as_numbered or _numbered(self._connection)
        return self._known_as_numbered

    def add(self, rows: Sequence[int], metadata: Sequence[Mapping[str, Any]]) -> None:
        """Add the fields of records.

        Parameters
        ----------
        rows
            ``n`` row numbers.
        metadata
            The metadata of each row.
        """
        some = _fields(rows, metadata)
        if not self.numbered:
            self._connection.executemany("INSERT INTO fields VALUES (?, ?, ?, ?)", some)
            return
        names = dict.fromkeys((key, kind) for key, kind, _, _ in some)
        numbers = self._numbers(names)
        if new := [name for name in names if name not in numbers]:
            self._connection.executemany("INSERT INTO field_names (key, kind) VALUES (?, ?)", new)
            numbers |= self._numbers(new)
        self._connection.executemany(
            "INSERT INTO field_values VALUES (?, ?, ?)", [(numbers[key, kind], *cells) for key, kind, *cells in some]
        )

    def remove(self, rows: Sequence[int], metadata: Sequence[Mapping[str, Any]]) -> None:
        """Remove the fields of records, and names that none has any more.

        Parameters
        ----------
        rows
            The row numbers.
        metadata
            The metadata of each row, by which its fields are found.
        """
        some = _fields(rows, metadata)
        if not self.numbered:
            statement = "DELETE FROM fields WHERE key = ? AND kind = ? AND value = ? AND row = ?"
            self._connection.executemany(statement, some)
            return
        numbers = self._numbers(dict.fromkeys((key, kind) for key, kind, _, _ in some))
        self._connection.executemany(
            "DELETE FROM field_values WHERE name = ? AND value = ? AND row = ?",
            [(numbers[key, kind], *cells) for key, kind, *cells in some if (key, kind) in numbers],
        )
        self._connection.executemany(
            "DELETE FROM field_names WHERE number = ? AND NOT EXISTS (SELECT 1 FROM field_values WHERE name = number)",
            [(number,) for number in numbers.values()],
        )

    def clear(self) -> None:
        """Remove all fields."""
        for table in ("field_values", "field_names") if self.numbered else ("fields",):
            self._connection.execute(f"DELETE FROM {table}")

    def number_names(self) -> None:
        """Turn the table of an earlier format into those with numbered names."""
        create, _, view = SCHEMA.rpartition("CREATE VIEW")
        for statement in (
            *create.strip().split(";\n"),
            "INSERT INTO field_names (key, kind) SELECT DISTINCT key, kind FROM fields",
            "INSERT INTO field_values SELECT number, value, row FROM fields JOIN field_names USING (key, kind)",
            "DROP TABLE fields",
            f"CREATE VIEW{view}",
        ):
            self._connection.execute(statement)

    def sums(self) -> FieldSums:
        """Return the checksums of all values. Rows whose number is not an integer are not counted."""
        query = "FROM field_values WHERE name = ?"
        names = "SELECT key, kind, number FROM field_names"
        if not self.numbered:
            query = "FROM fields WHERE key = ? AND kind = ?"
            names = "SELECT DISTINCT key, kind, key, kind FROM fields"
        found = FieldSums()
        for key, kind, *parameters in self._connection.execute(names).fetchall():
            cursor = self._connection.execute(f"SELECT value, row {query} AND typeof(row) = 'integer'", parameters)
            while some := cursor.fetchmany(_READ):
                values, rows = zip(*some, strict=True)
                found.add(key, kind, values, rows)
        return found

    def __len__(self) -> int:
        """Return the number of values."""
        table = "field_values" if self.numbered else "fields"
        return int(self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def _numbers(self, names: Iterable[tuple[str, Kind]]) -> dict[tuple[str, Kind], int]:
        found = {}
        for name in names:
            number = _number(self._connection, *name)
            if number is not None:
                found[name] = number
        return found


def has_field(connection: sqlite3.Connection, key: str, kind: Kind, visible: NDArray[np.int64] | None = None) -> bool:
    """Return whether a record has a value of a kind under a name.

    Parameters
    ----------
    connection
        The database of the records.
    key
        The name of the metadata value.
    kind
        The kind of the value.
    visible
        Row numbers in ascending order; if given, only these records count.
    """
    query = "SELECT row FROM fields WHERE key = ? AND kind = ?"
    if visible is None:
        return connection.execute(query + " LIMIT 1", (key, kind)).fetchone() is not None
    cursor = connection.execute(query, (key, kind))
    while rows := cursor.fetchmany(_READ):
        if np.isin(np.array(rows, dtype=np.int64), visible).any():
            return True
    return False


def field_names(connection: sqlite3.Connection, most: int = -1) -> list[str]:
    """Return the names of metadata values, sorted; all of them unless ``most`` is given.

    Each name is looked up in the index; not every value is read.
    """
    query = "SELECT DISTINCT key FROM field_names ORDER BY key LIMIT ?"
    if not _numbered(connection):
        query = """
            WITH RECURSIVE names(name) AS (
                SELECT min(key) FROM fields
                UNION ALL SELECT (SELECT min(key) FROM fields WHERE key > name) FROM names WHERE name IS NOT NULL
            ) SELECT name FROM names WHERE name IS NOT NULL LIMIT ?
        """
    return [name for (name,) in connection.execute(query, (most,))]


def field_values(connection: sqlite3.Connection, key: str, most: int) -> dict[Kind, list[Any]]:
    """Return which values a metadata field has, by kind. Each value is looked up in the index; not every row is read.

    Parameters
    ----------
    connection
        The database of the records.
    key
        The name of the field.
    most
        The most values of a kind.

    Returns
    -------
    dict
        Kind -> values in ascending order. Strings, numbers and booleans are themselves; for the other kinds, which
        have no values, the list is empty. A long string is cut, as the table of fields stores it.
    """
    numbered = _numbered(connection)
    place = "field_values WHERE name = :number" if numbered else "fields WHERE key = :key AND kind = :kind"
    query = f"""
        WITH RECURSIVE found(value, place) AS (
            SELECT min(value), 1 FROM {place}
            UNION ALL
            SELECT (SELECT min(value) FROM {place} AND value > found.value), place + 1
            FROM found WHERE found.value IS NOT NULL AND place < :most
        ) SELECT value FROM found WHERE value IS NOT NULL
    """
    values: dict[Kind, list[Any]] = {}
    for kind in get_args(Kind):
        if has_field(connection, key, kind):
            number = _number(connection, key, kind) if numbered else None
            found = connection.execute(query, {"key": key, "kind": kind, "most": most, "number": number})
            values[kind] = [bool(value) if kind == "boolean" else value for (value,) in found]
            if kind in ("null", "list", "object"):
                values[kind] = []
    return values


def _numbered(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'field_names'"
    return connection.execute(query).fetchone() is not None


def _number(connection: sqlite3.Connection, key: str, kind: Kind) -> int | None:
    found = connection.execute("SELECT number FROM field_names WHERE key = ? AND kind = ?", (key, kind)).fetchone()
    return None if found is None else int(found[0])


def _fields(
    rows: Sequence[int], metadata: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Kind, str | int | float, int]]:
    return [
        (key, *value, row) for row, some in zip(rows, metadata, strict=True) if some for key, value in fields_of(some)
    ]
