"""Test kill -9 at any moment: acknowledged writes are kept, and nothing is stored twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder, Similarity
from mlret.errors import InputError
from mlret.index.build import build_index
from mlret.index.index import Index
from mlret.index.verify import verify_index
from tests.conftest import examples
from tests.index.made import SIMILARITIES, close, encoder, score_of, settings, vectors_of

# Adds, updates, deletes and compacts at random, and prints each operation before it begins and when it is done.
_WRITER = """
import json, random, sys
from mlret.index.index import Index
from tests.index.made import encoder, shrink, vectors_of

shrink()
folder, seed, similarity = sys.argv[1], int(sys.argv[2]), sys.argv[3]
chance = random.Random(seed)
index = Index.open(folder, encoder(similarity))
state = {document.id: document.text for document in index.documents()}
number = seed * 1_000_000


def say(kind, change):
    print(json.dumps([kind, change]), flush=True)


say("ready", {})
while True:
    act = chance.choices(["add", "update", "delete", "compact"], [4, 3, 3, 1])[0]
    change = {}
    if act == "add":
        for _ in range(chance.randint(1, 12)):
            number += 1
            change[f"n{number}"] = f"text {number}"
    elif act == "update" and state:
        for id in chance.sample(sorted(state), min(len(state), chance.randint(1, 8))):
            number += 1
            change[id] = f"text {number}"
    elif act == "delete" and state:
        change = {id: None for id in chance.sample(sorted(state), min(len(state), chance.randint(1, 10)))}
    say("begin", change)
    if act == "delete" and change:
        index.delete(change)
    elif act == "compact":
        index.compact()
    elif change:
        documents = [{"id": id, "text": text, "lang": "en"} for id, text in change.items()]
        vectors = vectors_of(list(change.values()), similarity)
        (index.add if act == "add" else index.update)(documents, vectors=vectors)
    for id, text in change.items():
        state.pop(id, None)
        if text is not None:
            state[id] = text
    say("done", change)
"""


def changed(state: dict[str, str], change: dict[str, str | None]) -> dict[str, str]:
    left = {id: text for id, text in state.items() if id not in change}
    return left | {id: text for id, text in change.items() if text is not None}


def killed_writer(
    folder: Path, seed: int, changes: int, seconds: float, similarity: Similarity
) -> tuple[list[dict[str, str | None]], dict[str, str | None]]:
    """Kill a writer some time after a number of changes; return the acknowledged changes and the one in progress."""
    arguments = [sys.executable, "-c", _WRITER, str(folder), str(seed), similarity]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == ["ready", {}]
    lines = [process.stdout.readline() for _ in range(2 * changes)]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    spoken = [json.loads(line) for line in lines]
    done = [change for kind, change in spoken if kind == "done"]
    begun = [change for kind, change in spoken if kind == "begin"]
    return done, begun[-1] if len(begun) > len(done) else {}


def check(folder: Path, possible: list[dict[str, str]], similarity: Similarity) -> dict[str, str]:
    """Check that the index is undamaged, in one of the possible states, and that its search equals brute force."""
    with Index.open(folder, encoder(similarity)) as index:
        documents = list(index.documents())
        state = {document.id: document.text for document in documents}
        assert len(documents) == len(state) == len(index)
        assert state in possible
        if state:
            hits = index.search_vectors(vectors_of(["query"], similarity), len(state) + 5)[0]
            assert sorted(hit.id for hit in hits) == sorted(state)
            assert [(-hit.score, hit.id) for hit in hits] == sorted((-hit.score, hit.id) for hit in hits)
            for hit in hits:
                assert hit.score == pytest.approx(score_of(hit.text, "query", similarity), abs=close(similarity))
    assert verify_index(folder) == []
    return state


def kill_rounds(folder: Path, rounds: int, similarity: Similarity) -> None:
    Index.create(folder, encoder(similarity), settings=settings(similarity)).close()
    state: dict[str, str] = {}
    chance = random.Random(7)
    acknowledged = 0
    for seed in range(1, rounds + 1):
        done, begun = killed_writer(folder, seed, chance.randint(0, 6), chance.uniform(0, 0.05), similarity)
        for change in done:
            state = changed(state, change)
        state = check(folder, [state, changed(state, begun)], similarity)
        acknowledged += len(done)
    assert acknowledged > rounds  # the writer was killed during its work


@pytest.mark.timeout(120)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path, similarity: Similarity) -> None:
    kill_rounds(tmp_path / "i", examples(10), similarity)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_two_hundred_killed_writers_lose_nothing(tmp_path: Path, similarity: Similarity) -> None:
    kill_rounds(tmp_path / "i", 200, similarity)


_BUILDER = """
import sys
from mlret.encoders.loading import load_encoder
from mlret.index.build import build_index
encoder = load_encoder(sys.argv[3], device="cpu")
build_index(sys.argv[1], [sys.argv[2]], encoder, batch_size=2, progress=lambda done, _: print(done.added, flush=True))
"""


@pytest.mark.thorough
@pytest.mark.timeout(60)
def test_killed_build_resumes_where_it_stopped(
    tmp_path: Path, tiny_encoder: Encoder, tiny_encoder_folder: Path
) -> None:
    file, folder = tmp_path / "a.jsonl", tmp_path / "i"
    file.write_text("".join(json.dumps({"id": f"n{i}", "text": f"cat {i}", "lang": "en"}) + "\n" for i in range(2000)))
    arguments = [sys.executable, "-c", _BUILDER, str(folder), str(file), str(tiny_encoder_folder)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.kill()
    process.wait()
    assert not folder.exists()
    with pytest.raises(InputError, match="no such index"):
        Index.open(folder)
    report = build_index(folder, [file], tiny_encoder)
    assert report.documents.skipped >= 8 and report.documents.added + report.documents.skipped == 2000
    assert report.index.documents == 2000
