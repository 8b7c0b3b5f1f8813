"""Test feedback: without it weights do not change, equal feedback has equal effects, and used results gain weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.memory.search.fitted_weights import MOST, LoggedSearch, fit_weights, weighted
from mlret.memory.search.ranking import combine

NAMES = ("meaning", "words")
SCORE = st.floats(-3, 3, width=32)


@st.composite
def searches(draw: st.DrawFn) -> LoggedSearch:
    count = draw(st.integers(1, 6))
    terms = {name: draw(st.lists(SCORE, min_size=count, max_size=count)) for name in NAMES}
    return LoggedSearch(terms, draw(st.lists(st.booleans(), min_size=count, max_size=count)))


def loss(weights: dict[str, float], log: list[LoggedSearch], prior: float) -> float:
    total = prior / 2 * sum((weight - 1) ** 2 for weight in weights.values())
    for search in log:
        if any(search.used) and not all(search.used):
            scores = [sum(weights[name] * search.terms[name][row] for name in NAMES) for row in range(len(search.used))]
            shares = np.exp(scores) / np.exp(scores).sum()
            total -= np.log(shares[np.array(search.used)]).mean()
    return float(total)


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(SCORE, min_size=4, max_size=4), min_size=1))
def test_without_feedback_nothing_changes(terms: dict[str, list[float]]) -> None:
    weights = fit_weights([], NAMES)
    assert weights == {"meaning": 1.0, "words": 1.0}
    before, after = combine(terms), weighted(terms, weights)
    np.testing.assert_array_equal(before.order, after.order)
    np.testing.assert_array_equal(before.scores, after.scores)


@given(st.lists(SCORE, min_size=3, max_size=3), st.booleans())
def test_nothing_is_learned_if_all_or_no_results_were_used(scores: list[float], used: bool) -> None:
    search = LoggedSearch({"meaning": scores, "words": scores[::-1]}, [used] * 3)
    assert fit_weights([search] * 5, NAMES) == fit_weights([], NAMES)


@settings(deadline=None)  # the first call imports SciPy
@given(st.lists(searches(), max_size=6))
def test_replaying_the_log_gives_the_same_weights(log: list[LoggedSearch]) -> None:
    kept = json.loads(json.dumps([search.as_json() for search in log]))
    replayed = [LoggedSearch(search["terms"], search["used"]) for search in kept]
    once = fit_weights(replayed, NAMES)
    assert once == fit_weights(replayed, NAMES)
    assert once == pytest.approx(fit_weights(log, NAMES), abs=1e-3)
    assert all(0 <= weight <= MOST for weight in once.values())


@settings(deadline=None)  # the first call imports SciPy
@given(st.lists(searches(), min_size=1, max_size=4), st.floats(0.5, 20), st.integers(0, 2**32 - 1))
def test_no_other_weights_explain_the_log_better(log: list[LoggedSearch], prior: float, seed: int) -> None:
    found = fit_weights(log, NAMES, prior=prior)
    least = loss(found, log, prior)
    for other in np.random.default_rng(seed).uniform(0, MOST, size=(20, 2)):
        assert least <= loss(dict(zip(NAMES, other.tolist(), strict=True)), log, prior) + 1e-5


def test_what_led_to_use_gains_weight() -> None:
    log = [LoggedSearch({"meaning": [2, 0, 0], "words": [0, 0, 2]}, [False, False, True])] * 30
    weights = fit_weights(log, NAMES)
    assert weights["words"] > 1 > weights["meaning"]
    terms = {"meaning": [2.0, 0.0], "words": [0.0, 1.9]}
    assert combine(terms).order.tolist() == [0, 1]
    assert weighted(terms, weights).order.tolist() == [1, 0]
    few = fit_weights(log[:1], NAMES)
    assert abs(few["words"] - 1) < abs(weights["words"] - 1)


def test_logs_that_do_not_fit_are_errors() -> None:
    with pytest.raises(InputError, match=r"\[1, 2\]"):
        LoggedSearch({"meaning": [1, 2]}, [True])
    with pytest.raises(InputError, match="prior"):
        fit_weights([], NAMES, prior=0)
