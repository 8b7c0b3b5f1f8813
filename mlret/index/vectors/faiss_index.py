"""FAISS indexes over the vectors of a segment. They propose candidates, which are then scored exactly."""

from __future__ import annotations

import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mlret.errors import MissingExtraError
from mlret.index.settings import IndexSettings, SegmentKind
from mlret.index.vectors.graph_level import fastest_graph_level
from mlret.index.vectors.graph_storage import compare_in, shares_vectors, storage_of, write_links
from mlret.index.vectors.mapped import release_pages
from mlret.index.vectors.rounding import Matrix, part_of

Progress = Callable[[int], None]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
_BLOCK = 16_384
# A graph is built in about so many calls, between which progress is reported and an interrupt is noticed.
_CALLS = 64
_LEAST_BLOCK = 1_024
_READ_AHEAD = 2**22  # Bytes; Linux reads no more than 8 MiB of what it is asked for at once.


def faiss_module() -> Any:
    """Return the module ``faiss``, or raise an error that says how to install it."""
    try:
        faiss = import_module("faiss")
        _let_forks_use_one_thread()
        return faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError("the vector index needs FAISS: pip install faiss-cpu") from error


@cache
def _let_forks_use_one_thread() -> None:
    """Let forked processes search in one thread: GNU's OpenMP waits for ever for the threads of the parent."""
    os.register_at_fork(after_in_child=lambda: sys.modules["faiss"].omp_set_num_threads(1))


def check_faiss() -> None:
    """Raise an error that names the extra to install if faiss is not installed, without importing it if it is.

    Small segments are searched without it, and importing it takes 50 ms.
    """
    if importlib.util.find_spec("faiss") is None:
        faiss_module()


class Accelerator(ABC):
    """Proposes candidates from the vectors of a segment, by their positions.

    Parameters
    ----------
    index
        The FAISS index.
    settings
        The settings of the search, such as ``nprobe`` and ``ef_search``.

    Attributes
    ----------
    compares_vectors
        Whether candidates are compared by the vectors of the segment themselves, and not by codes of them.
    """

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        self.compares_vectors = False
        self.index = index
        self.settings = settings

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.uint8] | None = None, effort: float = 1.0
    ) -> Found:
        """Return the best candidates for each query.

        Parameters
        ----------
        queries
            ``(q, dims)`` float32, L2-normalised.
        k
            The number of candidates for each query.
        allowed
            A bitmap (lowest bit first) of the positions to search; all by default.
        effort
            The search effort, a factor on ``nprobe`` or ``ef_search``.

        Returns
        -------
        (scores, positions)
            ``(q, k)`` float32 in descending order, on the index's own scale, and ``(q, k)`` int64, -1 if there is no
            candidate.
        """
        selector = None if allowed is None else faiss_module().IDSelectorBitmap(allowed)
        parameters = self._parameters(selector, k, effort)
        scores, positions = self.index.search(self._coded(queries), min(k, self.index.ntotal), params=parameters)
        return scores, positions

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        faiss_module().write_index(self.index, str(path))

    @abstractmethod
    def _parameters(self, selector: Any, k: int, effort: float) -> Any:
        """Return FAISS's search parameters."""

    def _coded(self, queries: NDArray[np.float32]) -> NDArray[Any]:
        return np.ascontiguousarray(queries)


class _Scan(Accelerator):
    """Compares the query with every code."""

    def _parameters(self, selector: Any, k: int, effort: float) -> Any:
        return None if selector is None else faiss_module().SearchParameters(sel=selector)


class _InvertedFile(Accelerator):
    """Visits the cells of an inverted file that are nearest to the query."""

    def _parameters(self, selector: Any, k: int, effort: float) -> Any:
        nprobe = min(self.index.nlist, int(self.settings.nprobe * effort))
        return faiss_module().SearchParametersIVF(nprobe=nprobe, **({} if selector is None else {"sel": selector}))


class Graph(Accelerator):
    """Walks a graph of neighbours (HNSW).

    The file holds its links; the vectors that it compares are those of the segment. Where FAISS cannot compare these,
    and in files of earlier versions, it has int8 codes of its own.
    """

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        super().__init__(index, settings)
        self._unrestricted: dict[int, Any] = {}  # The parameters of a search of all vectors, by the candidates kept.

    def compare(self, matrix: Matrix) -> None:
        """Have the vectors of a matrix compared instead of the graph's own, which are freed."""
        self._kept = matrix, storage_of(matrix)  # FAISS has only pointers to them.
        compare_in(self.index, self._kept[1], owned=False)
        self.compares_vectors = True

    @property
    def has_vectors(self) -> bool:
        """Whether the graph has vectors of its own, as it is read from a file or built."""
        return bool(self.index.own_fields)

    def write(self, path: Path) -> None:
        if self.has_vectors:
            super().write(path)
        else:
            write_links(self.index, path)

    def _parameters(self, selector: Any, k: int, effort: float) -> Any:
        ef = max(k, int(self.settings.ef_search * effort))
        if selector is not None:
            return faiss_module().SearchParametersHNSW(efSearch=ef, sel=selector)
        if ef not in self._unrestricted:  # Making them takes as long as comparing a dozen vectors.
            self._unrestricted[ef] = faiss_module().SearchParametersHNSW(efSearch=ef)
        return self._unrestricted[ef]


