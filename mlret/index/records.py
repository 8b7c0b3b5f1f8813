"""The records of an index in SQLite: the truth, from which all else can be made again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import MlretError
from mlret.index.filters import Condition, scalar_values

RECORDS = "records.db"

# AUTOINCREMENT: a row number is never given twice, because sealed segments name records by it.
# Vectors have a table of their own, so that reading texts and filters does not page through them.
_SCHEMA = """
CREATE TABLE records (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    language TEXT,
    metadata TEXT NOT NULL
);
CREATE INDEX records_language ON records (language);
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY REFERENCES records (row),
    vector BLOB NOT NULL
);
CREATE TABLE fields (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    row INTEGER NOT NULL REFERENCES records (row),
    PRIMARY KEY (key, value, row)
) WITHOUT ROWID;
"""
_VARIABLES = 500  # in one statement; SQLite's own limit was 999 for long
_DTYPE = np.dtype("<f4")


class Records:
    """The table of records, their vectors and their filterable metadata.

    Every read is bounded by a row number, so that a reader keeps the snapshot that it opened: records are
    only ever appended.

    Parameters
    ----------
    path
        The database; it must exist.
    dims
        The length of a vector.

    Raises
    ------
    MlretError
        If the file is no SQLite database or is damaged.
    """

    def __init__(self, path: Path, dims: int) -> None:
        self.path = path
        self.dims = dims
        if not path.is_file():
            raise MlretError(f"{path} is missing; restore the folder from a copy")
        with self._reporting():
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute("SELECT row, id, text, language, metadata FROM records LIMIT 1").fetchone()

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty database."""
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        finally:
            connection.close()

    def append(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Store documents and their vectors, all or none; on return they survive a power cut.

        Parameters
        ----------
        documents
            ``n`` documents whose ids are not stored yet.
        vectors
            ``(n, dims)`` float32.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64: the row number of each, rising.
        """
        with self._reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                rows = [self._insert(document, vector) for document, vector in zip(documents, vectors, strict=True)]
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return np.array(rows, dtype=np.int64)

    def _insert(self, document: Document, vector: NDArray[np.float32]) -> int:
        metadata = json.dumps(document.metadata, ensure_ascii=False, allow_nan=False)
        cursor = self._connection.execute(
            "INSERT INTO records (id, text, language, metadata) VALUES (?, ?, ?, ?)",
            (document.id, document.text, document.language, metadata),
        )
        row = cursor.lastrowid
        assert row is not None
        self._connection.execute("INSERT INTO vectors VALUES (?, ?)", (row, vector.astype(_DTYPE).tobytes()))
        self._connection.executemany(
            "INSERT INTO fields VALUES (?, ?, ?)",
            [(key, value, row) for key, value in scalar_values(document.metadata)],
        )
        return row

    def last_row(self) -> int:
        """The highest row number; 0 if there is no record."""
        with self._reporting():
            return int(self._connection.execute("SELECT coalesce(max(row), 0) FROM records").fetchone()[0])

    def existing(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that are stored."""
        found: set[str] = set()
        with self._reporting():
            for start in range(0, len(ids), _VARIABLES):
                part = ids[start : start + _VARIABLES]
                query = f"SELECT id FROM records WHERE id IN ({_marks(part)})"
                found.update(row[0] for row in self._connection.execute(query, part))
        return found

    def get(self, id: str, last_row: int) -> Document | None:
        """The document of an id, if its row is not beyond ``last_row``."""
        query = "SELECT id, text, language, metadata FROM records WHERE id = ? AND row <= ?"
        with self._reporting():
            found = self._connection.execute(query, (id, last_row)).fetchone()
        return None if found is None else _document(*found)

    def fetch(self, rows: Sequence[int]) -> dict[int, Document]:
        """The documents of row numbers."""
        documents: dict[int, Document] = {}
        with self._reporting():
            for start in range(0, len(rows), _VARIABLES):
                part = rows[start : start + _VARIABLES]
                query = f"SELECT row, id, text, language, metadata FROM records WHERE row IN ({_marks(part)})"
                for row, *fields in self._connection.execute(query, part):
                    documents[row] = _document(*fields)
        return documents

    def ids(self, rows: Sequence[int]) -> dict[int, str]:
        """The ids of row numbers."""
        found: dict[int, str] = {}
        with self._reporting():
            for start in range(0, len(rows), _VARIABLES):
                part = rows[start : start + _VARIABLES]
                query = f"SELECT row, id FROM records WHERE row IN ({_marks(part)})"
                found.update(self._connection.execute(query, part))
        return found

    def matching(self, conditions: Sequence[Condition], last_row: int) -> NDArray[np.int64]:
        """The rows, up to ``last_row``, that meet all conditions: ``(m,)`` int64, rising."""
        clauses, values = ["row <= ?"], [last_row]
        parameters: list[str | int] = list(values)
        for condition in conditions:
            some = [value for value in condition.values if value is not None]
            if condition.key is None:
                unknown = " OR language IS NULL" if None in condition.values else ""
                clauses.append(f"(language IN ({_marks(some)}){unknown})")
                parameters += some
            else:
                clauses.append(f"row IN (SELECT row FROM fields WHERE key = ? AND value IN ({_marks(some)}))")
                parameters += [condition.key, *some]
        query = f"SELECT row FROM records WHERE {' AND '.join(clauses)} ORDER BY row"
        with self._reporting():
            rows = (row for (row,) in self._connection.execute(query, parameters))
            return np.fromiter(rows, dtype=np.int64)

    def vectors(
        self, first_row: int, last_row: int, *, batch_size: int = 8192
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Stream the vectors of the rows ``first_row`` … ``last_row``.

        Yields
        ------
        (rows, vectors)
            ``(n,)`` int64, rising, and ``(n, dims)`` float32.

        Raises
        ------
        MlretError
            If a vector is missing or has another length.
        """
        query = """
            SELECT row, vector FROM records LEFT JOIN vectors USING (row)
            WHERE row BETWEEN ? AND ? ORDER BY row
        """
        with self._reporting():
            cursor = self._connection.execute(query, (first_row, last_row))
        while True:
            with self._reporting():
                batch = cursor.fetchmany(batch_size)
            if not batch:
                return
            for row, blob in batch:
                if blob is None or len(blob) != self.dims * _DTYPE.itemsize:
                    raise MlretError(f"{self.path}: the vector of row {row} is damaged; restore the folder from a copy")
            matrix = np.frombuffer(b"".join(blob for _, blob in batch), dtype=_DTYPE).reshape(-1, self.dims)
            yield np.array([row for row, _ in batch], dtype=np.int64), matrix.astype(np.float32, copy=False)

    def count(self, last_row: int) -> int:
        """How many records there are up to ``last_row``."""
        with self._reporting():
            query = "SELECT count(*) FROM records WHERE row <= ?"
            return int(self._connection.execute(query, (last_row,)).fetchone()[0])

    def count_by_language(self, last_row: int) -> dict[str | None, int]:
        """How many records there are of each language, the most frequent first."""
        query = """
            SELECT language, count(*) FROM records WHERE row <= ?
            GROUP BY language ORDER BY count(*) DESC, language
        """
        with self._reporting():
            return dict(self._connection.execute(query, (last_row,)).fetchall())

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, full, unwritable: not the content's fault
            raise MlretError(f"{self.path}: {error}; check the disk's space and rights, then try again") from error
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise MlretError(f"{self.path} is damaged ({error}); restore the folder from a copy") from error


def _document(id: str, text: str, language: str | None, metadata: str) -> Document:
    return Document(id, text, language, json.loads(metadata))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
