"""Measure LangGraph's SQLite store: python with_langgraph.py DATA FOLDER fill|first.

It is the store that LangMem and LangGraph agents keep memories in, with its vector index (sqlite-vec). The vectors are
given with the texts, as they are to the other sides, so that no figure contains the time of an encoder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from langgraph.store.sqlite import SqliteStore
from timed_calls import Given, measure


class LangGraph:
    """A store with an index of the field ``text``."""

    version = version("langgraph-checkpoint-sqlite")
    kind = "SQLite, sqlite-vec"

    def __init__(self, folder: Path, given: Given) -> None:
        folder.mkdir(exist_ok=True)
        dims = len(given.vectors[given.texts[0]])

        def embed(some: list[str]) -> list[list[float]]:
            return [given.vectors[text].tolist() for text in some]

        self._opened = SqliteStore.from_conn_string(str(folder / "store.db"), index={"dims": dims, "embed": embed})
        self._store = self._opened.__enter__()
        self._store.setup()

    def add(self, number: int, text: str, user: str) -> None:
        """Store a text in the namespace of a user."""
        self._store.put(("memories", user), str(number), {"text": text}, index=["text"])

    def search(self, query: str, user: str) -> int:
        """Search for five."""
        return len(self._store.search(("memories", user), query=query, limit=5))

    def deletes(self) -> dict[str, Callable[[int, str], object]]:
        """Return its one way of deleting."""
        return {"delete": lambda number, user: self._store.delete(("memories", user), str(number))}

    def close(self) -> None:
        """Close the database."""
        self._opened.__exit__(None, None, None)


if __name__ == "__main__":
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        raise SystemExit("the sqlite3 of this Python cannot load sqlite-vec; make the environment with another Python")
    measure(LangGraph)
