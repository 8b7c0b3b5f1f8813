"""The vectors of the records in the database: how they become bytes, and the table that keeps them."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt
from mlret.index.storage.records import Records

OneDocument = NDArray[np.floating[Any]]
# The vectors of several documents as one object, whose elements are the vectors of each.
JoinedT = TypeVar("JoinedT", bound=Iterable[NDArray[np.floating[Any]]])


class DamagedVectorError(Corrupt):
    """A vector in the database is not what was written; ``row`` is the row number of its record."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class Blobs(ABC, Generic[JoinedT]):
    """Converts vectors to bytes and back.

    Parameters
    ----------
    dims
        The number of dimensions of a vector.
    """

    def __init__(self, dims: int) -> None:
        self.dims = dims

    @abstractmethod
    def fits(self, blob: bytes) -> bool:
        """Return whether bytes have the length of the vectors of one document."""

    @abstractmethod
    def write(self, vectors: Iterable[OneDocument]) -> list[bytes]:
        """Return the bytes of the vectors of each of several documents."""

    @abstractmethod
    def read(self, blobs: Sequence[bytes]) -> JoinedT:
        """Return the vectors of several documents from the bytes of each."""


class VectorTable(Generic[JoinedT]):
    """The table of vectors. The methods that write are called within :meth:`.Snapshots.transaction`.

    Parameters
    ----------
    records
        The database.
    blobs
        How vectors are written.
    """

    def __init__(self, records: Records, blobs: Blobs[JoinedT]) -> None:
        self._records = records
        self._blobs = blobs

    def add(self, rows: Iterable[int], vectors: Iterable[OneDocument]) -> None:
        """Store the vectors of rows, in place of those that they had.

        Parameters
        ----------
        rows
            ``n`` row numbers.
        vectors
            The vectors of each record.
        """
        blobs = self._blobs.write(vectors)
        self._records.connection.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
            [(int(row), blob, zlib.crc32(blob)) for row, blob in zip(rows, blobs, strict=True)],
        )

    def batches(
        self, first_row: int, last_row: int, *, batch_size: int = 8192
    ) -> Iterator[tuple[NDArray[np.int64], JoinedT]]:
        """Iterate in batches over the vectors of the rows of :meth:`.Records.rows`.

        Parameters
        ----------
        first_row, last_row
            The first and the last row.
        batch_size
            The largest number of rows in a batch.

        Yields
        ------
        (rows, vectors)
            ``(n,)`` int64 in ascending order, and the joined vectors of these rows.

        Raises
        ------
        DamagedVectorError
            If a vector is missing or damaged.
        """
        query = "SELECT row, vector, crc FROM vectors WHERE row BETWEEN ? AND ?"
        rows = self._records.rows(first_row, last_row)
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            cells = {row: (blob, crc) for row, blob, crc in self._records.read(query, (int(some[0]), int(some[-1])))}
            for row in some.tolist():
                if not self.holds(*cells.get(row, (None, None))):
                    raise DamagedVectorError(
                        f"{self._records.path}: the vector of row {row} is damaged; `mlret index verify --repair` "
                        "encodes the text again",
                        row,
                    )
            yield some, self._blobs.read([cells[row][0] for row in some.tolist()])

    def of(self, rows: Sequence[int]) -> dict[int, OneDocument]:
        """Return the vectors of row numbers; missing and damaged vectors are missing from the result.

        Parameters
        ----------
        rows
            The row numbers.
        """
        cells = self._records.read_among("SELECT row, vector, crc FROM vectors WHERE row IN ({})", rows)
        found = {row: blob for row, blob, crc in cells if self.holds(blob, crc)}
        return dict(zip(found, self._blobs.read(list(found.values())), strict=True)) if found else {}

    def intact(self) -> NDArray[np.int64]:
        """Return the rows whose vectors are what was written: ``(n,)`` int64 in ascending order. All are read."""
        found: list[int] = []
        last = 0
        query = "SELECT row, vector, crc FROM vectors WHERE row > ? ORDER BY row LIMIT 1024"
        while some := self._records.read(query, (last,)):
            found += [row for row, blob, crc in some if self.holds(blob, crc)]
            last = some[-1][0]
        return np.array(found, dtype=np.int64)

    def has_any(self, first_row: int, last_row: int) -> bool:
        """Return whether there is a vector of a row from ``first_row`` to ``last_row``."""
        query = "SELECT EXISTS (SELECT 1 FROM vectors WHERE row BETWEEN ? AND ?)"
        return bool(self._records.read(query, (first_row, last_row))[0][0])

    def holds(self, blob: object, crc: object) -> bool:
        """Return whether a cell holds the vectors that were written with this checksum.

        Parameters
        ----------
        blob
            The content of the cell.
        crc
            The checksum beside it.
        """
        return isinstance(blob, bytes) and self._blobs.fits(blob) and crc == zlib.crc32(blob)

    def count(self, first_row: int, last_row: int) -> int:
        """Return the number of rows from ``first_row`` to ``last_row`` that should have vectors.

        Parameters
        ----------
        first_row, last_row
            The first and the last row.
        """
        if self._records.passages.any:
            return len(self._records.rows(first_row, last_row))
        query = "SELECT count(*) FROM records WHERE row BETWEEN ? AND ?"
        return int(self._records.read(query, (first_row, last_row))[0][0])

    def sizes(self, first_row: int, last_row: int) -> NDArray[np.int64]:
        """Return the size in bytes of the vectors of each row of :meth:`batches`.

        Parameters
        ----------
        first_row, last_row
            The first and the last row.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64, by ascending row; 0 for a row without vectors.
        """
        rows = self._records.rows(first_row, last_row)
        found = self._records.read(
            "SELECT row, length(vector) FROM vectors WHERE row BETWEEN ? AND ?", (first_row, last_row)
        )
        lengths = dict(found)
        return np.array([lengths.get(row, 0) for row in rows.tolist()], dtype=np.int64)
