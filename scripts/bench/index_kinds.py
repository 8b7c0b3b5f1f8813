"""Compare every kind of FAISS index: recall, speed, size and build time.

    python scripts/bench/index_kinds.py [--rows 1000000] [--dims 384] [--quick] [--json FILE] [--markdown FILE]
        [--plot FILE]

The data are seeded, clustered unit vectors; a query is one of these vectors with noise. Each kind is built as by
`mlret index compact` and searched as in an index: FAISS returns candidates, which are scored with the exact vectors.
Recall@10 is measured against an exact search of all vectors.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import faiss
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mlret.doctor import examine
from mlret.index.settings import KINDS, IndexSettings, SegmentKind
from mlret.index.vectors.faiss_index import build_accelerator, read_accelerator
from mlret.index.vectors.scan import View, search_views
from mlret.index.vectors.segments import Segment

K = 10
SINGLES = 50
# The search parameter that trades speed for recall, and the values tried.
EFFORTS: dict[str, tuple[str, Sequence[int]]] = {
    "hnsw": ("ef_search", (32, 64, 128, 256)),
    "ivf-flat": ("nprobe", (8, 32, 128)),
    "ivf-sq8": ("nprobe", (8, 32, 128)),
    "ivf-pq": ("nprobe", (8, 32, 128)),
    "sq8": ("refine", (1, 4)),
    "fp16": ("refine", (1, 4)),
    "binary": ("refine", (4, 16, 64)),
    "flat": ("refine", (4,)),
}


@dataclass(frozen=True)
class Figure:
    """Result of one kind with one setting. Bytes are those of the accelerator, which should fit into memory."""

    kind: str
    setting: str
    recall: float
    batch_qps: float
    single_ms: float
    bytes_per_vector: float
    build_s: float


def vectors(rows: int, dims: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make ``rows`` vectors and 1,000 queries: 64 dimensions of structure around 5,000 centres, and noise in all."""
    rng = np.random.default_rng(7)

    def unit(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)

    centres = unit(rng.standard_normal((5000, 64), dtype=np.float32))
    spread = unit(rng.standard_normal((64, dims), dtype=np.float32))
    matrix = np.empty((rows, dims), dtype=np.float32)
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        inner = centres[rng.integers(0, 5000, count)] + 0.8 * unit(rng.standard_normal((count, 64), dtype=np.float32))
        noise = unit(rng.standard_normal((count, dims), dtype=np.float32))
        matrix[start : start + count] = unit(unit(inner @ spread) + 0.35 * noise)
    chosen = matrix[rng.choice(rows, 1000, replace=False)]
    return matrix, unit(chosen + 0.6 * unit(rng.standard_normal((1000, dims), dtype=np.float32)))


def measure(
    kind: SegmentKind, matrix: NDArray[np.float32], queries: NDArray[np.float32], truth: list[set[int]], folder: Path
) -> list[Figure]:
    """Build a kind, and search it with each search effort."""
    start = time.perf_counter()
    path = folder / "accelerator"
    size = matrix.shape[1] * 4.0
    if kind != "flat":
        build_accelerator(kind, matrix, IndexSettings()).write(path)
        size = path.stat().st_size / len(matrix)
    building = time.perf_counter() - start
    figures = []
    name, values = EFFORTS[kind]
    for value in values:
        settings = IndexSettings(**{name: value})
        segment = Segment(np.arange(len(matrix)), matrix)
        if kind != "flat":
            segment.accelerator = read_accelerator(kind, path, matrix, settings)
        view = View(segment)
        search_views([view], queries[:32], K, refine=settings.refine)
        start = time.perf_counter()
        found = search_views([view], queries, K, refine=settings.refine)
        seconds = time.perf_counter() - start
        recall = np.mean([len(set(rows[:K].tolist()) & best) / K for (_, rows), best in zip(found, truth, strict=True)])
        singles = []
        for query in queries[:SINGLES]:
            start = time.perf_counter()
            search_views([view], query[None], K, refine=settings.refine)
            singles.append(time.perf_counter() - start)
        figures.append(
            Figure(
                kind,
                "" if kind == "flat" else f"{name} {value}",
                float(recall),
                len(queries) / seconds,
                1000 * float(np.median(singles)),
                size,
                building,
            )
        )
    return figures


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    dims: Annotated[int, typer.Option(min=8)] = 384,
    quick: Annotated[bool, typer.Option("--quick", help="20,000 vectors.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="A PNG of recall against speed.")] = None,
) -> None:
    """Measure every kind."""
    rows = min(rows, 20_000) if quick else rows
    console = Console(stderr=True)
    matrix, queries = vectors(rows, dims)
    _, best = faiss.knn(queries, matrix, K, metric=faiss.METRIC_INNER_PRODUCT)
    truth = [set(line.tolist()) for line in best]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in KINDS:
            console.print(f"{kind} …")
            figures += measure(kind, matrix, queries, truth, Path(temporary))
    table = Table(title=f"{rows:,} x {dims}, k = {K}, {os.cpu_count()} cores")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
    for figure in figures:
        table.add_row(*cells(figure))
    Console().print(table)
    found = examine()
    if json_file is not None:
        flat = next(figure for figure in figures if figure.kind == "flat")
        ratios = {f"speedup_{f.kind}_{f.setting}".replace(" ", "_"): f.batch_qps / flat.batch_qps for f in figures}
        content = {"ratios": ratios, "figures": [asdict(figure) for figure in figures], "rows": rows, "dims": dims}
        content |= {"machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if markdown is not None:
        lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * 2 + "|---:" * (len(COLUMNS) - 2) + "|"]
        lines += ["| " + " | ".join(cells(figure)) + " |" for figure in figures]
        markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if plot_file is not None:
        plot(figures, f"{rows:,} x {dims}, k = {K}", plot_file)


COLUMNS = ("kind", "setting", "recall@10", "queries/s in a batch", "ms a single query", "bytes a vector", "build s")


def cells(figure: Figure) -> list[str]:
    """Return the cells of a row of the table."""
    return [
        figure.kind,
        figure.setting,
        f"{figure.recall:.3f}",
        f"{figure.batch_qps:,.0f}",
        f"{figure.single_ms:.2f}",
        f"{figure.bytes_per_vector:,.0f}",
        f"{figure.build_s:.0f}",
    ]


def plot(figures: Sequence[Figure], title: str, path: Path) -> None:
    """Plot recall against queries per second, with a line for each kind; the area of a mark is bytes per vector."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 5))
    colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]
    for colour, kind in zip(colours, dict.fromkeys(f.kind for f in figures), strict=False):
        mine = [f for f in figures if f.kind == kind]
        x, y = [f.batch_qps for f in mine], [f.recall for f in mine]
        axis.plot(x, y, color=colour, linewidth=1, alpha=0.7)
        axis.scatter(x, y, s=[f.bytes_per_vector / 4 for f in mine], color=colour, alpha=0.5, linewidths=0)
        # Below the mark, whose radius in points is the root of its area over pi.
        below = -12 - (mine[0].bytes_per_vector / 4 / 3.14) ** 0.5
        axis.annotate(
            kind, (x[0], y[0]), textcoords="offset points", xytext=(0, below), color=colour, fontsize=9, ha="center"
        )
    axis.margins(y=0.08)
    axis.set_xscale("log")
    axis.set_xlabel("queries a second, 1,000 at once")
    axis.set_ylabel("recall@10")
    axis.set_title(f"{title}; the area of a mark is bytes a vector", fontsize=10)
    axis.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    typer.run(main)
