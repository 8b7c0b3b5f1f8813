"""Compare what stores of texts with vectors cost: building, bytes, searching, adding and opening.

    python scripts/bench/peers/make.py peers/ lancedb chromadb usearch sqlite_vec qdrant_edge qdrant
    OMP_NUM_THREADS=1 python scripts/bench/stores.py --peers peers/ --sizes 20000 --json stores.json
    OMP_NUM_THREADS=1 python scripts/bench/stores.py --sizes 1000000 --stores mlret --json stores.json

Each document is a made vector of 384 dimensions with 64 dimensions of structure around 500 centres, a text of 75
characters and a year. Every store gets them in calls of 5,000, in a process of its own, and indexes the vectors with
its graph (HNSW), or compares all of them if it has none. In a fresh process it is opened, searched by one vector after
another for ten documents with their texts, first among all, then among those of a third of the years, and gets single
documents. Recall is that of the ten best by comparing all vectors.

Processor time is that of all threads; peak memory is that of the whole process, libraries and mapped files included.
What the JSON file has already is not measured again, so the command can be repeated after it was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from mlret.doctor import examine

PEERS = Path(__file__).parent / "peers"
DIMS, K, QUERIES, BLOCK = 384, 10, 200, 5_000
SINCE = 2000
WORDS = ("river", "mountain", "harbour", "garden", "market", "bridge", "forest", "castle", "engine", "window", "letter")


class Kind(NamedTuple):
    """A store, and the type in which it is asked to index vectors."""

    environment: str | None
    script: str
    dtype: str


KINDS = {
    "mlret float32": Kind(None, "with_mlret_store.py", "float32"),
    "mlret float16": Kind(None, "with_mlret_store.py", "float16"),
    "mlret int8": Kind(None, "with_mlret_store.py", "int8"),
    "lancedb": Kind("lancedb", "with_lancedb.py", "float32"),
    "chromadb": Kind("chromadb", "with_chromadb.py", "float32"),
    "qdrant-edge": Kind("qdrant_edge", "with_qdrant_edge.py", "float32"),
    "usearch float32": Kind("usearch", "with_usearch.py", "f32"),
    "usearch float16": Kind("usearch", "with_usearch.py", "f16"),
    "usearch int8": Kind("usearch", "with_usearch.py", "i8"),
    "sqlite-vec": Kind("sqlite_vec", "with_sqlite_vec.py", "float32"),
    "qdrant local": Kind("qdrant", "with_qdrant.py", "float32"),
}
# Heading, figure, and the digits after the point.
COLUMNS = (
    ("build CPU s", "build_cpu_s", 1),
    ("bytes a document", "bytes_a_document", 0),
    ("query ms", "query_cpu_ms", 2),
    ("recall@10", "query_recall", 3),
    ("filtered ms", "filtered_cpu_ms", 2),
    ("its recall@10", "filtered_recall", 3),
    ("one add ms", "add_cpu_ms", 2),
    ("peak MB of the build", "build_mb", 0),
    ("open CPU ms", "open_cpu_ms", 1),
    ("verify GB/s", "verify_gb_per_cpu_s", 2),
)


def vectors_of(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Return unit vectors, ``(n, DIMS)`` at a time."""
    shape, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres, basis = shape.standard_normal((500, 64)), shape.standard_normal((64, DIMS))
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        found = (centres[rng.integers(500, size=size)] + 0.7 * rng.standard_normal((size, 64))) @ basis
        yield np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def make(folder: Path, size: int) -> None:
    """Write documents, queries, and for each query the numbers of the best documents, of all and of the later years."""
    folder.mkdir(parents=True)
    [queries] = vectors_of(QUERIES, 3)
    best: dict[str, Any] = {"best": None, "best-since": None}
    rng = np.random.default_rng(1)
    first = 0
    with (folder / "vectors.f32").open("wb") as vectors, (folder / "texts.txt").open("w") as texts:
        for block in vectors_of(size, 2):
            vectors.write(block.tobytes())
            for chosen in rng.integers(len(WORDS), size=(len(block), 15)).tolist():
                texts.write(" ".join(WORDS[place] for place in chosen)[:75] + "\n")
            numbers = first + np.arange(len(block))
            cosines = queries @ block.T
            for name, allowed in (("best", numbers >= 0), ("best-since", 1950 + numbers % 75 >= SINCE)):
                scores, places = cosines[:, allowed], np.broadcast_to(numbers[allowed], (QUERIES, int(allowed.sum())))
                if best[name] is not None:
                    scores, places = np.hstack([best[name][0], scores]), np.hstack([best[name][1], places])
                order = np.argsort(-scores, axis=1)[:, :K]
                best[name] = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
            first += len(block)
    np.save(folder / "queries.npy", queries)
    for name, (_, places) in best.items():
        np.save(folder / f"{name}.npy", places)


