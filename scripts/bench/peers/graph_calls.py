"""Measures graphs over vectors (HNSW), in the same way for each of the libraries that graphs.py compares."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

K, RESCORED, ROUNDS = 10, 40, 3
EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
RECALL = 0.99
Matrix = NDArray[np.float32]


class Graph(Protocol):
    """A graph in a file."""

    def build(self, vectors: Matrix) -> None:
        """Build the graph over ``(n, dims)`` and write it."""

    def open(self, vectors: Matrix) -> None:
        """Map the file; the vectors may be compared by the graph."""

    def search(self, queries: Matrix, k: int, effort: int) -> NDArray[np.int64]:
        """Return the numbers of ``(q, k)`` vectors, with so many candidates while searching."""


def measure(library: str, make: Callable[[Path, str], Graph]) -> None:
    """Measure the graph that the command line names, and print JSON: ``python graph_NAME.py DATA FOLDER DTYPE``.

    The vectors are those of ``float32`` in a mapped file. Of a graph over int8 codes the best 40 are scored again with
    them, since the codes alone do not rank well enough.
    """
    data, folder, dtype = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    queries, best = np.load(data / "queries.npy"), np.load(data / "best.npy")
    vectors = np.memmap(data / "vectors.f32", dtype=np.float32, mode="r").reshape(-1, queries.shape[1])
    folder.mkdir()
    before = _peak()
    graph = make(folder, dtype)
    used = time.process_time()
    graph.build(vectors)
    figures: dict[str, Any] = {"library": library, "build_cpu_s": time.process_time() - used}
    figures |= {"build_mb": _peak() - before}
    figures["bytes"] = sum(path.stat().st_size for path in folder.iterdir()) / len(vectors)
    graph = make(folder, dtype)
    clock = time.perf_counter()
    graph.open(vectors)
    figures["open_ms"] = 1000 * (time.perf_counter() - clock)
    figures["efforts"] = [_searched(graph, vectors, queries, best, dtype, effort) for effort in EFFORTS]
    reached = [one for one in figures["efforts"] if one["recall"] >= RECALL]
    print(json.dumps(figures | {"reached": reached[0] if reached else None}))


def _searched(
    graph: Graph, vectors: Matrix, queries: Matrix, best: NDArray[np.int64], dtype: str, effort: int
) -> dict[str, float]:
    rescores = dtype == "int8"

    def search(some: Matrix) -> Sequence[Sequence[int]]:
        found = graph.search(some, RESCORED if rescores else K, max(effort, RESCORED if rescores else K))
        if not rescores:
            return found.tolist()
        scores = np.einsum("qkd,qd->qk", vectors[found], some)
        return np.take_along_axis(found, np.argsort(-scores, axis=1)[:, :K], 1).tolist()

    search(queries[:20])
    single, batch = [], []
    for _ in range(ROUNDS):
        used = time.process_time()
        found = [search(query[None])[0] for query in queries]
        single.append(1000 * (time.process_time() - used) / len(queries))
        used = time.process_time()
        search(queries)
        batch.append(1000 * (time.process_time() - used) / len(queries))
    recall = float(np.mean([len({*one} & {*right}) / K for one, right in zip(found, best.tolist(), strict=True)]))
    return {"effort": effort, "recall": recall, "single_ms": min(single), "batch_ms": min(batch)}


def _peak() -> float:
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
