"""Measure Chroma: python with_chromadb.py DATA FOLDER float32 build|use."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from numpy.typing import NDArray
from store_calls import Block, Found, K, measure


class Chroma:
    """A collection with the defaults of the library, whose texts are also indexed for searching for substrings."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: str) -> None:
        client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self._collection: Any = client.get_or_create_collection(
            "documents", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents."""
        for block in blocks:
            self.add(block)

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        where = None if since is None else {"year": {"$gte": since}}
        found = self._collection.query(query_embeddings=[query], n_results=K, where=where, include=["documents"])
        return Found([int(number) for number in found["ids"][0]], found["documents"][0])

    def add(self, block: Block) -> None:
        """Add documents by one call."""
        self._collection.add(
            ids=[str(number) for number in block.numbers],
            embeddings=block.vectors,
            documents=block.texts,
            metadatas=[{"year": year} for year in block.years],
        )

    def close(self) -> None:
        """Nothing is held back."""


if __name__ == "__main__":
    measure(f"chromadb {version('chromadb')}", Chroma)
