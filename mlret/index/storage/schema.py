"""Checks that a database has the tables that mlret made, because SQLite takes its schema from the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing


def schema_differs(connection: sqlite3.Connection, make: Callable[[sqlite3.Connection], object]) -> list[str]:
    """Return what is wrong with some tables of a database.

    Parameters
    ----------
    connection
        The database; it may have further tables.
    make
        Creates the tables in an empty database.

    Returns
    -------
    list of str
        A message for each table and index that is missing or has other columns.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as reference:
        make(reference)
        wanted, found = _shapes(reference), _shapes(connection)
    return [
        f"the {kind} {name} is not what mlret made"
        for (kind, name) in wanted
        if found.get((kind, name)) != wanted[kind, name]
    ]


def _shapes(connection: sqlite3.Connection) -> dict[tuple[str, str], object]:
    """Return what determines how rows are read and written, by kind and name.

    The text of a definition does not count, because a column that was added later is at another place in it.
    """
    shapes: dict[tuple[str, str], object] = {}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        if kind == "table":
            columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
            words = " ".join((sql or "").upper().split())
            virtual = words if words.startswith("CREATE VIRTUAL") else ""
            shapes[kind, name] = (columns, "AUTOINCREMENT" in words, "WITHOUT ROWID" in words, virtual)
        elif kind == "index":
            shapes[kind, name] = connection.execute("SELECT * FROM pragma_index_xinfo(?)", (name,)).fetchall()
        else:
            shapes[kind, name] = sql
    return shapes
