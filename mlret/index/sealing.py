"""Writing segments: vectors and row numbers block by block, then an accelerator over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.index.accelerators import build_accelerator
from mlret.index.kinds import Choice
from mlret.index.manifest import AcceleratorInfo, Manifest, SegmentInfo
from mlret.index.records import Records
from mlret.index.sealed import SealedFiles
from mlret.index.segments import Segment, open_segment

Blocks = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]
_BLOCK = 8192


class Sealer:
    """Writes segments of an index; nothing counts until the manifest lists it.

    Parameters
    ----------
    files
        The sealed files of the folder.
    records
        Its database.
    manifest
        Its manifest before the change.
    """

    def __init__(self, files: SealedFiles, records: Records, manifest: Manifest) -> None:
        self._files = files
        self._records = records
        self._manifest = manifest

    def from_records(self, first_row: int, last_row: int) -> SegmentInfo | None:
        """Seal what the database has of a range of rows; ``None`` if it has nothing."""
        count = self._records.count(first_row, last_row)
        return self._write(first_row, last_row, count, self._records.vectors(first_row, last_row))

    def rewrite(self, segment: Segment) -> SegmentInfo | None:
        """Seal a segment again, without its accelerator."""
        assert segment.info is not None
        return self._write(segment.info.first_row, segment.info.last_row, len(segment), _blocks(segment, None))

    def merge(self, segments: list[Segment], dead: NDArray[np.int64]) -> SegmentInfo | None:
        """Seal neighbouring segments as one, without the rows ``dead`` (rising)."""
        infos = [segment.info for segment in segments if segment.info is not None]
        gone = [segment.positions_of(dead) for segment in segments]
        count = sum(map(len, segments)) - sum(map(len, gone))
        blocks = (
            block for segment, positions in zip(segments, gone, strict=True) for block in _blocks(segment, positions)
        )
        return self._write(infos[0].first_row, infos[-1].last_row, count, blocks)

    def accelerate(
        self, info: SegmentInfo, choice: Choice, progress: Callable[[int], None] | None = None
    ) -> SegmentInfo:
        """Build an accelerator over a sealed segment; none if the choice is ``flat``."""
        if choice.kind == "flat":
            return info.model_copy(update={"accelerator": None})
        segment = open_segment(self._files, info, self._manifest.dims)
        built = build_accelerator(choice.kind, segment.matrix, self._manifest.settings, progress=progress)
        sealed = self._files.seal(f"{self._name(info.first_row, info.last_row)}.{choice.kind}.faiss", built.write)
        accelerator = AcceleratorInfo(**sealed.model_dump(), kind=choice.kind, why=choice.why)
        return info.model_copy(update={"accelerator": accelerator})

    def _name(self, first_row: int, last_row: int) -> str:
        return f"{first_row:012d}-{last_row:012d}.{self._manifest.generation + 1}"

    def _write(self, first_row: int, last_row: int, count: int, blocks: Blocks) -> SegmentInfo | None:
        if not count:
            return None
        name = self._name(first_row, last_row)
        numbers = np.empty(count, dtype=np.int64)
        vectors = self._files.seal(f"{name}.npy", partial(self._fill, blocks=blocks, numbers=numbers))
        rows = self._files.seal(f"{name}.rows.npy", partial(_save, array=numbers))
        return SegmentInfo(first_row=first_row, last_row=last_row, rows=count, vectors=vectors, numbers=rows)

    def _fill(self, path: Path, blocks: Blocks, numbers: NDArray[np.int64]) -> None:
        shape = (len(numbers), self._manifest.dims)
        start = 0
        with path.open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for rows, vectors in blocks:
                numbers[start : start + len(rows)] = rows
                handle.write(np.ascontiguousarray(vectors, dtype="<f4").data)
                start += len(rows)
        assert start == len(numbers)


def _blocks(
    segment: Segment, gone: NDArray[np.int64] | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    keep = np.ones(len(segment), dtype=np.bool_)
    if gone is not None:
        keep[gone] = False
    for start in range(0, len(segment), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield segment.numbers[part][keep[part]], segment.matrix[part][keep[part]]


def _save(path: Path, array: NDArray[np.int64]) -> None:
    with path.open("wb") as handle:  # np.save would add a suffix to the name
        np.save(handle, array, allow_pickle=False)
