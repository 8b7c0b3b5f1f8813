"""Test that a folder is opened only if its manifest and its database belong together."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mlret.encoders.encoder import Similarity
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError, MlretError
from mlret.index.index import Index
from mlret.index.storage.manifest import Manifest, parse_manifest, written_of
from mlret.index.storage.manifest_copy import read_copy
from mlret.index.verify import verify_index
from mlret.memory.maintenance.upkeep import verify as verify_memory
from mlret.memory.memory import Memory
from tests.index.damaging import all_answers, outcome, store
from tests.index.made import SIMILARITIES, encoder, settings, vectors_of
from tests.memory.made import add, open_memory


class Replayed(ExternalEncoder):
    """An encoder that returns the vectors that were stored with the texts."""

    def encode_document(self, texts, *, language=None):  # type: ignore[no-untyped-def]
        return vectors_of(texts, self.similarity)


def made(folder: Path, similarity: Similarity = "cosine", *, documents: int = 40, copies: int = 1) -> Path:
    changed = settings(similarity).model_copy(update={"copies": copies})
    with Index.create(folder, encoder(similarity), settings=changed) as index:
        store(index, 0, documents)
        index.compact()
        store(index, documents, documents + 5)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("manifest") / "i")


def changed(folder: Path, change: Callable[[dict[str, object]], object], *, signed: bool = False) -> None:
    """Change the manifest of a folder; with ``signed`` its checksum fits, as in an older or foreign manifest."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    if signed:
        del content["checksum"]
        path.write_text(written_of(Manifest.model_validate(content)).text)
    else:
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_older_manifest_names_both_generations_and_is_restored(tmp_path: Path, similarity: Similarity) -> None:
    folder = made(tmp_path / "i", similarity)
    old = (folder / "manifest.json").read_bytes()
    with Index.open(folder, encoder(similarity)) as index:
        store(index, 60, 100)
        index.compact()
    right = all_answers(folder)
    new = (folder / "manifest.json").read_bytes()
    generations = [json.loads(text)["generation"] for text in (old, new)]
    (folder / "manifest.json").write_bytes(old)
    names = rf"manifest\.json \(generation {generations[0]}\) is older than records\.db \(generation {generations[1]}\)"
    with pytest.raises(MlretError, match=rf"{names}.*`mlret index verify --repair {re.escape(str(folder))}`"):
        Index.open(folder)
    (problem,) = verify_index(folder)
    assert problem.repairable and not problem.repaired
    assert (folder / "manifest.json").read_bytes() == old  # only reported
    (problem,) = verify_index(folder, repair=True)
    assert problem.repaired and f"the copy in records.db is of generation {generations[1]}" in problem.what
    assert verify_index(folder) == [] and all_answers(folder) == right


def test_older_manifest_of_a_memory_is_found_and_restored(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with open_memory(folder) as memory:
        for number in range(5):
            add(memory, f"note {number}", {"user": "u"})
        old = (folder / "manifest.json").read_bytes()
        memory.folder.index.compact()
    (folder / "manifest.json").write_bytes(old)
    with pytest.raises(MlretError, match="is older than"):
        Memory.open(folder, encoder())
    assert not verify_memory(folder)[0].repaired
    assert verify_memory(folder, repair=True)[0].repaired
    assert verify_memory(folder) == []
    with open_memory(folder) as memory:
        assert len(memory.list({"user": "u"})) == 5


def test_manifest_of_another_index_is_found(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other", documents=30)
    right = all_answers(one)
    shutil.copy(other / "manifest.json", one / "manifest.json")
    with pytest.raises(MlretError, match="is not of the same index"):
        Index.open(one)
    assert verify_index(one, repair=True)[0].repaired
    assert all_answers(one) == right


def test_manifest_of_an_index_beside_the_database_of_a_memory_is_found(tmp_path: Path) -> None:
    index, folder = made(tmp_path / "i"), tmp_path / "m"
    with open_memory(folder) as memory:
        add(memory, "a note", {"user": "u"})
    shutil.copy(index / "manifest.json", folder / "manifest.json")
    with pytest.raises(InputError, match="is an index"):
        Memory.open(folder, encoder())
    with pytest.raises(MlretError, match="is not of the same index"):
        Index.open(folder)
    assert verify_index(folder, repair=True)[0].repaired
    with open_memory(folder) as memory:
        assert [one.text for one in memory.list({"user": "u"})] == ["a note"]


@pytest.mark.parametrize("by", [-1, 1, 2, 10])
@pytest.mark.parametrize("signed", [False, True])
def test_changed_generation_is_found(folder: Path, tmp_path: Path, by: int, signed: bool) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "i"))
    right = all_answers(folder)
    changed(copy, lambda content: content.update(generation=content["generation"] + by), signed=signed)  # type: ignore[operator]
    assert outcome(copy, right) == "error"
    assert verify_index(copy, repair=True)[0].repaired
    assert verify_index(copy) == [] and outcome(copy, right) == "right"


