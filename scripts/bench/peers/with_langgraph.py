"""Measure LangGraph's SQLite store: python with_langgraph.py DATA FOLDER; prints JSON.

It is the store that LangMem and LangGraph agents keep memories in, with its vector index (sqlite-vec). The vectors are
given with the texts, as they are to the other sides, so that no figure contains the time of an encoder.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from langgraph.store.sqlite import SqliteStore
from timed_calls import timed


def main() -> None:
    """Time the calls one by one."""
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    texts, queries = (json.loads((data / f"{name}.json").read_text("utf-8")) for name in ("texts", "queries"))
    vectors, asked = np.load(data / "vectors.npy"), np.load(data / "queries.npy")
    known = dict(zip([*texts, *queries], [*vectors, *asked], strict=True))

    def embed(some: list[str]) -> list[list[float]]:
        return [known[text].tolist() for text in some]

    with SqliteStore.from_conn_string(
        str(folder / "store.db"), index={"dims": vectors.shape[1], "embed": embed}
    ) as store:
        store.setup()
        found: list[Any] = []

        def add(number: int) -> None:
            store.put(("memories", f"u{number % 10}"), str(number), {"text": texts[number]}, index=["text"])

        def search(turn: int) -> None:
            found[:] = store.search(("memories", f"u{turn % 10}"), query=queries[turn], limit=5)

        figures: dict[str, Any] = {"version": version("langgraph-checkpoint-sqlite"), "store": "SQLite, sqlite-vec"}
        figures |= timed("add", add, 0, len(texts), last=100)
        figures |= timed("search", search, 5, 55)
        figures |= timed("delete", lambda turn: store.delete(("memories", f"u{turn % 10}"), str(turn)), 5, 55)
    figures["found"] = len(found)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
