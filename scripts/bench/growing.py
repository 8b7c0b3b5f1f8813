"""Measure an index that grows by small additions: what all of them cost, the longest pause, and queries meanwhile.

    OMP_NUM_THREADS=1 python scripts/bench/growing.py --adds 1000 --json growing.json

Each addition is one call with 1,000 of the documents of stores.py, followed by ``compact_if_due``, which builds a graph
when enough vectors are without one. Processor time is that of the process. Single queries are timed at each checkpoint,
with what is then in the caches, and their recall is that of comparing all vectors.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from stores import DIMS, WORDS, vectors_of

from mlret.doctor import examine
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index

EACH, K, QUERIES = 1_000, 10, 50


def parts(count: int) -> Iterator[NDArray[np.float32]]:
    """Return ``(EACH, DIMS)`` vectors for each addition."""
    for block in vectors_of(count * EACH, 2):
        yield from np.split(block, len(block) // EACH)


def added(index: Index, number: int, vectors: NDArray[np.float32]) -> dict[str, float]:
    """Add documents and compact if it is due, and return the seconds of both, by the processor's time and the clock."""
    chosen = np.random.default_rng(number).integers(len(WORDS), size=(EACH, 15)).tolist()
    first = number * EACH
    documents = [
        {"id": str(first + place), "text": " ".join(WORDS[word] for word in some)[:75], "lang": "en", "year": 2000}
        for place, some in enumerate(chosen)
    ]
    clock, used = time.perf_counter(), time.process_time()
    index.add(documents, vectors=vectors, batch_size=EACH)
    add, add_cpu = time.perf_counter() - clock, time.process_time() - used
    clock, used = time.perf_counter(), time.process_time()
    index.compact_if_due()
    return {
        "add_s": add,
        "add_cpu_s": add_cpu,
        "compact_s": time.perf_counter() - clock,
        "compact_cpu_s": time.process_time() - used,
    }


def checkpoint(index: Index, queries: NDArray[np.float32], steps: list[dict[str, float]]) -> dict[str, Any]:
    """Return what was spent so far, and what a query takes now."""
    index.search_vectors(queries[:2], K)
    used = time.process_time()
    found = [index.search_vectors(query[None], K)[0] for query in queries]
    query_ms = 1000 * (time.process_time() - used) / len(queries)
    right = index.search_vectors(queries, K, exact=True)
    pairs = zip(found, right, strict=True)
    segments = index.manifest.segments
    graphs = sum(info.accelerator is not None for info in segments)
    return {
        "documents": len(index),
        "cpu_s": sum(step["add_cpu_s"] + step["compact_cpu_s"] for step in steps),
        "compact_cpu_s": sum(step["compact_cpu_s"] for step in steps),
        "compactions": sum(step["compact_cpu_s"] > 1 for step in steps),
        "add_cpu_ms": 1000 * statistics.median(step["add_cpu_s"] for step in steps),
        "longest_add_cpu_s": max(step["add_cpu_s"] for step in steps),
        "longest_compaction_cpu_s": max(step["compact_cpu_s"] for step in steps),
        "segments": len(segments),
        "graphs": graphs,
        "without_graph": len(index) - sum(info.rows for info in segments if info.accelerator is not None),
        "query_cpu_ms": query_ms,
        "recall": statistics.mean(len({hit.id for hit in a} & {hit.id for hit in b}) / K for a, b in pairs),
    }


def main(
    adds: Annotated[int, typer.Option(min=5, help="Additions of 1,000 documents.")] = 1_000,
    each: Annotated[int, typer.Option(min=1, help="Additions between two checkpoints.")] = 50,
    json_file: Annotated[Path | None, typer.Option("--json", help="Written at each checkpoint.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="20 additions.")] = False,
) -> None:
    """Let an index grow."""
    adds, each = (20, 10) if quick else (adds, each)
    [queries] = vectors_of(QUERIES, 3)
    steps: list[dict[str, float]] = []
    found: list[dict[str, Any]] = []
    machine = examine()
    heads = ("documents", "CPU s so far", "of them graphs", "segments", "without a graph", "longest pause CPU s")
    print(f"| {' | '.join(heads)} | query ms | recall@10 |\n{8 * '|---:'}|")
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "growing.index", ExternalEncoder("made", DIMS)) as index,
    ):
        for number, vectors in enumerate(parts(-(-adds // 5) * 5)):
            if number == adds:
                break
            steps.append(added(index, number, vectors))
            if (number + 1) % each == 0 or number + 1 == adds:
                now = checkpoint(index, queries, steps)
                found.append(now)
                longest = max(now["longest_add_cpu_s"], now["longest_compaction_cpu_s"])
                print(
                    f"| {now['documents']:,} | {now['cpu_s']:,.0f} | {now['compact_cpu_s']:,.0f} | {now['segments']} | "
                    f"{now['without_graph']:,} | {longest:.1f} | {now['query_cpu_ms']:.2f} | {now['recall']:.3f} |",
                    flush=True,
                )
                if json_file is not None:
                    content = {"checkpoints": found, "machine": machine.machine, "versions": machine.versions}
                    json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
