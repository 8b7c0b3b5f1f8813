"""The records of an index in SQLite, from which everything else can be rebuilt."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import Corrupt, MlretError
from mlret.index.filtering.field_table import FieldTable
from mlret.index.filtering.filter_sql import matching_rows
from mlret.index.filtering.filters import Condition
from mlret.index.lexical.fts import LexicalTable
from mlret.index.sqlite.database import BUSY_SECONDS, DAMAGED
from mlret.index.sqlite.pages import See, holds_traces
from mlret.index.sqlite.sql import marks, parts
from mlret.index.storage.passages import COUNTER, Passages, Spans
from mlret.index.storage.snapshots import Snapshots
from mlret.index.storage.tombstones import Tombstones
from mlret.index.storage.unread import remove_notes

RECORDS = "records.db"

_LAST_ROW = (
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0), (SELECT max(row) FROM records)"
)
# What was written has been checked, so that white space around it need not be looked for.
_metadata_of = json.JSONDecoder().raw_decode
# The bytes that checksum_of() reads, or NULL if a cell is of another type than was written.
_CONTENTS = """
    SELECT row, crc, CASE
        WHEN typeof(id) = 'text' AND typeof(text) = 'text' AND typeof(metadata) = 'text'
            AND typeof(language) IN ('text', 'null')
        THEN CAST(id || char(0) || text || char(0) || coalesce(language, '') || char(0) || metadata AS BLOB)
    END FROM records WHERE row > ? ORDER BY row LIMIT ?
