"""One vector a record, compared by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.blobs import OneVector
from mlret.index.exact import Device, exact_search
from mlret.index.kinds import Choice, choose_kind
from mlret.index.manifest import Manifest, SegmentInfo
from mlret.index.records import Records
from mlret.index.sealed import SealedFiles
from mlret.index.sealing import CosineSealer
from mlret.index.search import score, search_views
from mlret.index.segments import Segment, Tail, open_accelerator, open_segment
from mlret.index.space import Found, Space, Vectors, View

# Accelerators are built at the end of a build when this part of the vectors has none.
_PLAIN = 0.25


class CosineSpace(Space):
    """Unit vectors, one a record. Sizes are numbers of records.

    Parameters
    ----------
    files, manifest
        As of any.
    device
        Where sealed segments are searched exactly; see :func:`mlret.index.exact.exact_search`.
    """

    # The tail is read back from the database when the index is first searched: so many rows take a moment only.
    segment_size = 16_384
    bulk_size = 16_384
    largest_segment = 2**20
    keeps_vectors = True

    def __init__(self, files: SealedFiles, manifest: Manifest, device: Device = "cpu") -> None:
        super().__init__(files, manifest)
        self.blobs = OneVector(manifest.dims)
        self._device = device

    def tail(self) -> Tail:
        """As of any."""
        return Tail(self.manifest.dims)

    def size_of(self, vectors: NDArray[np.float32]) -> int:
        """As of any."""
        return len(vectors)

    def size_in(self, records: Records, first_row: int, last_row: int) -> int:
        """As of any."""
        return records.count(first_row, last_row)

    def open(self, info: SegmentInfo, *, thorough: bool = False) -> Segment:
        """As of any."""
        segment = open_segment(self.files, info, self.manifest.dims, thorough=thorough)
        segment.exact = exact_search(segment.matrix, self._device)
        return segment

    def open_accelerator(self, segment: Segment, *, thorough: bool = False) -> None:
        """As of any."""
        segment.accelerator = open_accelerator(self.files, segment, self.manifest.settings, thorough=thorough)

    def sealer(self, records: Records) -> CosineSealer:
        """As of any."""
        return CosineSealer(self.files, records, self.manifest)

    def choose(self, size: int) -> Choice:
        """As of any."""
        settings = self.manifest.settings
        if settings.kind == "auto":
            return choose_kind(size, self.manifest.dims)
        return Choice(settings.kind, "the recipe says so")

    def is_due(self, plain: int, size: int) -> bool:
        """As of any."""
        return self.choose(plain).kind != "flat" and plain > _PLAIN * size

    def calibrated(self, segments: Sequence[Segment]) -> dict[str, Any]:
        """Nothing."""
        return {}

    def search(self, views: Sequence[View], queries: Sequence[NDArray[np.float32]], k: int, *, exact: bool) -> Found:
        """As of any."""
        return search_views(views, np.stack(queries), k, exact=exact, refine=self.manifest.settings.refine)

    def score(self, segment: Segment, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """As of any."""
        found: NDArray[np.float64] = score(segment, query[None], positions[None])[0]
        return found

    def check_vectors(self, vectors: Any) -> NDArray[np.float32]:
        """``(n, dims)`` floats, perhaps with more dimensions than are kept."""
        vectors = np.asarray(vectors)
        dims = self.manifest.dims
        if vectors.ndim != 2 or vectors.shape[1] < dims or not np.issubdtype(vectors.dtype, np.floating):
            raise InputError(
                f"vectors of shape {vectors.shape} and type {vectors.dtype}; the index takes (n, {dims}) floats"
            )
        found: NDArray[np.float32] = vectors
        return found

    def check_queries(self, vectors: Any) -> NDArray[np.float32]:
        """``(n, dims)``."""
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.dims:
            raise InputError(f"query vectors of shape {vectors.shape}; the index takes (n, {self.manifest.dims})")
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def prepared(self, vectors: Vectors) -> NDArray[np.float32]:
        """As of any."""
        return self.queries(vectors)

    def queries(self, vectors: Vectors) -> NDArray[np.float32]:
        """As of any."""
        return cut(np.array(vectors, dtype=np.float32), self.manifest.dims)

    def joined(self, vectors: Vectors) -> NDArray[np.float32]:
        """``(n, dims)``."""
        return np.array(vectors, dtype=np.float32).reshape(-1, self.manifest.dims)

    def taken_out(self, segment: Segment, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of any."""
        return segment.matrix[positions]


def cut(vectors: NDArray[np.float32], dims: int) -> NDArray[np.float32]:
    """The first ``dims`` of each vector (Matryoshka; Kusupati et al. 2022, arXiv 2205.13147), at unit length.

    A zero vector stays zero: its cosine with everything is 0.
    """
    part = np.asarray(vectors[:, :dims], dtype=np.float32)
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    # Those that the encoder normalised stay bit for bit as they are.
    lengths[np.abs(lengths - 1) < 1e-6] = 1
    return np.asarray(part / np.maximum(lengths, 1e-30), dtype=np.float32)
