"""Work on several threads: parts of one query, or a query each. As many as FAISS may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

from mlret.index.accelerators import faiss_module

_T = TypeVar("_T")
_R = TypeVar("_R")
_FEW = 2_000  # tokens that one thread compares sooner than a second one starts
_state = threading.local()


def divide(count: int, work: int, run: Callable[[int, int], None]) -> None:
    """Run a range in parts.

    Parameters
    ----------
    count
        The range is 0 … ``count``.
    work
        How many tokens that is.
    run
        Called with the bounds of each part.
    """
    threads = max(1, min(_threads(), work // _FEW, count))
    if threads == 1:
        run(0, count)
        return
    bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
    for one in [_pool("parts", threads).submit(run, *pair) for pair in pairwise(bounds)]:
        one.result()


def each(run: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """``run`` of each item: one thread an item where there are as many items as threads, all threads for one item where
    there are fewer."""
    threads = _threads()
    if threads == 1 or len(items) < threads:
        return [run(item) for item in items]

    def alone(item: _T) -> _R:
        _state.alone = True
        return run(item)

    return list(_pool("items", threads).map(alone, items))


def _threads() -> int:
    return 1 if getattr(_state, "alone", False) else int(faiss_module().omp_get_max_threads())


@cache
def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix=f"mlret-{name}")
