"""Measure mlret's memory as its peers are measured: python with_mlret_memory.py DATA FOLDER fill|first.

The store is made by memory.py, with thresholds, so that adding compares with the user's texts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from timed_calls import Given, measure

import mlret
from mlret.encoders.external import ExternalEncoder
from mlret.memory.memory import Memory


class Ours:
    """A memory of given vectors."""

    version = mlret.__version__
    kind = "a folder"

    def __init__(self, folder: Path, given: Given) -> None:
        encoder = ExternalEncoder("bench", len(given.vectors[given.texts[0]]))
        self._memory = Memory.open(folder, encoder)
        self._given = given
        self._ids: list[str] = []

    def add(self, number: int, text: str, user: str) -> None:
        """Store a text, after comparing it with those of the user."""
        vector = self._given.vectors[text]
        self._ids.append(self._memory.add(text, {"user": user}, vector=vector, language="en").id)

    def search(self, query: str, user: str) -> int:
        """Search for five by vector and words."""
        vector = self._given.vectors[query]
        return len(self._memory.search(query, {"user": user}, 5, vector=vector, language="en"))

    def deletes(self) -> dict[str, Callable[[int, str], object]]:
        """Return both ways: one hides, one overwrites and proves it."""
        return {
            "delete": lambda number, user: self._memory.delete(self._ids[number], {"user": user}),
            "erase": lambda number, user: self._memory.erase(self._ids[number], {"user": user}),
        }

    def close(self) -> None:
        """Close the folder."""
        self._memory.close()


if __name__ == "__main__":
    measure(Ours)
