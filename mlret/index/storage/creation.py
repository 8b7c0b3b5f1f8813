"""Creates the database of an index, and resets it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from mlret.index.filtering.field_table import OLD_SCHEMA as OLD_FIELDS
from mlret.index.filtering.field_table import SCHEMA as FIELDS
from mlret.index.lexical.fts import LexicalTable
from mlret.index.storage.counters import Counters
from mlret.index.storage.migration import FORMAT, STEPS, newest
from mlret.index.storage.passages import SCHEMA as PASSAGES
from mlret.index.storage.unread import remove_notes

# AUTOINCREMENT never reuses a row number, which matters because sealed segments refer to records by it. Vectors have a
# table of their own, so that reading texts and filters does not page through them. SQLite does not checksum its pages,
# so each record and each vector has a checksum.
_SCHEMA = """
CREATE TABLE records (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    language TEXT,
    metadata TEXT NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX records_language ON records (language);
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,
    crc INTEGER NOT NULL
);
-- Deleted rows that a sealed segment may still hold.
CREATE TABLE tombstones (row INTEGER PRIMARY KEY);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- A copy of the manifest.
CREATE TABLE manifest (content TEXT NOT NULL);
"""
_COUNTERS = {"documents": 0, "generation": 0, "changes": 0, "tombstones": 0}


def create_database(path: Path, manifest: str, *, lexical: bool = False, schema: str = "") -> None:
    """Create an empty database with a copy of the manifest, and with a lexical index on request.

    Parameters
    ----------
    path
        The database to create.
    manifest
        The text of the manifest.
    lexical
        Whether to create a lexical index.
    schema
        SQL that creates the tables of code built on the index, and inserts the version of these tables into
        ``counters`` under the name of the manifest's ``kind``.

    Raises
    ------
    MlretError
        If this SQLite cannot make a lexical index.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA + FIELDS + schema)
        connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
        built_on_top = dict(connection.execute("SELECT name, value FROM counters"))
        Counters(connection, str(path)).rewrite(_COUNTERS | {FORMAT: newest(STEPS)} | built_on_top)
        if lexical:
            LexicalTable(connection).create()
        connection.commit()


def make_tables(connection: sqlite3.Connection, *, lexical: bool, passages: bool, numbered_fields: bool = True) -> None:
    """Create the tables of an index in an empty database.

    Parameters
    ----------
    connection
        The database.
    lexical
        Whether to create a lexical index.
    passages
        Whether to create the table of passages.
    numbered_fields
        Whether the names of fields are numbered, which they are not in databases of earlier formats.
    """
    connection.executescript(_SCHEMA + (FIELDS if numbered_fields else OLD_FIELDS) + (PASSAGES if passages else ""))
    if lexical:
        LexicalTable(connection).create()


def start_over(path: Path, generation: int, manifest: str, counted: Mapping[str, int]) -> None:
    """Reset a database that nobody has open: keep the records, remove their vectors, and store another manifest.

    What the former encoder did not read of the records is forgotten.

    Parameters
    ----------
    path
        The database.
    generation
        The generation of the manifest.
    manifest
        The text of the manifest.
    counted
        Further counters to set.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for table in ("vectors", "tombstones", "manifest"):
            connection.execute(f"DELETE FROM {table}")
        remove_notes(connection)
        connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
        counters = Counters(connection, str(path))
        none = {"tombstones": 0} if FORMAT in counters.read() else {}
        counters.set({"generation": generation} | none | dict(counted))
        connection.execute("COMMIT")
        connection.execute("VACUUM")
