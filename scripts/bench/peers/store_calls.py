"""Measures what a store costs, in the same way for each of those that stores.py compares; needs only numpy."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

K = 10
BLOCK = 5_000  # documents in one call while a store is filled; chromadb takes no more than 5,461
YEAR = 2000  # a filtered search is of this year or later, which is a third of the documents
WARM, OPENED, ADDED = 20, 5, 40


class Block(NamedTuple):
    """Documents that are stored by one call."""

    numbers: list[int]
    vectors: NDArray[np.float32]
    texts: list[str]
    years: list[int]


class Found(NamedTuple):
    """The numbers and texts of hits, best first."""

    numbers: list[int]
    texts: list[str]


class Store(Protocol):
    """What is measured; a store is opened by its constructor, which gets its folder and a type of vectors."""

    filters: bool  # whether a search can be restricted to years
    durable: bool  # whether what was added survives the end of the process as soon as the call returns

    def build(self, blocks: Iterator[Block]) -> None:
        """Fill the store, and make its index of vectors."""

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Return the ``K`` best documents, of a year or later if one is given."""

    def add(self, block: Block) -> None:
        """Store one document."""

    def close(self) -> None:
        """Write what is not written."""


class Data:
    """The made documents and queries of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.queries = np.load(folder / "queries.npy")
        self.dims = self.queries.shape[1]
        self.best = {None: np.load(folder / "best.npy"), YEAR: np.load(folder / "best-since.npy")}

    def blocks(self) -> Iterator[Block]:
        """Read the documents block by block, so that they take no memory of the store's process."""
        first = 0
        with (self._folder / "vectors.f32").open("rb") as vectors, (self._folder / "texts.txt").open() as texts:
            while content := vectors.read(4 * self.dims * BLOCK):
                some = np.frombuffer(content, dtype=np.float32).reshape(-1, self.dims)
                yield block_of(first, some, [next(texts).rstrip("\n") for _ in some])
                first += len(some)


def block_of(first: int, vectors: NDArray[np.float32], texts: Sequence[str]) -> Block:
    """Return documents with consecutive numbers, and with years that follow from them."""
    numbers = list(range(first, first + len(vectors)))
    return Block(numbers, vectors, list(texts), [1950 + number % 75 for number in numbers])


def measure(library: str, open_store: Callable[[Path, str], Store]) -> None:
    """Measure what the command line names, and print JSON: ``python with_NAME.py DATA FOLDER DTYPE build|use``.

    ``build`` fills the store. ``use`` opens it in a process of its own, searches and adds.

    Parameters
    ----------
    library
        Name and version of the library.
    open_store
        Opens the store in a folder, whether it is there or not, with a type of vectors.
    """
    data, folder, dtype, phase = Data(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    figures: dict[str, Any] = {"library": library}
    figures |= {"build": _build, "use": _use}[phase](data, lambda: open_store(folder, dtype), folder)
    print(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)  # The threads of some libraries keep a process that has ended.


def _build(data: Data, open_store: Callable[[], Store], folder: Path) -> dict[str, Any]:
    before, used = _peak(), _processor()
    store = open_store()
    store.build(data.blocks())
    store.close()
    return {"build_cpu_s": _processor() - used, "build_mb": _peak(), "before_mb": before, "bytes": size_of(folder)}


def _use(data: Data, open_store: Callable[[], Store], folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    clock, used = time.perf_counter(), time.process_time()
    store = open_store()
    figures |= {"open_ms": 1000 * (time.perf_counter() - clock), "open_cpu_ms": 1000 * (time.process_time() - used)}
    used = time.process_time()
    store.search(data.queries[0], None)
    figures["first_query_cpu_ms"] = 1000 * (time.process_time() - used)
    for name, since in (("query", None), ("filtered", YEAR)):
        if since is None or store.filters:
            figures |= _searches(name, store, data, since)
    used = time.process_time()
    vectors = data.queries[:ADDED]
    first = 10**9
    times = []
    for place, vector in enumerate(vectors):
        block = block_of(first + place, vector[None], [f"a text that was added later, number {place}"])
        used = time.process_time()
        store.add(block)
        times.append(1000 * (time.process_time() - used))
    figures |= {"add_cpu_ms": statistics.mean(times[5:]), "add_is_durable": store.durable}
    assert first in store.search(vectors[0], None).numbers, "what was added is not found"
    store.close()
    return figures | {"use_mb": _peak()}


def _searches(name: str, store: Store, data: Data, since: int | None) -> dict[str, Any]:
    for query in data.queries[:WARM]:
        store.search(query, since)
    clock, used = time.perf_counter(), time.process_time()
    found = [store.search(query, since) for query in data.queries]
    figures = {
        f"{name}_cpu_ms": 1000 * (time.process_time() - used) / len(found),
        f"{name}_ms": 1000 * (time.perf_counter() - clock) / len(found),
    }
    assert since is None or all(1950 + number % 75 >= since for one in found for number in one.numbers)
    pairs = zip(found, data.best[since].tolist(), strict=True)
    return figures | {f"{name}_recall": statistics.mean(len({*one.numbers} & {*best}) / K for one, best in pairs)}


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder; of files with holes what is allocated."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(min(one.st_size, 512 * one.st_blocks) for one in found)


def _processor() -> float:
    """Return the processor time of all threads of this process and of the processes that it waited for, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak() -> float:
    """Return the most megabytes this process took; ``ru_maxrss`` would count those of the process that started it."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
