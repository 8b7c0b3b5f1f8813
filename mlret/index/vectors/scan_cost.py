"""Measures what comparing a query with all vectors costs on this machine, so that small segments get no graph."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from mlret.index.vectors.exact import CpuExact

# The vectors that are searched: 64 MB, more than the caches of most processors hold, as those of a large segment are.
_ROWS, _DIMS = 2**16, 256
_REPEATS = 5


@cache
def seconds_per_value() -> float:
    """Return the seconds that exact search takes for each float32 of the vectors, for one query.

    It is measured once in a process, within a tenth of a second. Single queries are limited by the memory and by the
    number of threads, which differ more between machines than the instructions of their processors.
    """
    matrix = np.full((_ROWS, _DIMS), _DIMS**-0.5, dtype=np.float32)
    matrix[:, 0] = np.linspace(-0.1, 0.1, _ROWS)  # Equal scores would be examined one by one.
    search = CpuExact(matrix)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        search.search(matrix[-1:], 10)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / matrix.size
