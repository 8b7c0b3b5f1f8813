"""Test drawing sentences from a stream: bounded, without repetition, the same in any order."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mlret.data.sampling import draw_by_language

SENTENCES = st.lists(st.tuples(st.sampled_from(["en", "sw"]), st.text(max_size=3)), max_size=40)


@given(SENTENCES, st.integers(1, 6), st.integers(0, 99))
def test_a_draw_is_bounded_different_and_the_same_in_any_order(
    sentences: list[tuple[str, str]], most: int, seed: int
) -> None:
    drawn = draw_by_language(sentences, most=most, seed=seed)
    different = {code: {text for c, text in sentences if c == code} for code in {code for code, _ in sentences}}
    assert list(drawn) == sorted(different)
    for code, texts in drawn.items():
        assert len(set(texts)) == len(texts) == min(most, len(different[code]))
        assert set(texts) <= different[code]
    shuffled = random.Random(seed).sample(sentences, len(sentences))
    assert draw_by_language(shuffled + sentences, most=most, seed=seed) == drawn


def test_every_sentence_is_as_likely_as_any_other() -> None:
    sentences = [("en", f"sentence {i}") for i in range(10)]
    counts = Counter(text for seed in range(600) for text in draw_by_language(sentences, most=3, seed=seed)["en"])
    assert len(counts) == 10
    # 180 expected of each, with a standard deviation of 11.
    assert all(120 < count < 240 for count in counts.values())
