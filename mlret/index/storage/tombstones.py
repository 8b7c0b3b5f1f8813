"""The tombstones of an index: the deleted rows that a sealed segment may still hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt
from mlret.index.sqlite.checksums import sum_of
from mlret.index.sqlite.sql import integers_of
from mlret.index.storage.migration import OLDEST
from mlret.index.storage.snapshots import Snapshots


class Tombstones:
    """The table of tombstones, with its checksum among the counters of the database.

    The methods that write are called within :meth:`.Snapshots.transaction`.

    Parameters
    ----------
    records
        The database.
    """

    def __init__(self, records: Snapshots) -> None:
        self._records = records

    def read(self, *, checked: bool = True) -> NDArray[np.int64]:
        """Return the numbers of the deleted rows, in ascending order.

        Parameters
        ----------
        checked
            Raise if the rows do not match their checksum.

        Raises
        ------
        MlretError
            If they do not match their checksum.
        """
        rows = self._read()
        if checked and self._has_checksum and sum_of(rows) != self._records.counter("tombstones"):
            path = self._records.path
            raise Corrupt(
                f"{path} is damaged (its list of removed rows is not what was written); `mlret index verify --repair "
                f"{path.parent}` makes it again"
            )
        return rows

    def add(self, rows: Sequence[int]) -> int:
        """Add deleted rows that have no tombstone yet.

        Returns what the caller adds to the counter ``tombstones``.
        """
        self._insert(rows)
        return sum_of(rows)

    def forget(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Remove the tombstones of ranges of rows.

        Parameters
        ----------
        ranges
            The first and the last row of each range, which no segment holds any more.
        """
        self._records.connection.executemany("DELETE FROM tombstones WHERE row BETWEEN ? AND ?", ranges)
        if self._has_checksum:
            self._records.counters.set({"tombstones": sum_of(self._read())})

    def replace(self, rows: NDArray[np.int64]) -> None:
        """Replace all tombstones; the caller then rewrites the counters.

        Parameters
        ----------
        rows
            ``(n,)`` int64: the numbers of the deleted rows.
        """
        self._records.connection.execute("DELETE FROM tombstones")
        self._insert(rows.tolist())

    @property
    def _has_checksum(self) -> bool:
        return self._records.version() > OLDEST

    def _read(self) -> NDArray[np.int64]:
        [(joined,)] = self._records.read("SELECT group_concat(row) FROM tombstones")
        return np.sort(integers_of(joined))

    def _insert(self, rows: Sequence[int]) -> None:
        self._records.connection.executemany("INSERT INTO tombstones VALUES (?)", [(row,) for row in rows])
