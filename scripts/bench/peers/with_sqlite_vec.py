"""Measure sqlite-vec: python with_sqlite_vec.py DATA FOLDER float32 build|use.

It compares all vectors: its releases have no graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import apsw
import numpy as np
import sqlite_vec
from numpy.typing import NDArray
from store_calls import Block, Found, K, measure


class SqliteVec:
    """A virtual table with the texts and years beside the vectors."""

    filters = True
    durable = True

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir(exist_ok=True)
        self._connection = apsw.Connection(str(folder / "store.db"))
        self._connection.enable_load_extension(True)
        self._connection.load_extension(sqlite_vec.loadable_path())
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS documents USING vec0(number INTEGER PRIMARY KEY, "
            "vector FLOAT[384] distance_metric=cosine, year INTEGER, +text TEXT)"
        )

    def build(self, blocks: Iterator[Block]) -> None:
        """Add all documents."""
        for block in blocks:
            self.add(block)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def search(self, query: NDArray[np.float32], since: int | None) -> Found:
        """Search by the vector."""
        sql, values = "SELECT number, text FROM documents WHERE vector MATCH ? AND k = ?", [query.tobytes(), K]
        if since is not None:
            sql, values = f"{sql} AND year >= ?", [*values, since]
        rows = self._connection.execute(sql, values).fetchall()
        return Found([number for number, _ in rows], [text for _, text in rows])

    def add(self, block: Block) -> None:
        """Add documents in one transaction."""
        rows = zip(block.numbers, [vector.tobytes() for vector in block.vectors], block.years, block.texts, strict=True)
        with self._connection:
            self._connection.executemany("INSERT INTO documents(number, vector, year, text) VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


if __name__ == "__main__":
    measure(f"sqlite-vec {version('sqlite-vec')}", SqliteVec)
