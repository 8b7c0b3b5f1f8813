"""Test what verify finds and repairs, and what an open index notices by itself."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import MlretError
from mlret.index.index import Index
from mlret.index.storage.lock import LOCK, noted_changes
from mlret.index.storage.manifest_copy import read_copy, replace_copy
from mlret.index.tokens import codec_training
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.verify import Problem, verify_index
from tests.conftest import examples
from tests.index.damaging import all_answers, damage_rounds, outcome, store
from tests.index.made import SIMILARITIES, Similarity, encoder, settings, shrink, vector_of
from tests.index.test_manifest import Replayed


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in (CosineSpace, MaxSimSpace):
        for name in ("segment_size", "bulk_size"):
            monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(codec_training, "LEAST", codec_training.LEAST)
    shrink()


def made(folder: Path, similarity: Similarity = "cosine") -> Path:
    """Make an index with a large segment, small ones, a tail, and deleted documents in each."""
    with Index.create(folder, encoder(similarity), settings=settings(similarity)) as index:
        store(index, 0, 40)
        index.compact()
        store(index, 40, 70)
        store(index, 70, 80)
        index.delete(["doc-3", "doc-45", "doc-75"])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "i")


def tampered(folder: Path, *statements: str) -> None:
    """Change the database without the index, and its write-ahead log with it."""
    with closing(sqlite3.connect(folder / "records.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def seen_and_repaired(folder: Path, right: dict[str, Any], what: str, *, noticed: bool) -> None:
    """Check whether a search notices a fault, and that verify finds and repairs it."""
    assert outcome(folder, right) == ("error" if noticed else "right")
    problems = verify_index(folder)
    assert any(what in problem.what and problem.repairable and not problem.repaired for problem in problems), problems
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


@pytest.mark.parametrize(("was", "now"), [(4, 5), (46, 47), (76, 70), (4, 40)])
def test_tombstone_that_names_a_stored_row_is_noticed_and_the_record_found_again(
    folder: Path, was: int, now: int
) -> None:
    right = all_answers(folder)
    tampered(folder, f"UPDATE tombstones SET row = {now} WHERE row = {was}")
    seen_and_repaired(folder, right, "1 records are listed as removed", noticed=True)


def test_lost_tombstones_are_noticed_and_the_documents_stay_removed(folder: Path) -> None:
    right = all_answers(folder)
    tampered(folder, "DELETE FROM tombstones WHERE row = 4")
    seen_and_repaired(folder, right, "its list of removed rows is not what was written", noticed=True)


@pytest.mark.parametrize("counter", ["documents", "changes", "generation", "tombstones", "format", "checksum"])
@pytest.mark.parametrize("change", ["value = value + 1", "value = value - 1", "value = 'x'", "name = name || 'x'"])
def test_changed_counter_is_noticed_and_counted_again(folder: Path, counter: str, change: str) -> None:
    right = all_answers(folder)
    tampered(folder, f"UPDATE counters SET {change} WHERE name = '{counter}'")
    assert outcome(folder, right) == "error"
    assert verify_index(folder) and outcome(folder, right) == "error"
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


@pytest.mark.parametrize(
    ("statement", "noticed"),
    [
        ("UPDATE lexical_totals SET length = length + 1", True),
        ("UPDATE lexical_totals SET records = records - 1", True),
        ("UPDATE lexical_totals SET records = 'x'", True),
        ("UPDATE lexical_texts SET length = length + 40 WHERE row = 8", True),
        ("UPDATE lexical_texts SET length = 'x' WHERE row = 8", True),
        ("UPDATE lexical_texts SET checksum = checksum + 1 WHERE row = 8", False),
        # One becomes shorter and one longer, so the totals stay the same.
        ("UPDATE lexical_texts SET length = length + 8 - row WHERE row IN (7, 9)", True),
        ("UPDATE lexical_ngrams SET records = records + 1 WHERE ngram = 'rive'", True),
        ("UPDATE lexical_ngrams SET records = 0 WHERE ngram = 'rive'", True),
        ("UPDATE lexical_ngrams SET records = 'x' WHERE ngram = 'rive'", True),
        ("INSERT INTO lexical (rowid, tokens) VALUES (8, 'gard')", False),
        ("DELETE FROM lexical_texts WHERE row = 20", False),
    ],
)
def test_lexical_tables_unlike_the_texts_are_seen_and_made_again(folder: Path, statement: str, noticed: bool) -> None:
    right = all_answers(folder)
    tampered(folder, statement)
    before = outcome(folder, right)
    assert before == "error" or not noticed
    assert [problem.what for problem in verify_index(folder)] == ["the lexical index differs from the records"]
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


def test_posting_lists_of_other_texts_are_seen(folder: Path) -> None:
    """Two texts are exchanged only in the posting lists, so every count stays the same."""
    right = all_answers(folder)
    with Index.open(folder) as index:
        one, other = (index.store.records.fetch([row])[row].text for row in (10, 12))
        lexical = index.store.records.lexical
        assert lexical is not None
        with index.store.records.transaction():
            lexical.remove([10, 12], [one, other])
            lexical.add([10, 12], [other, one])
    assert outcome(folder, right) == "wrong"
    assert [problem.what for problem in verify_index(folder)] == ["the lexical index differs from the records"]
    assert verify_index(folder, repair=True)[0].repaired
    assert outcome(folder, right) == "right"


def test_rows_in_no_segment_are_sealed_again(folder: Path) -> None:
    right = all_answers(folder)
    with Index.open(folder) as index, index.store.writing():  # as if a segment were missing
        switch, kept = index.store.switch, index.store.manifest.segments
        switch([info for info in kept if info.first_row != 1])
    assert outcome(folder, right) == "wrong"
    assert [problem.what for problem in verify_index(folder)] == ["39 damaged vectors"]
    assert all(problem.repaired for problem in verify_index(folder, Replayed("test", 8, "cosine"), repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


def test_vectors_of_no_record_are_dropped(folder: Path) -> None:
    right = all_answers(folder)
    tampered(folder, "INSERT INTO vectors SELECT 76, vector, crc FROM vectors WHERE row = 77")
    seen_and_repaired(folder, right, "1 vectors belong to no record", noticed=False)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM field_values WHERE row = 8",
        "UPDATE field_values SET value = value + 1 WHERE row = 8",
        "UPDATE field_values SET value = CAST(value AS TEXT) WHERE row = 8",
        "UPDATE field_values SET row = 15 - row WHERE row IN (7, 8)",
        "UPDATE field_names SET key = 'century' WHERE key = 'year'",
        "INSERT INTO field_values VALUES (99, 1, 8)",
    ],
)
def test_filterable_metadata_unlike_the_records_are_seen_and_made_again(folder: Path, statement: str) -> None:
    right = all_answers(folder)
    tampered(folder, statement)
    [problem] = verify_index(folder)
    assert problem.what == "filterable metadata differ from the records" and not problem.repaired
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET text = x'FF' WHERE row = 8",
        "UPDATE records SET text = CAST(x'C3' AS TEXT) WHERE row = 8",
        "UPDATE records SET id = 17 WHERE row = 8",
        "UPDATE records SET metadata = '[' WHERE row = 8",
        "UPDATE records SET language = x'00' WHERE row = 8",
        "UPDATE records SET crc = 'x' WHERE row = 8",
        "UPDATE vectors SET vector = 'text' WHERE row = 75",
        "UPDATE vectors SET vector = 5 WHERE row = 75",
        "UPDATE vectors SET crc = x'00' WHERE row = 75",
        "UPDATE sqlite_sequence SET seq = 70 WHERE name = 'records'",
        "UPDATE sqlite_sequence SET seq = 'x' WHERE name = 'records'",
        "DELETE FROM sqlite_sequence",
        "DELETE FROM manifest",
        "DELETE FROM counters",
        "DROP TABLE tombstones",
        "ALTER TABLE records RENAME COLUMN text TO texu",
        "DROP INDEX records_language",
    ],
)
def test_damaged_cells_of_any_kind_give_one_error_that_names_the_place(folder: Path, statement: str) -> None:
    right = all_answers(folder)
    tampered(folder, statement)
    try:
        all_answers(folder)
    except MlretError as error:
        assert "damaged" in str(error) and "records.db" in str(error) and "\n" not in str(error)
    else:
        assert outcome(folder, right) == "right"
    try:
        problems = verify_index(folder, Replayed("test", 8, "cosine"))
    except MlretError as error:
        assert "damaged" in str(error)
    else:
        assert problems
    try:
        verify_index(folder, Replayed("test", 8, "cosine"), repair=True)
    except MlretError as error:
        assert "damaged" in str(error)


def test_database_that_lost_its_log_is_noticed(tmp_path: Path) -> None:
    whole, lost = tmp_path / "whole", tmp_path / "lost"
    made(tmp_path / "i")
    with Index.open(tmp_path / "i") as index:
        store(index, 80, 85)
        shutil.copytree(tmp_path / "i", whole)
        shutil.copytree(tmp_path / "i", lost)
        changes = index.store.changes
    right = all_answers(whole)
    assert len(right["documents"]) == 82
    (lost / "records.db-wal").unlink()
    with pytest.raises(MlretError, match=rf"has lost its last changes \(it counts \d+, and writer\.lock {changes}\)"):
        Index.open(lost)
    assert any("its last changes are lost" in problem.what for problem in verify_index(lost))
    assert all(problem.repaired for problem in verify_index(lost, repair=True))
    assert verify_index(lost) == []
    with Index.open(lost) as index:
        assert len(index) == 77  # what is left
        store(index, 90, 95)
    assert verify_index(lost) == [] and len(all_answers(lost)["documents"]) == 82


_ADDING = """
import sys
from mlret.index.index import Index
from tests.index.made import encoder, vector_of

