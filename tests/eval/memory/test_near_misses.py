"""Test that near misses differ from the sentence in one thing, and that every rule can be applied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.eval.memory.near_misses import KINDS, near_misses
from mlret.memory.text.features import facts_of
from mlret.memory.text.merge_guards import conflicts


def made(text: str, language: str) -> dict[str, str]:
    return {one.kind: one.text for one in near_misses(text, language, np.random.default_rng(0))}


def test_each_kind_changes_its_own_thing() -> None:
    text = "On Monday in April the four men were 35 years old."
    found = made(text, "en")
    assert set(found) == set(KINDS)
    assert found["negation"] == "On Monday in April the four men were not 35 years old."
    was = facts_of(text, "en")
    for kind, field in (
        ("number", "numbers"), ("number word", "words"), ("month", "months"), ("weekday", "weekdays"),
    ):  # fmt: skip
        changed = facts_of(found[kind], "en")
        assert [
            name for name in ("numbers", "words", "months", "weekdays") if getattr(changed, name) != getattr(was, name)
        ] == [field]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Das ist gut.", "Das ist nicht gut."),
        ("de", "Er kam nicht.", "Er kam."),
        ("fr", "Il n'est pas venu.", "Il est venu."),
        ("zh", "他是医生。", "他不是医生。"),
        ("ja", "雨が降りました。", "雨が降りませんでした。"),
        ("hi", "वह घर पर है।", "वह घर पर नहीं है।"),
        ("sw", "Yeye alikuwa hapa.", "Yeye hakuwa hapa."),
        ("ru", "Он не был дома.", "Он был дома."),
        ("en", "He didn't come.", "He did come."),
    ],
)
def test_a_negation_is_put_in_or_taken_out(language: str, text: str, expected: str) -> None:
    assert made(text, language)["negation"] == expected


def test_digits_keep_their_script_and_years_stay_years() -> None:
    assert any("०" <= character <= "९" for character in made("१२ लोग आए", "hi")["number"])
    assert 1880 < int(made("It was 1987.", "en")["number"].split()[-1].strip(".")) < 2100


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["en", "fr", "ar", "zh", "sw", "tr", "xh"]), st.integers(0, 9))
def test_a_near_miss_is_another_text(text: str, language: str, seed: int) -> None:
    for one in near_misses(text, language, np.random.default_rng(seed)):
        assert one.text != text == one.original
        assert one.kind in KINDS


def test_within_a_language_every_near_miss_is_blocked() -> None:
    text = "On Monday in April the four men were 35 years old."
    for one in near_misses(text, "en", np.random.default_rng(1)):
        assert conflicts(facts_of(text, "en"), facts_of(one.text, "en"))
