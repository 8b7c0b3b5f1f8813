"""Encode texts as encode_peers.py asks: the loop that every peer and mlret share; this module needs only numpy.

    python with_PEER.py JOB.json

The job names the model, the texts and a file for vectors. The first line of output is the processor time from the start
of the process to its first vector, and the peak memory until then. For each line of input the texts are encoded once
more, and a line with the times follows. The end of the input ends the process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Encodes texts in batches of some number of texts; of the library's own choice with None.
Encode = Callable[[Sequence[str], int | None], np.ndarray]
BATCHES: tuple[int | None, ...] = (None, 1, 8)


def serve(load: Callable[[dict[str, Any]], Encode], *, batches: Sequence[int | None] = BATCHES) -> None:
    """Load an encoder and encode for as long as there are lines of input.

    Parameters
    ----------
    load
        Returns a function that encodes texts, each on its own vector of unit length.
    batches
        Numbers of texts in a batch that are tried; passages are encoded with the fastest.
    """
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    queries, passages = job["queries"], job["passages"]
    encode = load(job)
    encode(queries[:1], 1)
    _print({"start_s": time.process_time(), "start_mib": _peak()})
    tried = {batch: _seconds(lambda some=batch: encode(passages, some)) for batch in batches}
    best = min(tried, key=tried.__getitem__)
    np.save(job["vectors"], np.concatenate([encode(queries, None), encode(passages, best)]))
    for _ in sys.stdin:
        singles = [_seconds(lambda some=query: encode([some], 1)) for query in queries]
        together = _seconds(lambda: encode(passages, best))
        _print({"queries": singles, "passages": together, "batch": best, "peak_mib": _peak()})


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _peak() -> float:
    """Return the peak memory in MiB; getrusage would count that of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _print(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)
