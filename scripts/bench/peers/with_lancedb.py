"""Measure LanceDB: python with_lancedb.py DATA FOLDER float32 build|use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq
from numpy.typing import NDArray
from store_calls import Block, Found, K, measure

DIMS = 384


class LanceDB:
    """A table with a graph over int8 codes (IVF_HNSW_SQ, one partition), whose candidates are scored exactly."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: str) -> None:
        database = lancedb.connect(folder)
        vector = pa.list_(pa.float32(), DIMS)
        self._schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("year", pa.int32()), ("vector", vector)])
        there = (folder / "documents.lance").exists()
        self._table: Any = (
            database.open_table("documents") if there else database.create_table("documents", schema=self._schema)
        )

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents, make the index, merge the files, and remove those of earlier versions of the table."""
        for block in blocks:
            self.add(block)
        self._table.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
        self._table.optimize(cleanup_older_than=timedelta(0))

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        asked = self._table.search(query).distance_type("cosine").refine_factor(4).ef(128).limit(K)
        if since is not None:
            asked = asked.where(f"year >= {since}", prefilter=True)
        found = asked.select(["id", "text"]).to_arrow()
        return Found(found["id"].to_pylist(), found["text"].to_pylist())

    def add(self, block: Block) -> None:
        """Add documents by one call."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(block.vectors)), DIMS)
        columns = [pa.array(block.numbers), pa.array(block.texts), pa.array(block.years, pa.int32()), vectors]
        self._table.add(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        """Nothing is held back."""


if __name__ == "__main__":
    measure(f"lancedb {version('lancedb')}", LanceDB)
