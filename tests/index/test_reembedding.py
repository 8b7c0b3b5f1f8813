"""Test copies of an index with the vectors of another encoder, whatever interrupts them."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Similarity
from mlret.encoders.external import ExternalEncoder
from mlret.errors import FingerprintError, InputError, Locked, MlretError
from mlret.index import reembedding
from mlret.index.index import Index
from mlret.index.reembedding import reembed_index
from mlret.index.settings import IndexSettings
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.store import store
from mlret.index.verify import verify_index
from tests.index.made import DIMS, SIMILARITIES, close, encoder, score_of, settings, vectors_of

COUNT = 90


class Reversed(ExternalEncoder):
    """Encodes a text as the other encoders of these tests encode its characters in reverse order."""

    def __init__(self, similarity: Similarity = "cosine", name: str = "reversed") -> None:
        super().__init__(name, DIMS, similarity)
        self.texts: list[str] = []

    def encode_document(self, texts: Sequence[str], **options: Any) -> Any:
        self.texts += texts
        return vectors_of([text[::-1] for text in texts], self.similarity)


# Copies an index and kills its own process: after a number of batches, or when segments are built.
_KILLED = """
import os, signal, sys
from mlret.index import reembedding
from tests.index.made import shrink
from tests.index.test_reembedding import Reversed

def stop(*_):
    os.kill(os.getpid(), signal.SIGKILL)

