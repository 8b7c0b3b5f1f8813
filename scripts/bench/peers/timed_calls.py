"""Times calls one by one, for the peers of memory.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def timed(name: str, run: Callable[[int], object], warm: int, calls: int, last: int | None = None) -> dict[str, float]:
    """Return the medians of milliseconds in wall time and in processor time, of the last calls."""
    clock, processor = [], []
    for turn in range(calls):
        start, used = time.perf_counter(), time.process_time()
        run(turn)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - used))
    first = warm if last is None else calls - last
    return {name: statistics.median(clock[first:]), f"{name}_cpu": statistics.median(processor[first:])}
