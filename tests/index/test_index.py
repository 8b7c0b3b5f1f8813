"""Test the index as its users see it."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlret.data.documents import Document
from mlret.encoders.encoder import Encoder
from mlret.errors import Corrupt, FingerprintError, InputError, MissingExtraError, MlretError
from mlret.index.index import Hit, Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.lock import WriterLock
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.verify import verify_index
from tests.conftest import WORDS

DOCUMENTS = [
    Document("a", "the cat sat on a mat", "en", {"topic": "animals", "year": 2024}),
    Document("b", "seven dogs ran home", "en", {"topic": "animals", "year": 2023}),
    Document("c", "rice and fish in warm rain", "sw", {"topic": "food", "year": 2024}),
    Document("д", "привет мир", "ru", {"topic": "food"}),
    Document("字🙂", "你好世界", "zh", {}),
    Document("e", "7 · 7", None, {"topic": None}),  # no letters: no language
]


@pytest.fixture
def other_encoder(tiny_encoder: Encoder) -> Encoder:
    """Return the tiny encoder with one weight changed."""
    import copy

    model = copy.deepcopy(tiny_encoder.model)
    next(model.parameters()).data[0, 0] += 1
    return Encoder(model, "other")


@pytest.fixture
def index(tmp_path: Path, tiny_encoder: Encoder) -> Iterator[Index]:
    with Index.create(tmp_path / "i", tiny_encoder) as made:
        made.add(DOCUMENTS)
        yield made


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_what_was_added_is_found_after_reopening(index: Index, tiny_encoder: Encoder) -> None:
    before = index.search("the cat sat on a mat", k=10)
    assert (before[0].id, before[0].score, before[0].rank) == ("a", pytest.approx(1.0), 1)
    assert before[0].metadata == {"topic": "animals", "year": 2024}
    assert [hit.rank for hit in before] == [1, 2, 3, 4, 5, 6]
    index.close()
    with Index.open(index.path, tiny_encoder) as again:
        assert again.search("the cat sat on a mat", k=10) == before
        assert again.get("字🙂") == DOCUMENTS[4]
        assert again.get("nothing") is None
        assert "д" in again and "z" not in again
        again.seal()
        assert again.search("the cat sat on a mat", k=10) == before
    with Index.open(index.path, tiny_encoder) as sealed:
        assert (sealed.info().segments, sealed.info().unsealed) == (1, 0)
        assert sealed.search("the cat sat on a mat", k=10) == before


def test_encoder_is_found_again_through_the_manifest(index: Index) -> None:
    with Index.open(index.path) as again:
        assert again.search("seven dogs", k=3) == index.search("seven dogs", k=3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_search_equals_brute_force(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder
) -> None:
    texts = data.draw(
        st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=25)
    )
    languages = [data.draw(st.sampled_from(["en", "sw", "zh"])) for _ in texts]
    names = [f"{i * 7 % 23}-{i}" for i in range(len(texts))]
    wanted = data.draw(st.none() | st.sets(st.sampled_from(["en", "sw", "zh", "de"]), min_size=1))
    k = data.draw(st.integers(1, 30))
    with Index.create(tmp_path_factory.mktemp("i") / "i", tiny_encoder) as index:
        added = index.add(map(Document, names, texts, languages), batch_size=data.draw(st.integers(1, 9)))
        assert added == len(index) == len(texts)
        if data.draw(st.booleans()):
            index.seal()
        hits = index.search("the warm rain", k, where=wanted and {"lang": sorted(wanted)})
    query = tiny_encoder.encode(["the warm rain"])[0].astype(np.float64)
    vectors = tiny_encoder.encode(texts).astype(np.float64)
    expected = {
        name: score
        for name, score, language in zip(names, vectors @ query, languages, strict=True)
        if wanted is None or language in wanted
    }
    assert len(hits) == min(k, len(expected))  # the count is exact
    assert [(hit.score, hit.id) for hit in hits] == sorted(
        ((hit.score, hit.id) for hit in hits), key=lambda pair: (-pair[0], pair[1])
    )
    # Batches are padded differently, which changes the last digits of a vector.
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.id], abs=5e-6)
    best = sorted(expected.values(), reverse=True)[: len(hits)]
    assert [hit.score for hit in hits] == pytest.approx(best, abs=5e-6)


def test_where_applies_before_the_cut(index: Index) -> None:
    query = "the cat sat on a mat"
    assert ids(index.search(query, 1, where={"lang": "sw"})) == ["c"]
    assert set(ids(index.search(query, 9, where={"language": ["sw", "rus"]}))) == {"c", "д"}
    assert ids(index.search(query, 9, where={"lang": None})) == ["e"]
    assert set(ids(index.search(query, 9, where={"topic": "animals"}))) == {"a", "b"}
    assert set(ids(index.search(query, 9, where={"topic": ["animals", "food"], "year": 2024}))) == {"a", "c"}
    assert ids(index.search(query, 9, where={"topic": "animals", "year": 2023.0})) == ["b"]
    assert ids(index.search(query, 9, where={"topic": None})) == ["e"]
    assert index.search(query, 9, where={"topic": "animals", "lang": "zh"}) == []
    assert index.search(query, 9, where={"nothing": 1}) == index.search(query, 9, where={"lang": []}) == []


def test_ties_are_ordered_by_id(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        names = [f"n{i:03d}" for i in range(60)]
        index.add([Document(name, "warm rain") for name in reversed(names)], batch_size=60)
        assert ids(index.search("warm rain", 5)) == names[:5]
        index.seal()
        index.add([Document("n0001", "warm rain")])
        assert ids(index.search("warm rain", 3)) == ["n000", "n0001", "n001"]


def test_batch_gives_what_single_queries_give(index: Index) -> None:
    queries = ["cat", "dogs ran", "привет"]
    batch = index.search_batch(queries, 3, where={"lang": ["en", "ru"]})
    for query, hits in zip(queries, batch, strict=True):
        single = index.search(query, 3, where={"lang": ["en", "ru"]})
        assert ids(hits) == ids(single)
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in single], abs=5e-6)
    assert index.search_batch([]) == []


def test_strings_and_dicts_are_named_and_their_language_is_detected(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        swahili = "Watoto wanapenda kucheza mpira wa miguu shuleni kila siku jioni"
        assert index.add([swahili, {"text": "cat", "lang": "eng", "n": 1}, {"id": "x", "text": "mat"}]) == 3
        assert index.add(["dogs"]) == 1
        assert index.get("auto-1") == Document("auto-1", swahili, "sw")
        assert index.get("auto-2") == Document("auto-2", "cat", "en", {"n": 1})
        assert "auto-4" in index and "x" in index


def test_id_that_exists_is_refused_and_committed_batches_stay(index: Index) -> None:
    stream = [*({"id": f"n{i}", "text": "cat"} for i in range(5)), {"id": "a", "text": "again"}, "more"]
    with pytest.raises(InputError, match=r"the id 'a' is in .* already.*stored before it: 4 documents of this call"):
        index.add(stream, batch_size=2)
    assert len(index) == len(DOCUMENTS) + 4
    assert "n3" in index and "n4" not in index
    assert index.add(stream, batch_size=2, skip_existing=True) == 2
    assert index.get("a") == DOCUMENTS[0]


def test_id_twice_in_one_batch_is_refused(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        with pytest.raises(InputError, match="the id 'a'"):
            index.add([Document("a", "cat"), Document("a", "dogs")])
        assert len(index) == 0


@pytest.mark.parametrize("bad", ["", 3, {"id": "q"}, {"id": "q", "text": "cat", "lang": "xx"}, None])
def test_bad_document_is_refused(index: Index, bad: object) -> None:
    with pytest.raises(InputError):
        index.add(["cat", bad])  # type: ignore[list-item]
    assert len(index) == len(DOCUMENTS)
    index.add(["cat"])


def test_one_document_for_a_list_is_refused(index: Index) -> None:
    for one in ("cat", {"text": "cat"}, DOCUMENTS[0]):
        with pytest.raises(InputError, match="give a list"):
            index.add(one)  # type: ignore[arg-type]


def test_empty_index_finds_nothing(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        assert index.search("cat", where={"lang": "sw"}) == []
        assert index.add([]) == 0
        index.seal()
        assert (len(index), index.info().segments) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "is empty"),
        ({"query": 3}, "no string"),
        ({"query": "x", "k": 0}, "k is 0"),
        ({"query": "x", "k": 1.5}, "k is 1.5"),
        ({"query": "x", "language": "xx"}, "unknown language code"),
        ({"query": "x", "where": {"lang": "xx"}}, "unknown language code"),
    ],
)
def test_bad_search_is_refused(index: Index, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.search(**arguments)  # type: ignore[arg-type]


def test_other_encoder_is_refused_by_name(index: Index, tiny_encoder: Encoder, other_encoder: Encoder) -> None:
    for act in (Index.open, Index.create):
        with pytest.raises(FingerprintError, match=r"mlret index reembed .* -o NEW --model other") as caught:
            act(index.path, other_encoder)
        for name in (tiny_encoder.fingerprint, other_encoder.fingerprint, tiny_encoder.name, "other"):
            assert name in str(caught.value)
        assert caught.value.exit_code == 2


def test_create_refuses_an_index_that_exists(index: Index, tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="is an index already: open it"):
        Index.create(index.path, tiny_encoder)
    with Index.open(index.path, tiny_encoder) as same:
        assert len(same) == len(DOCUMENTS)


@pytest.mark.parametrize("damage", ["missing", "cut", "no folder"])
def test_vectors_of_a_torn_segment_are_encoded_again_on_request(
    index: Index, tiny_encoder: Encoder, damage: str
) -> None:
    index.seal()
    before = [(hit.id, pytest.approx(hit.score, abs=2e-6)) for hit in index.search("cat", 10)]
    index.close()
    [file] = [path for path in (index.path / "vectors").glob("*.npy") if path.name.count(".") == 2]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    else:
        file.unlink()
    if damage == "no folder":
        shutil.rmtree(file.parent)
    with pytest.raises(Corrupt, match=rf"{file.name} .*{len(DOCUMENTS)} vectors.*`mlret index verify --repair"):
        Index.open(index.path, tiny_encoder)
    assert all(problem.repaired for problem in verify_index(index.path, tiny_encoder, repair=True))
    with Index.open(index.path, tiny_encoder) as again:
        assert [(hit.id, hit.score) for hit in again.search("cat", 10)] == before


def test_torn_segment_of_an_index_with_two_copies_is_rebuilt_when_it_is_opened(
    tmp_path: Path, tiny_encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with Index.create(tmp_path / "i", tiny_encoder, settings=IndexSettings(copies=2)) as index:
        index.add(DOCUMENTS)
        index.seal()
        before = index.search("cat", 10)
        file = index.path / index.store.manifest.segments[0].vectors.file
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING), Index.open(index.path, tiny_encoder) as again:
        assert again.search("cat", 10) == before
    assert file.name in caplog.text and "from its intact blocks and from the database" in caplog.text
    assert not file.exists()
    assert content in [path.read_bytes() for path in file.parent.iterdir()]
    caplog.clear()
    with caplog.at_level(logging.WARNING), Index.open(index.path, tiny_encoder):
        assert not caplog.text


def test_segments_are_sealed_as_rows_come(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CosineSpace, "segment_size", 10)
    monkeypatch.setattr(CosineSpace, "bulk_size", 10)
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        index.add((Document(f"n{i}", f"cat {WORDS[i % 20]}") for i in range(27)), batch_size=4)
        assert (index.info().segments, index.info().unsealed) == (2, 3)
        hits = index.search("cat", 27)
        assert sorted(ids(hits)) == sorted(f"n{i}" for i in range(27))
    with Index.open(tmp_path / "i", tiny_encoder) as again:
        assert again.search("cat", 27) == hits


def test_reader_keeps_its_snapshot_until_it_refreshes(index: Index, tiny_encoder: Encoder) -> None:
    with Index.open(index.path, tiny_encoder) as reader:
        index.add([Document("late", "cat", "en")])
        index.seal()
        assert len(reader) == len(DOCUMENTS)
        assert reader.get("late") is None
        assert "late" not in ids(reader.search("cat", 50))
        assert "late" not in ids(reader.search("cat", 50, where={"lang": "en"}))
        assert reader.info().languages["en"] == 2
        reader.refresh()
        assert len(reader) == len(DOCUMENTS) + 1
        assert ids(reader.search("cat", 1)) == ["late"]
        reader.add([Document("later", "dogs")])  # a second writer continues where the first stopped
    index.add([Document("last", "dogs")])
    assert len(index) == len(DOCUMENTS) + 3
    index.seal()
    assert sorted(ids(index.search("cat", 50))) == sorted([d.id for d in DOCUMENTS] + ["late", "later", "last"])


def test_second_writer_waits_and_then_names_the_first(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index.store.lock, "timeout", 0.05)
    with (
        WriterLock(index.path / "writer.lock"),
        pytest.raises(MlretError, match="being written by another process"),
    ):
        index.add(["cat"])
    assert len(index) == len(DOCUMENTS)


def test_threads_write_through_one_index_in_turn(index: Index) -> None:
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda number: index.add([Document(f"thread-{number}", f"text {number}")]), range(12)))
    assert added == [1] * 12 and len(index) == len(DOCUMENTS) + 12
    with Index.open(index.path, index.encoder) as other:  # The lock is free again.
        other.add([Document("afterwards", "dogs")])
    index.refresh()
    assert {f"thread-{number}" for number in range(12)} < {document.id for document in index.documents()}
    assert "afterwards" in index


def test_format_of_another_version_is_refused(index: Index) -> None:
    manifest = index.path / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(InputError, match="format version 99, but this mlret reads versions up to 5"):
        Index.open(index.path)


def test_damaged_folder_is_reported(index: Index, tiny_encoder: Encoder) -> None:
    index.seal()
    index.close()
    manifest, records = index.path / "manifest.json", index.path / "records.db"
    content = manifest.read_bytes()
    manifest.write_bytes(content[:20])
    with pytest.raises(MlretError, match=r"manifest\.json is damaged"):
        Index.open(index.path)
    # A manifest must not refer to files outside its folder.
    manifest.write_bytes(content.replace(b"vectors/", b"../vectors/"))
    with pytest.raises(MlretError, match=r"manifest\.json is damaged"):
        Index.open(index.path)
    manifest.write_bytes(content)
    records.write_bytes(b"no database at all" * 100)
    with pytest.raises(MlretError, match=r"records\.db is damaged"):
        Index.open(index.path)
    records.unlink()
    with pytest.raises(MlretError, match=r"records\.db is missing"):
        Index.open(index.path)
    manifest.unlink()
    with pytest.raises(InputError, match=r"is not an index: manifest\.json is missing"):
        Index.open(index.path)
    with pytest.raises(InputError, match="no such index; make it"):
        Index.open(index.path / "nothing")


def test_create_refuses_a_folder_that_is_not_an_index(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thing").write_text("x")
    for name in ("file", "folder"):
        with pytest.raises(InputError, match="already exists and is not an index"):
            Index.create(tmp_path / name, tiny_encoder)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="is the current folder"):
        Index.create(".", tiny_encoder)
    monkeypatch.chdir(tmp_path)
    Index.create(tmp_path / "empty", tiny_encoder).close()
    Index.create(tmp_path / "new" / "deep", tiny_encoder).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "folder", "new"]


def test_without_faiss_the_package_is_named(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # its import fails
    with pytest.raises(MissingExtraError, match="pip install faiss-cpu"):
        Index.create(tmp_path / "i", tiny_encoder)
    assert not list(tmp_path.iterdir())


def test_closed_index_reports_that_it_is_closed(index: Index) -> None:
    index.close()
    index.close()
    with pytest.raises(MlretError, match="is closed"):
        index.search("cat")
