"""Test the fusion of channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.index.fusion import Fused, align, lexical_applies, reciprocal_rank_fusion, z_mean

FUSIONS = [reciprocal_rank_fusion, z_mean]


@st.composite
def channels(draw: st.DrawFn):
    """Return rows, scores of a dense channel and of a lexical one with gaps, and where the latter applies."""
    n = draw(st.integers(1, 12))
    value = st.integers(-8, 8).map(lambda x: x / 4)
    dense = draw(st.lists(value, min_size=n, max_size=n))
    lexical = draw(st.lists(st.none() | value, min_size=n, max_size=n))
    applies = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    scores = np.array([dense, [np.nan if x is None else x for x in lexical]]).T
    return np.arange(10, 10 + n), scores, np.stack([np.ones(n, bool), np.array(applies)], axis=1)


def in_order_of_rows(fused: Fused) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(fused.rows)
    return fused.scores[order], fused.parts[order]


def test_reciprocal_rank_fusion_ranks_as_the_sum_of_cormack() -> None:
    rows = np.array([1, 2, 3, 4])
    scores = np.array([[0.9, np.nan], [0.8, 3.0], [0.7, 5.0], [np.nan, 1.0]])
    fused = reciprocal_rank_fusion(rows, scores, np.ones((4, 2), bool))
    sums = {1: 1 / 61, 2: 1 / 62 + 1 / 62, 3: 1 / 63 + 1 / 61, 4: 1 / 63}
    assert fused.rows.tolist() == sorted(sums, key=lambda row: -sums[row])
    assert fused.scores == pytest.approx([sums[row] / 2 for row in fused.rows.tolist()])


def test_z_mean_is_the_mean_of_standard_scores() -> None:
    rows = np.array([1, 2, 3])
    scores = np.array([[0.9, 2.0], [0.3, 6.0], [0.6, np.nan]])
    fused = z_mean(rows, scores, np.ones((3, 2), bool))
    dense = (scores[:, 0] - 0.6) / np.std([0.9, 0.3, 0.6])
    lexical = (np.array([2.0, 6.0, 2.0]) - 10 / 3) / np.std([2.0, 6.0, 2.0])
    assert in_order_of_rows(fused)[0] == pytest.approx((dense + lexical) / 2)
    assert in_order_of_rows(fused)[1] == pytest.approx(np.stack([dense, lexical], axis=1))


@pytest.mark.parametrize("fuse", FUSIONS)
@given(case=channels())
def test_scores_fall_and_are_the_mean_of_their_parts(fuse, case) -> None:
    fused = fuse(*case)
    assert sorted(fused.rows) == case[0].tolist()
    assert (np.diff(fused.scores) <= 0).all()
    counted = ~np.isnan(fused.parts)
    for score, parts, some in zip(fused.scores, fused.parts, counted, strict=True):
        assert score == pytest.approx(parts[some].mean() if some.any() else 0.0)


@pytest.mark.parametrize("fuse", FUSIONS)
@given(case=channels())
def test_a_record_that_is_better_in_every_channel_is_not_ranked_lower(fuse, case) -> None:
    rows, scores, applies = case
    scores = np.where(np.isnan(scores), -9.0, scores)
    fused, _ = in_order_of_rows(fuse(rows, scores, np.ones_like(applies)))
    for better in range(len(rows)):
        for worse in range(len(rows)):
            if (scores[better] > scores[worse]).all():
                assert fused[better] > fused[worse]


@pytest.mark.parametrize("fuse", FUSIONS)
@given(case=channels())
def test_records_without_a_shared_script_keep_their_dense_order(fuse, case) -> None:
    rows, scores, applies = case
    fused = fuse(rows, scores, applies)
    alone = ~applies[:, 1] & np.isnan(scores[:, 1])
    kept = [row for row in fused.rows.tolist() if alone[row - 10]]
    assert kept == sorted(rows[alone].tolist(), key=lambda row: (-scores[row - 10, 0], row))


@pytest.mark.parametrize("fuse", FUSIONS)
@given(case=channels())
def test_evidence_in_a_channel_that_need_not_have_any_never_lowers_a_score(fuse, case) -> None:
    rows, scores, applies = case
    fused, parts = in_order_of_rows(fuse(rows, scores, applies))
    for score, part, applied in zip(fused, parts, applies, strict=True):
        if not applied[1] and not np.isnan(part[0]):
            assert score >= part[0] - 1e-12


@pytest.mark.parametrize("fuse", FUSIONS)
def test_a_lexical_channel_that_found_nothing_changes_nothing(fuse) -> None:
    rows = np.array([4, 5, 6])
    scores = np.array([[0.1, np.nan], [0.3, np.nan], [0.2, np.nan]])
    applies = np.array([[True, True], [True, False], [True, True]])
    fused = fuse(rows, scores, applies)
    alone = fuse(rows, scores[:, :1], applies[:, :1])
    assert fused.rows.tolist() == alone.rows.tolist() == [5, 6, 4]
    assert fused.scores == pytest.approx(alone.scores)


@pytest.mark.parametrize("fuse", FUSIONS)
def test_equal_records_are_ordered_by_row(fuse) -> None:
    scores = np.ones((3, 2))
    fused = fuse(np.array([3, 7, 9]), scores, np.ones((3, 2), bool))
    assert fused.rows.tolist() == [3, 7, 9]


@pytest.mark.parametrize("fuse", FUSIONS)
def test_no_records_fuse_to_none(fuse) -> None:
    fused = fuse(np.empty(0, np.int64), np.empty((0, 2)), np.empty((0, 2), bool))
    assert len(fused.rows) == len(fused.scores) == 0
    assert fused.parts.shape == (0, 2)


@pytest.mark.parametrize("fuse", FUSIONS)
def test_shapes_that_disagree_are_refused(fuse) -> None:
    with pytest.raises(InputError, match="do not fit"):
        fuse(np.array([1, 2]), np.zeros((3, 2)), np.ones((3, 2), bool))
    with pytest.raises(InputError, match="no channel"):
        fuse(np.array([1]), np.full((1, 1), np.nan), np.zeros((1, 1), bool))


def test_align_puts_scores_of_all_channels_beside_each_other() -> None:
    dense = (np.array([0.9, 0.5]), np.array([8, 2]))
    lexical = (np.array([7.0, 3.0]), np.array([2, 5]))
    rows, scores = align([dense, lexical])
    assert rows.tolist() == [2, 5, 8]
    np.testing.assert_array_equal(scores, [[0.5, 7.0], [np.nan, 3.0], [0.9, np.nan]])


def test_lexical_evidence_is_expected_within_a_language_and_script() -> None:
    texts = ["the cat", "die Katze", "кошка", "the cat", "кошка", "1789"]
    languages = ["en", "de", "ru", None, None, "en-GB"]
    assert lexical_applies("a cat", "en", texts, languages).tolist() == [True, False, False, True, False, True]
    assert lexical_applies("a cat", None, texts, languages).tolist() == [True, True, False, True, False, True]
