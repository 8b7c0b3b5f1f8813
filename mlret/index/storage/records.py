"""The records of an index in SQLite, from which everything else can be rebuilt."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import Corrupt, MlretError
from mlret.index.filters import Condition
from mlret.index.lexical.fts import LexicalTable
from mlret.index.storage.blobs import Blobs
from mlret.index.storage.checksums import sum_of
from mlret.index.storage.counters import Counters
from mlret.index.storage.database import BUSY_SECONDS, DAMAGED, read_aside
from mlret.index.storage.fields import fields_of
from mlret.index.storage.filter_sql import matching_rows
from mlret.index.storage.migration import FORMAT, OLDEST, STEPS, newest
from mlret.index.storage.pages import holds_traces
from mlret.index.storage.snapshots import Snapshots

RECORDS = "records.db"

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
CREATE TABLE fields (
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (key, kind, value, row)
) WITHOUT ROWID;
-- Rows that are no more, but may be in a sealed segment still.
CREATE TABLE tombstones (row INTEGER PRIMARY KEY);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- A copy of the manifest.
CREATE TABLE manifest (content TEXT NOT NULL);
"""
_COUNTERS = {"documents": 0, "generation": 0, "changes": 0, "tombstones": 0}
_LAST_ROW = (
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0), (SELECT max(row) FROM records)"
)
_MANIFEST = "SELECT CAST(content AS BLOB) FROM manifest"  # Read as bytes, because a damaged cell need not be text.
_VARIABLES = 500  # Parameters in one statement; SQLite's limit was 999 for a long time.
_T = TypeVar("_T", str, int)
Vectors = Iterable[NDArray[Any]]


