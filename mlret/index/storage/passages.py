"""The passages of documents that are longer than their encoder reads.

A document of ``n`` passages takes ``n`` consecutive row numbers, each with a vector. Its record is in the first of them
only; the table ``passages`` states where in its text each passage is. All other documents have one row and none here.
An index gets the table with its first such document.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt
from mlret.index.sqlite.sql import marks, parts
from mlret.index.storage.snapshots import Snapshots

Rows = NDArray[np.int64]

SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    row INTEGER PRIMARY KEY,
    spans BLOB NOT NULL,
    crc INTEGER NOT NULL
);
"""
# The counter of the rows that passages take beyond one for each document.
COUNTER = "passages"
_DTYPE = np.dtype("<i8")
# The bytes of one passage in the table.
BYTES = 2 * _DTYPE.itemsize
# SQL for the number of passages of a row of the table.
COUNT = f"length(spans) / {BYTES}"


class Span(NamedTuple):
    """A part of a text, from ``start`` to before ``end`` in characters."""

    start: int
    end: int


# The passages of a document; none if it has one vector.
Spans = Sequence[Span]


class Passages:
    """The table of passages.

    The methods that write are called within :meth:`.Snapshots.transaction`. The layout of the rows is kept in memory:
    row numbers are never reused, so what was read once stays right, and only newer rows are read later.

    Parameters
    ----------
    records
        The database.
    """

    def __init__(self, records: Snapshots) -> None:
        self._records = records
        self._first = np.empty(0, dtype=np.int64)
        self._counts = np.empty(0, dtype=np.int64)
        self._changes = -1

    @property
    def any(self) -> bool:
        """Whether a document has several passages."""
        return self._records.counter(COUNTER) > 0

    @property
    def exist(self) -> bool:
        """Whether the database has the table, or must have it."""
        return self.any or bool(self._records.read("SELECT 1 FROM sqlite_master WHERE name = 'passages'"))

    def expanded(self, rows: Rows) -> Rows:
        """Return the rows of all passages of documents.

        Parameters
        ----------
        rows
            ``(n,)`` int64: the rows of records, in ascending order.

        Returns
        -------
        numpy.ndarray
            ``(m,)`` int64, in ascending order; ``rows`` itself if no document has several passages.
        """
        return expand(rows, self.counts(rows)) if self.any and len(rows) else rows

    def counts(self, rows: Rows) -> Rows:
        """Return how many rows each document takes.

        Parameters
        ----------
        rows
            ``(n,)`` int64: the rows of records.
        """
        first, counts = self._layout()
        if not len(first):
            return np.ones(len(rows), dtype=np.int64)
        places = np.minimum(np.searchsorted(first, rows), len(first) - 1)
        return np.where(first[places] == rows, counts[places], 1)

    def owners(self, rows: Rows) -> Rows:
        """Return for each row that has a vector the row of its record.

        Parameters
        ----------
        rows
            ``(n,)`` int64, in any order.
        """
        first, counts = self._layout()
        if not len(first):
            return rows
        places = np.maximum(np.searchsorted(first, rows, side="right") - 1, 0)
        starts = first[places]
        return np.where((rows >= starts) & (rows < starts + counts[places]), starts, rows)

    def of(self, rows: Sequence[int]) -> dict[int, list[Span]]:
        """Return the passages of documents; documents of one vector are missing from the result.

        Parameters
        ----------
        rows
            The rows of records.

        Raises
        ------
        Corrupt
            If the passages of a document are damaged.
        """
        if not self.any:
            return {}
        found = {}
        for row, blob, crc in self._records.read_among("SELECT row, spans, crc FROM passages WHERE row IN ({})", rows):
            if not is_whole(row, blob, crc):
                raise Corrupt(
                    f"{self._records.path} is damaged (the passages of row {row} are not what was written); `mlret "
                    f"index verify --repair {self._records.path.parent}` cuts the document again"
                )
            found[row] = spans_from(blob)
        return found

    def add(self, rows: Sequence[int], spans: Sequence[Spans]) -> int:
        """Store the passages of documents, and return how many rows they take beyond one for each document.

        Parameters
        ----------
        rows
            ``n`` rows of records.
        spans
            The passages of each document, empty for one vector.
        """
        some = [(row, np.array(one, dtype=_DTYPE).tobytes()) for row, one in zip(rows, spans, strict=True) if one]
        connection = self._records.connection
        connection.execute(SCHEMA)
        connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?)", [(row, blob, _checksum(row, blob)) for row, blob in some]
        )
        return sum(len(one) - 1 for one in spans if one)

    def remove(self, rows: Sequence[int]) -> None:
        """Remove the passages of documents.

        Parameters
        ----------
        rows
            The rows of their records.
        """
        for part in parts(rows):
            self._records.connection.execute(f"DELETE FROM passages WHERE row IN ({marks(part)})", part)

    def forget(self, rows: Sequence[int]) -> None:
        """Treat documents whose passages are damaged as documents of one vector.

        Parameters
        ----------
        rows
            The rows of their records.
        """
        first, counts = self._layout()
        kept = ~np.isin(first, rows)
        self._first, self._counts = first[kept], counts[kept]

    def _layout(self) -> tuple[Rows, Rows]:
        """Return the first row of each document with several passages, in ascending order, and their numbers.

        Documents that were deleted since may be among them.
        """
        with self._records.lock:
            if self._changes != self._records.changes and self.any:
                last = int(self._first[-1]) if len(self._first) else 0
                query = f"SELECT row, {COUNT} FROM passages WHERE row > ? ORDER BY row"
                found = np.array(self._records.read(query, (last,)), dtype=np.int64).reshape(-1, 2)
                self._first = np.concatenate([self._first, found[:, 0]])
                self._counts = np.concatenate([self._counts, found[:, 1]])
            self._changes = self._records.changes
            return self._first, self._counts


def expand(rows: Rows, counts: Rows) -> Rows:
    """Return ``counts[i]`` consecutive numbers from each ``rows[i]`` on."""
    before = np.cumsum(counts) - counts
    return np.repeat(rows - before, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def is_whole(row: object, blob: object, crc: object) -> bool:
    """Return whether the cells of a row of the table are what was written."""
    if type(row) is not int or not isinstance(blob, bytes) or not blob or len(blob) % BYTES:
        return False
    return crc == _checksum(row, blob)


def spans_from(blob: bytes) -> list[Span]:
    """Return the passages that a cell holds."""
    pairs: Iterable[list[int]] = np.frombuffer(blob, dtype=_DTYPE).reshape(-1, 2).tolist()
    return [Span(*pair) for pair in pairs]


def _checksum(row: int, blob: bytes) -> int:
    return zlib.crc32(blob, row & 0xFFFFFFFF)
