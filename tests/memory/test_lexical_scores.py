"""Test that posting lists and texts, read only as far as needed, give the ranking of a full BM25."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.index.lexical.ngrams import ngrams
from mlret.memory.storage import lexical_scores as postings_module
from mlret.memory.storage.lexical_scores import Postings, grams_of

# A few words occur in nearly every text, most in few.
_WORDS = ["the", "of", "and", "to", *(f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("ra", "mo", "n"))]


def made(chance: random.Random) -> str:
    words = [_WORDS[min(len(_WORDS), int(chance.paretovariate(0.6))) - 1] for _ in range(chance.randint(1, 9))]
    return " ".join(words)


def counted_out(texts: Sequence[str], visible: Sequence[int], query: str, k: int) -> list[tuple[int, float]]:
    """Compute BM25 over the visible texts, one by one, including ties with the ``k``-th."""
    counts = {place: Counter(ngrams(texts[place])) for place in visible}
    mean = sum(count.total() for count in counts.values()) / len(counts)
    scores = dict.fromkeys(visible, 0.0)
    for gram in set(ngrams(query)):
        holding = [place for place in visible if gram in counts[place]]
        weight = math.log1p((len(visible) - len(holding) + 0.5) / (len(holding) + 0.5))
        for place in holding:
            times = min(3, counts[place][gram])
            scores[place] += weight * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * counts[place].total() / mean))
    ranked = sorted(((place, score) for place, score in scores.items() if score > 0), key=lambda one: (-one[1], one[0]))
    worst = ranked[k - 1][1] - 1e-9 if len(ranked) > k else 0.0
    return [one for one in ranked if one[1] >= worst]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 400),
    part=st.sampled_from([0.05, 0.5, 0.97, 1.0]),
    k=st.integers(1, 30),
    later=st.sampled_from([0, 5, 60]),
    batch=st.sampled_from([1, 64, 10**6]),
    per_gram=st.sampled_from([0.001, 4, 1000]),
)
def test_every_way_of_reading_finds_what_counting_out_does(
    seed: int, size: int, part: float, k: int, later: int, batch: int, per_gram: float
) -> None:
    chance = random.Random(seed)
    texts = [made(chance) for _ in range(size + later)]
    grams, lengths = zip(*map(grams_of, texts), strict=True)
    asked: list[int] = []

    def read(positions: Sequence[int]) -> list[bytes]:
        asked.extend(positions)
        return [grams[position] for position in positions]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings_module, "_UNLISTED", -1)
        patch.setattr(postings_module, "_BATCH", batch)
        patch.setattr(postings_module, "_PER_GRAM", per_gram)
        patch.setattr(postings_module, "_LEAST_FRESH", 40)
        postings = Postings([None] * size, read)
        postings.search("the", 1, np.arange(size), np.array(lengths, dtype=np.int32))
        postings.add(grams[size:])
        for _ in range(3):
            seen = sorted(chance.sample(range(len(texts)), max(1, int(part * len(texts)))))
            query = f"{made(chance)} {made(chance)}"
            scores, positions = postings.search(query, k, np.array(seen), np.array(lengths, dtype=np.int32))
            expected = counted_out(texts, seen, query, k)
            assert positions.tolist() == [place for place, _ in sorted(expected, key=lambda e: (-round(e[1], 9), e[0]))]
            assert np.allclose(scores, sorted((score for _, score in expected), reverse=True), atol=1e-8)
    assert len(asked) == len(set(asked)) <= size


def test_few_texts_are_read_alone() -> None:
    texts = [f"word{number} and more" for number in range(500)]
    grams, lengths = zip(*map(grams_of, texts), strict=True)
    asked: list[int] = []

    def read(positions: Sequence[int]) -> list[bytes]:
        asked.extend(positions)
        return [grams[position] for position in positions]

    postings = Postings([None] * 500, read)
    _, found = postings.search("word7 and", 1, np.arange(5, 15), np.array(lengths, dtype=np.int32))
    assert found.tolist() == [7] and asked == list(range(5, 15))
