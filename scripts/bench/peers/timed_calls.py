"""Times calls one by one, for the peers of memory.py."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

USERS = 10  # who share the records in turn
DELETED = 55  # records deleted or erased, from the first on


class Given(NamedTuple):
    """Texts and queries, and the vector of each."""

    texts: list[str]
    queries: list[str]
    vectors: dict[str, Any]


class Store(Protocol):
    """What is timed."""

    version: str
    kind: str

    def add(self, number: int, text: str, user: str) -> None:
        """Store a text durably."""

    def search(self, query: str, user: str) -> int:
        """Return how many of the five best of the user's records were found."""

    def deletes(self) -> dict[str, Callable[[int, str], object]]:
        """Return the ways of deleting a record of a user by its number, by name; the last one is checked."""

    def close(self) -> None:
        """Write what is not written."""


def timed(name: str, run: Callable[[int], object], turns: range, counted: int) -> dict[str, float]:
    """Return the medians of milliseconds in wall time and in processor time, of the last calls."""
    clock, processor = [], []
    for turn in turns:
        start, used = time.perf_counter(), time.process_time()
        run(turn)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - used))
    return {name: statistics.median(clock[-counted:]), f"{name}_cpu": statistics.median(processor[-counted:])}


def measure(open_store: Callable[[Path, Given], Store]) -> None:
    """Measure what the command line names, and print JSON: ``python with_NAME.py DATA FOLDER fill|first``.

    ``fill`` adds all texts one by one, searches, deletes, and looks for the deleted texts in the files. ``first`` opens
    the full store in a process of its own and searches for the first time, then in the scopes of all users.
    """
    data, folder, phase = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    texts, queries = (json.loads((data / f"{name}.json").read_text("utf-8")) for name in ("texts", "queries"))
    vectors = [*np.load(data / "vectors.npy"), *np.load(data / "queries.npy")]
    given = Given(texts, queries, dict(zip([*texts, *queries], vectors, strict=True)))
    before = _peak()
    start, used = time.perf_counter(), time.process_time()
    store = open_store(folder, given)
    figures: dict[str, Any] = {"version": store.version, "store": store.kind}

    def search(turn: int) -> None:
        figures["found"] = store.search(queries[turn], f"u{turn % USERS}")

    if phase == "first":
        search(0)
        figures["first_search"] = 1000 * (time.perf_counter() - start)
        figures["first_search_cpu"] = 1000 * (time.process_time() - used)
        timed("search", search, range(1, len(queries)), len(queries))
        figures |= {"searches_mb": _peak(), "imports_mb": before}
    else:
        start, used = time.perf_counter(), time.process_time()
        last = timed("add", lambda turn: store.add(turn, texts[turn], f"u{turn % USERS}"), range(len(texts)), 100)
        figures |= last | {"fill_s": time.perf_counter() - start, "fill_cpu_s": time.process_time() - used}
        figures |= timed("search", search, range(len(queries)), 50)
        figures["fill_mb"] = _peak()
        for place, (name, delete) in enumerate(store.deletes().items()):
            turns = range(place * DELETED, (place + 1) * DELETED)
            figures |= timed(name, lambda turn, run=delete: run(turn, f"u{turn % USERS}"), turns, DELETED - 5)
        store.close()
        content = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        figures["disk_mb"] = sum(map(len, content)) / 2**20
        gone = [texts[turn].encode() for turn in turns]
        figures["deleted"] = len(gone)
        figures["deleted_left"] = sum(any(text in some for some in content) for text in gone)
    print(json.dumps(figures))


def _peak() -> float:
    """Return the most megabytes this process took; ``ru_maxrss`` would count those of the process that started it."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
