"""Measure the local mode of qdrant-client: python with_qdrant.py DATA FOLDER float32 build|use.

It is the mode of the Python client without a server: it reads everything into memory and compares all vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from store_calls import Block, Found, K, measure


class QdrantLocal:
    """A collection of the client's own store in SQLite."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: str) -> None:
        self._client = QdrantClient(path=str(folder))
        if not self._client.collection_exists("documents"):
            vectors = models.VectorParams(size=384, distance=models.Distance.COSINE)
            self._client.create_collection("documents", vectors_config=vectors)

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents."""
        for block in blocks:
            self.add(block)

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        later = models.FieldCondition(key="year", range=models.Range(gte=since))
        chosen = None if since is None else models.Filter(must=[later])
        found = self._client.query_points("documents", query=query.tolist(), limit=K, query_filter=chosen).points
        return Found([int(one.id) for one in found], [(one.payload or {})["text"] for one in found])

    def add(self, block: Block) -> None:
        """Add documents by one call."""
        points = [
            models.PointStruct(id=number, vector=vector.tolist(), payload={"text": text, "year": year})
            for number, vector, text, year in zip(*block, strict=True)
        ]
        self._client.upsert("documents", points)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


if __name__ == "__main__":
    measure(f"qdrant-client {version('qdrant-client')}, local mode", QdrantLocal)