class Records(Snapshots):
    """The records of an index, their vectors and their metadata fields.

    Parameters
    ----------
    path
        The database, which must exist.
    blobs
        How vectors are written.
    lexical
        Whether the database has a lexical index.
    lenient
        Open the database even if parts of it are damaged; see :class:`mlret.index.storage.snapshots.Snapshots`.

    Raises
    ------
    MlretError
        If the file is no SQLite database, is damaged, or cannot be read.
    """

    def __init__(self, path: Path, blobs: Blobs, *, lexical: bool = False, lenient: bool = False) -> None:
        self.blobs = blobs
        self.lexical: LexicalTable | None = None
        self._has_lexical = lexical
        super().__init__(path, lenient=lenient)

    def _opened(self) -> None:
        self._connection.execute("SELECT row, id, text, language, metadata, crc FROM records LIMIT 1").fetchone()
        self.lexical = LexicalTable(self._connection, self._texts) if self._has_lexical else None

    @staticmethod
    def create(path: Path, manifest: str, *, lexical: bool = False, schema: str = "") -> None:
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
            connection.executescript(_SCHEMA + schema)
            connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
            built_on_top = dict(connection.execute("SELECT name, value FROM counters"))
            Counters(connection, str(path)).rewrite(_COUNTERS | {FORMAT: newest(STEPS)} | built_on_top)
            if lexical:
                LexicalTable(connection).create()
            connection.commit()

    @staticmethod
    def start_over(path: Path, generation: int, manifest: str) -> None:
        """Reset a database that nobody has open: keep the records, remove their vectors, and store another manifest.

        Parameters
        ----------
        path
            The database.
        generation
            The generation of the manifest.
        manifest
            The text of the manifest.
        """
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for table in ("vectors", "tombstones", "manifest"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
            counters = Counters(connection, str(path))
            none = {"tombstones": 0} if FORMAT in counters.read() else {}
            counters.set({"generation": generation} | none)
            connection.execute("COMMIT")
            connection.execute("VACUUM")

    def make_tables(self, connection: sqlite3.Connection) -> None:
        """Create the tables that this database should have, in an empty database."""
        connection.executescript(_SCHEMA)
        if self.lexical is not None:
            LexicalTable(connection).create()

    @staticmethod
    def read_manifest(path: Path) -> bytes | None:
        """Return the copy of the manifest in a database, or ``None`` if none can be read."""
        found = read_aside(path, _MANIFEST)
        return found[0][0] if len(found) == 1 and isinstance(found[0][0], bytes) else None

    def manifest(self) -> bytes:
        """Return the copy of the manifest, in the state that all reads see.

        Raises
        ------
        MlretError
            If there is none.
        """
        found = self.read(_MANIFEST)
        if len(found) != 1 or not isinstance(found[0][0], bytes):
            raise Corrupt(f"{self.path} is damaged (it has no copy of the manifest); {DAMAGED}")
        return found[0][0]

    def append(
        self, documents: Sequence[Document], vectors: Vectors, *, replaced: Sequence[int] = ()
    ) -> NDArray[np.int64]:
        """Store documents and their vectors, and remove the rows that they replace. Call it within :meth:`transaction`.

        Parameters
        ----------
        documents
            ``n`` documents whose ids are not stored yet, or only under the rows ``replaced``.
        vectors
            The vectors of each document.
        replaced
            Rows to remove first.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64: the row number of each document, in ascending order.
        """
        if len(replaced):
            self.remove(replaced)
        rows = [self._insert(document, vector) for document, vector in zip(documents, vectors, strict=True)]
        if self.lexical is not None:
            self.lexical.add(rows, [document.text for document in documents])
        self.counters.add({"documents": len(rows), "changes": 1})
        return np.array(rows, dtype=np.int64)

    def _insert(self, document: Document, vector: NDArray[np.floating[Any]]) -> int:
        metadata = json.dumps(document.metadata, ensure_ascii=False, allow_nan=False)
        fields = (document.id, document.text, document.language, metadata)
        blob = self.blobs.write(vector)
        cursor = self._connection.execute(
            "INSERT INTO records (id, text, language, metadata, crc) VALUES (?, ?, ?, ?, ?)",
            (*fields, checksum_of(*fields)),
        )
        row = cursor.lastrowid
        assert row is not None
        self._connection.execute("INSERT INTO vectors VALUES (?, ?, ?)", (row, blob, zlib.crc32(blob)))
        self._connection.executemany(
            "INSERT INTO fields VALUES (?, ?, ?, ?)",
            [(key, value.kind, value.value, row) for key, value in fields_of(document.metadata)],
        )
        return row

    def remove(self, rows: Sequence[int]) -> None:
        """Remove records that are stored. Call it within :meth:`transaction`."""
        documents = self.fetch(rows)
        if self.lexical is not None:
            self.lexical.remove(list(documents), [document.text for document in documents.values()])
        for row, document in documents.items():
            self._connection.executemany(
                "DELETE FROM fields WHERE key = ? AND kind = ? AND value = ? AND row = ?",
                [(key, value.kind, value.value, row) for key, value in fields_of(document.metadata)],
            )
        for part in _parts(rows):
            for table in ("vectors", "records"):
                self._connection.execute(f"DELETE FROM {table} WHERE row IN ({_marks(part)})", part)
            self._connection.executemany("INSERT INTO tombstones VALUES (?)", [(row,) for row in part])
        self.counters.add({"documents": -len(rows), "changes": 1, "tombstones": sum_of(rows)})

    def replace_vectors(self, rows: Sequence[int], vectors: Vectors) -> None:
        """Replace the vectors of records. Call it within :meth:`transaction`.

        Parameters
        ----------
        rows
            ``n`` row numbers.
        vectors
            The vectors of each record.
        """
        blobs = [self.blobs.write(vector) for vector in vectors]
        self._connection.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
            [(int(row), blob, zlib.crc32(blob)) for row, blob in zip(rows, blobs, strict=True)],
        )

    def settle(
        self,
        gaps: Iterable[tuple[int, int]],
        generation: int,
        manifest: str,
        *,
        vectors: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Remove what a change of segments has made superfluous, and store a copy of the new manifest.

        This is one transaction. A process that has read a manifest older than ``generation`` must read it again before
        it trusts the database.

        Parameters
        ----------
        gaps
            Ranges of rows (first and last) whose segments hold no deleted rows any more; their tombstones are removed.
        generation
            The generation of the new manifest.
        manifest
            The text of the new manifest.
        vectors
            Ranges of rows whose vectors are kept in segments only; they are removed from the database.
        """
        with self.transaction():
            self._connection.executemany("DELETE FROM tombstones WHERE row BETWEEN ? AND ?", list(gaps))
            self._connection.executemany("DELETE FROM vectors WHERE row BETWEEN ? AND ?", list(vectors))
            left = {"tombstones": sum_of(self.numbers("SELECT row FROM tombstones"))}
            self.counters.set({"generation": generation} | (left if self.version() > OLDEST else {}))
            self._connection.execute("UPDATE manifest SET content = ?", (manifest,))

    def replace_manifest(self, generation: int, manifest: str) -> None:
        """Store a copy of a manifest and its generation in one transaction, whatever was there before.

        Parameters
        ----------
        generation
            The generation of the manifest.
        manifest
            The text of the manifest.
        """
        with self.transaction() as connection:
            connection.execute("DELETE FROM manifest")
            connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
            if not self.counters_damaged:  # Damaged counters are counted again later.
                self.counters.set({"generation": generation})

    def last_row(self) -> int:
        """Return the highest row number that was ever given; 0 if none was.

        Raises
        ------
        MlretError
            If a record has a higher one.
        """
        with self.reporting():
            last, highest = self._connection.execute(_LAST_ROW).fetchone()
        if type(last) is not int or not 0 <= (highest or 0) <= last:
            raise Corrupt(f"{self.path} is damaged (its last row is {last!r}, of a record {highest!r}); {DAMAGED}")
        return last

    def tombstones(self, *, checked: bool = True) -> NDArray[np.int64]:
        """Return the numbers of deleted rows that a sealed segment may still hold, in ascending order.

        Raises
        ------
        MlretError
            If they do not match their checksum, unless ``checked`` is false.
        """
        with self.reporting():
            joined = self._connection.execute("SELECT group_concat(row) FROM tombstones").fetchone()[0]
        # One string of numbers is read several times faster than as many rows.
        rows: NDArray[np.int64] = np.sort(np.fromstring(joined or "", dtype=np.int64, sep=","))
        if checked and self.version() > OLDEST and sum_of(rows) != self.counter("tombstones"):
            raise Corrupt(
                f"{self.path} is damaged (its list of removed rows is not what was written); `mlret index verify "
                f"--repair {self.path.parent}` makes it again"
            )
        return rows

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the row numbers of those ids that are stored."""
        found: dict[str, int] = {}
        with self.reporting():
            for part in _parts(ids):
                query = f"SELECT id, row FROM records WHERE id IN ({_marks(part)})"
                found.update(self._connection.execute(query, part))
        return found

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
        documents: dict[int, Document] = {}
        with self.reporting():
            for part in _parts(rows):
                query = f"SELECT row, crc, id, text, language, metadata FROM records WHERE row IN ({_marks(part)})"
                for row, crc, *fields in self._connection.execute(query, part):
                    documents[row] = self._document(row, crc, *fields)
        return documents

    def stream(self, *, batch_size: int = 1024) -> Iterator[list[tuple[int, Document]]]:
        """Iterate over all rows and documents in batches, by ascending row; damage raises as in :meth:`fetch`."""
        last = 0
        while True:
            with self.reporting():
                found = self._connection.execute(
                    "SELECT row, crc, id, text, language, metadata FROM records WHERE row > ? ORDER BY row LIMIT ?",
                    (last, batch_size),
                ).fetchall()
            if not found:
                return
            yield [(row, self._document(row, *rest)) for row, *rest in found]
            last = found[-1][0]

    def _document(self, row: int, crc: int, id: str, text: str, language: str | None, metadata: str) -> Document:
        if not is_whole(crc, id, text, language, metadata):
            raise Corrupt(f"{self.path}: the record in row {row} is damaged; {DAMAGED}")
        try:
            return Document.stored(id, text, language, json.loads(metadata))
        except RecursionError as error:  # It was stored by a version that had no limit on nesting.
            raise MlretError(
                f"{self.path}: the metadata of {id!r} is nested deeper than can be read from here; read it from a "
                "program with fewer calls in progress, and store it flatter"
            ) from error

    def _texts(self, rows: Sequence[int]) -> dict[int, str]:
        return {row: document.text for row, document in self.fetch(rows).items()}

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
        found: dict[int, str] = {}
        with self.reporting():
            for part in _parts(rows):
                query = f"SELECT row, id FROM records WHERE row IN ({_marks(part)})"
                found.update(self._connection.execute(query, part))
        return found

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows that satisfy a condition: ``(m,)`` int64 in ascending order."""
        with self.reporting():
            try:
                return matching_rows(self._connection, condition)
            except (TypeError, ValueError, OverflowError) as error:
                raise Corrupt(f"{self.path} is damaged ({error}); {DAMAGED}") from error

    def vectors(
        self, first_row: int, last_row: int, *, batch_size: int = 8192
    ) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Iterate in batches over the vectors of the existing rows from ``first_row`` to ``last_row``.

        Parameters
        ----------
        first_row, last_row
            The first and the last row.
        batch_size
            The largest number of rows in a batch.

        Yields
        ------
        (rows, vectors)
            ``(n,)`` int64 in ascending order, and the vectors in the form that
            :meth:`mlret.index.storage.blobs.Blobs.read` returns.

        Raises
        ------
        DamagedVectorError
            If a vector is missing or damaged.
        """
        query = """
            SELECT row, vector, vectors.crc FROM records LEFT JOIN vectors USING (row)
            WHERE row BETWEEN ? AND ? ORDER BY row LIMIT ?
        """
        while True:
            with self.reporting():
                batch = self._connection.execute(query, (first_row, last_row, batch_size)).fetchall()
            if not batch:
                return
            for row, blob, crc in batch:
                if not self.holds(blob, crc):
                    raise DamagedVectorError(
                        f"{self.path}: the vector of row {row} is damaged; `mlret index verify --repair` encodes the "
                        "text again",
                        row,
                    )
            found = self.blobs.read([blob for _, blob, _ in batch])
            yield np.array([row for row, *_ in batch], dtype=np.int64), found
            first_row = batch[-1][0] + 1

    def holds(self, blob: object, crc: object) -> bool:
        """Return whether a cell holds the vectors that were written with this checksum."""
        return isinstance(blob, bytes) and self.blobs.fits(blob) and crc == zlib.crc32(blob)

    def vectors_of(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return the vectors of row numbers; missing and damaged vectors are missing from the result."""
        found: dict[int, NDArray[Any]] = {}
        with self.reporting():
            for part in _parts(rows):
                query = f"SELECT row, vector, crc FROM vectors WHERE row IN ({_marks(part)})"
                for row, blob, crc in self._connection.execute(query, part):
                    if self.holds(blob, crc):
                        found[row] = self.blobs.read([blob])[0]
        return found

    def rows(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """Return the existing rows from ``first_row`` to ``last_row``, in ascending order."""
        return self.numbers("SELECT row FROM records WHERE row BETWEEN ? AND ? ORDER BY row", (first_row, last_row))

    def count(self, first_row: int, last_row: int) -> int:
        """Return the number of records from row ``first_row`` to row ``last_row``."""
        with self.reporting():
            query = "SELECT count(*) FROM records WHERE row BETWEEN ? AND ?"
            return int(self._connection.execute(query, (first_row, last_row)).fetchone()[0])

    def vector_bytes(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """Return the size in bytes of the vectors of each record from ``first_row`` to ``last_row``.

        The result is ``(n,)`` int64, by ascending row; 0 for a record without vectors.
        """
        query = """
            SELECT coalesce(length(vector), 0) FROM records LEFT JOIN vectors USING (row)
            WHERE row BETWEEN ? AND ? ORDER BY row
        """
        return self.numbers(query, (first_row, last_row))

    def count_by_language(self) -> dict[str | None, int]:
        """Return the number of records in each language, the most frequent language first."""
        query = "SELECT language, count(*) FROM records GROUP BY language ORDER BY count(*) DESC, language"
        with self.reporting():
            return dict(self._connection.execute(query).fetchall())

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
            self._connection.execute("COMMIT")
            try:
                if self.lexical is not None:
                    self.lexical.purge()
                if rewrite:
                    self._connection.execute("VACUUM")
                # Readers keep the part of the log that their snapshots need; do not wait for them.
                self._connection.execute("PRAGMA busy_timeout = 0")
                busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
                self.snapshot()
        return not busy

    def traces(self, *, indexes: bool) -> bool:
        """Return whether pages of the database hold data that no row accounts for.

        Call it after :meth:`shrink` has emptied the log. A lexical index is not examined, so with one the answer is
        always true.

        Parameters
        ----------
        indexes
            As for :func:`mlret.index.storage.pages.holds_traces`.
        """
        return self.lexical is not None or holds_traces(self.path, indexes=indexes)


class DamagedVectorError(Corrupt):
    """A vector in the database is not what was written; ``row`` is the row number of its record."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def is_whole(crc: object, id: object, text: object, language: object, metadata: object) -> bool:
    """Return whether the cells of a record match the checksum that was written with them."""
    if not isinstance(id, str) or not isinstance(text, str) or not isinstance(metadata, str):
        return False
    return (language is None or isinstance(language, str)) and crc == checksum_of(id, text, language, metadata)


def checksum_of(id: str, text: str, language: str | None, metadata: str) -> int:
    """Return the checksum of the cells of a record."""
    return zlib.crc32("\0".join((id, text, language or "", metadata)).encode("utf-8"))


def _parts(values: Sequence[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while part := list(islice(iterator, _VARIABLES)):
        yield part


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
