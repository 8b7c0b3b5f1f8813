"""Compare a graph that was extended again and again with one that is built at once over the same vectors.

    OMP_NUM_THREADS=1 python scripts/bench/extended_graph.py --json extended-graph.json

The graph begins with some of the vectors of stores.py, float32, and is extended by a share of its size until it has the
last number of vectors, as compaction does it: its links are read from a file, a share of its vectors is removed first
if that is asked for, all vectors are coded, and the new ones are added. Recall is that of the ten best by comparing all
vectors, for several numbers of candidates. Processor time is that of the process.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from stores import vectors_of

from mlret.doctor import examine
from mlret.index.settings import IndexSettings
from mlret.index.vectors.faiss_index import Accelerator, build_accelerator
from mlret.index.vectors.graph_removal import remove_nodes
from mlret.index.vectors.graph_storage import read_links

K, QUERIES, SETTINGS = 10, 1_000, IndexSettings()
CANDIDATES = (10, 16, 32, 64, 128)


def first_of(count: int, seed: int) -> NDArray[np.float32]:
    """Return ``(count, dims)`` vectors."""
    return np.concatenate(list(vectors_of(-(-count // 5_000) * 5_000, seed)))[:count]


def extended(path: Path, old: NDArray[np.float32], kept: NDArray[np.bool_], matrix: NDArray[np.float32]) -> None:
    """Make the graph in a file, of the ``old`` vectors, one of those that are kept of them and the rest of a matrix."""
    graph = read_links(path, old.shape[1], len(old), SETTINGS)
    assert graph is not None and (kept.all() or remove_nodes(graph, kept))
    build_accelerator("hnsw", matrix, SETTINGS, graph=graph).write(path)


def recalls(
    graph: Accelerator, matrix: NDArray[np.float32], queries: NDArray[np.float32]
) -> dict[int, dict[str, float]]:
    """Return the recall, and the milliseconds for each query, by the number of candidates."""
    best = np.concatenate([np.argsort(-(some @ matrix.T), axis=1)[:, :K] for some in np.split(queries, 20)])
    found = {}
    for candidates in CANDIDATES:
        used = time.process_time()
        _, places = graph.search(queries, K, effort=candidates / SETTINGS.ef_search)
        used = time.process_time() - used
        shared = [len(set(some) & set(right)) for some, right in zip(places.tolist(), best.tolist(), strict=True)]
        found[candidates] = {"recall": float(np.mean(shared)) / K, "query_cpu_ms": 1000 * used / len(queries)}
    return found


def compared(folder: Path, first: int, last: int, step: float, removed: float) -> dict[str, Any]:
    """Let a graph grow, build the same one at once, and return what both cost and find."""
    every, queries, path = first_of(2 * last if removed else last, 2), first_of(QUERIES, 3), folder / "graph"
    chance = np.random.default_rng(0)
    matrix, taken, steps = every[:first], first, 0
    build_accelerator("hnsw", matrix, SETTINGS).write(path)
    used = time.process_time()
    while len(matrix) < last:
        kept = chance.random(len(matrix)) >= removed
        left = matrix[kept]
        more = min(last - len(left), int((step + removed) * len(matrix)))
        grown = np.concatenate([left, every[taken : taken + more]])
        extended(path, matrix, kept, grown)
        matrix, taken, steps = grown, taken + more, steps + 1
    extending = time.process_time() - used
    graph = read_links(path, matrix.shape[1], len(matrix), SETTINGS)
    grown_graph = build_accelerator("hnsw", matrix, SETTINGS, graph=graph)  # Adds nothing, but compares the vectors.
    used = time.process_time()
    at_once = build_accelerator("hnsw", matrix, SETTINGS)
    return {
        "vectors": last,
        "steps": steps,
        "removed": removed,
        "extending_cpu_s": extending,
        "building_cpu_s": time.process_time() - used,
        "extended": recalls(grown_graph, matrix, queries),
        "built": recalls(at_once, matrix, queries),
    }


def main(
    first: Annotated[int, typer.Option(min=1_000, help="Vectors of the first graph.")] = 50_000,
    last: Annotated[int, typer.Option(min=1_000, help="Vectors of the last graph.")] = 200_000,
    step: Annotated[float, typer.Option(min=0.01, max=1, help="By how much it grows each time.")] = 0.1,
    removed: Annotated[list[float], typer.Option(help="The share that is removed each time; may be repeated.")] = [0.0],  # noqa: B006
    json_file: Annotated[Path | None, typer.Option("--json", help="Written after each comparison.")] = None,
) -> None:
    """Extend a graph, and build it at once."""
    machine, found = examine(), []
    print("| removed | steps | graph | CPU s | recall@10 by candidates |\n|---:|---:|---|---:|---|")
    for share in removed:
        with tempfile.TemporaryDirectory() as folder:
            now = compared(Path(folder), first, last, step, share)
        found.append(now)
        for name, seconds in (("extended", now["extending_cpu_s"]), ("built", now["building_cpu_s"])):
            by = ", ".join(f"{one}: {now[name][one]['recall']:.4f}" for one in CANDIDATES)
            print(f"| {share} | {now['steps']} | {name} | {seconds:.1f} | {by} |", flush=True)
        if json_file is not None:
            content = {"comparisons": found, "machine": machine.machine, "versions": machine.versions}
            json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
