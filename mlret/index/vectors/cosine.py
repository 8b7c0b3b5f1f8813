"""Storage and search of one vector for each record, compared by cosine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.settings import FLAT_ROWS, QUICK, Choice, Dtype, choose_kind
from mlret.index.storage.manifest import Manifest, SegmentInfo
from mlret.index.storage.sealed import SealedFiles
from mlret.index.storage.vector_table import Blobs, VectorTable
from mlret.index.vectors.exact import Device, exact_search
from mlret.index.vectors.given_vectors import check_matrix, first_not_finite
from mlret.index.vectors.rounding import Rounded, as_floats, dtype_of, rounded
from mlret.index.vectors.scan import score, scores_of, search_views
from mlret.index.vectors.scan_cost import seconds_per_value
from mlret.index.vectors.segments import Segment, Tail, intact_rows, open_segment, unread_accelerator
from mlret.index.vectors.space import Found, Part, Space, Vectors, View
from mlret.index.vectors.writing import CosineSealer

# Accelerators are built at the end of a build if more than this share of the vectors has none.
_PLAIN = 0.25
# A graph is extended as soon as the vectors that are not in it are slow to compare and more than this share. Extending
# writes and codes all vectors again, at most 32 for each that is added, which takes less time than adding that one.
_LEAST = 1 / 32
# If the lengths of two vectors are this close to 1, their cosine rounds to no more than 1 at six decimals.
_UNIT = 2e-7


class OneVector(Blobs[NDArray[np.float32]]):
    """One vector for each document: its ``(dims,)`` codes, and its scale if it has one.

    The vectors of ``n`` documents are read as ``(n, dims)`` float32.

    Parameters
    ----------
    dims
        The number of dimensions of a vector.
    dtype
        The type in which vectors are stored.
    """

    def __init__(self, dims: int, dtype: Dtype) -> None:
        super().__init__(dims)
        self._dtype: Dtype = dtype
        codes = ("codes", dtype_of(dtype), (dims,))
        self._cell = np.dtype([codes, ("scale", "<f4")] if dtype == "int8" else [codes])

    def fits(self, blob: bytes) -> bool:
        return len(blob) == self._cell.itemsize

    def write(self, vectors: Iterable[NDArray[np.floating[Any]]]) -> list[bytes]:
        if self._dtype == "float32":
            return [one.astype("<f4").tobytes() for one in vectors]
        matrix = np.array(list(vectors), dtype=np.float32).reshape(-1, self.dims)
        cells, found = np.empty(len(matrix), dtype=self._cell), rounded(matrix, self._dtype)
        assert isinstance(found, Rounded)
        cells["codes"] = found.codes
        if found.scales is not None:
            cells["scale"] = found.scales
        return [cell.tobytes() for cell in cells]

    def read(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        cells = np.frombuffer(b"".join(blobs), dtype=self._cell)
        if self._dtype == "float32":
            return cells["codes"].astype(np.float32, copy=False)
        return Rounded(cells["codes"], cells["scale"] if self._dtype == "int8" else None)[:]


class CosineSpace(Space[Segment, SegmentInfo, NDArray[np.float32]]):
    """One unit vector for each record. Sizes are numbers of records.

    Parameters
    ----------
    files
        The sealed files of the index.
    manifest
        The manifest of the index.
    device
        Where sealed segments are searched exactly; see :func:`mlret.index.vectors.exact.exact_search`.
    """

    # The tail is read from the database when the index is first searched; this many rows take only a moment.
    segment_size = 16_384
    bulk_size = 16_384
    largest_segment = 2**20

    def __init__(self, files: SealedFiles, manifest: Manifest, device: Device = "cpu") -> None:
        super().__init__(files, manifest)
        self.blobs = OneVector(manifest.dims, manifest.settings.dtype)
        self._device = device

    def stands_alone(self, info: SegmentInfo) -> bool:
        """Return whether the database may lack the vectors of a segment.

        The blocks of such a segment have checksums, so that what is intact of a damaged file is known.
        """
        return self.manifest.settings.copies == 1 and info.blocks is not None

    def intact(self, info: SegmentInfo, numbers: NDArray[np.int64] | None) -> Segment | None:
        return intact_rows(self.files, info, self.manifest, numbers)

    def tail(self) -> Tail:
        return Tail(self.manifest.dims)

    def size_of(self, vectors: NDArray[np.float32]) -> int:
        return len(vectors)

    def size_in(self, table: VectorTable[NDArray[np.float32]], first_row: int, last_row: int) -> int:
        return table.count(first_row, last_row)

    def open(self, info: SegmentInfo, *, thorough: bool = False) -> Segment:
        segment = open_segment(self.files, info, self.manifest, thorough=thorough)
        segment.exact = exact_search(segment.matrix, self._device)
        return segment

    def open_accelerator(self, segment: Segment, *, thorough: bool = False) -> None:
        unread = unread_accelerator(self.files, segment, self.manifest.settings, thorough=thorough)
        segment.accelerator = unread.read() if thorough and unread is not None else unread

    def sealer(self, table: VectorTable[NDArray[np.float32]]) -> CosineSealer:
        return CosineSealer(self.files, table, self.manifest)

    def choose(self, size: int) -> Choice:
        settings = self.manifest.settings
        if settings.kind == "auto":
            return choose_kind(size, self.manifest.dims, value_seconds=seconds_per_value)
        return Choice(settings.kind, "set by the recipe")

    def kept(self, segment: Segment, size: int) -> Choice:
        choice = self.choose(size)
        # A graph that exists is not thrown away because this machine, or this minute, compares all a little faster.
        if self.manifest.settings.kind == "auto" and (segment.kind, choice.kind) == ("hnsw", "flat"):
            accelerator = segment.info.accelerator
            return Choice(accelerator.kind, accelerator.why) if size >= FLAT_ROWS else choice
        return choice

    def outdated(self, segment: Segment) -> bool:
        """Return whether the file of the accelerator cannot be read."""
        return segment.info.accelerator is not None and segment.accelerator is None

    def extends(self, segment: Segment) -> bool:
        return segment.kind == "hnsw" and self.manifest.settings.kind in ("auto", "hnsw")

    def is_due(self, parts: Sequence[Part]) -> bool:
        return any(self._is_part_due(part) for part in parts)

    def _is_part_due(self, part: Part) -> bool:
        if part.extends:
            least = max(self.segment_size, _LEAST * part.size)
            return part.plain > _PLAIN * part.size or (part.plain > least and self._is_slow(part.plain))
        return part.plain > _PLAIN * part.size and self.choose(part.plain).kind != "flat"

    def _is_slow(self, rows: int) -> bool:
        """Return whether comparing a query with so many vectors takes longer on this machine than it should."""
        return rows * self.manifest.dims * seconds_per_value() > QUICK

    def calibrated(self, segments: Sequence[Segment]) -> dict[str, Any]:
        """Return no changes, because there is nothing to calibrate."""
        return {}

    def search(
        self, views: Sequence[View[Segment]], queries: Sequence[NDArray[np.float32]], k: int, *, exact: bool
    ) -> Found:
        return search_views(views, np.stack(queries), k, exact=exact, refine=self.manifest.settings.refine)

    def score(self, segment: Segment, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = score(segment, query[None], positions[None])[0]
        return found

    def scores(
        self, parts: Sequence[tuple[Segment, NDArray[np.int64]]], query: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        return scores_of(parts, query[None])

    def check_vectors(self, vectors: Any) -> NDArray[np.floating[Any]]:
        """Check that vectors are ``(n, dims)`` floats.

        Vectors with more dimensions are accepted only if the index keeps some of them.
        """
        wider = self.manifest.settings.dims is not None
        return check_matrix(vectors, self.manifest.dims, "the vectors", wider=wider)

    def first_unusable(self, vectors: Vectors) -> tuple[int, str] | None:
        """Return the position of the first vector that has a NaN or an infinity, with that reason, or ``None``."""
        place = first_not_finite(np.asarray(vectors))
        return None if place is None else (place, "has a NaN or an infinity")

    def check_queries(self, vectors: Any) -> NDArray[np.float32]:
        """Check ``(n, dims)`` query vectors of any length, and return them L2-normalised."""
        found = check_matrix(vectors, self.manifest.dims, "the query vectors")
        if (place := first_not_finite(found)) is not None:
            raise InputError(f"the query vector {place} (counted from 0) has a NaN or an infinity; check the encoder")
        return at_unit_length(found)

    def prepared(self, vectors: Vectors) -> NDArray[np.float32]:
        return as_floats(rounded(self.queries(vectors), self.manifest.settings.dtype))

    def queries(self, vectors: Vectors) -> NDArray[np.float32]:
        return cut(np.asarray(vectors), self.manifest.dims)

    def joined(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return vectors as one ``(n, dims)`` float32 array."""
        return np.array(vectors, dtype=np.float32).reshape(-1, self.manifest.dims)

    def of_passages(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the mean of the vectors of passages, at unit length."""
        mean: NDArray[np.float32] = at_unit_length(np.mean(np.stack(vectors), axis=0, keepdims=True))[0]
        return mean

    def taken_out(self, segment: Segment, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return segment.matrix[positions]


def cut(vectors: NDArray[np.floating[Any]], dims: int) -> NDArray[np.float32]:
    """Return the first dimensions of vectors (Matryoshka; Kusupati et al. 2022, arXiv 2205.13147), at unit length.

    See :func:`at_unit_length`.

    Parameters
    ----------
    vectors
        ``(n, d)`` finite floats, with ``d >= dims``.
    dims
        The number of dimensions to keep.

    Returns
    -------
    numpy.ndarray
        ``(n, dims)`` float32.
    """
    return at_unit_length(vectors[:, :dims])


def at_unit_length(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Normalise vectors to unit length, whatever length they had.

    Lengths are computed in float64 from vectors scaled by their largest value, so that 1e300 does not overflow and
    1e-300 does not vanish. A float32 vector that has unit length already is returned bit for bit. A zero vector stays
    zero, so its cosine with everything is 0.

    Parameters
    ----------
    vectors
        ``(n, dims)`` finite floats of any width.

    Returns
    -------
    numpy.ndarray
        ``(n, dims)`` float32, a new array.
    """
    if vectors.dtype != np.float32:
        return _scaled(vectors)
    found = np.array(vectors, dtype=np.float32, order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", found, found, dtype=np.float64)
        others = ~(np.abs(squares - 1) <= 2 * _UNIT)
    if others.any():
        found[others] = _scaled(found[others])
    return found


def _scaled(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    wide = np.array(vectors, dtype=np.result_type(vectors.dtype, np.float64), order="C")
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0)
    wide /= np.where(largest > 0, largest, 1)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    wide /= np.where(lengths > 0, lengths, 1)
    return wide.astype(np.float32)
