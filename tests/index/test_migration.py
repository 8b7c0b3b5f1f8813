"""Test folders that format 2 wrote: they give the same answers, and are migrated once and completely."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlret.encoders.encoder import Similarity
from mlret.index.index import Index
from mlret.index.storage.creation import create_database, make_tables
from mlret.index.storage.manifest import FORMAT_VERSION
from mlret.index.storage.migration import STEPS, Step, newest
from mlret.index.verify import verify_index
from mlret.memory.maintenance.upkeep import verify as verify_memory
from tests.index.made import encoder
from tests.index.old.write_folders import answers, documents, memory_answers
from tests.index.old.write_folders import store as store_old
from tests.memory.made import add, open_memory

OLD = Path(__file__).parent / "old"
ANSWERS: dict[str, Any] = json.loads((OLD / "answers.json").read_text(encoding="utf-8"))
INDEXES: list[tuple[str, Similarity]] = [
    ("index-cosine", "cosine"),
    ("index-maxsim", "maxsim"),
    ("index-with-log", "cosine"),
]


def unpacked(name: str, place: Path) -> Path:
    beside = OLD if name != "memory" else OLD.parents[1] / "memory" / "old"
    with tarfile.open(beside / f"{name}-format-2.tar.gz") as archive:
        archive.extractall(place, filter="data")
    return place / name


def answers_as_json(index: Index, similarity: Similarity) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(answers(index, similarity)))
    return found


def version(folder: Path) -> tuple[int, int]:
    """Return the versions of the manifest and of the tables."""
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        counters = dict(connection.execute("SELECT name, value FROM counters"))
    return json.loads((folder / "manifest.json").read_text())["format_version"], counters.get("format", 2)


@pytest.mark.parametrize(("name", "similarity"), INDEXES)
def test_old_index_answers_as_it_did_and_is_brought_up_to_date(
    tmp_path: Path, name: str, similarity: Similarity
) -> None:
    folder = unpacked(name, tmp_path)
    assert version(folder) == (2, 2)
    for _ in range(2):
        with Index.open(folder, encoder(similarity)) as index:
            assert answers_as_json(index, similarity) == ANSWERS[name]
        assert version(folder) == (FORMAT_VERSION, newest(STEPS))
    assert verify_index(folder) == []
    with Index.open(folder, encoder(similarity)) as index:
        store_old(index, documents(100, 130), similarity)
        index.delete(["doc-0", "doc-101"])
        index.compact()
        assert len(index) == len(ANSWERS[name]["documents"]) + 28
    assert verify_index(folder) == []


def test_old_memory_answers_as_it_did_and_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = unpacked("memory", tmp_path)
    with open_memory(folder) as memory:
        assert json.loads(json.dumps(memory_answers(memory))) == ANSWERS["memory"]
        assert version(folder) == (FORMAT_VERSION, newest(STEPS))
        add(memory, "Note 30 about the river", {"user": "u1"})
        assert len(memory.list({"user": "u1"})) == len(ANSWERS["memory"]["u1"]["texts"]) + 1
    assert verify_memory(folder) == []


def test_old_index_is_verified_and_repaired(tmp_path: Path) -> None:
    folder = unpacked("index-cosine", tmp_path)
    (sealed,) = (path for path in (folder / "vectors").glob("000000000041-*[0-9].npy"))
    sealed.write_bytes(sealed.read_bytes()[:100])
    assert [problem.file for problem in verify_index(folder)] == [f"vectors/{sealed.name}"]
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == []
    with Index.open(folder, encoder()) as index:
        assert answers_as_json(index, "cosine") == ANSWERS["index-cosine"]


def test_old_folder_killed_between_manifest_and_database_opens(tmp_path: Path) -> None:
    """As left by format 2: the manifest is one generation ahead of the database."""
    folder = unpacked("index-cosine", tmp_path)
    before = (folder / "records.db").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        older = dict(manifest, generation=manifest["generation"] - 1, segments=manifest["segments"][:-1])
        connection.execute("UPDATE manifest SET content = ?", (json.dumps(older),))
        connection.execute("UPDATE counters SET value = value - 1 WHERE name = 'generation'")
        connection.commit()
    assert (folder / "records.db").read_bytes() != before
    with Index.open(folder, encoder()) as index:
        assert answers_as_json(index, "cosine") == ANSWERS["index-cosine"]
    assert verify_index(folder) == []


# Kills itself at the n-th durable write.
_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from mlret.data import durable
from mlret.index.storage import generations
from mlret.index.storage import snapshots
from mlret.index.index import Index
from tests.index.made import encoder

left = int(sys.argv[2])


def counted(function):
    def call(*arguments, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        found = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return found
    return call


generations.write_manifest = counted(generations.write_manifest)
snapshots.migrate = counted(snapshots.migrate)
generations.settle = counted(generations.settle)
Index.open(sys.argv[1], encoder()).close()
"""


