"""Test that conversations are split where their topic changes, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.memory.text.event_segmentation import segment


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def cost(vectors: NDArray[np.float64], events: list[tuple[int, int]], penalty: float) -> float:
    price = penalty * float(((vectors - vectors.mean(axis=0)) ** 2).sum()) / len(vectors)
    scatter = sum(float(((vectors[a:b] - vectors[a:b].mean(axis=0)) ** 2).sum()) for a, b in events)
    return scatter + price * len(events)


def all_ways(count: int, smallest: int, largest: int) -> list[list[tuple[int, int]]]:
    ways: list[list[list[tuple[int, int]]]] = [[[]]]
    for end in range(1, count + 1):
        ways.append(
            [[*way, (start, end)] for start in range(max(0, end - largest), end - smallest + 1) for way in ways[start]]
        )
    return ways[count]


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(1, 3), st.floats(0, 4), st.integers(0, 2**32 - 1))
def test_no_other_segmentation_costs_less(count: int, smallest: int, penalty: float, seed: int) -> None:
    largest = 2 * smallest + 2
    vectors = unit(np.random.default_rng(seed).normal(size=(count, 4)))
    found = segment(vectors, penalty=penalty, smallest=smallest, largest=largest)
    assert [turn for start, end in found for turn in range(start, end)] == list(range(count))
    ways = all_ways(count, smallest, largest)
    if count > smallest:
        assert found in ways
        assert cost(vectors, found, penalty) <= min(cost(vectors, way, penalty) for way in ways) + 1e-6


@pytest.mark.parametrize("sizes", [[5, 8, 3], [20, 20], [4, 4, 4, 4]])
def test_topics_are_distinguished(sizes: list[int]) -> None:
    random = np.random.default_rng(0)
    topics = unit(random.normal(size=(len(sizes), 64)))
    vectors = unit(np.repeat(topics, sizes, axis=0) + random.normal(scale=0.08, size=(sum(sizes), 64)))
    ends = np.cumsum(sizes).tolist()
    assert segment(vectors) == list(zip([0, *ends[:-1]], ends, strict=True))


def test_a_session_about_one_thing_is_one_event() -> None:
    random = np.random.default_rng(1)
    topic = unit(random.normal(size=(1, 64)))
    assert segment(unit(topic + random.normal(scale=0.1, size=(30, 64)))) == [(0, 30)]
    assert segment(np.ones((9, 3)) / math.sqrt(3)) == [(0, 9)]


def test_the_largest_size_is_kept_where_nothing_changes() -> None:
    assert all(end - start <= 10 for start, end in segment(np.ones((35, 3)) / math.sqrt(3), largest=10))


def test_impossible_sizes_are_errors() -> None:
    assert segment(np.empty((0, 3))) == []
    for sizes in ({"smallest": 0}, {"smallest": 4, "largest": 7}, {"penalty": -1}):
        with pytest.raises(InputError, match="the largest twice the smallest"):
            segment(np.ones((9, 3)), **sizes)