def measured(kind: Kind, peers: Path | None, data: Path, home: Path, size: int) -> dict[str, Any]:
    """Return the figures of a store, or why there are none."""
    python = Path(sys.executable)
    if kind.environment is not None:
        python = (peers or Path()).resolve() / kind.environment / "bin" / "python"
        if not python.exists():
            return {"missing": f"no environment {kind.environment} in --peers"}
    folder = home / "store"
    shutil.rmtree(folder, ignore_errors=True)
    figures: dict[str, Any] = {}
    for phase in ("build", "use", *(() if kind.environment else ("verify",))):
        command = [str(python), str(PEERS / kind.script), str(data), str(folder), kind.dtype, phase]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            return {"missing": (done.stderr.strip().splitlines() or ["no message"])[-1]}
        figures |= json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(folder)
    return figures | {"bytes_a_document": figures.pop("bytes") / size}


def table(found: dict[str, dict[str, Any]], size: int) -> str:
    """Return the figures of one size as a table in Markdown."""
    lines = [f"{size:,} documents:", "", "| | " + " | ".join(name for name, _, _ in COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name, one in found.items():
        cells = [f"{one[key]:,.{digits}f}" if key in one else "" for _, key, digits in COLUMNS]
        lines.append(f"| {name} | " + (" | ".join(cells) if "missing" not in one else one["missing"]) + " |")
    for peer in ("lancedb", "chromadb"):
        for name in ("mlret float32", "mlret int8"):
            if all("missing" not in found.get(one, {"missing": 0}) for one in (peer, name)):
                keys = [key for _, key, _ in COLUMNS]
                cells = [f"{found[name][key] / found[peer][key]:.2f}" if key in found[peer] else "" for key in keys]
                lines.append(f"| {name} / {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(
    peers: Annotated[Path | None, typer.Option(help="The folder with the environments of peers/make.py.")] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of documents, separated by commas.")] = "20000",
    stores: Annotated[str, typer.Option(help="Only stores whose names begin so, separated by commas.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Keep the made documents here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="What is there is not measured again.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="2,000 documents.")] = False,
) -> None:
    """Measure stores."""
    content: dict[str, Any] = {"sizes": {}}
    if json_file is not None and json_file.exists():
        content = json.loads(json_file.read_text("utf-8"))
    machine = examine()
    content |= {"machine": machine.machine, "versions": machine.versions}
    chosen = [name for name in KINDS if name.startswith(tuple(stores.split(",")))]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for size in [2_000] if quick else map(int, sizes.split(",")):
            found = content["sizes"].setdefault(str(size), {})
            data = (folder or Path(temporary)) / f"documents-{size}"
            for name in chosen:
                if "missing" in found.get(name, {"missing": 0}):
                    if not (data / "best-since.npy").exists():
                        shutil.rmtree(data, ignore_errors=True)
                        make(data, size)
                    print(f"{size:,} documents: {name} …", file=sys.stderr)
                    found[name] = measured(KINDS[name], peers, data, Path(temporary), size)
                    if json_file is not None:
                        content["ratios"] = ratios(content["sizes"])
                        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            content["sizes"][str(size)] = {name: found[name] for name in KINDS if name in found}
            print(table(content["sizes"][str(size)], size))


def ratios(sizes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return our figures over those of the peers that the goals name."""
    found = {}
    for size, stores in sizes.items():
        for peer in ("lancedb", "chromadb"):
            for name in ("mlret float32", "mlret int8"):
                for key in ("build_cpu_s", "bytes_a_document", "query_cpu_ms", "filtered_cpu_ms", "build_mb"):
                    if key in stores.get(name, {}) and key in stores.get(peer, {}):
                        what = f"{name.replace(' ', '_')}_over_{peer}_{key}_{size}"
                        found[what] = stores[name][key] / stores[peer][key]
    return found


if __name__ == "__main__":
    typer.run(main)
