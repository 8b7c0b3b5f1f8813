"""Test the files that nodes share, on file systems of fsspec, and texts divided by shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlret.cluster.division import Division, ShardCorpus, divide
from mlret.cluster.storage import Storage
from mlret.data.corpus import Corpus
from mlret.data.documents import Document
from mlret.errors import InputError, NotFound
from mlret.index.sharding.placement import shard_of

pytest.importorskip("fsspec", reason="needs the extra ray: make test-cluster")


@pytest.fixture(params=["file", "memory", "path"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    places = {
        "file": f"file://{tmp_path}/there",
        "memory": f"memory://{tmp_path.name}/there",
        "path": tmp_path / "there",
    }
    found = Storage(str(places[request.param]))
    found.make()
    return found


def test_files_are_written_read_copied_and_removed(storage: Storage, tmp_path: Path) -> None:
    assert not storage.exists("a.json")
    storage.write("a.json", {"text": "Straße"})
    storage.write("a.json", {"text": "улица"})
    assert storage.read("a.json") == {"text": "улица"}
    with pytest.raises(NotFound, match=r"b\.json is missing"):
        storage.read("b.json")
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_bytes(b"1")
    (folder / "below" / "two").write_bytes(b"2")
    storage.upload(folder, "copy")
    storage.download("copy", tmp_path / "back")
    assert (tmp_path / "back" / "one").read_bytes() == b"1"
    assert (tmp_path / "back" / "below" / "two").read_bytes() == b"2"
    with pytest.raises(NotFound, match="none is missing"):
        storage.download("none", tmp_path / "none")
    storage.remove("copy")
    storage.remove("copy")
    assert not storage.exists("copy")


def test_an_unknown_file_system_is_reported() -> None:
    with pytest.raises(InputError, match="nowhere://x: no such file system"):
        Storage("nowhere://x")


def test_divided_texts_are_those_of_the_corpus_in_its_order(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlret.cluster.division._WAITING", 500)  # Each shard has several runs of lines.
    for file in range(3):
        lines = [
            json.dumps({"id": f"{file}-{n}", "text": f"text {n} ✓\nof {file}", "lang": "en", "n": n}) for n in range(50)
        ]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    sources = sorted(tmp_path.glob("*.jsonl"))
    parts = Corpus(sources).divided(1)
    assert len(parts) == 3
    assert len(Corpus(sources).divided(1 << 30)) == 1
    for number, part in enumerate(parts):
        made = divide(part, 4, storage, number)
        assert made == Division.read(storage, number)
        divide(part, 4, storage, number)  # as after a process was lost
    every: list[Document] = list(Corpus(sources))
    found = {}
    for shard in range(4):
        corpus = ShardCorpus(storage, shard, 3)
        documents = list(corpus)
        assert documents == [one for one in every if shard_of(one.id, 4) == shard]
        assert [one.origin for one in documents] == [one.origin for one in every if shard_of(one.id, 4) == shard]
        assert len(corpus) == len(documents)
        assert corpus.read_bytes == corpus.total_bytes
        assert [every[place] for place in corpus.places().tolist()] == documents
        found |= {one.id: one for one in documents}
    assert len(found) == 150


def test_a_pipe_is_not_divided(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a stream is read by one process only"):
        Corpus(["-"]).divided(1)
