"""The instructions with which FAISS builds a graph fastest on this processor."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.vectors.rounding import Matrix

_LEVELS = ("AVX2", "AVX512", "AVX512_SPR")
_LEAST = 50_000  # Building a graph of fewer vectors takes too short a time to find this out.
_TIMED = 1_024  # Vectors of which graphs are built to time the levels.
_REPEATS = 3
# The level that was found, by dimensions and kind of graph: a graph that grows is extended again and again.
_FOUND: dict[tuple[int, str], Any] = {}


@contextmanager
def fastest_graph_level(matrix: Matrix, factory: str) -> Iterator[None]:
    """Have FAISS use the fastest of the levels that the processor has while a graph is built.

    FAISS chooses the highest. On an Intel Xeon with AVX512-FP16 a graph over int8 codes takes a third longer with that,
    ``AVX512_SPR``, than with ``AVX512``. The levels are timed once in a process. Nothing is changed if the environment
    variable ``FAISS_SIMD_LEVEL`` is set, if FAISS has no such choice (before 1.14), or if there are fewer than 50,000
    vectors.

    Parameters
    ----------
    matrix
        ``(n, dims)``: the vectors.
    factory
        The graph, as FAISS's index factory names it.
    """
    faiss: Any = import_module("faiss")
    config = getattr(faiss, "SIMDConfig", None)
    if config is None or len(matrix) < _LEAST or "FAISS_SIMD_LEVEL" in os.environ:
        yield
        return
    levels = [getattr(faiss, f"SIMDLevel_{name}") for name in _LEVELS if hasattr(faiss, f"SIMDLevel_{name}")]
    usable = [level for level in levels if config.is_simd_level_available(level)]
    before = config.get_level()
    try:
        if len(usable) > 1:
            asked = matrix.shape[1], factory
            if asked not in _FOUND:
                _FOUND[asked] = _fastest(faiss, usable, np.ascontiguousarray(matrix[:_TIMED]), factory)
            config.set_level(_FOUND[asked])
        yield
    finally:
        config.set_level(before)


def _fastest(faiss: Any, levels: list[Any], vectors: NDArray[np.float32], factory: str) -> Any:
    seconds = dict.fromkeys(levels, np.inf)
    for _ in range(_REPEATS):
        for level in levels:
            faiss.SIMDConfig.set_level(level)
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors)
            start = time.process_time()
            index.add(vectors)
            seconds[level] = min(seconds[level], time.process_time() - start)
    return min(levels, key=seconds.__getitem__)
