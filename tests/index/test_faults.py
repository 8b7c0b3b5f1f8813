"""Test faults: the answer is right, or the error is clear, and nothing is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Similarity
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError, MlretError
from mlret.index.index import Index
from mlret.index.tokens import codec_training
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.verify import verify_index
from tests.conftest import examples
from tests.index.made import (
    DIMS,
    SIMILARITIES,
    close,
    encoder,
    score_of,
    settings,
    shrink,
    vector_of,
    vectors_of,
)

THOROUGH = pytest.mark.thorough
TEXTS = {f"doc-{n}": f"text {n}." for n in range(150)}


def make(folder: Path, similarity: Similarity) -> Path:
    """Make a closed index: a large segment with an accelerator, a small one, a tail, some deleted documents."""
    with Index.create(folder, encoder(similarity), settings=settings(similarity)) as index:
        ids = list(TEXTS)
        store(index, ids[:100])
        index.compact()
        store(index, ids[100:140])
        store(index, [*ids[140:], "gone-1", "gone-2"])
        index.delete(["gone-1", "gone-2"])
        assert index.info().kinds[index.info().kind] == 100 and index.info().unsealed > 0
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((CosineSpace, "segment_size"), (MaxSimSpace, "segment_size"), (codec_training, "LEAST")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    for owner in (CosineSpace, MaxSimSpace):
        monkeypatch.setattr(owner, "bulk_size", owner.bulk_size)
    shrink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "i", "cosine")


@pytest.fixture
def token_folder(tmp_path: Path) -> Path:
    return make(tmp_path / "t", "maxsim")


def store(index: Index, ids: list[str]) -> None:
    documents = [{"id": id, "text": TEXTS.get(id, id), "lang": "en", "year": len(id)} for id in ids]
    texts = [str(document["text"]) for document in documents]
    index.add(documents, vectors=vectors_of(texts, index.store.manifest.similarity), batch_size=15)


def is_right(folder: Path) -> bool:
    """Return whether documents and searches are as expected; exceptions are passed on."""
    with Index.open(folder) as index:
        similarity = index.store.manifest.similarity
        if {document.id: document.text for document in index.documents()} != TEXTS:
            return False
        for exact in (True, False):
            hits = index.search_vectors(vectors_of(["query"], similarity), len(TEXTS) + 9, exact=exact)[0]
            scores = {id: score_of(text, "query", similarity) for id, text in TEXTS.items()}
            far = max(1e-5, close(similarity))
            if {hit.id for hit in hits} != set(scores) or any(abs(hit.score - scores[hit.id]) > far for hit in hits):
                return False
    return True


class Replayed(ExternalEncoder):
    """An encoder that returns the vectors that were stored with the texts."""

    def __init__(self, similarity: Similarity) -> None:
        super().__init__("test", DIMS, similarity)

    def encode_document(self, texts: Any, *, language: Any = None) -> Any:
        return vectors_of(texts, self.similarity)


def files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "damage", ["flip", pytest.param("cut", marks=THOROUGH), pytest.param("empty", marks=THOROUGH), "missing"]
)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_damage_to_any_file_is_answered_rightly_or_reported(
    tmp_path: Path, damage: str, similarity: Similarity
) -> None:
    folder = make(tmp_path / "i", similarity)
    assert is_right(folder)
    names = [path.relative_to(folder) for path in files(folder)]
    assert len(names) >= 8
    chance = random.Random(3)
    for name in names:
        for _ in range(examples(6) if damage == "flip" else 1):
            copy = folder.with_name("copy")
            shutil.copytree(folder, copy)
            damaged = copy / name
            content = bytearray(damaged.read_bytes())
            if damage == "missing":
                damaged.unlink()
            else:
                if damage == "flip" and content:
                    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
                damaged.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(damage, len(content))])
            try:
                right = is_right(copy)
            except MlretError as error:
                right = True
                assert str(copy) in str(error)
            assert right, name
            if "vectors" in name.parts:  # everything that can be rebuilt is rebuilt
                verify_index(copy, Replayed(similarity), repair=True)
                assert verify_index(copy) == [] and is_right(copy)
            shutil.rmtree(copy)


def test_flipped_bytes_of_the_database_are_found_by_verify(folder: Path) -> None:
    database = folder / "records.db"
    content = database.read_bytes()
    for id in list(TEXTS)[:5]:
        where = content.index(TEXTS[id].encode())
        database.write_bytes(content[:where] + b"T" + content[where + 1 :])
        problems = verify_index(folder, repair=True)
        assert any(id in problem.what and not problem.repairable for problem in problems)
        with Index.open(folder) as index, pytest.raises(MlretError, match="is damaged; restore"):
            index.get(id)
    vector = vector_of(TEXTS["doc-145"]).tobytes()  # in no segment
    where = content.index(vector)
    database.write_bytes(content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :])
    assert [problem.what for problem in verify_index(folder)] == ["1 damaged vector"]
    verify_index(folder, Replayed("cosine"), repair=True)
    assert verify_index(folder) == [] and is_right(folder)
    assert vector_of(TEXTS["doc-7"]).tobytes() not in content  # it stands in its segment alone


# Python ignores SIGXFSZ, so a write beyond the limit fails as on a full disk.
_FULL_DISK = """
import resource, sys
import numpy as np
from mlret.errors import MlretError
from mlret.index.index import Index
from tests.index.made import shrink, vector_of