def test_changed_last_row_or_segment_list_is_found(folder: Path, tmp_path: Path) -> None:
    right = all_answers(folder)

    def last_row(content: dict[str, object]) -> None:
        content["segments"][-1]["last_row"] += 1  # type: ignore[index]

    def fewer(content: dict[str, object]) -> None:
        content["segments"] = []

    for number, change in enumerate((last_row, fewer)):
        for signed in (False, True):
            copy = Path(shutil.copytree(folder, tmp_path / f"{number}{signed}"))
            changed(copy, change, signed=signed)
            assert outcome(copy, right) == "error"
            assert verify_index(copy, repair=True)[0].repaired
            assert outcome(copy, right) == "right"


def test_every_changed_byte_of_the_manifest_is_found_or_harmless(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "i"))
    path = copy / "manifest.json"
    content = path.read_bytes()
    right = parse_manifest(content)
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            try:
                found = parse_manifest(bytes(damaged))
            except ValueError:
                continue
            assert (found.manifest, found.checksum) == (right.manifest, right.checksum), damaged[
                place - 20 : place + 20
            ]


@examples(max_examples=60, deadline=None)
@given(st.data())
def test_folder_with_a_changed_digit_in_its_manifest_is_not_searched(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    copy = tmp_path_factory.mktemp("digit") / "i"
    shutil.copytree(folder, copy)
    path = copy / "manifest.json"
    content = path.read_text()
    places = [place for place, character in enumerate(content) if character.isdigit()]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([one for one in "0123456789" if one != content[place]]))
    path.write_text(content[:place] + digit + content[place + 1 :])
    with pytest.raises(MlretError, match=r"manifest\.json"):
        Index.open(copy)
    verify_index(copy, repair=True)
    assert path.read_text() == content
    shutil.rmtree(copy)


def test_manifest_that_is_newer_than_a_restored_database_is_clear(tmp_path: Path) -> None:
    folder = made(tmp_path / "i", copies=2)
    right = all_answers(folder)
    old = (folder / "records.db").read_bytes()
    with Index.open(folder) as index:
        store(index, 60, 100)
        index.compact()
    (folder / "records.db").write_bytes(old)
    with pytest.raises(MlretError, match=r"records\.db has lost its last changes"):
        Index.open(folder)
    (folder / "writer.lock").unlink()  # only the manifest counts
    with pytest.raises(
        MlretError, match=r"manifest\.json \(generation \d\) is newer than records\.db \(generation \d\)"
    ):
        Index.open(folder)
    found = [problem.what for problem in verify_index(folder, repair=True)]
    assert "is newer than" in found[0] and "its last changes are lost" in found[1]
    assert verify_index(folder) == [] and all_answers(folder) == right


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_sealed_vectors_from_elsewhere_are_not_given_up_for_an_older_database(
    tmp_path: Path, similarity: Similarity
) -> None:
    folder = made(tmp_path / "i", similarity)
    old = (folder / "records.db").read_bytes()
    with Index.open(folder) as index:
        store(index, 60, 100)
        index.compact()
    kept = sorted((folder / "vectors").iterdir())
    new = (folder / "records.db").read_bytes()
    (folder / "records.db").write_bytes(old)
    (problem,) = verify_index(folder, repair=True)
    assert not problem.repairable and "which is missing" in problem.what
    assert sorted((folder / "vectors").iterdir()) == kept
    (folder / "records.db").write_bytes(new)
    assert verify_index(folder) == []


def test_damaged_copy_in_the_database_is_found_and_written_again(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "i"))
    right, database = all_answers(folder), copy / "records.db"
    content = database.read_bytes()
    place = content.index(b'"fingerprint"')
    database.write_bytes(content[:place] + b'"f1ngerprint"' + content[place + 13 :])
    with pytest.raises(MlretError, match=r"the copy of manifest\.json in records\.db"):
        Index.open(copy)
    (problem,) = verify_index(copy, repair=True)
    assert problem.file == "records.db" and problem.repaired
    assert verify_index(copy) == [] and all_answers(copy) == right


def test_where_manifest_and_copy_are_both_damaged_nothing_is_guessed(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "i"))
    for name in ("records.db", "manifest.json"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content.replace(b'"fingerprint"', b'"f1ngerprint"'))
    for repair in (False, True):
        with pytest.raises(MlretError, match=r"manifest\.json is damaged"):
            verify_index(copy, repair=repair)


def test_files_that_are_missing_are_written_again_from_second_copies(tmp_path: Path) -> None:
    copy = made(tmp_path / "i", copies=2)
    right = all_answers(copy)
    shutil.rmtree(copy / "vectors")
    assert outcome(copy, right) == "right"
    assert verify_index(copy) == []  # opening rewrote them


def test_two_alternating_writers_leave_manifest_and_copy_equal(tmp_path: Path) -> None:
    folder = made(tmp_path / "i")
    with Index.open(folder) as one, Index.open(folder) as two:
        for number in range(3):
            store(one, 100 + 10 * number, 105 + 10 * number)
            one.compact()
            store(two, 105 + 10 * number, 110 + 10 * number)
            two.compact()
        copy = parse_manifest(read_copy(two.store.records))
        assert copy == parse_manifest((folder / "manifest.json").read_bytes())
        assert copy.manifest.generation == two.store.manifest.generation
