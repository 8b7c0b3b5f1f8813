"""Measure building and searching an index of shards by Ray, and compute what larger collections would take.

    python scripts/bench/cluster.py build --documents 20000 --rounds 3 --json FILE
    python scripts/bench/cluster.py memory --sizes 100000 400000 --json FILE
    python scripts/bench/cluster.py vectors --documents 2000000 --shards 8 --json FILE
    python scripts/bench/cluster.py search --documents 100000 --shards 8 --json FILE
    python scripts/bench/cluster.py tokens --documents 20000 --json FILE
    python scripts/bench/cluster.py table --json FILE

``build`` encodes made texts with the bundled encoder: without Ray, with one actor, and with two, in turn. ``memory``
and ``vectors`` store documents with made vectors of 384 dimensions, in shards by Ray; ``vectors`` also searches them.
``tokens`` builds a multi-vector index without Ray, for the cost of a passage. ``search`` compares one index with its
shards in this process and behind Ray Serve. Each adds its figures to the file,
and ``table`` prints from them what was measured for a passage, and what it makes for more.

Every build runs in a process of its own with one thread for each actor. Its wall time, the processor time of all its
processes, and the peak of the memory that each of them has for itself (Pss without mapped files, which shares what is
shared) are measured from outside, twice a second.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from shards import DIMS, built, texts_of, vectors_of

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index

ENCODER = ExternalEncoder("made", DIMS)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAUSE = 0.5
_OWN = ("Pss_Anon:", "Pss_Shmem:")
GIB = 2**30


@dataclass
class Usage:
    """What the processes of a command have used, by what they are: the driver, actors, or other processes of Ray."""

    seconds: float = 0.0
    processor: dict[int, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        peaks = {f"{name}_mib": round(peak / 2**20) for name, peak in sorted(self.peaks.items())}
        return {"seconds": round(self.seconds, 2), "processor": round(sum(self.processor.values()), 2), **peaks}


def measured(*arguments: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run this script in a process of its own, and return what it printed and what it and its children used."""
    usage, start = Usage(), time.perf_counter()
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        watching = threading.Thread(target=_watch, args=(child, usage), daemon=True)
        watching.start()
        output, errors = child.communicate()
        usage.seconds = time.perf_counter() - start
        watching.join()
    if child.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors[-3000:]}")
    return json.loads(output.splitlines()[-1]), usage.figures()