shrink()
reembedding._BATCH, reembedding._SEALED = 16, 32
source, output, similarity, batches = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
reembedding.reembed_index(
    source, output, Reversed(similarity),
    progress=lambda done, total: stop() if done >= 16 * batches else None, compacting=stop,
)
"""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "_BATCH", 16)
    monkeypatch.setattr(reembedding, "_SEALED", 32)


def documents(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"id": f"n{number}", "text": f"text {number}", "lang": ("sw", "de")[number % 2], "page": {"line": number}}
        for number in range(first, last)
    ]


def made(path: Path, similarity: Similarity) -> Index:
    """Create an index in which documents were replaced, deleted, sealed and not sealed."""
    index = Index.create(path, encoder(similarity), settings=settings(similarity))
    for first in range(0, COUNT, 30):
        some = documents(first, first + 30)
        index.add(some, vectors=vectors_of([one["text"] for one in some], similarity))
    index.seal()
    index.update([{"id": "n3", "text": "another text", "lang": "fr"}], vectors=vectors_of(["another text"], similarity))
    index.delete(["n5", "n80"])
    return index


def content(index: Index) -> list[Any]:
    return [(one.id, one.text, one.language, one.metadata) for one in index.documents()]


def hashes(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file() and "-shm" not in file.name and file.name != LOCK]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_copy(copy: Path, expected: list[Any], similarity: Similarity) -> None:
    """Check that a copy holds these documents, and that a search finds them by the vectors of the new encoder."""
    assert verify_index(copy) == []
    with Index.open(copy, Reversed(similarity)) as index:
        assert content(index) == expected
        assert index.store.manifest.settings == settings(similarity)
        texts = {id: text for id, text, *_ in expected}
        query = "text 7"
        [hits] = index.search_vectors(vectors_of([query], similarity), len(texts))
        found = {hit.id: hit.score for hit in hits}
        wanted = {id: score_of(text[::-1], query, similarity) for id, text in texts.items()}
        assert found == pytest.approx(wanted, abs=close(similarity))
        assert {hit.id for hit in index.search_vectors(vectors_of([query], similarity), 99, where={"page.line": 7})[0]}


def killed(source: Path, output: Path, similarity: Similarity, batches: int) -> None:
    command = [sys.executable, "-c", _KILLED, str(source), str(output), similarity, str(batches)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_copy_has_the_same_documents_and_the_new_vectors(tmp_path: Path, similarity: Similarity) -> None:
    with made(tmp_path / "old", similarity) as index:
        expected = content(index)
    before = hashes(tmp_path / "old")
    seen: list[tuple[int, int]] = []
    info = reembed_index(
        tmp_path / "old", tmp_path / "new", Reversed(similarity), progress=lambda *done: seen.append(done)
    )
    total = len(expected)
    assert seen == [(min(16 * batch, total), total) for batch in range(1, total // 16 + 2)]
    assert (info.path, info.documents, info.segments, info.deleted) == (str(tmp_path / "new"), total, 1, 0)
    check_copy(tmp_path / "new", expected, similarity)
    assert hashes(tmp_path / "old") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    with pytest.raises(FingerprintError):
        Index.open(tmp_path / "new", encoder(similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("batches", [1, 4, 99], ids=["first batch", "in the middle", "while segments are built"])
def test_a_killed_copy_is_resumed(tmp_path: Path, similarity: Similarity, batches: int) -> None:
    with made(tmp_path / "old", similarity) as index:
        expected = content(index)
    before = hashes(tmp_path / "old")
    killed(tmp_path / "old", tmp_path / "new", similarity, batches)
    assert not (tmp_path / "new").exists() and hashes(tmp_path / "old") == before
    again = Reversed(similarity)
    reembed_index(tmp_path / "old", tmp_path / "new", again)
    assert again.texts == [text for _, text, *_ in expected][16 * batches :]
    check_copy(tmp_path / "new", expected, similarity)
    assert hashes(tmp_path / "old") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_resumed_copy_has_what_changed_meanwhile(tmp_path: Path, similarity: Similarity) -> None:
    made(tmp_path / "old", similarity).close()
    killed(tmp_path / "old", tmp_path / "new", similarity, 4)
    with Index.open(tmp_path / "old") as index:
        index.update([{"id": "n1", "text": "a later text", "lang": "it"}], vectors=vectors_of(["x"], similarity))
        index.add([{"id": "late", "text": "the last text", "lang": "it"}], vectors=vectors_of(["x"], similarity))
        index.delete(["n2", "n85"])
        expected = content(index)
    again = Reversed(similarity)
    reembed_index(tmp_path / "old", tmp_path / "new", again)
    assert again.texts == [text for _, text, *_ in expected][62:]  # Of the 64 that were encoded, n1 and n2 are gone.
    check_copy(tmp_path / "new", expected, similarity)


def test_a_copy_catches_up_with_changes_while_it_is_made(tmp_path: Path) -> None:
    made(tmp_path / "old", "cosine").close()
    new = Reversed()

    def change(done: int, total: int) -> None:
        if done == 32:
            with Index.open(tmp_path / "old") as index:
                index.add([{"id": "late", "text": "the last text", "lang": "it"}], vectors=vectors_of(["x"], "cosine"))
                index.delete(["n0"])

    reembed_index(tmp_path / "old", tmp_path / "new", new, progress=change)
    with Index.open(tmp_path / "old") as index:
        expected = content(index)
    check_copy(tmp_path / "new", expected, "cosine")
    assert len(new.texts) == len(set(new.texts)) == len(expected) + 1  # Nothing was encoded twice.


def test_settings_and_kept_dimensions_stay(tmp_path: Path) -> None:
    wanted = IndexSettings(dims=4, kind="fp16", seed=3)
    with Index.create(tmp_path / "old", encoder(), settings=wanted) as index:
        index.add(documents(0, 9), vectors=vectors_of([f"text {n}" for n in range(9)], "cosine"))
    reembed_index(tmp_path / "old", tmp_path / "new", Reversed())
    with Index.open(tmp_path / "new", Reversed()) as index:
        assert index.store.manifest.settings == wanted
        vector = vectors_of(["8 txet"], "cosine")[0][:4]
        np.testing.assert_allclose(index.vectors(["n8"])[0], vector / np.linalg.norm(vector), atol=1e-6)


def test_an_empty_index_is_copied(tmp_path: Path) -> None:
    Index.create(tmp_path / "old", encoder()).close()
    assert reembed_index(tmp_path / "old", tmp_path / "new", Reversed()).documents == 0


def test_what_cannot_be_copied_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    made(tmp_path / "old", "cosine").close()
    with Index.create(tmp_path / "probe", encoder("maxsim"), settings=IndexSettings(kind="probe")):
        pass
    with Index.create(tmp_path / "memory", encoder(), kind="memory"):
        pass
    narrow = ExternalEncoder("narrow", 2)
    with Index.create(tmp_path / "dims", encoder(), settings=IndexSettings(dims=4)):
        pass
    before = sorted(tmp_path.rglob("*"))
    for source, output, new, message in [
        ("old", "probe", Reversed(), "is an index already"),
        ("old", "old/copy", Reversed(), "is in the folder"),
        ("none", "new", Reversed(), "no such index"),
        ("memory", "new", Reversed(), "mlret memory reembed --store"),
        ("probe", "new", Reversed(), "kind 'probe' needs"),
        ("dims", "new", narrow, "keeps 4 dimensions, but external:narrow gives 2"),
        ("old", "new", "no-such/encoder/folder", "no encoder folder"),
    ]:
        with pytest.raises(InputError, match=message):
            reembed_index(tmp_path / source, tmp_path / output, new)
        assert sorted(tmp_path.rglob("*")) == before


def test_two_different_copies_are_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "old", "cosine").close()
    killed(tmp_path / "old", tmp_path / "new", "cosine", 1)
    with pytest.raises(InputError, match=r"with another encoder, was begun in .*\.new\.reembedding: remove it"):
        reembed_index(tmp_path / "old", tmp_path / "new", Reversed(name="a third"))
    made(tmp_path / "other", "cosine").close()
    with pytest.raises(InputError, match="a copy of another index"):
        reembed_index(tmp_path / "other", tmp_path / "new", Reversed())
    monkeypatch.setattr(store, "WriterLock", lambda path: WriterLock(path, timeout=0.05))
    with WriterLock(tmp_path / ".new.reembedding" / LOCK), pytest.raises(Locked):
        reembed_index(tmp_path / "old", tmp_path / "new", Reversed())


def test_a_text_without_a_finite_vector_stops_the_copy_and_keeps_it(tmp_path: Path) -> None:
    made(tmp_path / "old", "cosine").close()

    class Broken(Reversed):
        def encode_document(self, texts: Sequence[str], **options: Any) -> Any:
            vectors = super().encode_document(texts)
            return np.full_like(vectors, np.nan) if len(self.texts) > 32 else vectors

    with pytest.raises(MlretError, match="not finite"):
        reembed_index(tmp_path / "old", tmp_path / "new", Broken())
    again = Reversed()
    reembed_index(tmp_path / "old", tmp_path / "new", again)
    assert "text 0" not in again.texts and "text 60" in again.texts
