"""What the encoder of an index cannot read of its documents: a table with a row for each document that is affected.

The table is created when it is first needed, so that an index of which everything is read has none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mlret.index.hits import Unread
from mlret.index.sqlite.sql import marks, parts
from mlret.index.storage.snapshots import Snapshots

TABLE = "unread"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    row INTEGER PRIMARY KEY, cut INTEGER NOT NULL, scripts TEXT, language INTEGER NOT NULL
)
"""
_EXISTS = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{TABLE}'"


class Note(NamedTuple):
    """What is not read of one document.

    Attributes
    ----------
    cut
        The number of tokens beyond the longest input of the encoder.
    scripts
        The scripts of the document, joined by commas, if the tokenizer lacks much of what it is written in.
    language
        Whether the encoder was not trained in the language of the document.
    """

    cut: int
    scripts: str | None
    language: bool

    def of_passages(self) -> Note | None:
        """Return the note if all passages of the document are read; ``None`` if nothing else remains unread."""
        return self._replace(cut=0) if self.scripts or self.language else None


def write_notes(connection: sqlite3.Connection, rows: Sequence[int], notes: Sequence[Note | None]) -> None:
    """Write the notes on new documents, within the transaction of a connection.

    Parameters
    ----------
    connection
        A connection within a transaction.
    rows
        ``n`` row numbers.
    notes
        The note on each; ``None`` for a document that is read completely.
    """
    found = [(row, *note) for row, note in zip(rows, notes, strict=True) if note is not None]
    if found:
        connection.execute(_SCHEMA)
        connection.executemany(f"INSERT OR REPLACE INTO {TABLE} VALUES (?, ?, ?, ?)", found)


def remove_notes(connection: sqlite3.Connection, rows: Iterable[int] | None = None) -> None:
    """Remove the notes on documents, of all documents by default, within the transaction of a connection."""
    if connection.execute(_EXISTS).fetchone() is None:
        return
    if rows is None:
        connection.execute(f"DELETE FROM {TABLE}")
        return
    for part in parts(list(rows)):
        connection.execute(f"DELETE FROM {TABLE} WHERE row IN ({marks(part)})", part)


def carry_notes(connection: sqlite3.Connection, attached: str) -> None:
    """Copy from an attached database the notes on records that have a vector here, within a transaction.

    Parameters
    ----------
    connection
        A connection within a transaction.
    attached
        The name of the attached database.
    """
    if connection.execute(_EXISTS.replace("sqlite_master", f"{attached}.sqlite_master")).fetchone() is None:
        return
    connection.execute(_SCHEMA)
    connection.execute(
        f"INSERT INTO main.{TABLE} SELECT note.* FROM {attached}.{TABLE} AS note JOIN main.vectors USING (row)"
    )


def notes_on(records: Snapshots, rows: Iterable[int]) -> dict[int, Note]:
    """Return the notes on documents by row number; there are none on documents that are read completely."""
    if not records.read(_EXISTS):
        return {}
    found = records.read_among(f"SELECT row, cut, scripts, language FROM {TABLE} WHERE row IN ({{}})", rows)
    return {row: Note(cut, scripts, bool(language)) for row, cut, scripts, language in found}


def unread_in(records: Snapshots) -> Unread:
    """Return the counts of what is not read of the stored documents."""
    if not records.read(_EXISTS):
        return Unread()
    # An earlier version of mlret, which does not know the table, may have removed records.
    joined = f"FROM {TABLE} JOIN records USING (row)"
    [(cut, tokens)] = records.read(f"SELECT count(*), coalesce(sum(cut), 0) {joined} WHERE cut > 0")
    scripts = dict(
        records.read(f"SELECT scripts, count(*) {joined} WHERE scripts IS NOT NULL GROUP BY scripts ORDER BY 2 DESC, 1")
    )
    languages = dict(
        records.read(f"SELECT records.language, count(*) {joined} WHERE {TABLE}.language GROUP BY 1 ORDER BY 2 DESC, 1")
    )
    return Unread(cut, tokens, languages, scripts)
