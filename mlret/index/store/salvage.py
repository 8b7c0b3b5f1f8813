"""What is left of a segment whose files are damaged: its intact blocks, and what the database has of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.storage.manifest import AnySegmentInfo
from mlret.index.storage.records import Records
from mlret.index.storage.vector_table import VectorTable
from mlret.index.vectors.segments import Rows
from mlret.index.vectors.space import AnySpace, Joined

_BATCH = 4096


class Salvage:
    """The vectors of a damaged segment that can be had without encoding anything.

    Parameters
    ----------
    space
        The space of the index.
    records
        The database.
    table
        The vectors in the database.
    info
        What the manifest states about the segment.

    Attributes
    ----------
    wanted
        ``(n,)`` int64: the rows of the segment that are stored still, in ascending order.
    """

    def __init__(self, space: AnySpace, records: Records, table: VectorTable[Joined], info: AnySegmentInfo) -> None:
        self._space = space
        self._table = table
        self._info = info
        self.wanted = records.rows(info.first_row, info.last_row)
        # The rows that were removed since the segment was written are those that are noted in its range.
        removed = records.tombstones.read()
        removed = removed[(removed >= info.first_row) & (removed <= info.last_row)]
        self._kept = space.intact(info, np.union1d(self.wanted, removed))

    def lost(self) -> list[int]:
        """Return the rows of the records whose vectors are in neither place, in ascending order."""
        lost: list[int] = []
        for rows in self._batches():
            found = self._found(rows)
            lost += [row for row in rows if row not in found]
        return lost

    def segment(self) -> Rows:
        """Return all vectors as a segment in memory. Call it if none is lost."""
        tail = self._space.tail()
        for rows in self._batches():
            found = self._found(rows)
            tail.add(np.array(rows, dtype=np.int64), self._space.joined([found[row] for row in rows]))
        segment = tail.segment()
        segment.info = self._info
        segment.torn = True
        return segment

    def _batches(self) -> Iterator[Sequence[int]]:
        for start in range(0, len(self.wanted), _BATCH):
            yield self.wanted[start : start + _BATCH].tolist()

    def _found(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        found: dict[int, NDArray[Any]] = {}
        if self._kept is not None:
            positions = self._kept.positions_of(np.array(rows, dtype=np.int64))
            numbers = self._kept.numbers[positions].tolist()
            found = dict(zip(numbers, self._space.taken_out(self._kept, positions), strict=True))
        return self._table.of([row for row in rows if row not in found]) | found
