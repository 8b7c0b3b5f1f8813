"""Writes segments with one vector for each record: vectors and row numbers block by block, then an accelerator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import Choice
from mlret.index.storage.manifest import AcceleratorInfo, SegmentInfo
from mlret.index.storage.sealed import save_npy, write_npy
from mlret.index.vectors.faiss_index import build_accelerator
from mlret.index.vectors.segments import Segment, open_segment
from mlret.index.vectors.space import Progress, Sealer, rows_alive

Blocks = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]
_BLOCK = 8192


class CosineSealer(Sealer[Segment, SegmentInfo, NDArray[np.float32]]):
    """Writes segments with one vector for each record."""

    def from_records(self, first_row: int, last_row: int) -> SegmentInfo | None:
        count = self.table.count(first_row, last_row)
        return self._write(first_row, last_row, count, self.table.batches(first_row, last_row))

    def merge(self, segments: Sequence[Segment], dead: NDArray[np.int64]) -> SegmentInfo | None:
        alive = rows_alive(segments, dead)
        count = sum(int(some.sum()) for some in alive)
        blocks = (block for segment, some in zip(segments, alive, strict=True) for block in _blocks(segment, some))
        return self._write(segments[0].info.first_row, segments[-1].info.last_row, count, blocks)

    def accelerate(self, info: SegmentInfo, choice: Choice, progress: Progress | None = None) -> SegmentInfo:
        if choice.kind == "flat" or choice.kind == "probe":
            return info.model_copy(update={"accelerator": None})
        segment = open_segment(self.files, info, self.manifest.dims)
        built = build_accelerator(choice.kind, segment.matrix, self.manifest.settings, progress=progress)
        sealed = self.files.seal(f"{self.name(info.first_row, info.last_row)}.{choice.kind}.faiss", built.write)
        accelerator = AcceleratorInfo(**sealed.model_dump(), kind=choice.kind, why=choice.why)
        return info.model_copy(update={"accelerator": accelerator})

    def _write(self, first_row: int, last_row: int, count: int, blocks: Blocks) -> SegmentInfo | None:
        if not count:
            return None
        name = self.name(first_row, last_row)
        numbers = np.empty(count, dtype=np.int64)
        vectors = self.files.seal(f"{name}.npy", partial(self._fill, blocks=blocks, numbers=numbers))
        rows = self.files.seal(f"{name}.rows.npy", partial(save_npy, array=numbers))
        return SegmentInfo(first_row=first_row, last_row=last_row, rows=count, vectors=vectors, numbers=rows)

    def _fill(self, path: Path, blocks: Blocks, numbers: NDArray[np.int64]) -> None:
        done = 0

        def vectors() -> Iterator[NDArray[np.float32]]:
            nonlocal done
            for rows, some in blocks:
                numbers[done : done + len(rows)] = rows
                done += len(rows)
                yield some

        write_npy(path, "<f4", (len(numbers), self.manifest.dims), vectors())
        assert done == len(numbers)


def _blocks(segment: Segment, alive: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for start in range(0, len(segment), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield segment.numbers[part][alive[part]], segment.matrix[part][alive[part]]
