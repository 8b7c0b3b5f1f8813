"""The records of an index in SQLite: the truth, from which all else can be made again."""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import MlretError
from mlret.index import raw
from mlret.index.blobs import Blobs
from mlret.index.conditions import matching_rows
from mlret.index.fields import Kind, fields_of
from mlret.index.filters import Condition
from mlret.index.lexical import LexicalTable
from mlret.index.pages import holds_traces

RECORDS = "records.db"

# AUTOINCREMENT: a row number is never given twice, because sealed segments name records by it.
# Vectors have a table of their own, so that reading texts and filters does not page through them.
# SQLite does not check its pages: each record and each vector brings a checksum.
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
INSERT INTO counters VALUES ('documents', 0), ('generation', 0), ('changes', 0);
-- A copy of the manifest.
CREATE TABLE manifest (content TEXT NOT NULL);
"""
_BUSY_SECONDS = 30
_FIELDS = 10_000  # rows of the table of fields that are read at once
_VARIABLES = 500  # in one statement; SQLite's own limit was 999 for long
_T = TypeVar("_T", str, int)
Vectors = Iterable[NDArray[Any]]
_DAMAGED = "restore the folder from a copy"


class Records:
    """The table of records, their vectors and their filterable metadata.

    Between two calls of :meth:`snapshot` all reads see one state of the database, whatever other processes write;
    what this object writes itself moves it on. It may be used from several threads.

    Parameters
    ----------
    path
        The database; it must exist.
    blobs
        How vectors are written.
    lexical
        Whether it has a lexical index.

    Raises
    ------
    MlretError
        If the file is no SQLite database or is damaged.
    """

    def __init__(self, path: Path, blobs: Blobs, *, lexical: bool = False) -> None:
        self.path = path
        self.blobs = blobs
        self.lock = threading.RLock()
        if not path.is_file():
            raise MlretError(f"{path} is missing; {_DAMAGED}")
        with self._reporting():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                # A write in a few hundred waits until the log is taken into the file, 16 MB of it at once.
                self._connection.execute("PRAGMA wal_autocheckpoint = 4000")
                # A deleted record leaves no trace in the file.
                self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.execute(
                    "SELECT row, id, text, language, metadata, crc FROM records LIMIT 1"
                ).fetchone()
                self.lexical = LexicalTable(self._connection, self._texts) if lexical else None
                self.snapshot()
            except BaseException:
                self._connection.close()
                raise
            self._identity: Any = raw.connected(path)

    @staticmethod
    def create(path: Path, manifest: str, *, lexical: bool = False, schema: str = "") -> None:
        """Make an empty database, which keeps a copy of the manifest, and a lexical index if asked to.

        ``schema`` is SQL that makes the tables of what is built on top.

        Raises
        ------
        MlretError
            If this SQLite cannot make a lexical index.
        """
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA + schema)
            connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
            if lexical:
                LexicalTable(connection).create()
            connection.commit()
        finally:
            connection.close()

    @staticmethod
    def read_manifest(path: Path) -> str | None:
        """The copy of the manifest in a database, ``None`` if there is none to be read."""
        if not path.is_file():
            return None
        connection = sqlite3.connect(path)
        try:
            found = connection.execute("SELECT content FROM manifest").fetchone()
        except sqlite3.DatabaseError:
            return None
        finally:
            connection.close()
        return str(found[0]) if found else None

    def snapshot(self) -> None:
        """Take in what other processes have committed, and stay there."""
        with self._reporting():
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT value FROM counters LIMIT 1").fetchone()  # BEGIN alone takes no snapshot

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside is committed, or none of it; on return it survives a power cut."""
        with self._reporting():
            self._connection.execute("COMMIT")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self.snapshot()

    def append(
        self, documents: Sequence[Document], vectors: Vectors, *, replaced: Sequence[int] = ()
    ) -> NDArray[np.int64]:
        """Store documents and their vectors, and drop the rows that they replace; within :meth:`transaction`.

        Parameters
        ----------
        documents
            ``n`` documents whose ids are not stored yet, or only under the rows ``replaced``.
        vectors
            The vectors of each.
        replaced
            Rows to remove first.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64: the row number of each, rising.
        """
        if len(replaced):
            self.remove(replaced)
        rows = [self._insert(document, vector) for document, vector in zip(documents, vectors, strict=True)]
        if self.lexical is not None:
            self.lexical.add(rows, [document.text for document in documents])
        self._count("documents", len(rows))
        self._count("changes", 1)
        return np.array(rows, dtype=np.int64)

    def _insert(self, document: Document, vector: NDArray[np.floating[Any]]) -> int:
        metadata = json.dumps(document.metadata, ensure_ascii=False, allow_nan=False)
        fields = (document.id, document.text, document.language, metadata)
        blob = self.blobs.write(vector)
        cursor = self._connection.execute(
            "INSERT INTO records (id, text, language, metadata, crc) VALUES (?, ?, ?, ?, ?)", (*fields, _crc(*fields))
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
        """Drop records that are there; within :meth:`transaction`."""
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
            self._connection.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", [(row,) for row in part])
        self._count("documents", -len(rows))
        self._count("changes", 1)

    def replace_vectors(self, rows: Sequence[int], vectors: Vectors) -> None:
        """Give records new vectors; within :meth:`transaction`."""
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
        """Drop what a change of segments has made superfluous: the tombstones of row ranges whose segments hold no such
        rows any more, and the vectors of ranges that have them in segments alone; keep a copy of the manifest; commit.

        Who has read a manifest older than ``generation`` must read it again before trusting the database.
        """
        with self.transaction():
            self._connection.executemany("DELETE FROM tombstones WHERE row BETWEEN ? AND ?", list(gaps))
            self._connection.executemany("DELETE FROM vectors WHERE row BETWEEN ? AND ?", list(vectors))
            self._connection.execute("UPDATE counters SET value = ? WHERE name = 'generation'", (generation,))
            self._connection.execute("UPDATE manifest SET content = ?", (manifest,))

    def counter(self, name: str) -> int:
        """``documents``: how many there are; ``changes``: grows with each; ``generation`` as of the tombstones."""
        with self._reporting():
            return int(self._connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0])

    def touch(self) -> None:
        """Count a change that touched no record; within :meth:`transaction`."""
        self._count("changes", 1)

    def _count(self, name: str, by: int) -> None:
        self._connection.execute("UPDATE counters SET value = value + ? WHERE name = ?", (by, name))

    def last_row(self) -> int:
        """The highest row number ever given; 0 if none was."""
        with self._reporting():
            found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        return int(found[0]) if found else 0

    def tombstones(self) -> NDArray[np.int64]:
        """Rows that are no more, rising."""
        with self._reporting():
            rows = self._connection.execute("SELECT row FROM tombstones ORDER BY row")
            return np.fromiter((row for (row,) in rows), dtype=np.int64)

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of those of ``ids`` that are stored."""
        found: dict[str, int] = {}
        with self._reporting():
            for part in _parts(ids):
                query = f"SELECT id, row FROM records WHERE id IN ({_marks(part)})"
                found.update(self._connection.execute(query, part))
        return found

    def get(self, id: str) -> Document | None:
        """The document of an id."""
        rows = self.rows_of([id])
        return self.fetch([rows[id]])[rows[id]] if rows else None

    def fetch(self, rows: Sequence[int]) -> dict[int, Document]:
        """The documents of row numbers.

        Raises
        ------
        MlretError
            If a record is damaged.
        """
        documents: dict[int, Document] = {}
        with self._reporting():
            for part in _parts(rows):
                query = f"SELECT row, crc, id, text, language, metadata FROM records WHERE row IN ({_marks(part)})"
                for row, crc, *fields in self._connection.execute(query, part):
                    documents[row] = self._document(row, crc, *fields)
        return documents

    def stream(self, *, batch_size: int = 1024) -> Iterator[list[tuple[int, Document]]]:
        """All rows and documents, by row, in batches; damage as in :meth:`fetch`."""
        last = 0
        while True:
            with self._reporting():
                found = self._connection.execute(
                    "SELECT row, crc, id, text, language, metadata FROM records WHERE row > ? ORDER BY row LIMIT ?",
                    (last, batch_size),
                ).fetchall()
            if not found:
                return
            yield [(row, self._document(row, *rest)) for row, *rest in found]
            last = found[-1][0]

    def _document(self, row: int, crc: int, id: str, text: str, language: str | None, metadata: str) -> Document:
        if crc != _crc(id, text, language, metadata):
            raise MlretError(f"{self.path}: the record in row {row} is damaged; {_DAMAGED}")
        return Document.stored(id, text, language, json.loads(metadata))

    def _texts(self, rows: Sequence[int]) -> dict[int, str]:
        return {row: document.text for row, document in self.fetch(rows).items()}

    def match(
        self, query: str, k: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The rows whose texts share most with a query; see :meth:`mlret.index.lexical.LexicalTable.search`."""
        assert self.lexical is not None
        with self._reporting():
            return self.lexical.search(query, k, allowed=allowed)

    def ids(self, rows: Sequence[int]) -> dict[int, str]:
        """The ids of row numbers."""
        found: dict[int, str] = {}
        with self._reporting():
            for part in _parts(rows):
                query = f"SELECT row, id FROM records WHERE row IN ({_marks(part)})"
                found.update(self._connection.execute(query, part))
        return found

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """The rows that meet a condition: ``(m,)`` int64, rising."""
        with self._reporting():
            return matching_rows(self._connection, condition)

    def has_field(self, key: str, kind: Kind, visible: NDArray[np.int64] | None = None) -> bool:
        """Whether a record has, under a name, a value of a kind; with ``visible``, one of these rows (ascending)."""
        query = "SELECT row FROM fields WHERE key = ? AND kind = ?"
        with self._reporting():
            if visible is None:
                return self._connection.execute(query + " LIMIT 1", (key, kind)).fetchone() is not None
            cursor = self._connection.execute(query, (key, kind))
            while rows := cursor.fetchmany(_FIELDS):
                if np.isin(np.array(rows, dtype=np.int64), visible).any():
                    return True
        return False

    def field_names(self) -> list[str]:
        """The names of all metadata values, sorted; each is looked up, not every value read."""
        query = """
            WITH RECURSIVE names(name) AS (
                SELECT min(key) FROM fields
                UNION ALL SELECT (SELECT min(key) FROM fields WHERE key > name) FROM names WHERE name IS NOT NULL
            ) SELECT name FROM names WHERE name IS NOT NULL
        """
        with self._reporting():
            return [name for (name,) in self._connection.execute(query)]

    def is_empty(self) -> bool:
        """Whether there is no record."""
        with self._reporting():
            return self._connection.execute("SELECT 1 FROM records LIMIT 1").fetchone() is None

    def vectors(
        self, first_row: int, last_row: int, *, batch_size: int = 8192
    ) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Stream the vectors of the rows ``first_row`` … ``last_row`` that are there.

        Yields
        ------
        (rows, vectors)
            ``(n,)`` int64, rising, and what :meth:`mlret.index.blobs.Blobs.read` makes of them.

        Raises
        ------
        MlretError
            If a vector is missing or damaged.
        """
        query = """
            SELECT row, vector, vectors.crc FROM records LEFT JOIN vectors USING (row)
            WHERE row BETWEEN ? AND ? ORDER BY row LIMIT ?
        """
        while True:
            with self._reporting():
                batch = self._connection.execute(query, (first_row, last_row, batch_size)).fetchall()
            if not batch:
                return
            for row, blob, crc in batch:
                if blob is None or not self.blobs.fits(blob) or crc != zlib.crc32(blob):
                    raise DamagedVectorError(
                        f"{self.path}: the vector of row {row} is damaged; `mlret index verify --repair` encodes the "
                        "text anew",
                        row,
                    )
            found = self.blobs.read([blob for _, blob, _ in batch])
            yield np.array([row for row, *_ in batch], dtype=np.int64), found
            first_row = batch[-1][0] + 1

    def vectors_of(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """The vectors of row numbers; those that are missing or damaged are left out."""
        found: dict[int, NDArray[Any]] = {}
        with self._reporting():
            for part in _parts(rows):
                query = f"SELECT row, vector, crc FROM vectors WHERE row IN ({_marks(part)})"
                for row, blob, crc in self._connection.execute(query, part):
                    if self.blobs.fits(blob) and crc == zlib.crc32(blob):
                        found[row] = self.blobs.read([blob])[0]
        return found

    def rows(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """The rows that are there among ``first_row`` … ``last_row``, rising."""
        query = "SELECT row FROM records WHERE row BETWEEN ? AND ? ORDER BY row"
        with self._reporting():
            return np.fromiter((row for (row,) in self._connection.execute(query, (first_row, last_row))), np.int64)

    def count(self, first_row: int, last_row: int) -> int:
        """How many records there are among the rows ``first_row`` … ``last_row``."""
        with self._reporting():
            query = "SELECT count(*) FROM records WHERE row BETWEEN ? AND ?"
            return int(self._connection.execute(query, (first_row, last_row)).fetchone()[0])

    def vector_bytes(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """``(n,)``: the bytes of the vectors of each record among the rows ``first_row`` … ``last_row``, by row."""
        query = """
            SELECT coalesce(length(vector), 0) FROM records LEFT JOIN vectors USING (row)
            WHERE row BETWEEN ? AND ? ORDER BY row
        """
        with self._reporting():
            found = self._connection.execute(query, (first_row, last_row))
            return np.fromiter((size for (size,) in found), dtype=np.int64)

    def count_by_language(self) -> dict[str | None, int]:
        """How many records there are of each language, the most frequent first."""
        query = "SELECT language, count(*) FROM records GROUP BY language ORDER BY count(*) DESC, language"
        with self._reporting():
            return dict(self._connection.execute(query).fetchall())

    def damage(self, *, first_vector: int = 1) -> Damage:
        """Look at every page, record and vector for what is not as it was written.

        Rows before ``first_vector`` need not have a vector.
        """
        with self._reporting():
            try:
                pages = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check(20)")]
            except sqlite3.DatabaseError as error:
                pages = [str(error)]
            if pages != ["ok"]:
                return Damage(pages=pages)
            found = Damage()
            query = "SELECT row, records.crc, id, text, language, metadata, vector, vectors.crc FROM records LEFT JOIN "
            for row, crc, id, text, language, metadata, blob, vector_crc in self._connection.execute(
                query + "vectors USING (row)"
            ):
                if crc != _crc(id, text, language, metadata):
                    found.records.append((row, id))
                if blob is None:
                    if row >= first_vector:
                        found.vectors.append(row)
                elif not self.blobs.fits(blob) or vector_crc != zlib.crc32(blob):
                    found.vectors.append(row)
            if not found.records:
                found.fields = self._fields_differ()
            count = self._connection.execute("SELECT count(*) FROM records").fetchone()[0]
            found.counter = count != self.counter("documents")
        found.lexical = self.lexical is not None and self._lexical_differs(self.lexical, count)
        return found

    def _lexical_differs(self, lexical: LexicalTable, count: int) -> bool:
        try:
            with self.transaction():  # FTS5 checks itself by a statement that writes
                lexical.check()
                return len(lexical) != count
        except MlretError:
            return True

    def rebuild_lexical(self) -> None:
        """Make the lexical index again from the records; commits."""
        assert self.lexical is not None
        with self.transaction():
            self.lexical.clear()
            for batch in self.stream():
                self.lexical.add([row for row, _ in batch], [document.text for _, document in batch])

    def _fields_differ(self) -> bool:
        count = 0
        there = "SELECT 1 FROM fields WHERE key = ? AND kind = ? AND value = ? AND row = ?"
        for batch in self.stream():
            for row, document in batch:
                for key, value in fields_of(document.metadata):
                    count += 1
                    if self._connection.execute(there, (key, value.kind, value.value, row)).fetchone() is None:
                        return True
        return bool(self._connection.execute("SELECT count(*) FROM fields").fetchone()[0] != count)

    def rebuild_fields(self) -> None:
        """Make the filterable metadata and the count of documents again from the records; commits."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM fields")
            for batch in self.stream():
                connection.executemany(
                    "INSERT INTO fields VALUES (?, ?, ?, ?)",
                    [(k, v.kind, v.value, row) for row, document in batch for k, v in fields_of(document.metadata)],
                )
            connection.execute("UPDATE counters SET value = (SELECT count(*) FROM records) WHERE name = 'documents'")
            self._count("changes", 1)

    def read(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query of what is built on top finds, in the state that all reads see."""
        with self._reporting():
            return self._connection.execute(query, parameters).fetchall()

    def shrink(self, *, rewrite: bool = True) -> bool:
        """Empty the write-ahead log as far as readers let it, and give the space of what was removed back to the disk.

        Parameters
        ----------
        rewrite
            Write the whole database anew, so that only what is stored is in it.

        Returns
        -------
        bool
            Whether the log is empty now: no other process reads an older state out of it.
        """
        with self._reporting():
            self._connection.execute("COMMIT")
            try:
                if self.lexical is not None:
                    self.lexical.purge()
                if rewrite:
                    self._connection.execute("VACUUM")
                # Readers keep the log that their snapshots need: do not wait for them.
                self._connection.execute("PRAGMA busy_timeout = 0")
                busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
                self.snapshot()
        return not busy

    def traces(self, *, indexes: bool) -> bool:
        """Whether pages of the database hold what no row accounts for, after :meth:`shrink` emptied the log; as
        :func:`mlret.index.pages.holds_traces`, but where there is a lexical index, which is not looked at, always."""
        return self.lexical is not None or holds_traces(self.path, indexes=indexes)

    def close(self) -> None:
        """Close the database."""
        with self.lock:
            self._connection.close()
            if self._identity is not None:
                raw.disconnected(self._identity)
                self._identity = None

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        with self.lock:
            try:
                yield
            except sqlite3.OperationalError as error:  # locked, full, unwritable: not the content's fault
                raise MlretError(f"{self.path}: {error}; check the disk's space and rights, then try again") from error
            except sqlite3.ProgrammingError:
                raise
            except sqlite3.DatabaseError as error:
                raise MlretError(f"{self.path} is damaged ({error}); {_DAMAGED}") from error


@dataclass
class Damage:
    """What :meth:`Records.damage` found: messages of SQLite on pages; rows and ids of records; rows of vectors; whether
    the filterable metadata, or the count of documents, are not what the records say."""

    pages: list[str] = field(default_factory=list)
    records: list[tuple[int, str]] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)
    fields: bool = False
    counter: bool = False
    lexical: bool = False


class DamagedVectorError(MlretError):
    """A vector in the database is not what was written; ``row`` is whose."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def _crc(id: str, text: str, language: str | None, metadata: str) -> int:
    return zlib.crc32("\0".join((id, text, language or "", metadata)).encode("utf-8"))


def _parts(values: Sequence[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while part := list(islice(iterator, _VARIABLES)):
        yield part


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
