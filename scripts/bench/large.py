"""Build, search, filter, delete from and reopen one index of very many vectors, and write what each step took.

    OMP_NUM_THREADS=2 python scripts/bench/large.py --documents 10000000 --folder DIR --json large.json

The vectors are those of stores.py, the kind of index is what ``auto`` takes. Documents are added in parts, then
``compact`` is called once. Before queries are timed, Linux is asked to drop what it has
cached of the index's files, so that the first queries read from the disk. Recall is that of comparing all vectors.
Memory is sampled ten times a second: of the process alone, and with the pages of mapped files.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from stores import DIMS, WORDS, vectors_of

from mlret.doctor import examine
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index

K, QUERIES, YEARS = 10, 100, (2000, 2030)
_BATCH = 5_000


def documents_of(count: int) -> Iterator[dict[str, Any]]:
    """Yield documents with a text of 75 characters and a year."""
    random = np.random.default_rng(1)
    for start in range(0, count, _BATCH):
        words = random.integers(len(WORDS), size=(_BATCH, 15)).tolist()
        years = random.integers(*YEARS, size=_BATCH).tolist()
        for place in range(min(_BATCH, count - start)):
            text = " ".join(WORDS[word] for word in words[place])[:75]
            yield {"id": str(start + place), "text": text, "lang": "en", "metadata": {"year": years[place]}}


def status(key: str) -> int:
    """Return a field of the process's status in bytes, such as ``RssAnon``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    return 0


@contextmanager
def measured(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Write the time of a step, by the clock and the processor, and the most memory that it took."""
    ended = threading.Event()
    most = {"own": 0, "with_files": 0}

    def watch() -> None:
        while not ended.wait(0.1):
            most["own"] = max(most["own"], status("RssAnon"))
            most["with_files"] = max(most["with_files"], status("VmRSS"))

    thread = threading.Thread(target=watch)
    thread.start()
    clock, used = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    found[name] = {
        "seconds": time.perf_counter() - clock,
        "cpu_s": time.process_time() - used,
        "own_gib": most["own"] / 2**30,
        "with_files_gib": most["with_files"] / 2**30,
    }
    print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in found[name].items()), flush=True)


def drop_cached(folder: Path) -> None:
    """Ask Linux to forget what it has cached of the files in a folder."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def times_of(search: Any, queries: NDArray[np.float32]) -> dict[str, float]:
    """Return what single queries take, in milliseconds by the clock and the processor."""
    clocks, used = [], time.process_time()
    for query in queries:
        clock = time.perf_counter()
        search(query[None])
        clocks.append(1000 * (time.perf_counter() - clock))
    return {
        "first_ms": clocks[0],
        "median_ms": statistics.median(clocks),
        "p95_ms": statistics.quantiles(clocks, n=20)[-1],
        "cpu_ms": 1000 * (time.process_time() - used) / len(queries),
    }


def recall(index: Index, queries: NDArray[np.float32], **options: Any) -> float:
    """Return the share of the ten nearest that a search finds."""
    found = index.search_vectors(queries, K, **options)
    right = index.search_vectors(queries, K, exact=True, **options)
    pairs = zip(found, right, strict=True)
    return statistics.mean(len({hit.id for hit in a} & {hit.id for hit in b}) / K for a, b in pairs)


def main(
    documents: Annotated[int, typer.Option(min=1_000)] = 10_000_000,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the index is built; 50 GB for ten million documents."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Written after each step.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="20,000 documents.")] = False,
) -> None:
    """Measure an index of very many vectors."""
    documents = 20_000 if quick else documents
    [queries] = vectors_of(QUERIES, 3)
    machine = examine()
    found: dict[str, Any] = {"documents": documents, "machine": machine.machine, "versions": machine.versions}

    def save() -> None:
        if json_file is not None:
            json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def asked(name: str, index: Index, **options: Any) -> None:
        drop_cached(index.path)
        cold = times_of(lambda query: index.search_vectors(query, K, **options), queries)
        warm = times_of(lambda query: index.search_vectors(query, K, **options), queries)
        found[name] = {"cold": cold, "warm": warm, "recall": recall(index, queries[:20], **options)}
        print(name, json.dumps(found[name]), flush=True)
        save()

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "large.index"
        with Index.create(path, ExternalEncoder("made", DIMS)) as index:
            with measured("add", found):
                coming = documents_of(documents)
                for block in vectors_of(documents, 2):
                    index.add(list(islice(coming, len(block))), vectors=block, batch_size=_BATCH)
            save()
            with measured("compact", found):
                index.compact()
            save()
        with measured("open", found), Index.open(path) as index:
            pass
        found["bytes_a_document"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / documents
        with Index.open(path) as index:
            found["kinds"] = index.info().kinds
            print(found["kinds"], f"{found['bytes_a_document']:,.0f} bytes a document", flush=True)
            asked("query", index)
            asked("query of a tenth of the years", index, where={"year": {"$lt": YEARS[0] + 3}})
            with measured("delete a tenth", found):
                for start in range(0, documents, 100_000):
                    index.delete([str(number) for number in range(start, min(start + 100_000, documents), 10)])
            save()
            asked("query after deleting", index)
        with measured("open again", found), Index.open(path) as index:
            pass
        with Index.open(path) as index:
            asked("query after opening again", index)


if __name__ == "__main__":
    typer.run(main)
