"""Compare how fast this checkout and another one open, search and write an index.

    python scripts/bench/index_against.py --base FOLDER_OF_ANOTHER_CHECKOUT
    python scripts/bench/index_against.py --base FOLDER_OF_ANOTHER_CHECKOUT --kind hnsw --dims 384 --records 100000

Two processes, one for each checkout, take turns on equal indexes, with a few operations in each turn, and report the
processor time that they used. Other load on the machine therefore affects both alike. A ratio above 1 means that this
checkout is slower. The building of each index, which is timed as well, is repeated only by running this again. The
vectors have 64 dimensions of structure around 500 centres; each document has a text of twelve words and a year.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
# Name -> (operations in a turn, turns).
OPERATIONS = {
    "verify": (1, 4),
    "open": (3, 60),
    "search": (10, 40),
    "filtered": (10, 20),
    "lexical": (1, 20),
    "add": (5, 80),
    "add_and_delete": (3, 60),
}
WORKER = """
import sys, time
from pathlib import Path
import numpy as np
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.verify import verify_index

folder, records, dims, kind = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng, encoder, number = np.random.default_rng(0), ExternalEncoder("bench", dims), 0
centres, basis = rng.standard_normal((500, 64)), rng.standard_normal((64, dims))


def made(count):
    found = (centres[rng.integers(500, size=count)] + 0.7 * rng.standard_normal((count, 64))) @ basis
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


vectors, queries = made(records), made(200)
words = [f"word{place}" for place in range(2000)]
texts = [" ".join(words[place] for place in rng.integers(0, 2000, 12)) for _ in range(records)]
documents = [{"id": f"d{n}", "text": text, "lang": "en", "year": 1950 + n % 75} for n, text in enumerate(texts)]
start = time.process_time()
with Index.create(folder, encoder, settings=IndexSettings(lexical=True, kind=kind)) as index:
    index.add(documents, vectors=vectors, batch_size=2000)
    index.compact()
    seconds = time.process_time() - start
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / records
    right = [[hit.id for hit in hits] for hits in index.search_vectors(queries, 10, exact=True)]
    found = [[hit.id for hit in hits] for hits in index.search_vectors(queries, 10)]
    recall = np.mean([len({*one} & {*other}) / 10 for one, other in zip(right, found)])
    index.delete([f"d{place}" for place in range(0, records, 20)])
index = Index.open(folder, encoder)


def once(operation):
    global number
    number += 1
    query = queries[number % len(queries)][None]
    if operation == "open":
        Index.open(folder, encoder).close()
    elif operation == "verify":
        assert not verify_index(folder)
    elif operation == "search":
        index.search_vectors(query, 10)
    elif operation == "filtered":
        index.search_vectors(query, 10, where={"year": {"$gte": 1955 + number % 60}})
    elif operation == "lexical":
        index.store.records.match("word17 word33 word5", 100, None)
    else:
        index.add([{"id": f"x{number}", "text": "word1 and word2", "lang": "en"}], vectors=query)
        if operation == "add_and_delete":
            index.delete([f"x{number}"])


print("ready", seconds, size, recall, flush=True)
for line in sys.stdin:
    operation, times = line.split()
    start = time.process_time()
    for _ in range(int(times)):
        once(operation)
    print((time.process_time() - start) / int(times), flush=True)
"""


def started(checkout: Path, folder: Path, given: argparse.Namespace) -> tuple[subprocess.Popen[str], dict[str, float]]:
    """Start a process of a checkout and have it build its index; return it and the figures of that index."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", WORKER, str(folder), str(given.records), str(given.dims), given.kind]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder.parent
    )
    assert process.stdout is not None
    ready, *found = process.stdout.readline().split()
    assert ready == "ready"
    return process, dict(zip(("build_cpu_s", "bytes", "recall"), map(float, found), strict=True))


def asked(process: subprocess.Popen[str], operation: str, times: int) -> float:
    """Return the seconds of processor time of an operation."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{operation} {times}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    """Measure, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the folder of the other checkout")
    parser.add_argument("--quick", action="store_true", help="few records and turns")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--kind", default="auto", help="of the index, as in its settings")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    ratios: dict[str, float] = {}
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        arguments.records = 2_000 if arguments.quick else arguments.records
        base, base_figures = started(arguments.base.resolve(), Path(place) / "base", arguments)
        here, here_figures = started(HERE, Path(place) / "here", arguments)
        for name, figure in here_figures.items():
            figures[name] = {"base": base_figures[name], "here": figure}
            print(f"{figure / base_figures[name]:6.3f}  {name:<15} {figure:9.3f} {base_figures[name]:9.3f}")
        for name in ("build_cpu_s", "bytes"):
            ratios[f"overhead_{name}"] = here_figures[name] / base_figures[name]
        for operation, (times, turns) in OPERATIONS.items():
            seconds = []
            for turn in range(max(4, turns // 10) if arguments.quick else turns):
                order = (base, here) if turn % 2 else (here, base)
                found = {process.pid: asked(process, operation, times) for process in order}
                seconds.append((found[base.pid], found[here.pid]))
            ratios[f"overhead_{operation}"] = statistics.median(one / other for other, one in seconds)
            figures[operation] = {
                "base_us": 1e6 * statistics.median(one for one, _ in seconds),
                "here_us": 1e6 * statistics.median(one for _, one in seconds),
            }
            us = figures[operation]
            print(
                f"{ratios[f'overhead_{operation}']:6.3f}  {operation:<15} {us['here_us']:9.0f} {us['base_us']:9.0f} µs"
            )
        for process in (base, here):
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"ratios": ratios, "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