"""
_CELLS = "SELECT row, crc, id, text, language, metadata FROM records WHERE row IN ({})"


class Records(Snapshots):
    """The records of an index.

    Each part of the database that is not the table of records has a class of its own: :attr:`fields` the filterable
    metadata, :attr:`lexical` the lexical index, :attr:`passages` the passages of long documents, :attr:`tombstones` the
    deleted rows, ``counters`` the counters, and :class:`mlret.index.storage.vector_table.VectorTable` the vectors.

    Parameters
    ----------
    path
        The database, which must exist.
    lexical
        Whether the database has a lexical index.
    lenient
        Open the database even if parts of it are damaged; see :class:`mlret.index.storage.snapshots.Snapshots`.

    Raises
    ------
    MlretError
        If the file is no SQLite database, is damaged, or cannot be read.
    """

    def __init__(self, path: Path, *, lexical: bool = False, lenient: bool = False) -> None:
        self.lexical: LexicalTable | None = None
        self._has_lexical = lexical
        self.passages = Passages(self)
        super().__init__(path, lenient=lenient)

    def _opened(self) -> None:
        self.connection.execute("SELECT row, id, text, language, metadata, crc FROM records LIMIT 1").fetchone()
        self.fields = FieldTable(self.connection)
        self.lexical = LexicalTable(self.connection, self._texts) if self._has_lexical else None
        self.tombstones = Tombstones(self)

    def append(
        self, documents: Sequence[Document], *, replaced: Sequence[int] = (), spans: Sequence[Spans] = ()
    ) -> NDArray[np.int64]:
        """Store documents, and remove the rows that they replace. Call it within :meth:`transaction`.

        Parameters
        ----------
        documents
            ``n`` documents whose ids are not stored yet, or only under the rows ``replaced``.
        replaced
            Rows of records to remove first.
        spans
            The passages of each document; by default each has one vector.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64: the row number of each document, in ascending order.
        """
        if len(replaced):
            self.remove(replaced)
        last = self.connection.execute(_LAST_ROW).fetchone()[0]
        rows = list(range(last + 1, last + 1 + len(documents)))
        if spans:
            counts = np.array([len(one) or 1 for one in spans], dtype=np.int64)
            rows = (last + 1 + np.cumsum(counts) - counts).tolist()
        metadata = [json.dumps(one.metadata, ensure_ascii=False, allow_nan=False) for one in documents]
        cells = [(one.id, one.text, one.language, some) for one, some in zip(documents, metadata, strict=True)]
        self.connection.executemany(
            "INSERT INTO records (row, id, text, language, metadata, crc) VALUES (?, ?, ?, ?, ?, ?)",
            [(row, *some, checksum_of(*some)) for row, some in zip(rows, cells, strict=True)],
        )
        self.fields.add(rows, [document.metadata for document in documents])
        if self.lexical is not None:
            self.lexical.add(rows, [document.text for document in documents])
        further = {}
        if spans:
            further = {COUNTER: self.passages.add(rows, spans)}
            last = rows[-1] + (len(spans[-1]) or 1) - 1
            self.connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'records'", (last,))
        self.counters.add({"documents": len(rows), "changes": 1} | further)
        return np.array(rows, dtype=np.int64)

    def remove(self, rows: Sequence[int]) -> None:
        """Remove records that are stored, their passages and their vectors. Call it within :meth:`transaction`.

        Parameters
        ----------
        rows
            The row numbers of the records.
        """
        documents = self.fetch(rows)
        if self.lexical is not None:
            self.lexical.remove(list(documents), [document.text for document in documents.values()])
        self.fields.remove(list(documents), [document.metadata for document in documents.values()])
        of_vectors, further = rows, {}
        if self.passages.any:
            of_vectors = self.passages.expanded(np.unique(np.array(rows, dtype=np.int64))).tolist()
            self.passages.remove(rows)
            further = {COUNTER: len(rows) - len(of_vectors)}
        for table, those in (("vectors", of_vectors), ("records", rows)):
            for part in parts(those):
                self.connection.execute(f"DELETE FROM {table} WHERE row IN ({marks(part)})", part)
        remove_notes(self.connection, rows)
        removed = self.tombstones.add(of_vectors)
        self.counters.add({"documents": -len(rows), "changes": 1, "tombstones": removed} | further)

    def last_row(self) -> int:
        """Return the highest row number that was ever given; 0 if none was.

        Raises
        ------
        MlretError
            If a record has a higher one.
        """
        [(last, highest)] = self.read(_LAST_ROW)
        if type(last) is not int or not 0 <= (highest or 0) <= last:
            raise Corrupt(f"{self.path} is damaged (its last row is {last!r}, of a record {highest!r}); {DAMAGED}")
        return last

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the row numbers of those ids that are stored."""
        return dict(self.read_among("SELECT id, row FROM records WHERE id IN ({})", ids))

    def get(self, id: str) -> Document | None:
        """Return the document with this id, or ``None`` if it is not stored."""
        rows = self.rows_of([id])
        return self.fetch([rows[id]])[rows[id]] if rows else None

    def fetch(self, rows: Sequence[int]) -> dict[int, Document]:
        """Return the documents of row numbers; rows that do not exist are missing from the result.

        Raises
        ------
        MlretError
            If a record is damaged.
        """
        return {row: self._document(row, *cells) for row, *cells in self.read_among(_CELLS, rows)}

    def described(self, rows: Sequence[int]) -> dict[int, tuple[str, str, str | None]]:
        """Return the id, the text and the language of each row, without rows that do not exist.

        It takes half as long as :meth:`fetch`.

        Raises
        ------
        MlretError
            If a record is damaged.
        """
        found = {}
        for row, crc, id, text, language, metadata in self.read_among(_CELLS, rows):
            self._check(row, crc, id, text, language, metadata)
            found[row] = id, text, language
        return found

    def stream(self, *, batch_size: int = 1024, after: int = 0) -> Iterator[list[tuple[int, Document]]]:
        """Iterate over rows and documents in batches, by ascending row; damage raises as in :meth:`fetch`.

        Parameters
        ----------
        batch_size
            Number of documents in a batch.
        after
            Only rows with a higher number than this are returned.
        """
        last = after
        query = "SELECT row, crc, id, text, language, metadata FROM records WHERE row > ? ORDER BY row LIMIT ?"
        while found := self.read(query, (last, batch_size)):
            yield [(row, self._document(row, *cells)) for row, *cells in found]
            last = found[-1][0]

    def contents(self, *, batch_size: int = 4096) -> Iterator[list[tuple[int, object, bytes | None]]]:
        """Iterate over all records as bytes, in batches by ascending row; nothing is checked.

        Parameters
        ----------
        batch_size
            Number of records in a batch.

        Yields
        ------
        list of (row, crc, content)
            The row, the checksum that is stored, and the bytes whose checksum it is: id, text, language and metadata,
            divided by NUL. They are ``None`` if a cell is of a type that no record has.
        """
        last = -(2**63)  # Damage can have put a record under a row that is never given.
        while found := self.read(_CONTENTS, (last, batch_size)):
            yield found
            last = found[-1][0]

    def _document(self, row: int, crc: int, id: str, text: str, language: str | None, metadata: str) -> Document:
        self._check(row, crc, id, text, language, metadata)
        try:
            return Document.stored(id, text, language, _metadata_of(metadata)[0])
        except RecursionError as error:  # It was stored by a version that had no limit on nesting.
            raise MlretError(
                f"{self.path}: the metadata of {id!r} is nested deeper than can be read from here; read it from a "
                "program with fewer calls in progress, and store it flatter"
            ) from error

    def _check(self, row: int, crc: object, *cells: object) -> None:
        if not is_whole(crc, *cells):
            raise Corrupt(f"{self.path}: the record in row {row} is damaged; {DAMAGED}")

    def _texts(self, rows: Sequence[int]) -> dict[int, str]:
        return {row: text for row, (_, text, _) in self.described(rows).items()}

    def match(
        self, query: str, k: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the rows whose texts match a query best.

        Parameters
        ----------
        query, k, allowed
            As for :meth:`mlret.index.lexical.fts.LexicalTable.search`.

        Returns
        -------
        (scores, rows)
            ``(n,)`` float64 in descending order and ``(n,)`` int64.
        """
        assert self.lexical is not None
        with self.reporting():
            return self.lexical.search(query, k, allowed=allowed)

    def ids(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the ids of row numbers."""
        return dict(self.read_among("SELECT row, id FROM records WHERE row IN ({})", rows))

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows that satisfy a condition: ``(m,)`` int64 in ascending order."""
        with self.reporting():
            try:
                return matching_rows(self.connection, condition)
            except (TypeError, ValueError, OverflowError) as error:
                raise Corrupt(f"{self.path} is damaged ({error}); {DAMAGED}") from error

    def rows(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """Return the rows from ``first_row`` to ``last_row`` that should have a vector, in ascending order."""
        query = "SELECT row FROM records WHERE row BETWEEN ? AND ? ORDER BY row"
        if not self.passages.any:
            return self.numbers(query, (first_row, last_row))
        [before] = self.passages.owners(np.array([first_row], dtype=np.int64)).tolist()
        rows = self.passages.expanded(self.numbers(query, (before, last_row)))
        return rows[np.searchsorted(rows, first_row) : np.searchsorted(rows, last_row, side="right")]

    def count_by_language(self) -> dict[str | None, int]:
        """Return the number of records in each language, the most frequent language first."""
        return dict(
            self.read("SELECT language, count(*) FROM records GROUP BY language ORDER BY count(*) DESC, language")
        )

    def shrink(self, *, rewrite: bool = True) -> bool:
        """Empty the write-ahead log as far as readers allow it, and return freed space to the disk.

        Parameters
        ----------
        rewrite
            Rewrite the whole database, so that it holds nothing but what is stored.

        Returns
        -------
        bool
            Whether the log is empty now, that is, no other process reads an older state from it.
        """
        with self.reporting():
            self.connection.execute("COMMIT")
            try:
                if self.lexical is not None:
                    self.lexical.purge()
                if rewrite:
                    self.connection.execute("VACUUM")
                # Readers keep the part of the log that their snapshots need; do not wait for them.
                self.connection.execute("PRAGMA busy_timeout = 0")
                busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
                self.snapshot()
        return not busy

    def traces(self, *, indexes: bool, see: See | None = None, overlap: int = 0) -> bool:
        """Return whether pages of the database hold data that no row accounts for.

        Call it after :meth:`shrink` has emptied the log. A lexical index is not examined, so with one the answer is
        always true.

        Parameters
        ----------
        indexes, see, overlap
            As for :func:`mlret.index.sqlite.pages.holds_traces`.
        """
        return self.lexical is not None or holds_traces(self.path, indexes=indexes, see=see, overlap=overlap)


def is_whole(crc: object, id: object, text: object, language: object, metadata: object) -> bool:
    """Return whether the cells of a record match the checksum that was written with them."""
    if not isinstance(id, str) or not isinstance(text, str) or not isinstance(metadata, str):
        return False
    return (language is None or isinstance(language, str)) and crc == checksum_of(id, text, language, metadata)


def checksum_of(id: str, text: str, language: str | None, metadata: str) -> int:
    """Return the checksum of the cells of a record."""
    return zlib.crc32("\0".join((id, text, language or "", metadata)).encode("utf-8"))
