"""Test coded tokens and MaxSim over them against plain numpy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.errors import MlretError
from mlret.index.tokens import parallel
from mlret.index.tokens.bits import BITS, LANES, Bits, centre, lanes, pack, unpack
from mlret.index.tokens.clustering import Centroids, k_means
from mlret.index.tokens.codec import TokenCodec, TokenCodes, centroids_for
from mlret.index.tokens.kernels import dispatch
from mlret.index.tokens.kernels.dispatch import SPARE_ROWS, PackedTokens
from mlret.index.tokens.lists import lists_of
from mlret.index.tokens.maxsim import Effort, search_tokens
from mlret.index.tokens.stored_tokens import DECIMALS, CodedTokens, TokenQuery
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.vectors.space import View


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def made(
    rng: np.random.Generator, documents: int, dims: int = 32, longest: int = 12
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make tokens around 50 centres with a mean that is not zero, and document offsets; some documents are empty."""
    lengths = rng.integers(0, longest, documents)
    centres = unit(rng.standard_normal((50, dims), dtype=np.float32)) + 0.5
    tokens = centres[rng.integers(0, 50, lengths.sum())] + 0.3 * rng.standard_normal((lengths.sum(), dims), np.float32)
    return unit(tokens), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def packed(codec: TokenCodec, tokens: NDArray[np.float32], offsets: NDArray[np.int64]) -> PackedTokens:
    coded = codec.encode(tokens)
    codes = np.concatenate([coded.codes, np.zeros((SPARE_ROWS, codec.width), np.uint8)])
    return PackedTokens(codes, codec.bits, coded.units, codec.unit, coded.centroids, offsets)