def _watch(child: subprocess.Popen[str], usage: Usage) -> None:
    while child.poll() is None:
        sums: dict[str, int] = {}
        for pid, title in _family(child.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            usage.processor[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
            # Pages of mapped files are left out: the system drops them where memory is short.
            own = 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(_OWN))
            name = "driver" if pid == child.pid else "actor" if "ShardBuilder" in title else "rest_of_ray"
            if name == "actor":
                usage.peaks["largest_actor"] = max(usage.peaks.get("largest_actor", 0), own)
            sums[name] = sums.get(name, 0) + own
        sums["all"] = sum(sums.values())
        for name, size in sums.items():
            usage.peaks[name] = max(usage.peaks.get(name, 0), size)
        time.sleep(_PAUSE)


def _family(root: int) -> Iterator[tuple[int, str]]:
    """Yield a process and all that descend from it, with their titles."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(folder.name)] = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
    for pid in parents:
        one = pid
        while one not in (root, 0) and one in parents:
            one = parents[one]
        if one == root:
            yield pid, titles.get(pid, "")


def write_texts(folder: Path, documents: int, files: int = 4) -> list[Path]:
    paths = [folder / f"texts-{documents}-{number}.jsonl" for number in range(files)]
    if not all(path.exists() for path in paths):
        opened = [path.open("w", encoding="utf-8") for path in paths]
        for number, text in enumerate(texts_of(documents, 1)):
            place = number * files // documents
            opened[place].write(json.dumps({"id": f"d{number}", "text": text, "lang": "en"}, ensure_ascii=False) + "\n")
        for file in opened:
            file.close()
    return paths


def write_vectors(folder: Path, documents: int) -> Path:
    path = folder / f"vectors-{documents}.npy"
    if not path.exists():
        made = np.lib.format.open_memmap(path.with_suffix(".new"), "w+", dtype=np.float32, shape=(documents, DIMS))
        for start in range(0, documents, 20_000):
            count = min(20_000, documents - start)
            made[start : start + count] = vectors_of(count, start)
        made.flush()
        path.with_suffix(".new").rename(path)
    return path


def run_build(given: argparse.Namespace) -> None:
    """Build an index in this process, by a number of actors (0: without Ray), and print how long it took."""
    from mlret.index.build import build_index

    folder, documents, actors, vectors = given.folder, given.documents, given.actors, given.vectors
    encoder = ENCODER if vectors else given.model
    place = folder / given.name
    for path in (place, folder / f".{given.name}.building"):
        shutil.rmtree(path, ignore_errors=True)
    paths = write_texts(folder, documents)
    start = time.perf_counter()
    if not actors:
        matrix = np.load(write_vectors(folder, documents), mmap_mode="r") if vectors else None
        report = build_index(place, paths, encoder, vectors=matrix)
        print(json.dumps({"documents": report.index.documents, "build": time.perf_counter() - start, "start": 0.0}))
        return
    import ray

    from mlret.cluster.build import build_on_ray

    ray.init(num_cpus=actors, include_dashboard=False, object_store_memory=int(1e8), log_to_driver=False)
    started = time.perf_counter()
    how: dict[str, Any] = {"vectors": write_vectors(folder, documents)} if vectors else {}
    report = build_on_ray(place, paths, encoder, address="auto", shards=given.shards, **how)
    done = time.perf_counter()
    ray.shutdown()
    print(json.dumps({"documents": report.index.documents, "build": done - started, "start": started - start}))


def build(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_texts(folder, given.documents)
    kinds = {"without Ray": 0, "one actor": 1, "two actors": 2}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for _ in range(given.rounds):
        for name, actors in kinds.items():
            printed, used = measured(
                "run-build", f"--folder={folder}", f"--name=built-{actors}", f"--documents={given.documents}",
                f"--actors={actors}", f"--shards={given.shards}",
            )  # fmt: skip
            rounds[name].append(used | printed)
            print(f"{name:12} {rounds[name][-1]}", flush=True)
    spent = {name: min(one["processor"] for one in some) for name, some in rounds.items()}
    bytes_each = sum(f.stat().st_size for f in (folder / "built-2").rglob("*") if f.is_file()) / given.documents
    figures = {
        "documents": given.documents,
        "rounds": rounds,
        "two actors against one": _median_ratio(rounds, "build", "one actor", "two actors"),
        "one actor against no Ray, wall time": _median_ratio(rounds, "build", "one actor", "without Ray"),
        "one actor against no Ray, processor time": _median_ratio(rounds, "processor", "one actor", "without Ray"),
        # Of all processes, so that it counts on a machine that has other work too.
        "passages a second and core": round(given.documents / spent["without Ray"], 1),
        "bytes a passage": round(bytes_each),
    }
    print(json.dumps({key: value for key, value in figures.items() if key != "rounds"}, indent=1))
    return figures


def _median_ratio(rounds: dict[str, list[dict[str, Any]]], what: str, one: str, other: str) -> float:
    """Return the median of the ratios of two kinds, each of one round, so that a change of speed changes both."""
    pairs = zip(rounds[one], rounds[other], strict=True)
    return round(statistics.median(first[what] / second[what] for first, second in pairs), 3)


def tokens(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_texts(folder, given.documents)
    printed, used = measured(
        "run-build", f"--folder={folder}", "--name=tokens", f"--documents={given.documents}",
        "--model=bundled:multi-vector",
    )  # fmt: skip
    size = sum(file.stat().st_size for file in (folder / "tokens").rglob("*") if file.is_file())
    figures = used | printed
    figures |= {
        "passages a second and core": round(given.documents / used["processor"], 1),
        "bytes a passage": round(size / given.documents),
    }
    print(json.dumps(figures, indent=1))
    return figures


def memory(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    figures = {}
    for size in given.sizes:
        write_texts(folder, size)
        write_vectors(folder, size)
        printed, used = measured(
            "run-build", f"--folder={folder}", "--name=stored", f"--documents={size}", "--actors=2",
            f"--shards={given.shards}", "--vectors",
        )  # fmt: skip
        figures[str(size)] = used | printed
        print(size, figures[str(size)], flush=True)
    return figures


def vectors(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    [figures] = memory(argparse.Namespace(sizes=[given.documents], shards=given.shards), folder).values()
    place = folder / "stored"
    figures["bytes a passage"] = round(sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) / given.documents)
    queries = vectors_of(220, 3)
    seconds = []
    with Index.open(place, ENCODER) as index:
        for query in queries:
            start = time.perf_counter()
            [hits] = index.search_vectors(query[None], 10)
            seconds.append(time.perf_counter() - start)
            assert len(hits) == 10
        figures["median search, ms"] = round(1000 * statistics.median(seconds[20:]), 2)
        figures["peak of the search, MiB"] = _peak()
    print(json.dumps(figures, indent=1))
    return figures


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


def search(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from mlret.cluster.serving import served_on_ray

    places = [folder / f"one-{given.documents}", folder / f"shards-{given.shards}-{given.documents}"]
    for place, shards in zip(places, (None, given.shards), strict=True):
        if not place.exists():
            built(place, given.documents, shards).close()
    figures: dict[str, Any] = {"documents": given.documents, "shards": given.shards}
    texts = [" ".join(text.split()[:6]) for text in texts_of(given.queries + 20, 2)]
    made = vectors_of(given.queries + 20, 7)
    with (
        served_on_ray([places[1]], address="local") as served,
        Index.open(places[0]) as one,
        Index.open(places[1]) as divided,
        served[places[1]](ENCODER) as remote,
    ):
        indexes = {"one index": one, "shards here": divided, "shards behind Ray Serve": remote}
        for mode in ("dense", "lexical", "hybrid"):
            wall: dict[str, list[float]] = {name: [] for name in indexes}
            for text, vector in zip(texts, made, strict=True):
                found = []
                for name, index in indexes.items():
                    start = time.perf_counter()
                    [hits] = index.search_batch([text], 10, language="en", vectors=vector[None], mode=mode)
                    wall[name].append(1000 * (time.perf_counter() - start))
                    found.append([hit.id for hit in hits])
                assert all(ids == found[0] for ids in found), (text, found)
            figures[mode] = {name: round(statistics.median(some[20:]), 2) for name, some in wall.items()}
            print(mode, figures[mode], flush=True)
    return figures


# A machine of the table: its processors, and the bytes of its memory that an index may fill.
PROCESSORS, MEMORY = 16, 48 * GIB


def table(known: dict[str, Any]) -> None:
    """Print what was measured for a passage, and what that makes for more."""
    rate = known["build"]["passages a second and core"]
    single = known.get("vectors", known["build"])["bytes a passage"]  # With the graphs of large shards, if measured.
    print("Measured:", f"{rate} passages a second and core, {single} bytes a passage (one vector)")
    rows = [("one vector", rate, single)]
    if (tokens := known.get("tokens")) is not None:
        rows.append(("a vector for each token", tokens["passages a second and core"], tokens["bytes a passage"]))
    print("\nComputed:\n\n| passages | vectors | bytes | machines | hours |\n|---|---|---|---|---|")
    for count, name in ((1e7, "10 million"), (1e9, "1 billion"), (1e10, "10 billion")):
        for what, speed, size in rows:
            machines = max(1, math.ceil(count * size / MEMORY))
            hours = count / (speed * PROCESSORS * machines) / 3600
            print(f"| {name} | {what} | {count * size / 1e12:.2f} TB | {machines:,} | {hours:,.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("build", "memory", "vectors", "search", "tokens", "table", "run-build"))
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 400_000])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep texts, vectors and indexes here")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--name", default="built", help=argparse.SUPPRESS)
    parser.add_argument("--actors", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--vectors", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "run-build":
        run_build(given)
        return
    known = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    if given.part == "table":
        table(known)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        known[given.part] = globals()[given.part](given, folder)
    if given.json:
        given.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