class _Binary(_Scan):
    """Compares the signs of the centred vectors by Hamming distance.

    The mean that is subtracted is stored at the beginning of the file; see :meth:`write`.
    """

    def __init__(self, index: Any, settings: IndexSettings, mean: NDArray[np.float32]) -> None:
        super().__init__(index, settings)
        self.mean = mean

    def _coded(self, queries: NDArray[np.float32]) -> NDArray[Any]:
        return signs(queries - self.mean)

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.uint8] | None = None, effort: float = 1.0
    ) -> Found:
        """Return candidates as :meth:`Accelerator.search` does; the scores are negated Hamming distances."""
        distances, positions = super().search(queries, k, allowed=allowed, effort=effort)
        return -distances.astype(np.float32), positions

    def write(self, path: Path) -> None:
        """Write the mean (``dims`` float32) and after it the index."""
        content = faiss_module().serialize_index_binary(self.index)
        with path.open("wb") as out:
            out.write(self.mean.astype("<f4").tobytes())
            out.write(content.tobytes())


def signs(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pack the signs of vectors into bytes, with a set bit for each value above zero.

    The result is ``(n, ceil(dims / 8))`` uint8 for ``(n, dims)`` vectors.
    """
    return np.packbits(vectors > 0, axis=1, bitorder="little")


def build_accelerator(
    kind: SegmentKind,
    matrix: Matrix,
    settings: IndexSettings,
    *,
    progress: Progress | None = None,
    graph: Any | None = None,
    keep: Callable[[Any], None] | None = None,
) -> Accelerator:
    """Build a FAISS index over the rows of a matrix, block by block.

    Parameters
    ----------
    kind
        Any kind except ``flat``.
    matrix
        ``(n, dims)`` of unit length; a memory map is accepted.
    settings
        The parameters. Training an inverted file takes at most ``train_size * nlist`` rows, drawn with ``seed``.
    progress
        Called with the number of rows that are done.
    graph
        The links of a graph (an ``IndexHNSW`` without storage) over the first rows, to which the others are added.
    keep
        Called with a graph after each block of rows.

    Returns
    -------
    Accelerator
        The built index. A graph is built over int8 codes, which takes the least time and memory and gives as good
        links, and then compares the vectors themselves.
    """
    if kind == "binary":
        return _build_binary(matrix, settings, progress)
    if kind == "hnsw":
        index = _built_graph(matrix, settings, progress, graph, keep)
    else:
        faiss = faiss_module()
        index = faiss.index_factory(matrix.shape[1], _factory(kind, matrix, settings), faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(_sample(matrix, settings))
        for start, block in _blocks(matrix):
            index.add(block)
            if progress is not None:
                progress(start + len(block))
    built = _wrapped(kind, index, settings)
    if isinstance(built, Graph) and shares_vectors(matrix):
        built.compare(matrix)
    return built


def _built_graph(
    matrix: Matrix,
    settings: IndexSettings,
    progress: Progress | None,
    graph: Any | None,
    keep: Callable[[Any], None] | None,
) -> Any:
    faiss, factory = faiss_module(), _factory("hnsw", matrix, settings)
    index = faiss.index_factory(matrix.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = settings.ef_construction
    index.train(_extremes(matrix))
    if graph is not None:
        index = _with_links(graph, index, matrix)
    # FAISS prepares a lock for each vector that there is at each call, which therefore are few.
    size = min(_BLOCK, max(_LEAST_BLOCK, len(matrix) // _CALLS))
    with fastest_graph_level(matrix, factory):
        for start, block in _blocks(matrix, index.ntotal, size):
            index.add(block)
            if progress is not None:
                progress(start + len(block))
            if keep is not None:
                keep(index)
    return index


def _with_links(graph: Any, index: Any, matrix: Matrix) -> Any:
    """Return a graph over the first rows of a matrix with the codes of these, in place of an empty one.

    Coding a vector takes about a hundredth of the time that adding it to a graph takes.
    """
    faiss = faiss_module()
    codes = faiss.downcast_index(index.storage)
    for _, block in _blocks(part_of(matrix, slice(graph.ntotal))):
        codes.add(block)
    index.own_fields = False
    compare_in(graph, codes, owned=True)
    # A graph that is read would draw the levels of its first nodes again.
    graph.hnsw.rng = faiss.RandomGenerator(graph.ntotal)
    return graph


def read_accelerator(kind: SegmentKind, path: Path, matrix: Matrix, settings: IndexSettings) -> Accelerator:
    """Open a file that :meth:`Accelerator.write` wrote for the rows of ``matrix``, memory-mapped if FAISS can do so.

    Parameters
    ----------
    kind
        The kind of the index in the file.
    path
        The file.
    matrix
        ``(n, dims)`` of unit length: the vectors that the index was built over.
    settings
        The settings of the search.

    Raises
    ------
    RuntimeError
        If FAISS cannot read the file, or it belongs to another number of vectors.
    """
    faiss = faiss_module()
    if kind == "binary":
        dims = matrix.shape[1]
        content = np.fromfile(path, dtype=np.uint8)
        mean = content[: 4 * dims].view("<f4").astype(np.float32)
        index = faiss.deserialize_index_binary(content[4 * dims :])
        found: Accelerator = _Binary(index, settings, mean)
    else:
        # An inverted file is mapped by turning it into an on-disk one; the other indexes are mapped as they are.
        flag = faiss.IO_FLAG_MMAP if kind.startswith("ivf") else getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
        if kind == "hnsw":
            _read_ahead(path)
        index = faiss.read_index(str(path), flag)
        found = _wrapped(kind, index, settings)
        if isinstance(found, Graph) and not found.has_vectors:
            found.compare(matrix)
    if index.ntotal != len(matrix):
        raise RuntimeError(f"{path} is of {index.ntotal} vectors, not of {len(matrix)}")
    return found


def _read_ahead(path: Path) -> None:
    """Have a file read in large pieces if it is not in memory, where the operating system can be asked to.

    FAISS looks at all links of a graph when it is opened, but tells the system that a mapped file is read here and
    there. Every page is then read by itself.
    """
    if sys.platform != "linux":
        return
    with path.open("rb") as file:
        for start in range(0, os.fstat(file.fileno()).st_size, _READ_AHEAD):
            os.posix_fadvise(file.fileno(), start, _READ_AHEAD, os.POSIX_FADV_WILLNEED)


def _wrapped(kind: SegmentKind, index: Any, settings: IndexSettings) -> Accelerator:
    if kind.startswith("ivf"):
        return _InvertedFile(index, settings)
    return Graph(index, settings) if kind == "hnsw" else _Scan(index, settings)


def _factory(kind: SegmentKind, matrix: Matrix, settings: IndexSettings) -> str:
    rows, dims = matrix.shape
    cells = settings.cells(rows)
    return {
        "hnsw": f"HNSW{settings.m}_SQ8",
        "sq8": "SQ8",
        "fp16": "SQfp16",
        "ivf-flat": f"IVF{cells},Flat",
        "ivf-sq8": f"IVF{cells},SQ8",
        "ivf-pq": f"IVF{cells},PQ{_subvectors(dims)}x4fs",
    }[kind]


def _subvectors(dims: int) -> int:
    """Return the number of 4-bit product codes: one for every 4 dimensions, or the next lower divisor of ``dims``."""
    return next(m for m in range(max(1, dims // 4), 0, -1) if dims % m == 0)


def _sample(matrix: Matrix, settings: IndexSettings) -> NDArray[np.float32]:
    size = min(len(matrix), settings.train_size * settings.cells(len(matrix)))
    rows = np.random.default_rng(settings.seed).choice(len(matrix), size, replace=False)
    return np.ascontiguousarray(matrix[np.sort(rows)])


def _extremes(matrix: Matrix) -> NDArray[np.float32]:
    """Return the lowest and the highest value of each dimension, ``(2, dims)``: all that int8 codes are trained on."""
    found = np.ascontiguousarray(matrix[:1]).repeat(2, axis=0)
    for _, block in _blocks(matrix, size=_LEAST_BLOCK):
        np.minimum(found[0], block.min(axis=0), out=found[0])
        np.maximum(found[1], block.max(axis=0), out=found[1])
    return found


def _blocks(matrix: Matrix, first: int = 0, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
    size = size or _BLOCK
    for start in range(first, len(matrix), size):
        yield start, np.ascontiguousarray(matrix[start : start + size])
        release_pages(matrix)


def _build_binary(matrix: Matrix, settings: IndexSettings, progress: Progress | None) -> Accelerator:
    faiss = faiss_module()
    mean = _sample(matrix, settings).mean(axis=0)
    index = faiss.IndexBinaryFlat(8 * signs(matrix[:1]).shape[1])
    for start, block in _blocks(matrix):
        index.add(signs(block - mean))
        if progress is not None:
            progress(start + len(block))
    return _Binary(index, settings, cast("NDArray[np.float32]", mean))
