"""Exact search of one matrix by numpy or FAISS on the CPU, or FAISS or torch on a GPU, with the same hits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError
from mlret.index.vectors.faiss_index import faiss_module

Device = Literal["auto", "cpu", "cuda"]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]

_CELLS = 2**20  # Scores that are held at once on a CPU.
# Up to this many queries are multiplied one at a time, which is faster than as a matrix, with blocks of vectors that
# stay in the cache.
_SINGLY = 4
_CACHED = 4_096
_MANY = 512  # From this number of queries on, FAISS is faster.
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

    FAISS takes twice as long for a single query, for which it uses one thread, and several times as long for a few
    hundred. For more queries FAISS is a sixth faster, and is used.

    Parameters
    ----------
    matrix
        ``(n, dims)`` float32, L2-normalised; a memory map is searched without copying it.
    """

    margin = 1e-5  # A matrix product sums in another order than the exact scoring.

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self._matrix = matrix

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        if len(queries) >= _MANY:
            faiss = faiss_module()
            scores, positions = faiss.knn(queries, self._matrix, k, metric=faiss.METRIC_INNER_PRODUCT)
            return scores, positions
        scores, positions = self._search(queries, k)
        lacking = ((0, 0), (0, k - scores.shape[1]))
        return (
            np.pad(scores, lacking, constant_values=-np.inf),
            np.pad(positions, lacking, constant_values=-1),
        )

    def _search(self, queries: NDArray[np.float32], k: int) -> Found:
        rows = max(1, _CELLS // len(queries))
        best = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        space = np.empty(len(queries) * min(rows, len(self._matrix)), dtype=np.float32)
        for start in range(0, len(self._matrix), rows):
            stop = min(start + rows, len(self._matrix))
            scores = space[: len(queries) * (stop - start)].reshape(len(queries), -1)
            self._multiply(queries, start, stop, scores)
            if best[0].shape[1] < k:
                positions = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
                best = top(np.concatenate([best[0], scores], 1), np.concatenate([best[1], positions], 1), k)
                continue
            # Finding the maximum of each line is several times faster than finding the places above a bound.
            lines = np.flatnonzero(scores.max(axis=1) > best[0][:, -1])
            if len(lines):
                above, positions = _above(scores[lines], best[0][lines, -1], start)
                better = np.concatenate([best[0][lines], above], 1), np.concatenate([best[1][lines], positions], 1)
                best[0][lines], best[1][lines] = top(*better, k)
        return best

    def _multiply(self, queries: NDArray[np.float32], start: int, stop: int, products: NDArray[np.float32]) -> None:
        """Fill ``products``, ``(q, stop - start)`` float32, with those of the queries and a part of the matrix."""
        if len(queries) > _SINGLY:
            np.matmul(queries, self._matrix[start:stop].T, out=products)
            return
        for first in range(start, stop, _CACHED):
            block = self._matrix[first : min(first + _CACHED, stop)]
            for place, query in enumerate(queries):
                np.matmul(block, query, out=products[place, first - start : first - start + len(block)])


class TorchExact(ExactSearch):
    """Keeps the matrix in half precision on a device, and multiplies it block by block.

    Parameters
    ----------
    matrix
        ``(n, dims)`` float32, L2-normalised; copied to the device block by block.
    device
        A device of torch.
    dtype
        ``"float16"`` or ``"bfloat16"``: both take two bytes a value, and float16 rounds eight times finer.

    Raises
    ------
    MlretError
        If the matrix does not fit into the free memory of the device.
    """

    def __init__(
        self, matrix: NDArray[np.float32], device: str = "cuda", dtype: Literal["float16", "bfloat16"] = "float16"
    ) -> None:
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
        ``(n, dims)`` float32, L2-normalised.
    """

    margin = 3 * 2.0**-10

    def __init__(self, matrix: NDArray[np.float32]) -> None:
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


def exact_search(matrix: NDArray[np.float32], device: Device) -> ExactSearch:
    """Return the exact search of a matrix on a device.

    Parameters
    ----------
    matrix
        ``(n, dims)`` float32, L2-normalised.
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


def _above(scores: NDArray[np.float32], worst: NDArray[np.float32], first: int) -> Found:
    """Return the scores above each line's bound and their positions, ``(q, c)`` each, padded with -inf and -1."""
    lines, columns = np.nonzero(scores > worst[:, None])
    counts = np.bincount(lines, minlength=len(scores))
    places = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(scores), int(counts.max())
    above, positions = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
    above[lines, places], positions[lines, places] = scores[lines, columns], columns + first
    return above, positions


def top(scores: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
    """Return the ``k`` best scores of each line, in descending order, and their positions."""
    if scores.shape[1] > k:
        some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, positions = np.take_along_axis(scores, some, 1), np.take_along_axis(positions, some, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