def brute(tokens: NDArray[np.float32], offsets: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute MaxSim document by document."""
    products = tokens.astype(np.float64) @ query.T.astype(np.float64)
    return np.array(
        [
            products[start:stop].max(axis=0).sum() if stop > start else -float(len(query))
            for start, stop in pairwise(offsets)
        ]
    )


@pytest.fixture(params=[pytest.param(True, id="compiled"), pytest.param(False, id="numpy")])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr(dispatch, "COMPILED", request.param)
    return bool(request.param)


@given(st.sampled_from(BITS), st.integers(0, 9), st.integers(1, 4), st.integers(0, 99))
def test_unpacking_gives_back_what_was_packed(bits: Bits, count: int, words: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (count, words * 32 // bits)).astype(np.uint8)
    assert pack(codes, bits).shape == (count, words * 4)
    assert np.array_equal(unpack(pack(codes, bits), bits), codes)


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    documents=st.integers(1, 40),
    tokens=st.integers(1, 70),
    dims=st.sampled_from([32, 48, 128]),
    seed=st.integers(0, 999),
)
def test_maxsim_of_codes_is_that_of_the_decoded_vectors(
    bits: Bits, documents: int, tokens: int, dims: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inner = -(-dims * bits // 32) * 32 // bits
    lengths = rng.integers(0, 9, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    codes = rng.integers(0, 256, (total + SPARE_ROWS, inner * bits // 8)).astype(np.uint8)
    units = rng.integers(0, 2**16, total).astype(np.uint16)
    vectors = rng.standard_normal((20, inner)).astype(np.float32)
    centroids = rng.integers(0, 20, total).astype(np.uint16)
    unit_ = 1e-5
    query = rng.standard_normal((tokens, inner)).astype(np.float32)
    made_lanes = lanes(query, bits)
    whole = (made_lanes.integers * made_lanes.scales[..., None]).reshape(-1, inner)
    near = np.stack([vectors @ block.T for block in whole.reshape(-1, LANES, inner)])
    meant = (unpack(codes[:total], bits) - centre(bits)) * (units * unit_)[:, None]
    expected = brute((vectors[centroids] + meant).astype(np.float32), offsets, whole[:tokens])
    chosen = np.flatnonzero(rng.random(documents) < 0.7)
    stored = PackedTokens(codes, bits, units, unit_, centroids, offsets)
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        for name in (True, False) if dispatch.COMPILED else (False,):
            patch.setattr(dispatch, "COMPILED", name)
            patch.setattr(parallel, "_FEW", 5)
            patch.setattr(dispatch, "_TOKENS", 7)
            found[name] = dispatch.maxsim(stored, chosen, made_lanes, near)
    for scores in found.values():
        assert scores.dtype == np.float32
        assert np.allclose(scores, expected[chosen], rtol=1e-4, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 90), lanes_=st.integers(1, 70), probes=st.integers(1, 100), seed=st.integers(0, 99))
def test_the_rows_with_the_most_are_found(rows: int, lanes_: int, probes: int, seed: int) -> None:
    near = np.random.default_rng(seed).standard_normal((-(-lanes_ // LANES), rows, LANES), np.float32)
    flat = near.transpose(1, 0, 2).reshape(rows, -1)[:, :lanes_].T
    best = np.sort(flat, axis=1)[:, ::-1][:, :probes]
    with pytest.MonkeyPatch.context() as patch:
        for name in (True, False) if dispatch.COMPILED else (False,):
            patch.setattr(dispatch, "COMPILED", name)
            found = dispatch.most(near, lanes_, probes)
            assert found.shape == best.shape
            assert np.array_equal(np.sort(np.take_along_axis(flat, found, 1), axis=1)[:, ::-1], best)


@pytest.mark.usefixtures("compiled")
def test_products_with_centroids_are_right_to_two_decimals() -> None:
    rng = np.random.default_rng(0)
    centroids, vectors = (
        unit(rng.standard_normal((50, 64), np.float32)),
        unit(rng.standard_normal((40, 64), np.float32)),
    )
    found = Centroids(centroids).products(vectors)
    assert found.shape == (2, 50, LANES)
    assert np.allclose(found.transpose(1, 0, 2).reshape(50, -1)[:, :40], centroids @ vectors.T, atol=0.01)


@pytest.mark.usefixtures("compiled")
def test_the_nearest_centroid_is_found_up_to_the_rounding() -> None:
    rng = np.random.default_rng(0)
    tokens, vectors = rng.standard_normal((3000, 64), np.float32), rng.standard_normal((77, 64), np.float32)
    found = Centroids(vectors).nearest(tokens)
    distances = ((tokens[:, None] - vectors[None]) ** 2).sum(axis=2)
    assert (distances[np.arange(3000), found] <= distances.min(axis=1) * 1.02).all()
    assert (found == distances.argmin(axis=1)).mean() > 0.97


def test_k_means_finds_the_middle_of_each_heap_and_can_be_repeated() -> None:
    rng = np.random.default_rng(0)
    centres = 10 * rng.standard_normal((8, 32), dtype=np.float32)
    sample = centres[rng.integers(0, 8, 4000)] + 0.1 * rng.standard_normal((4000, 32), dtype=np.float32)
    seen: list[int] = []
    found = k_means(sample, 64, rounds=5, seed=3, progress=seen.append).vectors
    assert np.array_equal(found, k_means(sample, 64, rounds=5, seed=3).vectors)
    assert np.linalg.norm(centres[:, None] - found[None], axis=2).min(axis=1).max() < 0.3
    assert seen[-1] == 5 * 4000


def test_more_centroids_than_different_tokens_leave_none_at_nothing() -> None:
    sample = np.repeat(unit(np.random.default_rng(0).standard_normal((3, 32), dtype=np.float32)), 10, axis=0)
    found = k_means(sample, 16, seed=0).vectors
    assert np.isfinite(found).all() and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_more_bits_represent_tokens_more_closely() -> None:
    tokens, _ = made(np.random.default_rng(1), 600)
    errors = {}
    for bits in BITS:
        codec = TokenCodec.train(tokens.copy(), bits, centroids=64)
        errors[bits] = float(np.linalg.norm(codec.decode(codec.encode(tokens)) - tokens, axis=1).mean())
    assert errors[1] > errors[2] > errors[4] > errors[8] and errors[8] < 0.005


def test_a_codec_is_read_as_it_was_written(tmp_path: Path) -> None:
    tokens, _ = made(np.random.default_rng(1), 100, dims=24)
    codec = TokenCodec.train(tokens.copy(), 2, centroids=16, seed=5)
    codec.save(tmp_path / "codec")
    again = TokenCodec.load(tmp_path / "codec")
    coded, other = codec.encode(tokens), again.encode(tokens)
    for name in ("codes", "units", "centroids"):
        assert np.array_equal(getattr(coded, name), getattr(other, name))
    assert np.array_equal(codec.decode(coded), again.decode(coded)) and again.dims == 24
    (tmp_path / "codec").write_bytes(b"torn")
    with pytest.raises(MlretError, match="is not a codec of tokens"):
        TokenCodec.load(tmp_path / "codec")


def test_centring_changes_no_ranking() -> None:
    """A query's product with the mean is the same constant for all documents that have tokens."""
    rng = np.random.default_rng(2)
    tokens, offsets = made(rng, 200)
    query, mean = unit(rng.standard_normal((9, 32), np.float32)), tokens.mean(axis=0)
    whole, centred = brute(tokens, offsets, query), brute(tokens - mean, offsets, query)
    there = np.diff(offsets) > 0
    assert np.allclose(whole[there], centred[there] + (query @ mean).sum(), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    k=st.integers(1, 60),
    keep=st.floats(0, 1),
    effort=st.sampled_from([None, Effort(1), Effort(4), Effort(1000), Effort(1, 5), Effort(4, 30)]),
    seed=st.integers(0, 99),
)
def test_search_returns_as_many_as_there_are_with_exact_scores(
    bits: Bits, k: int, keep: float, effort: Effort | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens, offsets = made(rng, 120)
    codec = TokenCodec.train(tokens.copy(), bits, centroids=32)
    stored = packed(codec, tokens, offsets)
    segment = TokenSegment(np.arange(120), CodedTokens(codec, stored))
    segment.lists = lists_of(stored.centroids.astype(np.int64), offsets, len(codec.centroids))
    visible = None if keep == 1 else np.flatnonzero(rng.random(120) < keep)
    query = unit(rng.standard_normal((rng.integers(1, 40), 32), np.float32) + 0.5)
    view = View(segment, visible)
    scores, documents = search_tokens([view], TokenQuery.of(query, codec), k, effort=effort)
    there = np.arange(120) if visible is None else visible
    assert len(documents) >= min(k, len(there)) and set(documents.tolist()) <= set(there.tolist())
    decoded = codec.decode(TokenCodes(stored.codes[:-SPARE_ROWS], stored.units, stored.centroids))
    expected = brute(decoded, offsets, query)
    assert np.allclose(scores, expected[documents], atol=2e-4)
    assert (np.diff(scores) <= 0).all()
    if effort is None:
        best = np.sort(expected[there])[::-1][:k]
        assert np.allclose(scores[:k], best, atol=0.02)


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 40), probes=st.integers(1, 20), seed=st.integers(0, 99))
def test_scores_by_centroids_are_those_of_the_best_lists(tokens: int, probes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = rng.standard_normal((-(-tokens // LANES), 30, LANES), np.float32)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, 50))])
    lists = lists_of(rng.integers(0, 30, offsets[-1]), offsets, 30)
    by_token = near.transpose(0, 2, 1).reshape(-1, 30)[:tokens]
    expected = np.full(50, -np.inf)
    for values in by_token:
        order = np.argsort(-values)
        best = np.full(50, -np.inf)
        for centroid in order[:probes]:
            there = lists.documents[lists.starts[centroid] : lists.starts[centroid + 1]]
            best[there] = np.maximum(best[there], values[centroid] - values[order[probes]])
        hit = best > -np.inf
        expected[hit] = np.maximum(expected[hit], 0) + best[hit]
    with pytest.MonkeyPatch.context() as patch:
        for name in (True, False) if dispatch.COMPILED else (False,):
            patch.setattr(dispatch, "COMPILED", name)
            found = dispatch.gathered(near, tokens, probes, lists.starts, lists.documents, 50)
            assert np.allclose(found, expected, atol=1e-4)


def test_eight_bits_find_what_float32_tokens_do() -> None:
    rng = np.random.default_rng(4)
    tokens, offsets = made(rng, 2000, dims=64, longest=30)
    codec = TokenCodec.train(tokens.copy(), 8, centroids=centroids_for(len(tokens)))
    view = View(TokenSegment(np.arange(2000), CodedTokens(codec, packed(codec, tokens, offsets))))
    found = []
    for _ in range(20):
        query = unit(tokens[rng.integers(0, len(tokens), 16)] + 0.2 * rng.standard_normal((16, 64), np.float32))
        best = np.argsort(-brute(tokens, offsets, query))[:10]
        scores, documents = search_tokens([view], TokenQuery.of(query, codec), 10)
        found.append(len(set(best) & set(documents[:10])) / 10)
        assert scores[0] == pytest.approx(brute(tokens, offsets, query)[documents[0]], abs=0.02)
        assert scores[0] == round(scores[0], DECIMALS)
    assert np.mean(found) > 0.97
