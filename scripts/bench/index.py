"""Measure what an index costs over the bare FAISS call, how fast it opens, and how long adding to a large one takes.

    python scripts/bench/index.py [--rows 1000000] [--dims 384] [--folder DIR] [--quick] [--json FILE]

The data are seeded, clustered unit vectors with one short text each. Measured in turn in one process:

- exact search through `mlret.Index.search_vectors` (hits with ids, texts and metadata) against `IndexFlatIP.search`,
  for single queries and for batches of 4, 32, 256 and 1,000, in processor time;
- opening the index in a fresh process: seconds, and growth of memory, before the first query;
- adding 1,000 records to the full index against adding them to an empty one;
- a search after 1 % of the records were deleted against the same search before.

--folder keeps the index for the next run, which works on a copy of it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.doctor import examine
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings

K = 10
BATCHES = (1, 4, 32, 256, 1000)
# Imported first, so that only opening itself is measured.
_OPEN = """
import resource, sys, time
from mlret.index.index import Index
import faiss
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before, start = rss(), time.perf_counter()
index = Index.open(sys.argv[1])
print(time.perf_counter() - start, rss() - before, len(index))
"""


def clustered(rows: int, dims: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of unit vectors around 2,000 centres."""
    centres = rng.standard_normal((2000, dims), dtype=np.float32)
    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        block = centres[rng.integers(0, len(centres), count)] + 0.9 * rng.standard_normal((count, dims), np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def documents(first: int, count: int) -> list[dict[str, Any]]:
    """Return one short text for each row, with a language and a year."""
    return [
        {"id": f"doc-{n}", "text": f"the passage number {n}", "lang": "en", "year": 1900 + n % 100}
        for n in range(first, first + count)
    ]


def build(folder: Path, rows: int, dims: int, console: Console) -> None:
    """Fill an index in which every segment is searched exactly."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    blocks = clustered(rows, dims, np.random.default_rng(7))
    with Index.create(partial, ExternalEncoder("bench", dims), settings=IndexSettings(kind="flat")) as index:
        done = 0
        for block in track(blocks, "building", total=-(-rows // 10_000), console=console):
            index.add(documents(done, len(block)), vectors=block, batch_size=10_000)
            done += len(block)
        index.compact()
    partial.rename(folder)


def median_seconds(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median processor time of each call, measured in turn after one warm-up round.

    Other load on the machine affects it less than the wall time.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for place, run in enumerate(runs):
            start = time.process_time()
            run()
            if turn:
                seconds[place].append(time.process_time() - start)
    return [statistics.median(some) for some in seconds]


def search_costs(index: Index, dims: int, rounds: int) -> dict[str, float]:
    """Return the seconds of a search through the index and of the bare call, by batch size."""
    [segment] = index.store.segments
    bare = faiss.IndexFlatIP(dims)
    bare.add(segment.matrix)
    queries = next(clustered(max(BATCHES), dims, np.random.default_rng(1)))
    found: dict[str, float] = {}
    for batch in BATCHES:
        some = np.ascontiguousarray(queries[:batch])
        ours, theirs = median_seconds(
            [lambda some=some: index.search_vectors(some, K), lambda some=some: bare.search(some, K)], rounds
        )
        found[f"index_{batch}"], found[f"faiss_{batch}"] = ours, theirs
    return found


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    dims: Annotated[int, typer.Option(min=8)] = 384,
    folder: Annotated[Path | None, typer.Option(help="Keep the index here.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="50,000 vectors.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time the index."""
    console = Console(stderr=True)
    rows = min(rows, 50_000) if quick else rows
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary) / "index"
        start = time.perf_counter()
        if not home.exists():
            build(home, rows, dims, console)
        building = time.perf_counter() - start
        opened = []
        for _ in range(3):
            output = subprocess.check_output([sys.executable, "-c", _OPEN, str(home)], text=True)
            opened.append([float(value) for value in output.split()])
        seconds, memory, _ = min(opened)
        figures: dict[str, float] = {"build_s": building, "open_s": seconds, "open_mb": memory / 1e6}
        if folder is not None:
            home = Path(shutil.copytree(folder, Path(temporary) / "copy"))
        with Index.open(home) as index:
            rows = len(index)
            figures |= search_costs(index, dims, rounds)
            figures |= changes(index, rows, dims, rounds, Path(temporary) / "small")
        report(rows, dims, figures, json_file)


def changes(index: Index, rows: int, dims: int, rounds: int, small: Path) -> dict[str, float]:
    """Return the seconds of adding 1,000 records to the full and to an empty index, of deleting, and of searching."""
    vectors = next(clustered(1000, dims, np.random.default_rng(2)))
    with Index.create(small, ExternalEncoder("bench", dims)) as empty:
        turns = [[], []]
        for turn in range(rounds):
            for place, one in enumerate((index, empty)):
                start = time.perf_counter()
                one.add(documents(rows + turn * 1000, 1000), vectors=vectors, batch_size=1000)
                turns[place].append(time.perf_counter() - start)
    queries = np.ascontiguousarray(vectors[:32])
    [before] = median_seconds([lambda: index.search_vectors(queries, K)], rounds)
    start = time.perf_counter()
    index.delete([f"doc-{n}" for n in range(0, rows, 100)])
    deleting = time.perf_counter() - start
    [after] = median_seconds([lambda: index.search_vectors(queries, K)], rounds)
    return {
        "add_1000_full": statistics.median(turns[0]),
        "add_1000_empty": statistics.median(turns[1]),
        "delete_one_percent": deleting,
        "search_32_before": before,
        "search_32_after": after,
    }


def report(rows: int, dims: int, figures: dict[str, float], json_file: Path | None) -> None:
    """Print the ratios first, and write the figures."""
    ratios = {f"overhead_search_{b}": figures[f"index_{b}"] / figures[f"faiss_{b}"] for b in BATCHES}
    ratios["overhead_add_full_over_empty"] = figures["add_1000_full"] / figures["add_1000_empty"]
    ratios["overhead_search_after_deletes"] = figures["search_32_after"] / figures["search_32_before"]
    figures["single_query_extra_ms"] = 1000 * (figures["index_1"] - figures["faiss_1"])
    found = examine()
    table = Table(title=f"mlret.Index over {rows:,} x {dims}, flat, k = {K}")
    for column in ("what", "ratio", "ours", "bare"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for batch in BATCHES:
        ours, bare = figures[f"index_{batch}"], figures[f"faiss_{batch}"]
        table.add_row(
            f"search, batch of {batch}", f"{ours / bare:.3f}", f"{1000 * ours:.1f} ms", f"{1000 * bare:.1f} ms"
        )
    full, empty = figures["add_1000_full"], figures["add_1000_empty"]
    table.add_row("add 1,000: full / empty", f"{full / empty:.2f}", f"{1000 * full:.0f} ms", f"{1000 * empty:.0f} ms")
    after, before = figures["search_32_after"], figures["search_32_before"]
    ratio = f"{after / before:.3f}"
    table.add_row("search 32, 1 % deleted / before", ratio, f"{1000 * after:.1f} ms", f"{1000 * before:.1f} ms")
    Console().print(table)
    print(f"single query: {figures['single_query_extra_ms']:+.2f} ms over the bare call")
    print(f"open: {figures['open_s']:.3f} s, {figures['open_mb']:.0f} MB more; build {figures['build_s']:.0f} s")
    if json_file is not None:
        content = {"ratios": ratios, "figures": figures | {"rows": rows, "dims": dims}}
        content |= {"machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
