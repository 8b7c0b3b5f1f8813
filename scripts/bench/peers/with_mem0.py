"""Measure mem0's raw add, search and delete with a local store: python with_mem0.py DATA FOLDER; prints JSON.

No language model is used (``infer=False``), and nothing is sent over the network. The vectors are given with the texts,
as they are to the other side, so that no figure contains the time of an encoder.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = str(Path(sys.argv[2]) / "home")
os.environ.setdefault("OPENAI_API_KEY", "none")  # required by its constructor, but never used

import numpy as np
from mem0 import Memory
from timed_calls import timed


def main() -> None:
    """Time the calls one by one."""
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    texts, queries = (json.loads((data / f"{name}.json").read_text("utf-8")) for name in ("texts", "queries"))
    vectors, asked = np.load(data / "vectors.npy"), np.load(data / "queries.npy")
    known = dict(zip([*texts, *queries], [*vectors, *asked], strict=True))
    store = {"path": str(folder / "qdrant"), "embedding_model_dims": vectors.shape[1], "on_disk": True}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": {"collection_name": "bench", **store}},
            "embedder": {"provider": "openai", "config": {"embedding_dims": vectors.shape[1]}},
            "history_db_path": str(folder / "history.db"),
        }
    )

    class Given:
        """Returns the vectors that were given with the texts."""

        config = memory.embedding_model.config

        def embed(self, text: str, *_: Any, **__: Any) -> list[float]:
            return known[text].tolist()

        def embed_batch(self, some: list[str], *_: Any, **__: Any) -> list[list[float]]:
            return [known[text].tolist() for text in some]

    memory.embedding_model = Given()
    ids: list[str] = []
    found: dict[str, Any] = {}

    def add(number: int) -> None:
        messages = [{"role": "user", "content": texts[number]}]
        ids.append(memory.add(messages, user_id=f"u{number % 10}", infer=False)["results"][0]["id"])

    def search(turn: int) -> None:
        found.update(memory.search(queries[turn], top_k=5, filters={"user_id": f"u{turn % 10}"}, threshold=0.0))

    figures: dict[str, Any] = {"version": version("mem0ai"), "store": "local Qdrant"}
    figures |= timed("add", add, 0, len(texts), last=100)
    figures |= timed("search", search, 5, 55)
    figures |= timed("delete", lambda turn: memory.delete(ids[turn]), 5, 55)
    figures["found"] = len(found["results"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
