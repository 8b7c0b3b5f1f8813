"""Vectors in FAISS: sealed segments on disk, an open tail in memory, one exact search over both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.durable import sha256_of, write_atomically
from mlret.errors import MlretError, require
from mlret.index.manifest import SegmentInfo

VECTORS = "vectors"
# A float32 cosine is good for about six decimals: records closer than that are tied.
DECIMALS = 6
# FAISS sums in another order than we do; what it ranks just below the cut may belong above it.
_MARGIN = 1e-5
_SLACK = 16


class TornSegmentError(MlretError):
    """A vector file is missing or is not the one that the manifest describes."""


def faiss_module() -> Any:
    """FAISS, or one line that says which extra brings it."""
    return require("faiss", extra="cpu", feature="the vector index")


class Segment:
    """Vectors with the row number of each, in a FAISS ``IndexFlatIP`` inside an ``IndexIDMap2``.

    Parameters
    ----------
    index
        The ``IndexIDMap2``; its ids rise.
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self._views: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    @classmethod
    def empty(cls, dims: int) -> Segment:
        """A segment in memory, to be filled with :meth:`add`."""
        faiss = faiss_module()
        flat = faiss.IndexFlatIP(dims)
        return cls(faiss.IndexIDMap2(flat))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def dims(self) -> int:
        """The length of a vector."""
        return int(self.index.d)

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append ``(n,)`` int64 rows, rising and beyond those it has, and ``(n, dims)`` float32 vectors."""
        self._views = None  # the memory may move
        self.index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), rows)

    @property
    def rows(self) -> NDArray[np.int64]:
        """``(n,)`` int64, rising."""
        return self._look()[0]

    @property
    def matrix(self) -> NDArray[np.float32]:
        """``(n, dims)`` float32: a view into the memory that ``index`` owns."""
        return self._look()[1]

    def _look(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._views is None:
            faiss = faiss_module()
            flat = faiss.downcast_index(self.index.index)
            size = len(self) * self.dims
            matrix = faiss.rev_swig_ptr(flat.get_xb(), size) if size else np.empty(0, dtype=np.float32)
            self._views = faiss.vector_to_array(self.index.id_map), matrix.reshape(-1, self.dims)
        return self._views

    def search(
        self, queries: NDArray[np.float32], k: int, bitmap: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best rows of each query, of those whose bit is set: ``(q, min(k, n))``, padded with row -1."""
        parameters = None
        if bitmap is not None:
            faiss = faiss_module()
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        scores, rows = self.index.search(queries, min(k, len(self)), params=parameters)
        return scores, rows


def write_segment(folder: Path, segment: Segment) -> SegmentInfo:
    """Write a segment's file under ``folder``/vectors; it counts once the manifest lists what is returned."""
    faiss = faiss_module()
    first, last = int(segment.rows[0]), int(segment.rows[-1])
    name = f"{VECTORS}/{first:012d}-{last:012d}.faiss"
    write_atomically(folder / name, lambda path: faiss.write_index(segment.index, str(path)))
    return SegmentInfo(file=name, first_row=first, last_row=last, rows=len(segment), sha256=sha256_of(folder / name))


def read_segment(folder: Path, info: SegmentInfo, dims: int) -> Segment:
    """Open a sealed segment, memory-mapped.

    Raises
    ------
    TornSegmentError
        If the file is missing, or its bytes, its dimensions or its rows are not what the manifest says.
    """
    faiss = faiss_module()
    path = folder / info.file
    # The hash first: FAISS must never parse bytes that are not ours.
    if not path.is_file():
        raise TornSegmentError(f"{path} is missing")
    if sha256_of(path) != info.sha256:
        raise TornSegmentError(f"{path} is torn (its SHA-256 is not the manifest's)")
    try:
        segment = Segment(faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0)))
    except (RuntimeError, AttributeError) as error:
        raise TornSegmentError(f"{path} cannot be read by this faiss") from error
    if segment.dims != dims or len(segment) != info.rows:
        raise TornSegmentError(f"{path} holds {len(segment)} vectors of {segment.dims} dimensions")
    return segment


def search_segments(
    segments: Sequence[Segment], queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Find, for each query, every row that may be among the ``k`` best.

    All rows tied with the ``k``-th are included, so that the caller can break ties by what it knows.

    Parameters
    ----------
    segments
        Where to search.
    queries
        ``(q, dims)`` float32, of unit length.
    k
        At least 1.
    allowed
        The only rows to consider, rising; ``None`` for all.

    Returns
    -------
    list of (scores, rows)
        For each query ``(c,)`` float64 cosines, rounded to ``DECIMALS``, falling, and ``(c,)`` int64 rows;
        ``c >= k`` unless there are fewer rows.
    """
    segments = [segment for segment in segments if len(segment)]
    found = [(np.empty(0), np.empty(0, dtype=np.int64)) for _ in queries]
    if not segments or (allowed is not None and not len(allowed)):
        return found
    bitmap = None
    if allowed is not None:
        mask = np.zeros(int(allowed[-1]) + 1, dtype=np.bool_)  # FAISS takes a row beyond it for excluded
        mask[allowed] = True
        bitmap = np.packbits(mask, bitorder="little")
    total = sum(map(len, segments)) if allowed is None else len(allowed)
    pending = np.arange(len(queries))
    fetch = k + _SLACK
    while len(pending):
        results = [segment.search(queries[pending], fetch, bitmap) for segment in segments]
        unfinished = []
        for position, query in enumerate(pending):
            parts = [(segment, s[position], r[position]) for segment, (s, r) in zip(segments, results, strict=True)]
            if fetch < total and _may_be_cut(parts, k, fetch):
                unfinished.append(query)
            else:
                found[query] = _rescore(parts, queries[query], k)
        pending = np.array(unfinished, dtype=np.int64)
        fetch *= 4
    return found


_Part = tuple[Segment, NDArray[np.float32], NDArray[np.int64]]


def _may_be_cut(parts: Iterable[_Part], k: int, fetch: int) -> bool:
    """Whether a row that a segment did not return could tie with, or beat, the ``k``-th that was."""
    scores = [s[r >= 0] for _, s, r in parts]
    every = np.concatenate(scores)
    if len(every) < k:
        return False
    kth = np.partition(every, len(every) - k)[len(every) - k]
    return any(len(s) == fetch and s[-1] >= kth - _MARGIN for s in scores)


def _rescore(
    parts: Iterable[_Part], query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Score candidates exactly: one order of summation whatever the batch, so that equal vectors tie."""
    rows, scores = [], []
    for segment, _, found in parts:
        candidates = found[found >= 0]
        vectors = segment.matrix[np.searchsorted(segment.rows, candidates)].astype(np.float64)
        rows.append(candidates)
        scores.append((vectors * query.astype(np.float64)).sum(axis=1))
    every_row = np.concatenate(rows)
    every_score = np.round(np.concatenate(scores), DECIMALS) + 0.0  # + 0.0: no negative zero
    order = np.argsort(-every_score, kind="stable")
    every_row, every_score = every_row[order], every_score[order]
    keep = len(every_score) if len(every_score) <= k else int(np.sum(every_score >= every_score[k - 1]))
    return every_score[:keep], every_row[:keep]
