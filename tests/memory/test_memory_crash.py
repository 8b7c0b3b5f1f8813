"""Test kill -9 during any operation: acknowledged writes are kept, none is partial, and erased data are gone."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.storage import tables
from mlret.memory.storage.journal import State, read_entries, replay
from tests.index.made import encoder, vector_of
from tests.memory.made import open_memory

# Runs random operations, and prints each before it begins, and the state when it is done.
_WRITER = """
import json, random, sys
from pathlib import Path
from mlret.memory.ingest.forget import Policy
from tests.index.made import shrink, vector_of
from tests.memory.made import open_memory
from tests.memory.test_memory_crash import digest, state_of

shrink()
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
memory = open_memory(folder)
number = seed * 1_000_000
ME = {"user": "u1"}


def say(*words):
    print(json.dumps(words), flush=True)


def text():
    global number
    number += 1
    return f"secret {number} of seed {seed}"


say("ready")
while True:
    records = memory.list(ME)
    ids = [record.id for record in records]
    verb = chance.choice(VERBS) if len(ids) > 4 else "add"
    texts = [text() for _ in range(chance.randint(1, 6))]
    erased = []
    if verb == "erase":
        erased = chance.sample(ids, chance.randint(1, 3))
    say("begin", verb, [record.text for record in records if record.id in erased])
    if verb == "add":
        memory.add_batch([{"text": one, "language": "en", "vector": vector_of(one)} for one in texts], ME)
    elif verb == "update":
        memory.update(chance.choice(ids), ME, texts[0], vector=vector_of(texts[0]))
    elif verb == "delete":
        memory.delete(chance.sample(ids, 2), ME)
    elif verb == "link":
        one, two = chance.sample(ids, 2)
        if not any(link.target == two for link in memory.get(one, ME).links):
            memory.link(one, "about", two, ME)
    elif verb == "merge":
        one, two, three = chance.sample(ids, 3)
        memory.merge(one, [two, three], ME)
    elif verb == "restore":
        hidden = [record.id for record in memory.list(ME, state="merged")]
        if hidden:
            memory.restore(chance.choice(hidden), ME)
    elif verb == "undo":
        memory.undo(memory.delete(chance.choice(ids), ME).operation, ME)
    elif verb == "forget":
        memory.forget(Policy(keep=max(10, len(ids) - 2)), ME, dry_run=False)
    elif verb == "erase":
        memory.erase(erased, ME)
    say("done", digest(state_of(memory)), state_of(memory)[1])
"""
VERBS = ["add", "add", "update", "delete", "link", "merge", "restore", "undo", "forget", "erase"]


def state_of(memory: Any, operations: int | None = None) -> tuple[State, int]:
    """The state after so many operations, and the number of the last one."""
    entries = list(read_entries(memory.folder.records))
    some = [entry for entry in entries if operations is None or entry.operation <= operations]
    return replay(some), max((entry.operation for entry in some), default=0)


def digest(state: tuple[State, int]) -> str:
    content = [
        sorted(map(repr, part)) for part in (state[0].records.items(), state[0].versions.items(), state[0].links)
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def killed_writer(folder: Path, seed: int, verbs: int, seconds: float) -> tuple[list[list[Any]], list[list[Any]]]:
    """Kill a writer some time after a number of operations; return those that it began and those that it finished."""
    script = _WRITER.replace("VERBS", repr(VERBS))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(seed)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == ["ready"]
    lines = [process.stdout.readline() for _ in range(2 * verbs)]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    printed = [json.loads(line) for line in lines]
    return [one[1:] for one in printed if one[0] == "begin"], [one[1:] for one in printed if one[0] == "done"]


def kill_rounds(folder: Path, rounds: int) -> None:
    settings = IndexSettings(kind="sq8")
    Index.create(folder, encoder(), kind="memory", schema=tables.SCHEMA, settings=settings).close()
    chance = random.Random(11)
    gone: list[str] = []
    done_before = 0
    verbs_killed = set()
    for seed in range(1, rounds + 1):
        begun, done = killed_writer(folder, seed, chance.randint(0, 5), chance.uniform(0, 0.12))
        gone += [text for (_, texts), _ in zip(begun, done, strict=False) for text in texts]
        with open_memory(folder) as memory:  # also completes an erasure that was begun
            now = state_of(memory)
            interrupted = begun[len(done)] if len(begun) > len(done) else None
            if done:
                known, operations = done[-1]
                verbs_killed.add(interrupted[0] if interrupted else None)
                # undo is two operations here; no other verb is more than one.
                more = read_entries(memory.folder.records, "operation > ?", (operations,))
                assert operations <= now[1] and len({entry.operation for entry in more}) <= 2
                if interrupted is None or interrupted[0] != "erase" or now[1] == operations:
                    assert digest(state_of(memory, operations)) == known
                done_before = operations
            assert now[1] >= done_before
            if interrupted is not None and interrupted[0] == "erase":
                there = {record.text for record in memory.list({"user": "u1"})}
                assert not there & set(interrupted[1]) or there >= set(interrupted[1])  # all of them or none
                if not there & set(interrupted[1]):
                    gone += interrupted[1]
            active = {record.id: record.text for record in memory.list({"user": "u1"})}
            found = memory.search("x", {"user": "u1"}, 5000, vector=vector_of("x"), mode="dense")
            assert {hit.id: hit.text for hit in found} == active
        assert verify(folder) == []
        files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
        assert not [text for text in gone for content in files if text.encode() in content]
    assert len(verbs_killed) > min(3, rounds // 3)


@pytest.mark.timeout(200)
def test_killed_writer_leaves_an_undamaged_memory(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "m", 8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_killed_writers_leave_an_undamaged_memory(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "m", 200)
