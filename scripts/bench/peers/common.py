"""Measurements that every peer makes in the same way; this module needs only numpy and torch."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

K = 10
SINGLES = 100  # number of queries that are timed one by one
Search = Callable[[torch.Tensor, dict[str, Any]], list[list[int]]]


def measure(
    library: str,
    create: Callable[[Path, list[torch.Tensor]], None],
    search: Callable[[Path], Search],
    settings: Sequence[dict[str, Any]],
) -> None:
    """Build an index of the corpus that the command line names, search it with each setting, and write the results.

    Parameters
    ----------
    library
        Name and version of the library.
    create
        Builds an index of documents, each ``(tokens, dims)``, in a folder.
    search
        Opens the index and returns a function that finds the ids of ``K`` documents for each query of ``(queries,
        tokens, dims)``.
    settings
        The settings to try; the first is the library's default.
    """
    data, output, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    tokens = torch.from_numpy(np.load(data / "emb.npy")).float()
    documents = list(torch.split(tokens, np.load(data / "doclens.npy").tolist()))
    queries = torch.from_numpy(np.load(data / "queries.npy"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        before = _rss()
        start, cpu = time.perf_counter(), time.process_time()
        create(folder, documents)
        found: dict[str, Any] = {
            "library": library,
            "torch": torch.__version__,
            "build_s": time.perf_counter() - start,
            "build_cpu_s": time.process_time() - cpu,
            "peak_gib": _rss(),
            "before_gib": before,
            "index_mb": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
            "settings": [],
        }
        print(f"{library}: built in {found['build_s']:.0f} s", file=sys.stderr)
        run = search(folder)
        for options in settings:
            run(queries[:3], options)
            start = time.perf_counter()
            ids = run(queries, options)
            batch = time.perf_counter() - start
            seconds, cpu = [], []
            for query in queries[:SINGLES]:
                start, cpu_start = time.perf_counter(), time.process_time()
                run(query[None], options)
                cpu.append(time.process_time() - cpu_start)
                seconds.append(time.perf_counter() - start)
            times = {"seconds": seconds, "cpu_seconds": cpu, "batch_qps": len(queries) / batch}
            found["settings"].append({"options": options, "ids": ids, **times})
    output.write_text(json.dumps(found), encoding="utf-8")


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
