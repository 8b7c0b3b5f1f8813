"""Measure FAISS's graph as mlret uses it: python graph_faiss.py DATA FOLDER float32|float16|int8."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from graph_calls import Matrix, measure
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.vectors.faiss_index import Graph, build_accelerator, faiss_module, read_accelerator
from mlret.index.vectors.rounding import rounded

SETTINGS = IndexSettings(kind="hnsw")
STORED: dict[str, Any] = {}  # The vectors as a segment of this type has them, which no graph has to make.


class FaissGraph:
    """A graph that is built over int8 codes, and then compares the vectors of the segment unless these are int8."""

    def __init__(self, folder: Path, dtype: Any) -> None:
        self._file, self._dtype = folder / "graph", dtype

    def build(self, vectors: Matrix) -> None:
        """Build and write."""
        STORED[self._dtype] = rounded(vectors, self._dtype)
        build_accelerator("hnsw", STORED[self._dtype], SETTINGS).write(self._file)

    def open(self, vectors: Matrix) -> None:
        """Map the file."""
        graph = read_accelerator("hnsw", self._file, STORED[self._dtype], SETTINGS)
        assert isinstance(graph, Graph) and graph.compares_vectors == (self._dtype != "int8")
        self._graph = graph

    def search(self, queries: Matrix, k: int, effort: int) -> NDArray[np.int64]:
        """Search."""
        return self._graph.search(queries, k, effort=effort / SETTINGS.ef_search)[1]


if __name__ == "__main__":
    measure(f"faiss-cpu {version('faiss-cpu')}, {faiss_module().get_compile_options().strip()}", FaissGraph)
