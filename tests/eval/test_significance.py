from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.eval.significance import bootstrap_interval, compare_groups, holm, randomisation_test


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_with_few_queries_all_signs_are_tried(differences: list[int]) -> None:
    values = np.array(differences, dtype=np.float64)
    seen = abs(values.mean())
    means = [abs((values * signs).mean()) for signs in product((1, -1), repeat=len(values))]
    expected = np.mean([mean >= seen - 1e-12 for mean in means])
    assert randomisation_test(values, 9_999, rng()) == pytest.approx(expected)


def test_holm_is_the_textbooks_example() -> None:
    # Holm (1979): the p-values in ascending order times 4, 3, 2 and 1, made non-decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_interval_contains_the_difference_about_as_often_as_its_level() -> None:
    random = np.random.default_rng(1)
    held = 0
    for seed in range(100):
        low, high = bootstrap_interval(random.normal(0.3, 1, 80), 499, np.random.default_rng(seed))
        held += low <= 0.3 <= high
    assert 85 <= held <= 100


def test_a_difference_is_found_and_chance_is_not() -> None:
    random = np.random.default_rng(2)
    first = {"de": dict(enumerate(map(float, random.random(300))))}
    first = {"de": {str(k): v for k, v in first["de"].items()}}
    better = {"de": {query: score + 0.05 + 0.1 * random.random() for query, score in first["de"].items()}}
    (found,) = compare_groups(first, better, resamples=999)
    assert found.p == found.adjusted == pytest.approx(0.001)
    assert 0 < found.low < found.difference < found.high
    assert (found.wins, found.losses, found.queries) == (300, 0, 300)
    shuffled = dict(zip(first["de"], random.permutation(list(first["de"].values())), strict=True))
    (chance,) = compare_groups(first, {"de": shuffled}, resamples=999)
    assert chance.p > 0.5 and chance.low < 0 < chance.high


def test_equal_systems_do_not_differ() -> None:
    scores = {"de": {"1": 0.5, "2": 1.0}}
    (found,) = compare_groups(scores, scores)
    assert (found.p, found.low, found.high, found.wins, found.losses) == (1.0, 0.0, 0.0, 0, 0)


def test_p_values_are_corrected_for_the_number_of_languages() -> None:
    random = np.random.default_rng(3)
    first, second = {}, {}
    for code in ("de", "sw", "ja"):
        values = random.random(40)
        first[code] = {str(n): float(v) for n, v in enumerate(values)}
        second[code] = {str(n): float(v + random.normal(0.05, 0.2)) for n, v in enumerate(values)}
    found = compare_groups(first, second, resamples=999, seed=4)
    assert [one.adjusted for one in found] == holm([one.p for one in found])
    assert any(one.adjusted > one.p for one in found)
    assert found == compare_groups(first, second, resamples=999, seed=4)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"de": {"1": 1.0}}, {"sw": {"1": 1.0}}, "share no language: de and sw"),
        ({"de": {"1": 1.0}}, {"de": {"1": 1.0, "2": 0.0}}, "query '2' is in the second alone"),
        ({"de": {}}, {"de": {}}, "no queries"),
    ],
)
def test_bad_input_is_named(first: dict, second: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        compare_groups(first, second)
