"""Ask the machine how many threads to use, without torch."""

from __future__ import annotations

import os


def usable_threads() -> int:
    """Return how many threads to compute with: ``OMP_NUM_THREADS``, or the processors that this process may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
