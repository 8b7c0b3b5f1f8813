"""Measure exact search of one vector for each text on a GPU, and the time that reading the vectors once takes.

    python scripts/bench/exact_gpu.py [--scale 1] [--device cuda] [--json FILE]

10,000,000 made unit vectors of 384 dimensions are held in half precision, as an index does on a GPU: by FAISS, if it
was built for GPUs, and by torch, with several sizes of the blocks that are compared at once. Hits are compared with
those of float32. "reading" is the size of the matrix divided by the speed of a copy or a sum on the device, whichever
moves more. On a CPU FAISS's flat index takes the place of that on a GPU.
"""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from gpu import DeviceName, JsonFile, Scale, Target, memory_speed, milliseconds, reading_ms, save
from numpy.typing import NDArray

from mlret.errors import MlretError
from mlret.index.vectors import exact
from mlret.index.vectors.exact import FaissGpuExact, TorchExact, faiss_has_gpus
from mlret.index.vectors.faiss_index import faiss_module

ROWS, DIMS, K = 10_000_000, 384, 10
QUERIES = (1, 32, 1024)
BLOCKS = (2**18, 2**20, 2**22, 2**24)
_MADE_AT_ONCE = 2**18


class Made:
    """Unit vectors that are made when they are read, so that the matrix never lies in the host's memory."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.shape, self.size, self.device = (rows, DIMS), rows * DIMS, device

    def __len__(self) -> int:
        return self.shape[0]

    def block(self, number: int) -> torch.Tensor:
        """Return one block of ``_MADE_AT_ONCE`` vectors, or fewer at the end."""
        rows = min(_MADE_AT_ONCE, len(self) - number * _MADE_AT_ONCE)
        return made(rows, seed=number, device=self.device)

    @property
    def blocks(self) -> range:
        """The numbers of all blocks."""
        return range(-(-len(self) // _MADE_AT_ONCE))

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        first, rest = divmod(rows.start, _MADE_AT_ONCE)
        if rest or rows.stop - rows.start > _MADE_AT_ONCE:
            raise ValueError(f"blocks of {_MADE_AT_ONCE} rows are made one at a time")
        return self.block(first).cpu().numpy()


def made(rows: int, *, seed: int, device: torch.device) -> torch.Tensor:
    """Return random unit vectors."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, DIMS, generator=generator, device=device))


def best_in_float32(matrix: Made, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the true best positions for each query."""
    asked = torch.from_numpy(queries).to(matrix.device)
    scores = torch.empty((len(asked), 0), device=matrix.device)
    positions = torch.empty((len(asked), 0), dtype=torch.int64, device=matrix.device)
    for number in matrix.blocks:
        some, rows = torch.topk(asked @ matrix.block(number).T, min(K, len(matrix)))
        scores = torch.cat([scores, some], 1)
        positions = torch.cat([positions, rows + number * _MADE_AT_ONCE], 1)
    return positions.gather(1, torch.topk(scores, K).indices).cpu().numpy()


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of the true positions that were found."""
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=True)]))


class _FaissOnCpu:
    """FAISS's exact search in float32, in a rehearsal."""

    def __init__(self, matrix: Made) -> None:
        self._index: Any = faiss_module().IndexFlatIP(DIMS)
        for number in matrix.blocks:
            self._index.add(matrix.block(number).numpy())

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, positions = self._index.search(queries, k)
        return scores, positions


def in_faiss(matrix: Made) -> Any:
    """Return FAISS's exact search on the device.

    Raises
    ------
    MlretError
        If FAISS cannot use the device.
    """
    if matrix.device.type == "cpu":
        return _FaissOnCpu(matrix)
    if not faiss_has_gpus():
        version = faiss_module().__version__
        raise MlretError(
            f"faiss {version} was not built for GPUs or sees none: install faiss-gpu in place of faiss-cpu"
        )
    return FaissGpuExact(matrix)  # type: ignore[arg-type]


def measured(
    search: Any, queries: NDArray[np.float32], truth: NDArray[np.int64], device: torch.device
) -> dict[str, float]:
    """Return the milliseconds of a pass for several numbers of queries, and the share of true hits."""
    figures: dict[str, float] = {"recall_at_10": recall(search.search(queries[: len(truth)], K)[1], truth)}
    for count in QUERIES:
        if count <= len(queries):
            figures[f"ms_{count}"] = milliseconds(lambda count=count: search.search(queries[:count], K), device)
    return figures


def main(device_name: DeviceName = "cuda", scale: Scale = 1.0, json_file: JsonFile = None) -> None:
    """Measure exact search on a GPU."""
    device = torch.device(device_name)
    matrix = Made(max(100, int(ROWS * scale)), device)
    queries = made(QUERIES[-1] if device.type == "cuda" else 32, seed=2**31, device=device).cpu().numpy()
    truth = best_in_float32(matrix, queries[:32])
    speed = memory_speed(device)
    nbytes = 2 * matrix.size
    once = reading_ms(nbytes, speed)
    figures: dict[str, Any] = {"rows": len(matrix), "dims": DIMS, "bytes": nbytes, "speed": speed, "reading_ms": once}

    lacking = None
    try:
        start = time.perf_counter()
        in_faiss_ = in_faiss(matrix)
        figures["faiss"] = {"build_s": time.perf_counter() - start} | measured(in_faiss_, queries, truth, device)
        del in_faiss_
    except Exception as error:  # FAISS built for GPUs fails in its own ways where a library of CUDA is missing
        lacking = f"{type(error).__name__}: {error}"
        figures["faiss"] = {"error": lacking}

    start = time.perf_counter()
    in_torch = TorchExact(matrix, device_name)  # type: ignore[arg-type]
    figures["torch_build_s"] = time.perf_counter() - start
    by_block: dict[int, Any] = {}
    for rows in BLOCKS:
        # With one block for all rows, larger ones would measure the same again.
        if rows == BLOCKS[0] or rows < 2 * len(matrix):
            with patch.object(exact, "_BLOCK", rows):
                # In large blocks, the scores of many queries would take more memory than the matrix.
                some = queries if rows == BLOCKS[0] else queries[: len(truth)]
                by_block[rows] = measured(in_torch, some, truth, device)
    figures["torch"] = by_block
    fastest = min(by_block, key=lambda rows: by_block[rows]["ms_1"])
    as_is = by_block[BLOCKS[0]]

    over = f"exact search of {len(matrix):,} x {DIMS}, one query, over reading the matrix once"
    in_faiss_ms = None if lacking else figures["faiss"]["ms_1"] / once
    targets = [
        Target(f"{over}: FAISS", in_faiss_ms, 1.5, reason=lacking),
        Target(f"{over}: torch, as in an index", as_is["ms_1"] / once, 1.5),
        Target(f"{over}: torch, blocks of {fastest:,} rows", by_block[fastest]["ms_1"] / once, 1.5),
        Target(
            "recall@10 of torch in half precision, before scoring again", as_is["recall_at_10"], 0.98, at_least=True
        ),
    ]
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
