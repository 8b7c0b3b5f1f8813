"""Test search in a memory: equal to brute force over the visible records; every term is reported and optional."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.memory.memory import Memory
from mlret.memory.search import candidates
from mlret.memory.search.nearest import _FEW
from mlret.memory.search.ranking import CHANNELS_ALONE, Ranking, retention
from mlret.memory.text.duplicates import DuplicateThresholds
from tests.conftest import WORDS
from tests.index.made import vector_of
from tests.memory.made import add, brute_force, keep, open_memory, same_ranking

ME = {"user": "u1"}
PLAIN = CHANNELS_ALONE


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlret.index.vectors.cosine import CosineSpace

    monkeypatch.setattr(CosineSpace, "segment_size", 24)
    monkeypatch.setattr(CosineSpace, "bulk_size", 24)


@pytest.mark.parametrize("few", [_FEW, 0])
@pytest.mark.usefixtures("small_segments")
def test_search_is_brute_force_over_what_may_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("mlret.memory.search.nearest._FEW", few)
    monkeypatch.setattr("mlret.memory.storage.lexical_scores._LEAST_FRESH", 40)
    monkeypatch.setattr("mlret.memory.storage.lexical_scores._UNLISTED", few)
    monkeypatch.setattr("mlret.memory.storage.lexical_scores._BATCH", 64)
    chance = random.Random(few)
    with open_memory(tmp_path / "m") as memory:
        for turn in range(400):
            words = " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
            language = chance.choice(["en", "en", "en", "de"])
            text = words if chance.random() < 0.9 else f"кот {turn}"
            add(memory, text, {"tenant": "t", "user": f"u{turn % 3}"}, language=language)
            if turn % 50 == 49:
                ids = [record.id for record in memory.list({"tenant": "t"})]
                memory.delete(chance.choice(ids), {"tenant": "t"})
                memory.erase(
                    chance.choice(ids[:10]) if ids[0] in memory.ids({"tenant": "t"}) else ids[-1], {"tenant": "t"}
                )
                for scope in ({"tenant": "t"}, {"tenant": "t", "user": "u1"}, {"user": "u2", "tenant": "t"}):
                    query = " ".join(chance.choices(WORDS, k=4))
                    vector = vector_of(query)
                    found = memory.search(query, scope, 15, language="en", vector=vector, ranking=PLAIN)
                    expected = brute_force(memory.list(scope), query, "en", 15)
                    assert same_ranking([(hit.id, hit.score) for hit in found], expected)
                    dense = memory.search(query, scope, 15, language="en", vector=vector, ranking=PLAIN, mode="dense")
                    cosines = [
                        (-round(float(vector_of(record.text).astype(np.float64) @ vector), 6), record.id)
                        for record in memory.list(scope)
                    ]
                    best = [(-score, id) for score, id in sorted(cosines)[:15]]
                    assert same_ranking([(hit.id, hit.score) for hit in dense], [(id, score) for score, id in best])


def test_score_is_the_sum_of_its_terms(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        ids = [
            add(memory, text, ME, session="s", event_time=datetime(2026, 1, day, tzinfo=UTC)).id
            for day, text in enumerate(("the cat sat", "seven dogs ran home", "warm rain", "fish and rice"), start=1)
        ]
        memory.link(ids[0], "about", ids[3], ME)
        asked = {"language": "en", "vector": vector_of("cat"), "now": datetime(2026, 1, 3, tzinfo=UTC)}
        found = memory.search("the cat yesterday", ME, ranking=Ranking(decay=0.5), **asked)
        assert len(found) == 4 and found.searched == 4
        for hit in found:
            terms = {name: value for name, value in hit.scores.items() if name not in ("dense", "lexical")}
            assert set(terms) == {"meaning", "words", "contiguity", "window", "links", "date", "decay"}
            assert 1 / (1 + math.exp(-sum(terms.values()))) == pytest.approx(hit.score, abs=1e-5)
            assert (hit.kind, hit.cosine) == ("fused", hit.scores["dense"])
            assert hit.why
        plain = memory.search("the cat yesterday", ME, ranking=PLAIN, **asked)
        assert all({"meaning", "words"} >= hit.scores.keys() - {"dense", "lexical"} for hit in plain)


def test_neighbour_in_the_session_is_lifted(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        question = add(memory, "when does the warm rain begin by night", ME, session="a").id
        answer = add(memory, "fish", ME, session="a").id
        for number in range(20):
            add(memory, f"seven dogs {number}", ME, session="b")
        alone = add(memory, "mat", ME).id

        def rank(id: str, ranking: Ranking) -> int:
            asked: Any = {"language": "en", "vector": vector_of("when does the warm rain begin by night")}
            found = memory.search("when does the warm rain begin by night", ME, 30, ranking=ranking, **asked)
            return next(hit.rank for hit in found if hit.id == id)

        assert rank(question, PLAIN) == 1
        assert rank(answer, Ranking(contiguity=2.0)) < rank(answer, Ranking()) < rank(answer, PLAIN)
        assert rank(alone, Ranking(contiguity=2.0)) >= rank(alone, PLAIN)


def test_linked_record_beyond_the_candidates_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlret.memory.search.candidates.DEPTH", 5)
    with open_memory(tmp_path / "m") as memory:
        head = add(memory, "the cat sat on a mat", ME).id
        for number in range(60):
            add(memory, f"the dogs ran home {number}", ME)
        far = min(memory.list(ME), key=lambda record: float(vector_of(record.text) @ vector_of("the cat sat on a mat")))
        memory.link(head, "about", far.id, ME)
        asked: Any = {"language": "en", "vector": vector_of("the cat sat on a mat")}
        assert far.id not in {h.id for h in memory.search("the cat sat on a mat", ME, 3, ranking=PLAIN, **asked)}
        assert far.id in {h.id for h in memory.search("the cat sat on a mat", ME, 3, ranking=Ranking(links=2), **asked)}


def test_filters_apply_before_ranking(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for number in range(150):
            add(memory, f"the cat sat {number}", ME, tags=["pet"], metadata={"n": number})
        fact = add(memory, "warm rain", ME, level="fact", tags=["weather"], metadata={"n": 999, "user": "u2"}).id
        german = add(memory, "der Hund", ME, language="de").id

        def ids(**options: Any) -> set[str]:
            found = memory.search("the cat sat 3", ME, 5, language="en", vector=vector_of("the cat sat 3"), **options)
            return {hit.id for hit in found}

        assert ids(levels=["fact"]) == ids(where={"tags": "weather"}) == ids(where={"n": {"$gt": 500}}) == {fact}
        assert ids(where={"lang": "de"}) == {german}
        assert ids(kinds=["derived"]) == set()
        assert len(ids(where={"tags": "pet"})) == 5
        for bad in ({"levels": ["page"]}, {"where": {"$x": 1}}, {"mode": "magic"}):
            with pytest.raises(InputError):
                ids(**bad)


def test_expired_and_archived_records_are_not_found(tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    with open_memory(tmp_path / "m") as memory:
        add(memory, "the cat sat", ME, expires_at=past)
        kept = add(memory, "the cat ran", ME, expires_at=past + timedelta(days=2)).id
        assert [hit.id for hit in memory.search("cat", ME, vector=vector_of("cat"))] == [kept]


def test_conflicts_are_shown_together(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        paris = add(memory, "I live in Paris", ME).id
        rome = add(memory, "Anna says that I live in Rome", ME).id
        memory.link(rome, "contradicts", paris, ME)
        memory.update(paris, ME, "I live in Oslo", vector=vector_of("I live in Oslo"))
        found = memory.search("live", ME, vector=vector_of("I live in Oslo"), conflicts=True)
        shown = {hit.id: {(one.text, one.state) for one in hit.conflicts} for hit in found}
        assert shown[paris] == {("I live in Paris", "superseded"), ("Anna says that I live in Rome", "active")}
        assert shown[rome] == {("I live in Oslo", "active")}
        assert all(not hit.conflicts for hit in memory.search("live", ME, vector=vector_of("live")))


def test_retention_grows_with_use_and_falls_with_time() -> None:
    ages, uses = np.linspace(0, 400, 50), np.arange(50)
    assert (np.diff(retention(ages, 3, 30)) < 0).all()
    assert (np.diff(retention(50.0, uses, 30)) > 0).all()


def test_age_is_counted_from_the_reference_time_of_the_search(tmp_path: Path) -> None:
    said = datetime(2020, 1, 1, tzinfo=UTC)
    with open_memory(tmp_path / "m") as memory:
        for days, text in ((0, "the cat sat"), (30, "the cat ran")):
            add(memory, text, ME, id=text, event_time=said + timedelta(days=days))
        found = memory.search(
            "the cat",
            ME,
            ranking=Ranking(decay=0.5, tau_days=30),
            now=said + timedelta(days=30),
            language="en",
            vector=vector_of("the cat"),
        )
        terms = {hit.id: hit.scores["decay"] for hit in found}
        assert terms == {"the cat sat": pytest.approx(0.5 * (math.exp(-1) - 1), abs=1e-5), "the cat ran": 0}


def test_decay_is_off_by_default_and_bounded(tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=4000)
    with open_memory(tmp_path / "m") as memory:
        ancient = add(memory, "the cat sat", ME, event_time=old).id
        add(memory, "the cat sat down", ME)
        asked: Any = {"vector": vector_of("the cat sat"), "language": "en"}
        assert memory.search("the cat sat", ME, **asked)[0].id == ancient
        decayed = memory.search("the cat sat", ME, ranking=Ranking(decay=0.25), **asked)
        assert next(hit for hit in decayed if hit.id == ancient).scores["decay"] == pytest.approx(-0.25, abs=1e-3)


def test_sessions_are_ranked_by_all_that_is_stored_of_them(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for session in ("a", "b", "c"):
            for number in range(3):
                add(memory, f"{session} turn {number}", ME, session=session)
        add(memory, "a summary of cats", ME, session="a", level="summary")
        asked: Any = {"vector": vector_of("a summary of cats"), "language": "en"}
        found = memory.search("a summary of cats", ME, ranking=Ranking(sessions=True), **asked)
        assert found[0].record.session == "a"
        assert len({hit.record.session for hit in found}) == len(found) == 3
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_the_language_of_a_query_is_detected_only_where_words_or_dates_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(candidates, "detect_language", asked.append)
    with open_memory(tmp_path / "m") as memory:
        add(memory, "the train leaves at seven", ME)
        add(memory, "rice and fish", ME)
        for query, options in (
            ("the train", {"mode": "dense"}),
            ("the train", {"mode": "lexical"}),
            ("the train", {"language": "en"}),
            ("xyz", {}),  # No text has these letters.
        ):
            memory.search(query, ME, vector=vector_of(query), **options)
        assert asked == []
        memory.search("the train", ME, vector=vector_of("the train"))
        assert asked == ["the train"]
        now = datetime(2026, 3, 1, tzinfo=UTC)
        add(memory, "a dated text", ME, event_time=(now, now + timedelta(days=1)))
        memory.search("xyz yesterday", ME, vector=vector_of("x"), mode="dense")
        assert asked == ["the train", "xyz yesterday"]


def test_reranker_and_translations_are_asked(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add_batch(["the cat sat on a mat", "seven dogs ran home", "warm rain by night"], ME)
        found = memory.search("x", ME, rerank=lambda _, texts: [float("dogs" in text) for text in texts])
        assert found[0].text == "seven dogs ran home" and found[0].score == 1
        with pytest.raises(InputError, match="rerank"):
            memory.search("x", ME, rerank=lambda _, texts: [1.0])
        hits_found = memory.search(
            "привет", ME, 1, mode="dense", translate=lambda _, code: "warm rain by night", languages=["en"]
        )
        assert hits_found[0].text == "warm rain by night" and hits_found[0].score == pytest.approx(1.0, abs=1e-5)


def test_long_text_is_found_by_any_of_its_parts(tmp_path: Path, tiny_encoder: Encoder) -> None:
    parts = ["the cat sat on a mat. " * 12, "seven dogs ran home to eat rice. " * 10, "warm rain by night. " * 14]
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        long = memory.add("".join(parts), ME).id
        memory.add("fish", ME)
        assert memory.get(long, ME).text == "".join(parts)  # type: ignore[union-attr]
        alone = tiny_encoder.encode([parts[1].strip()])[0] @ tiny_encoder.encode(["".join(parts)])[0]
        hit = next(h for h in memory.search(parts[1].strip(), ME, mode="dense") if h.id == long)
        assert hit.score > alone + 1e-6
        assert len(memory) == 2 and len(memory.list(ME)) == 2
        proof = memory.erase(long, ME)
        assert proof.complete and len(memory) == 1


def test_abstains_where_nothing_stands_out(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        add(memory, "the cat sat", ME)
        add(memory, "warm rain", ME)
        with pytest.raises(InputError, match="calibrate"):
            memory.search("cat", ME, vector=vector_of("cat"), abstain=True)
        thresholds = DuplicateThresholds(memory.encoder.fingerprint, 0.9, 0.8, 0.5, {"": 0.0}, 0.95, 0.5, 100)
        keep(memory, thresholds)
        sure = memory.search("the cat sat", ME, vector=vector_of("the cat sat"), abstain=True)
        assert sure[0].text == "the cat sat"
        unsure = memory.search("x", ME, vector=vector_of("z") * 0.1, abstain=True)
        assert len(unsure) == 0 and "stands out" in str(unsure.reason)


def test_near_duplicates_are_one_hit(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        vector = vector_of("the cat sat")
        one = memory.add("Le chat dort", ME, language="fr", vector=vector, dedupe=False).id
        two = memory.add("Die Katze schläft", ME, language="de", vector=vector, dedupe=False).id
        number = memory.add("Le chat dort 8 heures", ME, language="fr", vector=vector, dedupe=False).id
        keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.9, 0.8, 0.5, {"": 0.0}, 0.95, 0.5, 100))
        found = memory.search("cat", ME, vector=vector, language="en")
        assert {hit.id: hit.also for hit in found} == {min(one, two): (max(one, two),), number: ()}
        assert len(memory.search("cat", ME, vector=vector, language="en", ranking=Ranking(collapse=False))) == 3