index = Index.open(sys.argv[1], encoder())
for number in range(10_000):
    text = f"added {number}"
    index.add([{"id": text, "text": text, "lang": "en"}], vectors=vector_of(text)[None])
    print(number, flush=True)
"""


def test_killed_writer_leaves_a_count_that_is_never_ahead(folder: Path) -> None:
    for wanted in (1, 5, 9):
        process = subprocess.Popen([sys.executable, "-c", _ADDING, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(wanted):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Index.open(folder) as index:
            identity, changes = index.store.manifest.identity, index.store.changes
            assert changes - 1 <= noted_changes(folder / LOCK, identity) <= changes
            index.delete([document.id for document in index.documents() if document.id.startswith("added")])


@pytest.mark.parametrize("change", [b"", b"{}", b"x" * 500, "digit"])
def test_damaged_lock_file_changes_no_answer(folder: Path, change: bytes | str) -> None:
    right = all_answers(folder)
    content = (folder / LOCK).read_bytes()
    place = content.index(b" ", 320) + 1
    damaged = content[:place] + b"99" + content[place + 1 :] if isinstance(change, str) else change
    (folder / LOCK).write_bytes(damaged)
    assert outcome(folder, right) == "right" and verify_index(folder) == []


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_accelerator_built_again_does_not_bring_removed_documents_back(tmp_path: Path, similarity: Similarity) -> None:
    folder = made(tmp_path / "i", similarity)
    right = all_answers(folder)
    with Index.open(folder) as index:
        (accelerated,) = (info for info in index.store.manifest.segments if info.why)
        info = accelerated.accelerator if similarity == "cosine" else accelerated.lists.documents  # type: ignore[union-attr]
    assert info is not None
    (folder / info.file).write_bytes(b"torn")
    assert all(problem.repaired for problem in verify_index(folder, Replayed("test", 8, similarity), repair=True))
    assert verify_index(folder) == [] and all_answers(folder) == right


def test_counters_are_counted_again_where_a_writer_was_killed_between_manifest_and_database(folder: Path) -> None:
    right = all_answers(folder)
    with Index.open(folder) as index, index.store.writing():
        records = index.store.records
        generation, copy = records.generation, read_copy(records).decode()
        index.store.switch(index.store.manifest.segments)
        replace_copy(records, generation, copy)
    assert outcome(folder, right) == "right" and verify_index(folder) == []
    tampered(folder, "UPDATE counters SET value = value + 1 WHERE name = 'documents'")
    assert outcome(folder, right) == "error"
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    assert verify_index(folder) == [] and outcome(folder, right) == "right"


def _names(*starts: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(starts)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("names", [("",), ("records",)], ids=["any file", "the database"])
def test_random_damage_is_right_or_seen(tmp_path: Path, similarity: Similarity, names: tuple[str, ...]) -> None:
    folder = made(tmp_path / "i", similarity)
    right = all_answers(folder)
    damage_rounds(folder, examples(15), 11, right, names=_names(*names), encoder=Replayed("test", 8, similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_random_damage_to_a_folder_with_a_log_is_right_or_seen(tmp_path: Path, similarity: Similarity) -> None:
    made(tmp_path / "i", similarity)
    with Index.open(tmp_path / "i") as index:
        store(index, 80, 85)
        for name in ("log", "answers"):
            shutil.copytree(tmp_path / "i", tmp_path / name)
    right = all_answers(tmp_path / "answers")
    encoder = Replayed("test", 8, similarity)
    damage_rounds(
        tmp_path / "log", examples(15), 12, right, names=_names("records", "manifest", "writer"), encoder=encoder
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("names", [("",), ("records",)], ids=["any file", "the database"])
def test_hundreds_of_random_damages_are_right_or_seen(
    tmp_path: Path, similarity: Similarity, names: tuple[str, ...]
) -> None:
    folder = made(tmp_path / "i", similarity)
    right = all_answers(folder)
    counts = damage_rounds(folder, 200, 13, right, names=_names(*names), encoder=Replayed("test", 8, similarity))
    assert sum(counts.values()) == 200 and len(counts) > 3


def test_lock_of_another_index_is_not_used(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    with Index.open(other) as index:
        for number in range(100, 130):
            store(index, number, number + 1)
    shutil.copy(other / LOCK, one / LOCK)
    with Index.open(one) as index:
        assert len(index.search_vectors(vector_of("query")[None], 500)[0]) == 77


def test_problems_answer_to_their_former_names_until_these_are_removed() -> None:
    problem = Problem("records.db", "a page is damaged", repaired=True, repairable=False)
    with pytest.warns(DeprecationWarning, match=r"Problem\.mended is now Problem\.repaired"):
        assert problem.mended is True
    with pytest.warns(DeprecationWarning, match=r"Problem\.mendable is now Problem\.repairable"):
        assert problem.mendable is False
    assert problem.as_json() == {
        "file": "records.db",
        "what": "a page is damaged",
        "repaired": True,
        "repairable": False,
        "mended": True,
        "mendable": False,
    }
