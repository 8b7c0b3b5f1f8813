"""Test that a sealed vector stands once: what a segment, the database and a damaged folder then hold."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import Corrupt, InputError
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.store import compaction
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.verify import verify_index
from tests.index.damaging import all_answers, documents, store
from tests.index.killing import OF_BLOCKS, ROWS, write_until_killed
from tests.index.made import encoder, settings, shrink, vectors_of
from tests.index.old.write_folders import answers
from tests.index.test_manifest import Replayed

OLD = Path(__file__).parent / "old"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("segment_size", "bulk_size"):
        monkeypatch.setattr(CosineSpace, name, getattr(CosineSpace, name))
    shrink()
    for module in OF_BLOCKS:
        monkeypatch.setattr(module, "ROWS", ROWS)


class Counting(Replayed):
    """An encoder that counts what it encodes."""

    def __init__(self) -> None:
        super().__init__("test", 8, "cosine")
        self.texts: list[str] = []

    def encode_document(self, texts: Any, *, language: Any = None) -> Any:
        self.texts += texts
        return super().encode_document(texts, language=language)


def made(folder: Path, **changes: Any) -> Path:
    """Make an index with a large segment, a small one, a tail, and deleted documents in each."""
    with Index.create(folder, encoder(), settings=settings("cosine").model_copy(update=changes)) as index:
        store(index, 0, 40)
        index.compact()
        store(index, 40, 70)
        store(index, 70, 80)
        index.delete(["doc-3", "doc-45", "doc-75"])
    return folder


def in_database(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        return [row for (row,) in connection.execute("SELECT row FROM vectors ORDER BY row")]


def main_file(folder: Path) -> Path:
    """Return the vectors of the large segment."""
    with Index.open(folder) as index:
        return folder / index.store.manifest.segments[0].main.file


def blanked(file: Path, start: int, stop: int) -> None:
    """Overwrite some bytes of a file."""
    content = bytearray(file.read_bytes())
    content[start:stop] = bytes(stop - start)
    file.write_bytes(content)


def test_the_database_keeps_the_newest_vectors_alone(tmp_path: Path) -> None:
    folder = made(tmp_path / "i")
    with Index.open(folder) as index:
        last = index.store.last_sealed_row
        assert 40 < last < 80
        assert in_database(folder) == [row for row in range(last + 1, 81) if row not in (4, 46, 76)]
        ids = [document.id for document in index.documents()]
        texts = [document.text for document in index.documents()]
        assert (index.vectors(ids) == vectors_of(texts, "cosine")).all()
        index.compact()
        assert in_database(folder) == []
        assert (index.vectors(ids) == vectors_of(texts, "cosine")).all()
    assert verify_index(folder) == []


def test_two_copies_are_kept_and_a_torn_segment_comes_back_without_an_encoder(tmp_path: Path) -> None:
    folder = made(tmp_path / "i", copies=2)
    right = all_answers(folder)
    assert in_database(folder) == [row for row in range(1, 81) if row not in (4, 46, 76)]
    main_file(folder).write_bytes(b"torn")
    assert all_answers(folder) == right and verify_index(folder) == []
    blanked(main_file(folder), 200, 260)
    assert [problem.file for problem in verify_index(folder)] == [f"vectors/{main_file_name(folder)}"]
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and all_answers(folder) == right


def main_file_name(folder: Path) -> str:
    manifest = json.loads((folder / "manifest.json").read_text())
    return str(manifest["segments"][0]["vectors"]["file"]).rpartition("/")[2]


def test_only_the_texts_of_a_torn_block_are_encoded_again(tmp_path: Path) -> None:
    folder = made(tmp_path / "i")
    right = all_answers(folder)
    start = 128 + 17 * 8 * 4  # in the third block: rows 17 to 24
    blanked(main_file(folder), start, start + 40)
    with pytest.raises(Corrupt, match=r"8 vectors of it are lost, and mlret does not run 'external:test'.*copies=2"):
        Index.open(folder)
    (problem,) = verify_index(folder)
    assert problem.repairable and not problem.repaired and problem.file == f"vectors/{main_file_name(folder)}"
    counting = Counting()
    assert all(problem.repaired for problem in verify_index(folder, counting, repair=True))
    assert counting.texts == [one["text"] for one in documents(16, 24)]
    assert verify_index(folder) == [] and all_answers(folder) == right
    with Index.open(folder) as index:
        assert index.store.segments[0].kind == "sq8"  # with its accelerator
        assert in_database(folder) == [row for row in range(index.store.last_sealed_row + 1, 81) if row != 76]


@pytest.mark.parametrize(("change", "lost"), [("header", 0), ("cut", 24), ("end", 8), ("missing", 39)])
def test_what_is_left_of_a_file_is_used(tmp_path: Path, change: str, lost: int) -> None:
    folder = made(tmp_path / "i")
    right, file = all_answers(folder), main_file(folder)
    content = file.read_bytes()
    assert len(content) == 128 + 40 * 8 * 4
    if change == "missing":
        file.unlink()
    else:
        cut = {"header": b"\0" * 128 + content[128:], "cut": content[: 128 + 16 * 32 + 5], "end": content[:-1]}
        file.write_bytes(cut[change])
    if not lost:
        assert all_answers(folder) == right  # written again when it was opened
        assert verify_index(folder) == []
        return
    counting = Counting()
    assert all(problem.repaired for problem in verify_index(folder, counting, repair=True))
    assert len(counting.texts) == lost
    assert verify_index(folder) == [] and all_answers(folder) == right


@pytest.mark.parametrize("name", ["rows", "blocks", "scales"])
def test_small_files_of_a_segment_are_made_again_without_encoding(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "i", dtype="int8")
    right = all_answers(folder)
    main = main_file(folder)
    main.with_name(f"{main.stem}.{name}.npy").write_bytes(b"torn")
    (problem,) = verify_index(folder)
    assert problem.repairable
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and all_answers(folder) == right


def test_repair_that_was_stopped_keeps_what_it_has_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "i")
    right = all_answers(folder)
    main_file(folder).unlink()
    monkeypatch.setattr("mlret.index.verify._BATCH", 10)

    class Stopping(Counting):
        def encode_document(self, texts: Any, *, language: Any = None) -> Any:
            if len(self.texts) == 20:
                raise KeyboardInterrupt
            return super().encode_document(texts, language=language)

    with pytest.raises(KeyboardInterrupt):
        verify_index(folder, Stopping(), repair=True)
    counting = Counting()
    assert all(problem.repaired for problem in verify_index(folder, counting, repair=True))
    assert len(counting.texts) == 19
    assert verify_index(folder) == [] and all_answers(folder) == right


def test_settings_that_tokens_do_not_have_are_refused(tmp_path: Path) -> None:
    for given in (IndexSettings(dtype="int8"), IndexSettings(copies=2)):
        with pytest.raises(InputError, match="dtype and copies are for one vector per text"):
            Index.create(tmp_path / "i", encoder("maxsim"), settings=given)


def unpacked(place: Path) -> tuple[Path, dict[str, Any]]:
    """Return an index of format 3 with a graph, whose vectors are all in the database too, and its answers."""
    with tarfile.open(OLD / "index-graph-format-3.tar.gz") as archive:
        archive.extractall(place, filter="data")
    return place / "index-graph", json.loads((OLD / "answers.json").read_text(encoding="utf-8"))["index-graph"]


def as_json(folder: Path) -> dict[str, Any]:
    with Index.open(folder) as index:
        found: dict[str, Any] = json.loads(json.dumps(answers(index, "cosine")))
        return found


def test_folder_of_format_3_is_searched_as_it_is_and_compaction_removes_the_second_copy(tmp_path: Path) -> None:
    folder, right = unpacked(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"}
    assert as_json(folder) == right and verify_index(folder) == []
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != "records.db-shm")
    graph = sum(path.stat().st_size for path in folder.rglob("*.faiss"))
    with Index.open(folder, encoder()) as index:
        assert index.store.manifest.format_version == 3
        index.compact()
        assert index.store.manifest.format_version == 5 and index.store.records.fields.numbered
    assert in_database(folder) == [] and verify_index(folder) == [] and as_json(folder) == right
    assert sum(path.stat().st_size for path in folder.rglob("*.faiss")) < 77 / 40 * graph


def test_whole_segment_of_format_3_is_kept_and_its_graph_loses_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, right = unpacked(tmp_path)
    monkeypatch.setattr(compaction, "_groups", lambda store: [])  # so that segments are not merged
    steps: list[tuple[str, int, int]] = []
    with Index.open(folder, encoder()) as index:
        before = [info.main for info in index.store.manifest.segments]
        graph = index.store.manifest.segments[0].accelerator
        sealed = len(before)
        index.compact(lambda *step: steps.append(step))
        after = index.store.manifest.segments
        assert [info.main for info in after][:sealed] == before and all(info.blocks for info in after)
        assert [done for step, done, _ in steps if step == "bringing segments up to date"] == [40, 70]
        assert after[0].accelerator.bytes <= graph.bytes - 40 * 8
    assert in_database(folder) == [] and verify_index(folder) == [] and as_json(folder) == right


def test_segments_that_are_written_next_to_old_ones_leave_those_in_the_database(tmp_path: Path) -> None:
    folder, _ = unpacked(tmp_path)
    with Index.open(folder, encoder()) as index:
        old = index.store.last_sealed_row
        store(index, 80, 110)
        assert index.store.manifest.format_version == 5 and index.store.last_sealed_row > old
        kept = set(in_database(folder))
        assert set(range(1, old + 1)) - {4, 46} <= kept and old + 2 not in kept
    assert verify_index(folder) == []
    main_file(folder).write_bytes(b"torn")  # an old one, which the database still has
    with Index.open(folder) as index:
        assert len(index) == 107
    assert verify_index(folder) == []


def test_damaged_segment_of_format_3_is_not_relied_on_by_compaction(tmp_path: Path) -> None:
    folder, right = unpacked(tmp_path)
    blanked(main_file(folder), 300, 340)
    with Index.open(folder, encoder()) as index:
        index.compact()
    assert verify_index(folder) == [] and as_json(folder) == right


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("act", ["compact", "add"])
def test_killed_at_any_step_of_sealing_nothing_is_lost(tmp_path: Path, act: str, dtype: str) -> None:
    if dtype == "float32":
        begun, _ = unpacked(tmp_path / "begun")
    else:
        begun = made(tmp_path / "begun", dtype=dtype)
    right = all_answers(begun)["documents"]
    for steps in range(200):
        folder = tmp_path / "i"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun, folder)
        done = write_until_killed(folder, steps, act)
        found = all_answers(folder)
        assert right.items() <= found["documents"].items()
        assert {id for id, _ in found["hits True"]} == set(found["documents"])
        assert verify_index(folder) == []
        if done == 0:
            break
        assert done == -signal.SIGKILL
        with Index.open(folder, encoder()) as index:
            index.compact()
        assert in_database(folder) == [] and all_answers(folder)["documents"] == found["documents"]
    assert steps > 10 and done == 0 and in_database(folder) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", ["block", "rows", "accelerator"])
def test_killed_at_any_step_of_repair_nothing_more_is_lost(tmp_path: Path, file: str) -> None:
    begun = made(tmp_path / "begun", dtype="int8")
    right, main = all_answers(begun), main_file(begun)
    if file == "block":
        blanked(main, 128 + 17 * 8, 128 + 17 * 8 + 5)
    else:
        [damaged] = begun.glob("vectors/*.faiss" if file == "accelerator" else f"vectors/{main.stem}.rows.npy")
        damaged.write_bytes(b"torn")
    killed = 0
    for steps in range(100):
        folder = tmp_path / "i"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun, folder)
        done = write_until_killed(folder, steps, "repair")
        if done == 0:
            break
        assert done == -signal.SIGKILL
        killed += 1
        assert all(problem.repaired for problem in verify_index(folder, Counting(), repair=True))
        assert verify_index(folder) == [] and all_answers(folder) == right
    assert done == 0 and killed > 10 and verify_index(folder) == [] and all_answers(folder) == right
    assert not [row for row in in_database(folder) if row <= 40]


@pytest.mark.parametrize("begun", ["new", "old"])
def test_merging_copies_no_vector_that_was_damaged_after_it_was_checked(tmp_path: Path, begun: str) -> None:
    folder = made(tmp_path / "i") if begun == "new" else unpacked(tmp_path)[0]
    right, file = all_answers(folder), main_file(folder)
    state = file.stat()
    with Index.open(folder, encoder()) as index:
        blanked(file, 300, 340)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(Corrupt, match="is torn"):
            index.compact()
    assert verify_index(folder)[0].file == f"vectors/{file.name}"
    counting = Counting()
    assert all(problem.repaired for problem in verify_index(folder, counting, repair=True))
    assert len(counting.texts) == (7 if begun == "new" else 0)  # of eight rows one was deleted
    assert verify_index(folder) == [] and all_answers(folder) == right
    with Index.open(folder, encoder()) as index:
        index.compact()
    assert verify_index(folder) == [] and in_database(folder) == []


def test_reader_of_before_sees_its_vectors_until_it_is_refreshed(tmp_path: Path) -> None:
    folder = made(tmp_path / "i")
    with Index.open(folder) as reader, Index.open(folder, encoder()) as writer:
        ids = [document.id for document in reader.documents()]
        writer.compact()
        assert in_database(folder) == []
        assert len(reader.vectors(ids)) == len(ids)
        hits = reader.search_vectors(vectors_of(["query"], "cosine"), 100)[0]
        assert {hit.id for hit in hits} == set(ids)
        reader.refresh()
        assert reader.search_vectors(vectors_of(["query"], "cosine"), 100)[0] == hits


def test_damaged_segment_is_searched_from_what_is_intact_while_another_process_writes(tmp_path: Path) -> None:
    folder = made(tmp_path / "i", dtype="int8")
    right, main = all_answers(folder), main_file(folder)
    main.with_name(f"{main.stem}.rows.npy").write_bytes(b"torn")
    with WriterLock(folder / LOCK):
        assert all_answers(folder) == right
        with Index.open(folder) as index:
            assert index.store.segments[0].torn and len(index.vectors(["doc-1", "doc-79"])) == 2
    with Index.open(folder) as index:
        assert not index.store.segments[0].torn
    assert verify_index(folder) == [] and all_answers(folder) == right