def test_killed_at_any_step_the_next_open_brings_up_to_date(tmp_path: Path) -> None:
    killed = 0
    for steps in range(20):
        folder = unpacked("index-with-log", tmp_path / str(steps))
        done = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(steps)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        with Index.open(folder, encoder()) as index:
            assert answers_as_json(index, "cosine") == ANSWERS["index-with-log"]
        assert version(folder) == (FORMAT_VERSION, newest(STEPS)) and verify_index(folder) == []
    assert killed == 6 and done.returncode == 0


def test_step_that_fails_leaves_the_tables_as_they_were(tmp_path: Path) -> None:
    folder = unpacked("index-cosine", tmp_path)
    with Index.open(folder, encoder()):
        pass

    def step(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE extra (row INTEGER PRIMARY KEY)")
        connection.execute("DELETE FROM records")
        raise RuntimeError("on purpose")

    with Index.open(folder, encoder()) as index:
        with pytest.raises(RuntimeError, match="on purpose"):
            index.store.bring_up_to_date("memory", [Step(3, "fails", step)])
        assert index.store.records.version("memory") == 2
        assert answers_as_json(index, "cosine") == ANSWERS["index-cosine"]
    assert verify_index(folder) == []


def test_steps_of_what_is_built_on_top_run_once_and_in_order(tmp_path: Path) -> None:
    folder, ran = unpacked("index-cosine", tmp_path), []
    steps = [Step(3, "one", lambda _: ran.append(1)), Step(3, "two", lambda _: ran.append(2))]
    later = [*steps, Step(4, "three", lambda _: ran.append(3))]
    for known, expected in ((steps, [1, 2]), (steps, [1, 2]), (later, [1, 2, 3]), (later, [1, 2, 3])):
        with Index.open(folder, encoder()) as index:
            index.store.bring_up_to_date("memory", known)
        assert ran == expected


def test_earlier_version_of_mlret_stays_away_from_a_folder_of_this_one(tmp_path: Path) -> None:
    folder = unpacked("index-cosine", tmp_path)
    Index.open(folder, encoder()).close()
    assert json.loads((folder / "manifest.json").read_text())["format_version"] == FORMAT_VERSION


def test_new_database_is_of_the_newest_version(tmp_path: Path) -> None:
    create_database(tmp_path / "records.db", "{}")
    with closing(sqlite3.connect(tmp_path / "records.db")) as connection:
        assert dict(connection.execute("SELECT name, value FROM counters"))["format"] == newest(STEPS)


def test_migrated_tables_are_those_of_a_new_database(tmp_path: Path) -> None:
    from mlret.index.storage.schema import schema_differs

    folder = unpacked("index-cosine", tmp_path)
    with Index.open(folder, encoder()) as index:
        records = index.store.records
        with records.reporting():
            make = partial(make_tables, lexical=records.lexical is not None, passages=False)
            assert schema_differs(records.connection, partial(make, numbered_fields=False)) == []
        index.compact()
        with records.reporting():
            assert schema_differs(records.connection, make) == []
