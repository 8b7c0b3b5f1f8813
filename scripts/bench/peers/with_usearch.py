"""Measure USearch: python with_usearch.py DATA FOLDER f32|f16|i8 build|use.

It stores vectors under numbers, and neither texts nor years. A search is over the mapped file. What is added is in
memory until the whole index is saved, which is not part of an addition here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from store_calls import Block, Found, K, measure
from usearch.index import Index


class USearch:
    """A graph with the defaults of the library."""

    filters = False
    durable = False

    def __init__(self, folder: Path, dtype: str) -> None:
        self._file = folder / "vectors.usearch"
        self._mapped = self._file.exists()
        if self._mapped:
            self._index = Index.restore(str(self._file), view=True)
        else:
            folder.mkdir()
            self._index = Index(ndim=384, metric="cos", dtype=dtype)

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all vectors and save the file."""
        for block in blocks:
            self._index.add(np.array(block.numbers), block.vectors, threads=1)
        self._index.save(str(self._file))

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search for numbers."""
        return Found(self._index.search(query, K, threads=1).keys.tolist(), [])

    def add(self, block: Block) -> None:
        """Add to the index in memory, which is read from the file for the first addition."""
        if self._mapped:
            self._index, self._mapped = Index.restore(str(self._file)), False
        self._index.add(np.array(block.numbers), block.vectors, threads=1)

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    measure(f"usearch {version('usearch')}", USearch)
