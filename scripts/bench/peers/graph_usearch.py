"""Measure USearch's graph: python graph_usearch.py DATA FOLDER float32|float16|int8."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
from graph_calls import Matrix, measure
from numpy.typing import NDArray
from usearch.index import Index

DTYPES = {"float32": "f32", "float16": "f16", "int8": "i8"}


class USearchGraph:
    """A graph with the defaults of the library."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self._file, self._dtype = str(folder / "graph"), DTYPES[dtype]

    def build(self, vectors: Matrix) -> None:
        """Build and save."""
        index = Index(ndim=vectors.shape[1], metric="ip" if self._dtype != "i8" else "cos", dtype=self._dtype)
        index.add(np.arange(len(vectors)), np.ascontiguousarray(vectors), threads=1)
        index.save(self._file)

    def open(self, vectors: Matrix) -> None:
        """Map the file, which has the vectors, too."""
        self._index = Index.restore(self._file, view=True)

    def search(self, queries: Matrix, k: int, effort: int) -> NDArray[np.int64]:
        """Search."""
        self._index.expansion_search = effort
        found = self._index.search(queries, k, threads=1)
        return np.asarray(found.keys, dtype=np.int64).reshape(len(queries), k)


if __name__ == "__main__":
    measure(f"usearch {version('usearch')}, {Index(ndim=384, dtype='f32').hardware_acceleration}", USearchGraph)
