"""Test that everything that SQLite leaves of a deleted row in unallocated space is found."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from mlret.index.sqlite.pages import holds_traces

_WORDS = ["one", "two", "three", "four", "five"]


def database(path: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(schema)
    return connection


def sentence(number: int) -> str:
    """A text that no other contains."""
    return f"secret {number:05d} " + " ".join(_WORDS[number // 5**place % 5] for place in range(9)) + f" {number:05d}."


def emptied(connection: sqlite3.Connection) -> None:
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_rows_appended_and_deleted_in_any_place_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    connection = database(path, "CREATE TABLE t (row INTEGER PRIMARY KEY, text TEXT)")
    connection.executemany("INSERT INTO t (text) VALUES (?)", [(sentence(n),) for n in range(3000)])
    emptied(connection)
    assert not holds_traces(path)
    gone = range(7, 3000, 60)
    connection.executemany("DELETE FROM t WHERE row = ?", [(n + 1,) for n in gone])
    emptied(connection)
    assert not holds_traces(path)
    content = path.read_bytes()
    assert not any(sentence(n)[:12].encode() in content for n in gone) and sentence(8).encode() in content


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (row INTEGER PRIMARY KEY, text TEXT)",
        "CREATE TABLE t (row INTEGER, text TEXT, PRIMARY KEY (text, row)) WITHOUT ROWID",
    ],
)
def test_without_reported_traces_no_fragment_of_a_deleted_row_is_left(tmp_path: Path, schema: str, seed: int) -> None:
    path, chance = tmp_path / "db", random.Random(seed)
    connection = database(path, schema)
    numbers = list(range(1, 1500))
    chance.shuffle(numbers)  # pages are split in the middle, and rows move
    connection.executemany("INSERT INTO t (row, text) VALUES (?, ?)", [(n, sentence(n)) for n in numbers])
    gone = chance.sample(numbers, 700)
    connection.executemany("DELETE FROM t WHERE row = ?", [(n,) for n in gone])
    emptied(connection)
    if holds_traces(path):
        connection.execute("VACUUM")
        emptied(connection)
        assert not holds_traces(path)
    content = path.read_bytes()
    assert not any(f" {n:05d}."[:size].encode() in content for n in gone for size in (6, 7))


def test_a_copy_in_unallocated_space_is_found_until_the_file_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "db"
    connection = database(path, "CREATE TABLE t (row INTEGER PRIMARY KEY, text TEXT)")
    connection.executemany("INSERT INTO t (text) VALUES (?)", [(sentence(n),) for n in range(300)])
    emptied(connection)
    connection.close()
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    [leaf] = [place for place in range(0, len(content), size) if content[place] == 13][-1:]
    cells, first = (int.from_bytes(content[leaf + at : leaf + at + 2], "big") for at in (3, 5))
    assert leaf + first - 9 > leaf + 8 + 2 * cells
    content[leaf + first - 9 : leaf + first - 2] = b"a copy."
    path.write_bytes(content)
    assert holds_traces(path) and holds_traces(path, indexes=False)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("VACUUM")
    emptied(connection)
    assert not holds_traces(path) and b"a copy." not in path.read_bytes()