shrink()
limit, number = int(sys.argv[2]), 0
with Index.open(sys.argv[1]) as index:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        while True:
            names = [f"new-{number + i}" for i in range(10)]
            documents = [{"id": name, "text": name * 50, "lang": "en"} for name in names]
            index.add(documents, vectors=np.stack([vector_of(d["text"]) for d in documents]))
            number += 10
            print(number, flush=True)
    except MlretError as error:
        print(error, file=sys.stderr)
        sys.exit(7)
"""


@pytest.mark.parametrize("room", [0, 2_000, 40_000, 200_000])
def test_full_disk_is_reported_and_nothing_acknowledged_is_lost(folder: Path, room: int) -> None:
    limit = max(path.stat().st_size for path in files(folder)) + room
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(folder), str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "check the disk's space" in done.stderr
    acknowledged = int(done.stdout.split()[-1]) if done.stdout else 0
    with Index.open(folder) as index:
        stored = {document.id for document in index.documents()}
        assert set(TEXTS) | {f"new-{n}" for n in range(acknowledged)} <= stored
        index.add(["room again"], vectors=vector_of("room again")[None])
        assert len(index.search_vectors(vector_of("query")[None], 10_000)[0]) == len(stored) + 1
    assert verify_index(folder) == []


def test_reader_is_undisturbed_by_compaction(folder: Path) -> None:
    with Index.open(folder) as reader, Index.open(folder) as writer:
        wrong: list[object] = []
        stop = threading.Event()

        def read() -> None:
            before = reader.search_vectors(vector_of("query")[None], 20)
            while not stop.is_set():
                now = reader.search_vectors(vector_of("query")[None], 20)
                if now != before:
                    wrong.append(now)

        thread = threading.Thread(target=read)
        thread.start()
        for turn in range(8):
            ids = [f"turn-{turn}-{n}" for n in range(40)]
            store(writer, ids)
            writer.delete(ids[::2])
            writer.compact()
        stop.set()
        thread.join()
        assert not wrong
        assert len(reader) == len(TEXTS)
        reader.refresh()
        assert len(reader) == len(TEXTS) + 8 * 20


def test_threads_search_one_index_while_another_deletes(folder: Path) -> None:
    with Index.open(folder) as index:
        errors: list[BaseException] = []
        stop = threading.Event()

        def search() -> None:
            try:
                while not stop.is_set():
                    hits = index.search_vectors(vector_of("query")[None], 30)[0]
                    assert len({hit.id for hit in hits}) == 30
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for id in list(TEXTS)[:100]:
            index.delete([id])
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors and len(index) == 50


def test_two_writers_take_turns(folder: Path) -> None:
    with Index.open(folder) as one, Index.open(folder) as two:
        store(one, ["a", "b"])
        store(two, ["c"])
        assert two.delete(["a"]) == 1
        assert one.delete(["c", "a"], ignore_missing=True) == 1
        with pytest.raises(InputError, match=r"does not hold 1 id, the first of which is 'a'; nothing was deleted"):
            one.delete(["b", "a"])
        assert "b" in one
        two.refresh()
        assert len(one) == len(two) == len(TEXTS) + 1
    assert verify_index(folder) == []


def test_ids_of_any_unicode_come_back_as_they_were(tmp_path: Path) -> None:
    ids = ["a\u0000b", "é", "e\u0301", "🙂" * 50, "\u202e", "'; DROP TABLE records; --", "%_", "\n", "x" * 5000, "字"]
    ids = [id for id in ids if id.strip()]
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS)) as index:
        index.add([{"id": id, "text": f"t {id[:3]}", "lang": "en"} for id in ids], vectors=np.eye(len(ids), DIMS) + 0.1)
        assert [document.id for document in index.documents()] == ids
        assert all(index.get(id) for id in ids)
        assert index.delete(ids[::2]) == len(ids[::2])
        assert sorted(hit.id for hit in index.search_vectors(np.ones((1, DIMS), np.float32), 99)[0]) == sorted(
            ids[1::2]
        )


@pytest.mark.thorough
def test_a_hundred_thousand_deletes_then_search(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((110_000, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = ({"id": str(n), "text": "t", "lang": "en"} for n in range(110_000))
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS)) as index:
        index.add(documents, vectors=vectors, batch_size=10_000)
        gone = rng.permutation(110_000)[:100_000]
        assert index.delete(map(str, gone)) == 100_000
        left = np.setdiff1d(np.arange(110_000), gone)
        scores = vectors[left] @ vectors[0]
        expected = [str(n) for n in left[np.argsort(-scores)[:10]]]
        assert [hit.id for hit in index.search_vectors(vectors[:1], 10)[0]] == expected
        assert len(index) == 10_000
    with Index.open(tmp_path / "i") as again:
        assert [hit.id for hit in again.search_vectors(vectors[:1], 10)[0]] == expected


def test_values_that_are_not_vectors_are_refused(folder: Path) -> None:
    with Index.open(folder) as index:
        bad = np.full((1, DIMS), np.inf, dtype=np.float32)
        with pytest.raises(InputError, match="the vector of document 'n' has a NaN or an infinity"):
            index.add([{"id": "n", "text": "n"}], vectors=bad)
        with pytest.raises(InputError, match=r"query vector 0 .* has a NaN"):
            index.search_vectors(bad)
        with pytest.raises(InputError, match=r"vectors have the shape \(1, 3\)"):
            index.add([{"id": "n", "text": "n"}], vectors=np.ones((1, 3), dtype=np.float32))
        zero = np.zeros((1, DIMS), dtype=np.float32)
        assert {hit.score for hit in index.search_vectors(zero, 1000)[0]} == {0.0}
        assert len(index) == len(TEXTS)
