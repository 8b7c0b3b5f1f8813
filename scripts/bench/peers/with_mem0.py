"""Measure mem0's raw add, search and delete with a local store: python with_mem0.py DATA FOLDER fill|first.

No language model is used (``infer=False``), and nothing is sent over the network. The vectors are given with the texts,
as they are to the other side, so that no figure contains the time of an encoder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = str(Path(sys.argv[2]) / "home")
os.environ.setdefault("OPENAI_API_KEY", "none")  # required by its constructor, but never used

from mem0 import Memory
from timed_calls import Given, measure


class Embedding:
    """Returns the vectors that were given with the texts."""

    def __init__(self, given: Given, config: Any) -> None:
        self._given = given
        self.config = config

    def embed(self, text: str, *_: Any, **__: Any) -> list[float]:
        """Return the vector of a text."""
        vector: list[float] = self._given.vectors[text].tolist()
        return vector

    def embed_batch(self, some: list[str], *_: Any, **__: Any) -> list[list[float]]:
        """Return the vector of each text."""
        return [self.embed(text) for text in some]


class Mem0:
    """A memory of mem0."""

    version = version("mem0ai")
    kind = "local Qdrant"

    def __init__(self, folder: Path, given: Given) -> None:
        dims = len(given.vectors[given.texts[0]])
        store = {"path": str(folder / "qdrant"), "embedding_model_dims": dims, "on_disk": True}
        self._memory = Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": {"collection_name": "bench", **store}},
                "embedder": {"provider": "openai", "config": {"embedding_dims": dims}},
                "history_db_path": str(folder / "history.db"),
            }
        )
        self._memory.embedding_model = Embedding(given, self._memory.embedding_model.config)
        self._ids: list[str] = []

    def add(self, number: int, text: str, user: str) -> None:
        """Store a text as it is."""
        found = self._memory.add([{"role": "user", "content": text}], user_id=user, infer=False)
        self._ids.append(found["results"][0]["id"])

    def search(self, query: str, user: str) -> int:
        """Search for five."""
        return len(self._memory.search(query, top_k=5, filters={"user_id": user}, threshold=0.0)["results"])

    def deletes(self) -> dict[str, Callable[[int, str], object]]:
        """Return its one way of deleting."""
        return {"delete": lambda number, _: self._memory.delete(self._ids[number])}

    def close(self) -> None:
        """Close the store and the history."""
        self._memory.vector_store.client.close()
        self._memory.close()


if __name__ == "__main__":
    measure(Mem0)
