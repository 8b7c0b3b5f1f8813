"""Test dense, lexical and hybrid search of an index."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.index import search
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings
from mlret.index.verify import verify_index

DOCUMENTS = [
    {"id": "cat", "text": "the cat sat on a mat while seven dogs ran home", "lang": "en", "n": 1},
    {"id": "rice", "text": "rice and fish in warm rain by night", "lang": "en", "n": 2},
    {"id": "swahili", "text": "paka alikaa kwenye mkeka", "lang": "sw", "n": 3},
    {"id": "russian", "text": "кот сидел на коврике, рейс 7421", "lang": "ru", "n": 4},
    {"id": "chinese", "text": "猫坐在垫子上", "lang": "zh", "n": 5},
    {"id": "code", "text": "flight 7421 to Xanthippe", "lang": "en", "n": 6},
]


@pytest.fixture
def index(tmp_path: Path, tiny_encoder: Encoder) -> Iterator[Index]:
    with Index.create(tmp_path / "i", tiny_encoder, settings=IndexSettings(lexical=True)) as made:
        made.add(DOCUMENTS)
        yield made


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_lexical_finds_by_characters_alone(index: Index) -> None:
    assert ids(index.search("Xantippe", mode="lexical")) == ["code"]
    assert ids(index.search("垫子", mode="lexical")) == ["chinese"]
    assert set(ids(index.search("7421", mode="lexical"))) == {"code", "russian"}
    assert index.search("zzzz", mode="lexical") == []
    [hit] = index.search("paka", mode="lexical", where={"n": {"$lte": 3}})
    assert hit.id == "swahili" and hit.scores == {"lexical": hit.score} and hit.score > 0


def test_hybrid_is_the_default_and_explains_its_scores(index: Index) -> None:
    hits = index.search("the Xanthippe flight", 6, language="en")
    assert hits == index.search("the Xanthippe flight", 6, language="en", mode="hybrid")
    assert hits[0].id == "code" and set(hits[0].scores) == {"dense", "lexical"}
    dense = {hit.id: hit.score for hit in index.search("the Xanthippe flight", 6, language="en", mode="dense")}
    assert {hit.id: hit.scores["dense"] for hit in hits} == dense
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]


def test_documents_that_cannot_share_words_keep_their_order_of_meaning(index: Index) -> None:
    hits = index.search("warm rain by night", 6, language="en")
    apart = [hit.id for hit in hits if hit.id in ("swahili", "russian", "chinese")]
    dense = [hit.id for hit in index.search("warm rain by night", 6, language="en", mode="dense")]
    assert apart == [id for id in dense if id in apart]


def test_filters_apply_to_every_channel(index: Index) -> None:
    for mode in ("dense", "lexical", "hybrid"):
        assert set(ids(index.search("flight 7421", 6, mode=mode, where={"lang": "ru"}))) == {"russian"}  # type: ignore[arg-type]
        assert set(ids(index.search("flight 7421", 6, mode=mode, ids=["code", "no"]))) == {"code"}  # type: ignore[arg-type]


def test_the_language_of_a_query_is_detected_only_where_words_are_compared(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(search, "detect_language", asked.append)
    for mode in ("dense", "lexical", "hybrid"):
        index.search("paka", mode=mode, language="sw")
    index.search("paka", mode="dense")
    index.search("paka", mode="lexical")
    index.search("zzzz", mode="hybrid")  # No text has these letters.
    assert asked == []
    index.search("paka", mode="hybrid")
    assert asked == ["paka"]


def test_lexical_channel_follows_updates_and_deletes(index: Index, tiny_encoder: Encoder) -> None:
    index.update([{"id": "code", "text": "a train to Aberystwyth", "lang": "en"}])
    index.delete(["swahili"])
    assert index.search("Xanthippe", mode="lexical") == []
    assert ids(index.search("Aberystwyth", mode="lexical")) == ["code"]
    with Index.open(index.path, tiny_encoder) as reader:
        index.delete(["code"])
        assert ids(reader.search("Aberystwyth", mode="lexical")) == ["code"]  # its snapshot
        reader.refresh()
        assert reader.search("Aberystwyth", mode="lexical") == []
    index.compact()
    assert index.search("mkeka", mode="lexical") == []
    assert verify_index(index.path) == []


def test_without_the_channel_it_is_refused_with_how_to_fix_it(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as plain:
        plain.add(DOCUMENTS)
        assert all(set(hit.scores) == {"dense"} for hit in plain.search("cat"))
        with pytest.raises(InputError, match="has no lexical channel: build it with `lexical=True`"):
            plain.search("cat", mode="hybrid")
        with pytest.raises(InputError, match="no mode 'best'; there are dense, lexical, hybrid"):
            plain.search("cat", mode="best")  # type: ignore[arg-type]


def test_many_dimensions_are_cut_to_the_first(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder, settings=IndexSettings(dims=8)) as index:
        index.add(DOCUMENTS)
        whole = tiny_encoder.encode(["cat", str(DOCUMENTS[0]["text"])])[:, :8].astype(float)
        cosine = whole[0] @ whole[1] / (whole[0] @ whole[0] * (whole[1] @ whole[1])) ** 0.5
        [hit] = index.search("cat", 1, ids=["cat"])
        assert index.info().dims == 8 and hit.score == pytest.approx(cosine, abs=1e-5)
    with pytest.raises(InputError, match=r"the settings keep 33 dimensions, but .* gives 32"):
        Index.create(tmp_path / "j", tiny_encoder, settings=IndexSettings(dims=33))


def test_damaged_lexical_index_is_found_and_made_again(index: Index) -> None:
    index.close()
    connection = sqlite3.connect(index.path / "records.db")
    connection.execute("DELETE FROM lexical_ngrams")
    connection.commit()
    connection.close()
    assert [problem.what for problem in verify_index(index.path)] == ["the lexical index differs from the records"]
    assert verify_index(index.path, repair=True)[0].repaired
    assert verify_index(index.path) == []
    with Index.open(index.path) as again:
        assert ids(again.search("Xanthippe", mode="lexical")) == ["code"]


def test_every_score_states_its_kind_and_has_a_cosine(index: Index) -> None:
    query = "the Xanthippe flight 7421"
    cosines = {hit.id: hit.score for hit in index.search(query, 6, language="en", mode="dense")}
    for mode, kind in (("dense", "cosine"), ("lexical", "bm25"), ("hybrid", "fused")):
        hits = index.search(query, 6, language="en", mode=mode)  # type: ignore[arg-type]
        assert hits and {hit.kind for hit in hits} == {kind}
        assert {hit.id: hit.cosine for hit in hits} == {hit.id: cosines[hit.id] for hit in hits}
        if kind == "fused":
            assert all(0 < hit.score < 1 for hit in hits)
            # The mean of the standard scores of each channel is 0, so some scores are above one half and some below.
            assert hits[0].score > 0.5 > hits[-1].score


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_the_terms_of_a_score_add_up_to_it(index: Index, mode: Mode) -> None:
    for query in ("the Xanthippe flight", "warm rain by night", "猫", "7421"):
        for hit in index.search(query, 6, language="en", mode=mode):
            total = sum(hit.terms.values())
            assert hit.score == pytest.approx(1 / (1 + math.exp(-total)) if mode == "hybrid" else total, abs=1e-6)
            assert set(hit.terms) <= set(hit.scores) | {"lexical"}
    [fused, *_] = index.search("the Xanthippe flight", 6, language="en", mode="hybrid")
    assert set(fused.terms) == {"dense", "lexical"}
    russian = next(one for one in index.search("warm rain", 6, language="en", mode="hybrid") if one.id == "russian")
    assert set(russian.terms) == {"dense"}
    index.delete([document.id for document in index.documents() if document.id != "cat"])
    [alone] = index.search("a cat", mode=mode, language="en")
    total = sum(alone.terms.values())
    assert alone.score == pytest.approx(1 / (1 + math.exp(-total)) if mode == "hybrid" else total, abs=1e-6)


def test_the_only_document_has_a_score_that_its_cosine_gives(index: Index) -> None:
    for where in ({"n": 1}, {"n": 5}):
        [hit] = index.search("seven dogs", 3, language="en", where=where)
        assert hit.kind == "fused" and hit.cosine is not None
        assert hit.score == pytest.approx((1 + hit.cosine) / 2, abs=1e-6) and hit.score > 0


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_queries_that_are_encoded_already_find_the_same(index: Index, mode: Mode) -> None:
    queries = ["warm rain by night", "a cat", "7421"]
    vectors = index.encode_queries(queries)
    assert index.search_batch(queries, vectors=vectors, mode=mode) == index.search_batch(queries, mode=mode)
    with pytest.raises(InputError, match="3 queries but 2 vectors"):
        index.search_batch(queries, vectors=vectors[:2], mode=mode)
