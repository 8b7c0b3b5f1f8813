"""Runs parts of one query on several threads, as many as FAISS may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from mlret.index.vectors.faiss_index import faiss_module

_FEW = 2_000  # One thread compares this many tokens before a second one has started.


def divide(count: int, work: int, run: Callable[[int, int], None]) -> None:
    """Run a function over the parts of a range, on several threads if that is worthwhile.

    Parameters
    ----------
    count
        The range is 0 … ``count``.
    work
        The number of tokens that are compared in the whole range.
    run
        Called with the bounds of each part.
    """
    threads = max(1, min(faiss_module().omp_get_max_threads(), work // _FEW, count))
    if threads == 1:
        run(0, count)
        return
    bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
    for one in [_pool(threads, os.getpid()).submit(run, *pair) for pair in pairwise(bounds)]:
        one.result()


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process: a forked one inherits the object of its parent, but none of its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mlret-tokens")
