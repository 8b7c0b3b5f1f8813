"""Test that additions to the evidence are bounded, respect sessions, and are reported."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.index.fusion import z_mean
from mlret.memory.search.ranking import (
    collapse,
    combine,
    confidence,
    contiguity,
    decay,
    granularities,
    link_hop,
    retention,
    standard,
)
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.features import facts_of

SCORE = st.floats(-5, 5, width=32)
TURNS = st.lists(
    st.tuples(SCORE, st.integers(-1, 3), st.integers(0, 6)), min_size=1, max_size=20, unique_by=lambda t: t[1:]
)


@given(TURNS, st.floats(0, 2))
def test_contiguity_is_the_better_neighbour_of_the_same_session(
    turns: list[tuple[float, int, int]], weight: float
) -> None:
    scores, sessions, places = map(list, zip(*turns, strict=True))
    found = contiguity(scores, sessions, places, weight)
    for mine, (_, session, place) in zip(found, turns, strict=True):
        beside = [s for s, other, p in turns if other == session >= 0 and abs(p - place) == 1]
        assert mine == pytest.approx(weight * max([0.0, *beside]))


@given(TURNS)
def test_contiguity_never_crosses_sessions(turns: list[tuple[float, int, int]]) -> None:
    """Records of other sessions change nothing."""
    scores, sessions, places = (np.array(column) for column in zip(*turns, strict=True))
    mine = sessions == sessions[0]
    changed = np.where(mine, scores, 100.0)
    np.testing.assert_array_equal(
        contiguity(scores, sessions, places)[mine], contiguity(changed, sessions, places)[mine]
    )
    assert not contiguity(scores, np.full(len(scores), -1), places).any()


@given(st.lists(SCORE, min_size=1, max_size=8), st.data())
def test_a_link_hands_on_evidence_over_one_hop(scores: list[float], data: st.DataObject) -> None:
    place = st.integers(0, len(scores) - 1)
    links = data.draw(st.lists(st.tuples(place, place), max_size=10))
    found = link_hop(scores, links, 0.5)
    for one in range(len(scores)):
        linked = [scores[b] for a, b in [*links, *((b, a) for a, b in links)] if a == one != b]
        assert found[one] == pytest.approx(0.5 * max([0.0, *linked]))


AGE = st.floats(0, 1e6)


@given(AGE, AGE, st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.01, 1e5))
def test_retention_falls_with_time_and_grows_with_use(
    age: float, later: float, uses: int, more: int, tau: float
) -> None:
    now, then = retention([age, age + later], [uses, uses], tau)
    assert 0 <= then <= now <= 1
    assert retention(age, uses + more, tau) >= now
    assert float(now) == pytest.approx(math.exp(-age / (tau * (1 + math.log(1 + uses)))))
    if 0 < age / tau < 100 and more > uses:
        assert retention(age, uses + more, tau) > now or now == 1


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 3))
def test_decay_is_bounded_and_never_reorders_what_is_equally_old(retained: list[float], weight: float) -> None:
    lost = decay(retained, weight)
    assert ((-weight <= lost) & (lost <= 0)).all()
    assert (np.diff(lost[np.argsort(retained)]) >= 0).all()


def test_a_time_of_nothing_is_refused() -> None:
    for tau in (0, -1, float("nan")):
        with pytest.raises(InputError, match="tau"):
            retention([1], [0], tau)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(SCORE, min_size=4, max_size=4), min_size=1))
def test_a_score_is_the_sum_of_its_terms(terms: dict[str, list[float]]) -> None:
    found = combine(terms)
    assert sorted(found.order.tolist()) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.scores, sum(found.terms.values()), atol=1e-6)
    assert (np.diff(found.scores) <= 0).all()
    for name, values in found.terms.items():
        np.testing.assert_array_equal(values, np.float64(terms[name])[found.order])
    for place in range(3):
        if found.scores[place] == found.scores[place + 1]:
            assert found.order[place] < found.order[place + 1]


def test_terms_that_do_not_fit_are_errors() -> None:
    with pytest.raises(InputError, match=r"b: \(3,\)"):
        combine({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(InputError, match="'b'"):
        combine({"a": [1, 2], "b": [1, float("nan")]})
    with pytest.raises(InputError, match="none"):
        combine({})


@given(st.lists(st.tuples(SCORE, st.sampled_from(["turn", "summary"])), min_size=1))
def test_standard_scores_are_of_each_level_alone(records: list[tuple[float, str]]) -> None:
    scores, levels = map(list, zip(*records, strict=True))
    found = standard(scores, levels)
    for level in set(levels):
        some = np.array([score for score, of in records if of == level], dtype=float)
        spread = some.std()
        expected = (some - some.mean()) / spread if spread > 1e-12 else np.zeros(len(some))
        np.testing.assert_allclose(found[np.array(levels) == level], expected)


@given(
    st.lists(
        st.tuples(SCORE, st.sampled_from(["turn", "summary", "fact"]), st.integers(-1, 4)), min_size=1, max_size=30
    )
)
def test_granularities_agree_with_a_loop(records: list[tuple[float, str, int]]) -> None:
    scores, levels, units = map(list, zip(*records, strict=True))
    found, totals = granularities(scores, levels, units)
    best: dict[str, dict[int, float]] = {}
    for score, level, unit in records:
        if unit >= 0:
            best.setdefault(level, {})[unit] = max(score, best.get(level, {}).get(unit, -math.inf))
    expected: dict[int, list[float]] = {}
    for of in best.values():
        values = np.array(list(of.values()))
        for unit, value in of.items():
            spread = values.std()
            expected.setdefault(unit, []).append((value - values.mean()) / spread if spread > 1e-12 else 0.0)
    assert sorted(found.tolist()) == sorted(expected)
    for unit, total in zip(found.tolist(), totals, strict=True):
        assert total == pytest.approx(sum(expected[unit]) / len(expected[unit]), abs=1e-6)
    assert (np.diff(totals) <= 1e-9).all()


@given(st.lists(st.tuples(SCORE, SCORE), min_size=2, max_size=12, unique_by=lambda pair: pair[0]))
def test_fusion_never_punishes_a_missing_channel(pairs: list[tuple[float, float]]) -> None:
    """A record that cannot match by words is ranked by meaning among the records of its kind."""
    dense, lexical = map(np.array, zip(*pairs, strict=True))
    scores = np.column_stack([dense, lexical]).astype(np.float64)
    rows = np.arange(len(dense))
    foreign = rows % 2 == 0
    scores[foreign, 1] = np.nan
    applies = np.column_stack([np.ones(len(rows), bool), ~foreign])
    fused = z_mean(rows, scores, applies)
    spread = scores[:, 0].std()
    if spread < 1e-9:
        return
    place = {int(row): float(score) for row, score in zip(fused.rows, fused.scores, strict=True)}
    for row in rows[foreign]:
        assert place[int(row)] == pytest.approx((scores[row, 0] - scores[:, 0].mean()) / spread)


THRESHOLDS = DuplicateThresholds("f", 0.3, 0.1, 0.05, {"": 0.3}, 0.95, 0.5, 100)


def test_hits_with_the_same_content_are_grouped_under_the_best() -> None:
    texts = [
        ("I have 3 cats.", "en"),
        ("Ich habe 4 Katzen.", "de"),
        ("J'ai 3 chats.", "fr"),
        ("i have 3 cats", "en"),
        ("The sea is cold.", "en"),
    ]
    vectors = np.array([[1, 0], [1, 0], [0.9, 0.435889894], [0.8, 0.6], [0, 1]], dtype=np.float32)
    facts = [facts_of(text, language) for text, language in texts]
    assert collapse(vectors, facts, THRESHOLDS) == [[0, 2, 3], [1], [4]]


@given(st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_collapse_keeps_every_hit_once_and_the_best_first(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    facts = [facts_of(str(number % 3), "en" if number % 2 else "de") for number in range(count)]
    groups = collapse(vectors, facts, THRESHOLDS)
    assert sorted(place for group in groups for place in group) == list(range(count))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    assert all(group == sorted(group) for group in groups)


def test_confidence_is_what_the_best_has_beyond_the_next() -> None:
    assert confidence([], 0.3) == -1
    assert confidence([0.9], 0.3) == pytest.approx(0.6)
    assert confidence([0.9, 0.8, 0.8, 0.8, 0.8], 0.3) == pytest.approx(0.1)
    assert confidence([0.9, 0.1, 0.1, 0.1, 0.1], 0.3) == pytest.approx(0.6)
