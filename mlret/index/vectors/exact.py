"""Exact search of one matrix by numpy or FAISS on the CPU, or FAISS or torch on a GPU, with the same hits."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError
from mlret.index.vectors.faiss_index import faiss_module
from mlret.index.vectors.rounding import Matrix, part_of

Device = Literal["auto", "cpu", "cuda"]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]

_CELLS = 2**20  # Scores that are held at once on a CPU.
# The number of rows of a block is a multiple of this, and the bound of the first block comes from the best scores of
# groups of up to this many.
_GROUP = 32
# Up to this many queries there are several ways to multiply, of which the fastest depends on the processor and on the
# number of threads. They are timed with this many rows.
_FEW = 8
_TIMED = 2_048
# Rows that are multiplied with one query after another: so few that one core keeps them in its cache until the last
# query, or enough for several threads.
_CACHED, _SHARED = 512, 4_096
# OpenBLAS with AVX-512 does not copy matrices first if they take at most this many products.
_SMALL = 1_000_000
# FAISS is up to a fifth faster from so many queries on if they have so many values; with fewer values it does not use
# BLAS, and takes up to eleven times as long.
_MANY = 512
_VALUES = 200_000
# If a smaller share of a block is to be searched, its rows are copied rather than all multiplied.
_SPARSE = 1 / 4
_BLOCK = 2**18  # Vectors scored at once on a device, so that the scores of a batch fit.
_QUERIES = 1024  # Queries scored at once on a device.
# Smaller matrices are not copied to a GPU, because the CPU searches them in a millisecond.
_ON_DEVICE = 50_000
_NVIDIA = Path("/dev/nvidiactl")


class ExactSearch(ABC):
    """Finds the best positions of a matrix for each query.

    ``margin`` bounds the error of the scores: a vector that scores lower than another by more than the margin has the
    lower cosine. For the true order, vectors within the margin must be scored again.
    """

    margin: float

    @abstractmethod
    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """Return the best positions for each query.

        Parameters
        ----------
        queries
            ``(q, dims)`` float32, L2-normalised.
        k
            The number of positions.

        Returns
        -------
        (scores, positions)
            ``(q, k)`` float32 in descending order and ``(q, k)`` int64; -1 as position if there are fewer.
        """


class CpuExact(ExactSearch):
    """Multiplies blocks of the matrix with the queries, and examines only scores that beat the ``k``-th best so far.

    Parameters
    ----------
    matrix
        ``(n, dims)``, L2-normalised; a memory map is searched without copying it.
    """

    margin = 1e-5  # A matrix product sums in another order than the exact scoring.

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        among: NDArray[np.int64] | None = None,
        bounds: NDArray[np.float32] | None = None,
    ) -> Found:
        """Return the best positions for each query; see :meth:`ExactSearch.search`.

        Parameters
        ----------
        queries
            ``(q, dims)`` float32, L2-normalised.
        k
            The number of positions.
        among
            ``(m,)`` the positions to search, in ascending order; all by default.
        bounds
            ``(q,)`` float32: positions that score lower need not be returned; fewer than ``k`` are then found.
        """
        many = len(queries) >= _MANY and queries.size >= _VALUES
        if among is None and many and isinstance(self._matrix, np.ndarray):
            faiss = faiss_module()
            scores, positions = faiss.knn(queries, self._matrix, k, metric=faiss.METRIC_INNER_PRODUCT)
            return scores, positions
        scores, positions = self._search(queries, k, among, bounds)
        if scores.shape[1] == k:
            return scores, positions
        lacking = ((0, 0), (0, k - scores.shape[1]))
        return (
            np.pad(scores, lacking, constant_values=-np.inf),
            np.pad(positions, lacking, constant_values=-1),
        )

    def products(self, query: NDArray[np.float32], among: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the products of a query, ``(dims,)``, with all vectors, or with those at some positions."""
        if among is not None and len(among) < _SPARSE * len(self._matrix):
            return np.asarray(self._matrix[among] @ query)
        if isinstance(self._matrix, np.ndarray):
            products: NDArray[np.float32] = self._matrix @ query
        else:
            products = np.empty((len(self._matrix), 1), dtype=np.float32)
            _Factors(query[None], self._matrix).multiply(self._matrix, products)
            products = products[:, 0]
        return products if among is None else products[among]

    def _search(
        self,
        queries: NDArray[np.float32],
        k: int,
        among: NDArray[np.int64] | None,
        bounds: NDArray[np.float32] | None,
    ) -> Found:
        count, size = len(queries), len(self._matrix)
        best = np.empty((count, 0), np.float32), np.empty((count, 0), np.int64)
        rows = _GROUP * max(1, min(_CELLS // count, size + _GROUP - 1) // _GROUP)
        space = np.empty((rows, count), dtype=np.float32)
        factors = _Factors(queries, self._matrix)
        for start in range(0, size, rows):
            stop = min(start + rows, size)
            if among is None:
                there = None
                factors.multiply(part_of(self._matrix, slice(start, stop)), space[: stop - start])
            else:
                there = among[np.searchsorted(among, start) : np.searchsorted(among, stop)]
                if not len(there):
                    continue
                stop, there = self._multiply_some(factors, start, stop, there, space)
            # Groups are complete: what is beyond the last row is in no result.
            scores = space[: -(-(stop - start) // _GROUP) * _GROUP]
            scores[stop - start :] = -np.inf
            if best[0].shape[1] < k:
                bound = _bound(scores, k, bounds)
            else:
                bound = np.nextafter(best[0][:, -1], np.float32(np.inf))
            best = _merged(best, scores, bound, k, start if there is None else there)
        return best

    def _multiply_some(
        self, factors: _Factors, start: int, stop: int, there: NDArray[np.int64], space: NDArray[np.float32]
    ) -> tuple[int, NDArray[np.int64] | None]:
        """Multiply the rows ``there`` of a block.

        Returns the end of the block, and the position of each row in it; ``None`` if the block is in its place and the
        scores of the other rows are -inf.
        """
        if len(there) < _SPARSE * (stop - start):
            factors.multiply(part_of(self._matrix, there), space[: len(there)])
            return start + len(there), there
        factors.multiply(part_of(self._matrix, slice(start, stop)), space[: stop - start])
        others = np.ones(stop - start, dtype=np.bool_)
        others[there - start] = False
        space[: stop - start][others] = -np.inf
        return stop, None


class _Factors:
    """Queries, and the fastest way to multiply rows of a matrix with them.

    Parameters
    ----------
    queries
        ``(q, dims)`` float32.
    matrix
        ``(n, dims)``, of which some rows are multiplied to time the ways if the queries are few.
    """

    def __init__(self, queries: NDArray[np.float32], matrix: Matrix) -> None:
        self._queries = queries
        self._columns = np.ascontiguousarray(queries.T)
        count, dims = queries.shape
        self._singly, self._rows = count == 1, _CELLS
        if 1 < count <= _FEW and len(matrix) >= 4 * _TIMED:
            if (count, dims) not in _WAYS:
                _WAYS[count, dims] = self._fastest(matrix[:_TIMED])
            self._singly, self._rows = _WAYS[count, dims]

    def multiply(self, rows: Matrix, products: NDArray[np.float32]) -> None:
        """Fill ``products``, ``(n, q)`` float32, with those of ``(n, dims)`` rows and the queries."""
        if not isinstance(rows, np.ndarray):
            for part, codes in rows.unscaled():
                self.multiply(codes, products[part])
            if rows.scales is not None:
                products *= rows.scales[:, None]
            return
        for start in range(0, len(rows), self._rows):
            block, into = rows[start : start + self._rows], products[start : start + self._rows]
            if not self._singly:
                np.matmul(block, self._columns, out=into)
                continue
            for place, query in enumerate(self._queries):
                np.matmul(block, query, out=into[:, place])

    def _fastest(self, rows: NDArray[np.float32]) -> tuple[bool, int]:
        """Return whether to multiply queries one after another, and the number of rows at once."""
        products = np.empty((len(rows), len(self._queries)), dtype=np.float32)
        small = max(1, _SMALL // self._queries.size)
        seconds: dict[tuple[bool, int], float] = {}
        for _ in range(4):
            for way in ((True, _CACHED), (True, _SHARED), (False, small), (False, _CELLS)):
                self._singly, self._rows = way
                start = time.perf_counter()
                self.multiply(rows, products)
                seconds[way] = min(seconds.get(way, np.inf), time.perf_counter() - start)
        return min(seconds, key=seconds.__getitem__)


# The fastest way to multiply, by the number of queries and of dimensions: whether one query after another, and the
# number of rows at once.
_WAYS: dict[tuple[int, int], tuple[bool, int]] = {}


class TorchExact(ExactSearch):
    """Keeps the matrix in half precision on a device, and multiplies it block by block.

    Parameters
    ----------
    matrix
        ``(n, dims)``, L2-normalised; copied to the device block by block.
    device
        A device of torch.
    dtype
        ``"float16"`` or ``"bfloat16"``: both take two bytes a value, and float16 rounds eight times finer.

    Raises
    ------
    MlretError
        If the matrix does not fit into the free memory of the device.
    """

    def __init__(self, matrix: Matrix, device: str = "cuda", dtype: Literal["float16", "bfloat16"] = "float16") -> None:
        import torch

        # Both factors, which are unit vectors, and the score are rounded: three times half a unit in the last place.
        self.margin = 3 * {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
        self._device, self._dtype = torch.device(device), getattr(torch, dtype)
        needed = 2 * matrix.size
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            if needed + 4 * _BLOCK * _QUERIES > free:
                raise MlretError(
                    f"{needed / 1e9:.1f} GB of vectors do not fit into the {free / 1e9:.1f} GB that {device} has free: "
                    "search on the CPU (device='cpu'), or compact with a smaller kind"
                )
        self._matrix = torch.empty(matrix.shape, dtype=self._dtype, device=self._device)
        for start in range(0, len(matrix), _BLOCK):
            block = torch.from_numpy(np.array(matrix[start : start + _BLOCK]))
            self._matrix[start : start + len(block)] = block.to(self._device, self._dtype)

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        found = [self._search(queries[start : start + _QUERIES], k) for start in range(0, len(queries), _QUERIES)]
        scores, positions = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return scores, positions

    def _search(self, queries: NDArray[np.float32], k: int) -> Found:
        import torch

        with torch.inference_mode():
            some = torch.from_numpy(np.array(queries)).to(self._device, self._dtype)
            best = torch.empty((len(queries), 0), device=self._device)
            where = torch.empty((len(queries), 0), dtype=torch.int64, device=self._device)
            for start in range(0, len(self._matrix), _BLOCK):
                block = self._matrix[start : start + _BLOCK]
                scores, positions = torch.topk((some @ block.T).float(), min(k, len(block)))
                best, where = torch.cat([best, scores], 1), torch.cat([where, positions + start], 1)
                best, order = torch.topk(best, min(k, best.shape[1]))
                where = where.gather(1, order)
        lacking = ((0, 0), (0, k - best.shape[1]))
        return (
            np.pad(best.cpu().numpy(), lacking, constant_values=-np.inf),
            np.pad(where.cpu().numpy(), lacking, constant_values=-1),
        )


class FaissGpuExact(ExactSearch):
    """FAISS's exact search in half precision on all GPUs that it sees, with a part of the matrix on each.

    Parameters
    ----------
    matrix
        ``(n, dims)``, L2-normalised.
    """

    margin = 3 * 2.0**-10

    def __init__(self, matrix: Matrix) -> None:
        faiss = faiss_module()
        options = faiss.GpuMultipleClonerOptions()
        options.shard, options.useFloat16 = True, True
        empty = faiss.IndexFlatIP(matrix.shape[1])
        self._index: Any = faiss.index_cpu_to_all_gpus(empty, co=options)
        for start in range(0, len(matrix), _BLOCK):
            self._index.add(np.ascontiguousarray(matrix[start : start + _BLOCK]))
        self._size = len(matrix)

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        scores, positions = self._index.search(queries, min(k, self._size))
        return scores, positions


def exact_search(matrix: Matrix, device: Device) -> ExactSearch:
    """Return the exact search of a matrix on a device.

    Parameters
    ----------
    matrix
        ``(n, dims)``, L2-normalised.
    device
        ``"cuda"`` uses FAISS if it sees GPUs, else torch. ``"auto"`` does the same if there is a GPU and the matrix is
        large enough, and otherwise uses the CPU. ``"cpu"`` uses the CPU.

    Raises
    ------
    InputError
        If ``"cuda"`` is asked for and there is no GPU.
    MlretError
        If the matrix does not fit there.
    """
    if device == "cpu" or (device == "auto" and (len(matrix) < _ON_DEVICE or not may_have_gpu())):
        return CpuExact(matrix)
    if faiss_has_gpus():
        return FaissGpuExact(matrix)
    import torch

    if torch.cuda.is_available():
        return TorchExact(matrix)
    if device == "cuda":
        raise InputError("no GPU is seen, neither by faiss nor by torch: search on the CPU (device='cpu')")
    return CpuExact(matrix)


def may_have_gpu() -> bool:
    """Return whether there may be a GPU, so that importing torch, which takes a second, is worthwhile."""
    return _NVIDIA.exists()


def faiss_has_gpus() -> bool:
    """Return whether this FAISS was built for GPUs and sees one."""
    faiss = faiss_module()
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _lower_bound(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return for each column of ``(n, q)`` scores a bound that ``k`` of them reach, if there are so many.

    It is the ``k``-th highest of the best scores of groups, which are found several times faster than the highest of
    all.
    """
    group = _GROUP
    while group > 1 and len(scores) < 4 * k * group:
        group //= 2
    best = scores.reshape(group, -1, scores.shape[1]).max(axis=0)
    lowest = np.finfo(np.float32).min
    if len(best) < k:
        return np.full(scores.shape[1], lowest, dtype=np.float32)
    bound: NDArray[np.float32] = np.partition(best.T, len(best) - k, axis=1)[:, len(best) - k]
    return np.maximum(bound, lowest)


def _bound(scores: NDArray[np.float32], k: int, bounds: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return the lower bound of a first block, given bounds that are known before."""
    if bounds is None:
        return _lower_bound(scores, k)
    # They are good enough where not many more than k scores reach them.
    if np.count_nonzero(scores >= bounds) <= _FEW * k * len(bounds):
        return bounds
    return np.maximum(bounds, _lower_bound(scores, k))


def _merged(
    best: Found, scores: NDArray[np.float32], bound: NDArray[np.float32], k: int, positions: int | NDArray[np.int64]
) -> Found:
    """Merge the best so far with the scores of a block that reach each column's bound.

    Parameters
    ----------
    best
        ``(q, m)`` scores and positions.
    scores
        ``(n, q)``, C-contiguous; ``n`` is a multiple of ``_GROUP``.
    bound
        ``(q,)``
    k
        The number of positions to keep for each query.
    positions
        The position of each row, or of the first row if they follow each other.
    """
    count = len(bound)
    # Long lines are compared several times faster than short ones.
    together = max(1, _GROUP // count)
    together = 1 << (together.bit_length() - 1)
    reached = scores.reshape(-1, together * count) >= np.tile(bound, together)
    found = np.flatnonzero(reached)
    if not len(found):
        return best
    rows, columns = np.divmod(found, count)
    order = np.argsort(columns, kind="stable")
    rows, columns, values = rows[order], columns[order], scores.reshape(-1)[found[order]]
    sizes = np.bincount(columns, minlength=count)
    places = np.arange(len(columns)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    better = np.flatnonzero(sizes)
    lines = np.repeat(np.arange(len(better)), sizes[better])
    shape = len(better), int(sizes.max())
    above, where = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
    above[lines, places] = values
    where[lines, places] = rows + positions if isinstance(positions, int) else positions[rows]
    if len(better) == count:
        return top(np.concatenate([best[0], above], 1), np.concatenate([best[1], where], 1), k)
    some = top(np.concatenate([best[0][better], above], 1), np.concatenate([best[1][better], where], 1), k)
    # Of bounds that were given, those of other queries may not be reached.
    lacking = ((0, 0), (0, some[0].shape[1] - best[0].shape[1]))
    if lacking[1][1]:
        best = np.pad(best[0], lacking, constant_values=-np.inf), np.pad(best[1], lacking, constant_values=-1)
    best[0][better], best[1][better] = some
    return best


def top(scores: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
    """Return the ``k`` best scores of each line, in descending order, and their positions."""
    if scores.shape[1] > k:
        some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, positions = np.take_along_axis(scores, some, 1), np.take_along_axis(positions, some, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
