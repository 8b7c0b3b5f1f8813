"""Writes segments with one vector for each record: vectors and row numbers block by block, then an accelerator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import Choice
from mlret.index.storage.blocks import ROWS, sums_of
from mlret.index.storage.manifest import AcceleratorInfo, SegmentInfo
from mlret.index.storage.sealed import TornFileError, save_npy, write_npy
from mlret.index.vectors.begun_graph import BegunGraph
from mlret.index.vectors.faiss_index import Accelerator, Graph, build_accelerator
from mlret.index.vectors.graph_extension import graph_to_extend
from mlret.index.vectors.graph_storage import shares_vectors
from mlret.index.vectors.mapped import release_pages
from mlret.index.vectors.rounding import Matrix, Rounded, dtype_of, part_of, rounded, scales_of
from mlret.index.vectors.segments import Segment, checksums_of, map_array, open_segment, unread_accelerator
from mlret.index.vectors.space import Progress, Sealer, rows_alive

Blocks = Iterable[tuple[NDArray[np.int64], Matrix]]
_BATCH = 2048  # Vectors that are read from the database at once.
_BLOCK = 8192  # A multiple of ROWS, so that blocks of both kinds begin together.


class CosineSealer(Sealer[Segment, SegmentInfo, NDArray[np.float32]]):
    """Writes segments with one vector for each record."""

    def from_records(self, first_row: int, last_row: int) -> SegmentInfo | None:
        count = self.table.count(first_row, last_row)
        dtype = self.manifest.settings.dtype
        blocks = (
            (rows, rounded(some, dtype)) for rows, some in self.table.batches(first_row, last_row, batch_size=_BATCH)
        )
        return self._write(first_row, last_row, count, blocks)

    def merge(self, segments: Sequence[Segment], dead: NDArray[np.int64]) -> SegmentInfo | None:
        alive = rows_alive(segments, dead)
        count = sum(int(some.sum()) for some in alive)
        blocks = (block for segment, some in zip(segments, alive, strict=True) for block in self._blocks(segment, some))
        return self._write(segments[0].info.first_row, segments[-1].info.last_row, count, blocks)

    def accelerate(self, info: SegmentInfo, choice: Choice, progress: Progress | None = None) -> SegmentInfo:
        return self._build(info, choice, progress)

    def extend(self, info: SegmentInfo, base: Segment, choice: Choice, progress: Progress | None = None) -> SegmentInfo:
        return self._build(info, choice, progress, base)

    def _build(
        self, info: SegmentInfo, choice: Choice, progress: Progress | None, base: Segment | None = None
    ) -> SegmentInfo:
        if choice.kind == "flat" or choice.kind == "probe":
            return info.model_copy(update={"accelerator": None})
        segment, settings, graph = open_segment(self.files, info, self.manifest), self.manifest.settings, None
        # The vectors of a segment that is extended are in the manifest until those of the new one are.
        begun = BegunGraph(self.files, info if base is None else base.info, segment.matrix, settings)
        if choice.kind == "hnsw":
            graph = begun.read()
            if graph is None and base is not None:
                graph = graph_to_extend(self.files, base, segment.numbers, settings)
        built = build_accelerator(
            choice.kind, segment.matrix, settings, progress=progress, graph=graph, keep=begun.keep
        )
        info = self._accelerated(info, choice, built)
        begun.remove()
        return info

    def _accelerated(self, info: SegmentInfo, choice: Choice, built: Accelerator) -> SegmentInfo:
        sealed = self.files.seal(f"{self.name(info.first_row, info.last_row)}.{choice.kind}.faiss", built.write)
        accelerator = AcceleratorInfo.model_validate(sealed.model_dump() | choice._asdict())
        return info.model_copy(update={"accelerator": accelerator})

    def brought_up_to_date(self, info: SegmentInfo) -> SegmentInfo:
        """Return a segment of an earlier format so that its vectors may stand in its main file alone.

        The file is hashed, its blocks get checksums, and its graph loses the vectors that it has of its own.
        """
        if info.blocks is not None:
            return info
        info = self._with_checksums(info, thorough=True)
        stated, segment = info.accelerator, open_segment(self.files, info, self.manifest)
        if stated is None or not shares_vectors(segment.matrix):
            return info
        with suppress(TornFileError):  # It is reported, and replaced, as any other damaged accelerator.
            unread = unread_accelerator(self.files, segment, self.manifest.settings)
            graph = None if unread is None else unread.read()
            if isinstance(graph, Graph) and graph.has_vectors:
                graph.compare(segment.matrix)
                return self._accelerated(info, Choice(stated.kind, stated.why), graph)
        return info

    def _write(self, first_row: int, last_row: int, count: int, blocks: Blocks) -> SegmentInfo | None:
        if not count:
            return None
        name = self.name(first_row, last_row)
        numbers = np.empty(count, dtype=np.int64)
        scales = np.empty(count if self.manifest.settings.dtype == "int8" else 0, dtype=np.float32)
        fill = partial(self._fill, blocks=blocks, numbers=numbers, scales=scales)
        vectors = self.files.seal(f"{name}.npy", fill)
        rows = self.files.seal(f"{name}.rows.npy", partial(save_npy, array=numbers))
        info = SegmentInfo(first_row=first_row, last_row=last_row, rows=count, vectors=vectors, numbers=rows)
        if len(scales):
            sealed = self.files.seal(f"{name}.scales.npy", partial(save_npy, array=scales))
            info = info.model_copy(update={"scales": sealed})
        return self._with_checksums(info)

    def _with_checksums(self, info: SegmentInfo, *, thorough: bool = False) -> SegmentInfo:
        shape, dtype = (info.rows, self.manifest.dims), np.dtype(dtype_of(self.manifest.settings.dtype))
        codes = map_array(self.files, info.vectors, shape, dtype, thorough=thorough)
        sums = np.empty(-(-info.rows // ROWS), dtype=np.uint32)
        for start in range(0, info.rows, _BLOCK):
            found = sums_of(codes[start : start + _BLOCK])
            sums[start // ROWS :][: len(found)] = found
            release_pages(codes)
        # Named after the file of the vectors, which an earlier generation may have written.
        name = info.vectors.file.rpartition("/")[2].removesuffix(".npy")
        blocks = self.files.seal(f"{name}.blocks.npy", partial(save_npy, array=sums))
        return info.model_copy(update={"blocks": blocks})

    def _check(self, segment: Segment, part: slice, sums: NDArray[np.uint32]) -> None:
        """Raise if vectors are not what their checksums were made of: after a merge they stand nowhere else."""
        matrix = segment.matrix
        found = sums_of((matrix if isinstance(matrix, np.ndarray) else matrix.codes)[part])
        if not np.array_equal(found, sums[part.start // ROWS :][: len(found)]):
            raise TornFileError(
                f"{self.files.folder / segment.info.vectors.file} is torn (vectors are not what was written); `mlret "
                f"index verify --repair {self.files.folder}` makes them again"
            )

    def _fill(self, path: Path, blocks: Blocks, numbers: NDArray[np.int64], scales: NDArray[np.float32]) -> None:
        done, report = 0, self.counting("writing vectors", len(numbers))

        def codes() -> Iterator[NDArray[np.floating | np.int8]]:
            nonlocal done
            for rows, some in blocks:
                part = slice(done, done + len(rows))
                numbers[part] = rows
                done += len(rows)
                if report is not None:
                    report(done)
                if isinstance(some, np.ndarray):
                    yield some
                    continue
                if some.scales is not None:
                    scales[part] = some.scales
                yield some.codes

        write_npy(path, dtype_of(self.manifest.settings.dtype), (len(numbers), self.manifest.dims), codes())
        assert done == len(numbers)

    def _blocks(self, segment: Segment, alive: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], Matrix]]:
        """Yield the row numbers and the vectors of a segment that are alive, after checking what is read."""
        sums = None
        if not segment.torn:
            sums = checksums_of(self.files, segment.info)
            self.files.check(segment.info.numbers, thorough=True)
            if sums is None:
                self.files.check(segment.info.vectors, thorough=True)
        for start in range(0, len(segment), _BLOCK):
            part = slice(start, start + _BLOCK)
            if sums is not None:
                self._check(segment, part, sums)
            some = part_of(part_of(segment.matrix, part), alive[part])
            if isinstance(some, np.ndarray):  # As what was salvaged of a damaged segment is in an index of any dtype.
                some = rounded(some, self.manifest.settings.dtype)
            elif some.scales is not None:
                some = Rounded(some.codes, scales_of(some.codes))  # They have no checksum of their own.
            yield segment.numbers[part][alive[part]], some
            release_pages(segment.matrix)
