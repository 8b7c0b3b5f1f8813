"""Test that a long text is split at sentences without loss, and that the stored vectors cover it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.memory.text.passages import k_center, parts

TEXT = st.text(st.sampled_from("ab .。\n!?”"), max_size=300) | st.text(max_size=300)


@settings(deadline=None)
@given(TEXT, st.integers(1, 60))
def test_parts_put_together_are_the_text(text: str, length: int) -> None:
    found = parts(text, length)
    assert "".join(text[start:end] for start, end in found) == text
    assert all(start < end for start, end in found) or not text
    assert len(found) <= 1 or all(end - start <= 4 * length for start, end in found)


@pytest.mark.parametrize(
    "sentences",
    [
        ["The bees sleep. ", "The keeper waits! ", "Is the honey ripe? ", "It is. "],
        ["蜜蜂在睡觉。", "养蜂人在等待！", "蜂蜜成熟了吗？", "成熟了。"],
        ["मधुमक्खियाँ सोती हैं। ", "वह रुकता है। ", "शहद पका है? ", "हाँ। "],
    ],
)
def test_parts_end_where_sentences_end(sentences: list[str]) -> None:
    text = "".join(sentences)
    ends = {len("".join(sentences[: n + 1])) for n in range(len(sentences))}
    found = parts(text, 12)
    assert len(found) > 1
    assert {end for _, end in found} <= ends


def test_a_short_text_is_one_part() -> None:
    assert parts("One. Two. Three.") == [(0, 16)]
    assert parts("") == [(0, 0)]
    with pytest.raises(InputError, match="at least 1"):
        parts("x", 0)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_representatives_are_within_twice_the_best_choice(count: int, k: int, seed: int) -> None:
    """Compared with all possible choices, with distances on the sphere, where the bound holds."""
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = np.sqrt(np.maximum(0, 2 - 2 * (vectors @ vectors.T).astype(np.float64)))
    chosen = k_center(vectors, k)
    assert len(chosen) == min(k, count) == len(set(chosen.tolist()))

    def radius(of: object) -> float:
        return float(distances[:, list(of)].min(axis=1).max())  # type: ignore[call-overload]

    best = min(radius(some) for some in combinations(range(count), min(k, count)))
    assert radius(chosen) <= 2 * best + 1e-3


def test_no_representatives_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        k_center(np.ones((2, 2), dtype=np.float32), 0)
