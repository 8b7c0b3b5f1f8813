from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from mlret.errors import InputError
from mlret.eval.matching import (
    best_candidates,
    csls,
    hits_of_aligned,
    matched,
    ratio_margin,
    similarities,
    xsim_misses,
)

matrices = st.integers(1, 12).flatmap(
    lambda n: arrays(np.float32, (n, n), elements=st.floats(0.0625, 1, width=16, allow_subnormal=False))
)


def densities(similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rows = np.array([np.sort(row)[::-1][:k].mean() for row in similarity])
    return rows, np.array([np.sort(column)[::-1][:k].mean() for column in similarity.T])


@settings(max_examples=50, deadline=None)
@given(matrices)
def test_csls_and_margin_are_their_formulas(similarity: np.ndarray) -> None:  # type: ignore[type-arg]
    rows, columns = densities(similarity, 10)
    np.testing.assert_allclose(csls(similarity), 2 * similarity - rows[:, None] - columns[None], atol=1e-5)
    rows, columns = densities(similarity, 4)
    expected = similarity / ((rows[:, None] + columns[None]) / 2)
    np.testing.assert_allclose(ratio_margin(similarity), expected, rtol=1e-5)
    assert (matched(similarity, "cosine") == similarity).all()
    assert (matched(similarity, "csls") == csls(similarity)).all()
    assert (matched(similarity, "margin") == ratio_margin(similarity)).all()
    np.testing.assert_allclose(csls(similarity).T, csls(np.ascontiguousarray(similarity.T)), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(matrices)
def test_xsim_takes_the_best_margin_among_the_nearest(similarity: np.ndarray) -> None:  # type: ignore[type-arg]
    n = len(similarity)
    k = min(4, n)
    rows, columns = densities(similarity, k)
    for row, miss in enumerate(xsim_misses(similarity)):
        near = np.argsort(-similarity[row], kind="stable")[:k]
        margins = [np.float32(similarity[row, c] / ((rows[row] + columns[c]) / 2)) for c in near]
        best = {int(c) for c, margin in zip(near, margins, strict=True) if margin >= max(margins) * (1 - 1e-6)}
        # If only rounding distinguishes candidates, either is right.
        assert (row not in best) <= bool(miss) <= (best != {row})


def test_margin_of_zero_similarities_is_finite() -> None:
    assert np.isfinite(ratio_margin(np.zeros((3, 3), np.float32))).all()


def test_the_first_of_equal_candidates_counts() -> None:
    a, b = np.eye(2, dtype=np.float32)
    queries, candidates = np.stack([a, a, b]), np.stack([a, a, b])
    assert hits_of_aligned(similarities(queries, candidates)).tolist() == [True, False, True]
    assert hits_of_aligned(similarities(csr_matrix(queries), csr_matrix(candidates))).tolist() == [True, False, True]


def test_equal_vectors_score_the_same_to_the_last_bit() -> None:
    # A plain matrix product of these sizes rounds some columns up.
    for seed in range(10):
        vector = np.random.default_rng(seed).normal(size=256).astype(np.float32)
        queries, candidates = np.tile(vector, (37, 1)), np.tile(vector, (747, 1))
        candidates[0] = -vector
        products = similarities(queries, candidates)
        assert (best_candidates(products) == 1).all()
        assert len(np.unique(products[:, 1:])) == 1
        np.testing.assert_allclose(products, queries @ candidates.T, rtol=1e-4)


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 sentences"):
        hits_of_aligned(np.ones((2, 3), np.float32))
    with pytest.raises(InputError, match="0 and 0 sentences"):
        hits_of_aligned(np.ones((0, 0), np.float32))
