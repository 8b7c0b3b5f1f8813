"""Measure Qdrant Edge: python with_qdrant_edge.py DATA FOLDER float32 build|use.

It is the engine of Qdrant within the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    PayloadSchemaType,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    UpdateOperation,
)
from store_calls import Block, Found, K, measure


class QdrantEdge:
    """A shard with the defaults of the library and an index of the years."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: str) -> None:
        if folder.exists():
            self._shard = EdgeShard.load(str(folder))
        else:
            folder.mkdir()
            self._shard = EdgeShard.create(str(folder), EdgeConfig(EdgeVectorParams(384, Distance.Cosine)))

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents, and make the index."""
        self._shard.update(UpdateOperation.create_field_index("year", PayloadSchemaType.Integer))
        for block in blocks:
            self.add(block)
        self._shard.optimize()
        self._shard.flush()

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        later = None if since is None else Filter(must=[FieldCondition("year", range=RangeFloat(gte=since))])
        asked = QueryRequest(K, query=Query.Nearest(query.tolist()), with_payload=["text"], filter=later)
        found = self._shard.query(asked)
        return Found([int(one.id) for one in found], [one.payload["text"] for one in found])

    def add(self, block: Block) -> None:
        """Add documents by one call."""
        points = [
            Point(number, vector.tolist(), {"text": text, "year": year})
            for number, vector, text, year in zip(*block, strict=True)
        ]
        self._shard.update(UpdateOperation.upsert_points(points))

    def close(self) -> None:
        """Write what is not written."""
        self._shard.flush()
        self._shard.close()


if __name__ == "__main__":
    measure(f"qdrant-edge-py {version('qdrant-edge-py')}", QdrantEdge)
