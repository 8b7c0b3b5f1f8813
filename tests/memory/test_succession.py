"""Test that scores state their kind, and that valid records rank before the ones that they replace."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.memory.records import Link
from mlret.memory.search.ranking import Ranked, Ranking
from mlret.memory.search.succession import TERM, denies, settle
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.features import facts_of
from tests.index.made import vector_of
from tests.memory.made import keep, open_memory

ME = {"user": "u1"}
DAY = datetime(2026, 1, 5, tzinfo=UTC)
ASKED: Any = {"language": "en", "vector": vector_of("cat")}


def near(cosine: float) -> Any:
    """Return a vector with this cosine to that of the query."""
    one, other = vector_of("cat").astype(np.float64), vector_of("dogs").astype(np.float64)
    other -= (other @ one) * one
    other /= np.linalg.norm(other)
    return (cosine * one + math.sqrt(1 - cosine**2) * other).astype(np.float32)


def test_the_only_hit_has_a_score_that_its_cosine_gives(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        memory.add("fish", ME, language="en", vector=near(0.6))
        [hit] = memory.search("cat", ME, **ASKED)
        assert (hit.kind, hit.cosine) == ("fused", pytest.approx(0.6, abs=1e-5))
        assert hit.score == pytest.approx(0.8, abs=1e-5)
        assert hit.as_json()["kind"] == "fused" and hit.as_json()["cosine"] == hit.cosine


@pytest.mark.parametrize(
    ("mode", "kind"), [("dense", "cosine"), ("lexical", "bm25"), ("hybrid", "fused"), (None, "fused")]
)
def test_scores_state_their_kind_and_have_a_cosine(tmp_path: Path, mode: Any, kind: str) -> None:
    with open_memory(tmp_path / "m") as memory:
        for number, text in enumerate(("the cat sat", "a cat ran", "cat and dog", "cat")):
            memory.add(text, ME, language="en", vector=near(0.9 - 0.2 * number))
        hits = memory.search("the cat", ME, mode=mode, **ASKED)
        assert len(hits) == 4 and {hit.kind for hit in hits} == {kind}
        expected = {record.text: 0.9 - 0.2 * number for number, record in enumerate(memory.list(ME))}
        for hit in hits:
            assert hit.cosine == pytest.approx(expected[hit.text], abs=1e-5)
            if kind == "cosine":
                assert hit.score == hit.cosine
            if kind == "fused":
                assert 0 < hit.score < 1
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_cosine_to_which_something_was_added_is_not_called_a_cosine(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        memory.add("the cat", ME, language="en", vector=near(0.9), event_time=DAY)
        asked = {**ASKED, "now": DAY + timedelta(days=1), "mode": "dense"}
        [hit] = memory.search("the cat yesterday", ME, **asked)
        assert hit.kind == "fused" and hit.score == pytest.approx(1 / (1 + math.exp(-2.9)), abs=1e-5)
        [plain] = memory.search("the cat yesterday", ME, ranking=Ranking(dates=0), **asked)
        assert (plain.kind, plain.score) == ("cosine", plain.cosine)
        [scored] = memory.search("the cat", ME, rerank=lambda _, texts: [7.0] * len(texts), **ASKED)
        assert (scored.kind, scored.score) == ("rerank", 7.0)


@pytest.mark.parametrize("type", ["supersedes", "contradicts"])
def test_what_is_linked_as_replaced_ranks_behind(tmp_path: Path, type: str) -> None:
    with open_memory(tmp_path / "m") as memory:
        old = memory.add("the cat is in the house", ME, language="en", vector=near(0.9), valid_from=DAY, dedupe=False)
        new = memory.add(
            "it moved", ME, language="en", vector=near(0.2), valid_from=DAY + timedelta(days=1), dedupe=False
        )
        for number in range(5):
            memory.add(f"dogs {number}", ME, language="en", vector=near(0.5), dedupe=False)
        assert memory.search("cat", ME, **ASKED)[0].id == old.id
        # The later record is valid, whichever of the two has the link.
        memory.link(*((old.id, type, new.id) if type == "contradicts" else (new.id, type, old.id)), ME)
        hits = memory.search("cat", ME, k=7, ranking=Ranking(links=0), **ASKED)
        order = [hit.id for hit in hits]
        assert order[0] == new.id and order.index(old.id) > 0
        behind = hits[order.index(old.id)]
        assert behind.yields_to == (new.id,) and any(new.id in reason for reason in behind.why)
        assert hits[0].yields_to == () and hits[0].scores[TERM] > 0 > behind.scores[TERM]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert behind.as_json()["yields_to"] == [new.id]


def test_a_later_version_ranks_before_an_earlier_one(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        id = memory.add("the cat is in", ME, language="en", vector=near(0.9), valid_from=DAY).id
        memory.update(id, ME, "it is out", language="en", vector=near(0.1), valid_from=DAY + timedelta(days=1))
        hits = memory.search("cat", ME, current_only=False, **ASKED)
        assert [hit.record.version for hit in hits] == [2, 1]
        assert hits[1].yields_to == (id,)
        assert [hit.record.version for hit in memory.search("cat", ME, as_of=DAY, **ASKED)] == [1]


def test_what_ends_a_record_is_linked_and_ranks_before_it(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.9, 0.3, 0.5, {"": 0.0}, 0.95, 0.5, 100))
        old = memory.add("The user lives in Berlin.", ME, language="en", vector=near(0.8))
        moved = "The user moved to Munich in May and no longer lives in Berlin."
        new = memory.add(moved, ME, language="en", vector=near(0.5))
        assert new.verdict == "related"
        assert memory.get(new.id, ME).links == (Link("contradicts", old.id),)  # type: ignore[union-attr]
        hits = memory.search("Where does the user live?", ME, **ASKED)
        assert [hit.id for hit in hits] == [new.id, old.id] and hits[1].yields_to == (new.id,)
        memory.undo(new.operation, ME)
        assert [hit.yields_to for hit in memory.search("Where does the user live?", ME, **ASKED)] == [()]


@pytest.mark.parametrize(
    ("language", "new", "old", "expected"),
    [
        ("en", "Ana is not allergic to nuts", "Ana is allergic to nuts", True),
        ("en", "He no longer lives in Rome", "He lives in Rome", True),
        ("de", "Er wohnt nicht mehr in Rom", "Er wohnt in Rom", True),
        ("ru", "Он больше не живёт в Риме", "Он живёт в Риме", True),
        ("zh", "他不再住在北京了", "他住在北京", True),
        ("fr", "Elle ne mange pas de viande", "Elle mange de la viande", True),
        ("en", "I do not like coffee", "I like tea", False),
        ("en", "Ana is allergic to nuts", "Ana is allergic to nuts", False),
        ("en", "He lives in Rome", "He no longer lives in Rome", False),
        ("en", "Is Ana not allergic to nuts?", "Ana is allergic to nuts", False),
        ("en", "The bus no longer stops here", "He lives in Rome", False),
        (None, "He no longer lives in Rome", "He lives in Rome", False),
    ],
)
def test_a_text_denies_what_it_repeats_and_negates(language: str | None, new: str, old: str, expected: bool) -> None:
    assert denies(facts_of(new, language), facts_of(old, language)) is expected


SUMS = st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=1, max_size=8)


@given(SUMS, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=8))
def test_settling_keeps_every_promise(sums: list[float], drawn: list[tuple[int, int]]) -> None:
    scores = np.sort(np.array(sums))[::-1]
    ranked = Ranked(np.arange(len(scores)), scores, {"meaning": scores})
    # There are no cycles: the higher number replaces the lower.
    pairs = [(max(pair), min(pair)) for pair in drawn if len(set(pair)) == 2 and max(pair) < len(scores)]
    found = settle(ranked, pairs)
    order = found.order.tolist()
    assert sorted(order) == list(range(len(scores))) and (np.diff(found.scores) <= 0).all()
    for first, second in pairs:
        assert order.index(first) < order.index(second)
        assert found.scores[order.index(first)] > found.scores[order.index(second)]
    assert np.allclose(sum(found.terms.values()), found.scores)
    untouched = set(range(len(scores))) - {one for pair in pairs for one in pair}
    assert all(found.scores[order.index(one)] == scores[one] for one in untouched)


def test_a_circle_of_contradictions_ends() -> None:
    scores = np.array([3.0, 2.0, 1.0])
    found = settle(Ranked(np.arange(3), scores, {"meaning": scores}), [(1, 0), (0, 1), (2, 0)])
    assert sorted(found.order.tolist()) == [0, 1, 2]
