"""Test search over segments against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.index.vectors import exact, scan
from mlret.index.vectors.faiss_index import faiss_module
from mlret.index.vectors.scan import DECIMALS, View, search_views
from mlret.index.vectors.segments import Segment, Tail


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def random_vectors(rng: np.random.Generator, n: int, dims: int = 8) -> NDArray[np.float32]:
    vectors = unit(rng.standard_normal((n, dims)).astype(np.float32))
    vectors[n // 2 :] = vectors[: n - n // 2]  # every vector twice: ties
    return vectors


def brute(
    rows: NDArray[np.int64], matrix: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> list[tuple[float, int]]:
    scores = np.round((matrix.astype(np.float64) * query).sum(axis=1), DECIMALS) + 0.0
    ranked = sorted(zip(-scores, rows.tolist(), strict=True))
    return [(-s, r) for s, r in ranked if len(ranked) <= k or s <= ranked[k - 1][0]]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    k=st.integers(1, 300),
    keep=st.floats(0, 1),
    queries=st.integers(1, 5),
    seed=st.integers(0, 1000),
    few=st.sampled_from([0.0, 1 / 8, 1.0]),
)
def test_search_equals_brute_force_whatever_can_be_seen(
    monkeypatch_module: pytest.MonkeyPatch,
    sizes: list[int],
    k: int,
    keep: float,
    queries: int,
    seed: int,
    few: float,
) -> None:
    monkeypatch_module.setattr(scan, "_FEW", few)
    monkeypatch_module.setattr(exact, "_CELLS", 64)
    rng = np.random.default_rng(seed)
    views, rows, matrices = [], [], []
    for size in sizes:
        numbers = np.cumsum(rng.integers(1, 4, size)) + (rows[-1][-1] if rows and len(rows[-1]) else 0)
        matrix = random_vectors(rng, size)
        visible = np.flatnonzero(rng.random(size) < keep)
        views.append(View(Segment(numbers, matrix), None if keep == 1 else visible))
        chosen = np.arange(size) if keep == 1 else visible
        rows.append(numbers[chosen])
        matrices.append(matrix[chosen])
    wanted = random_vectors(rng, queries)
    every_row, every_vector = np.concatenate(rows), np.concatenate(matrices)
    for query, (scores, found) in zip(wanted, search_views(views, wanted, k), strict=True):
        assert sorted(zip(scores.tolist(), found.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1])) == brute(
            every_row, every_vector, query, k
        )


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    patch = pytest.MonkeyPatch()
    yield patch  # type: ignore[misc]
    patch.undo()


@given(st.integers(1, 400), st.integers(1, 80), st.integers(1, 12), st.integers(1, 2000), st.integers(0, 1000))
def test_products_in_blocks_find_what_faiss_finds(rows: int, k: int, queries: int, cells: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, wanted = random_vectors(rng, rows), random_vectors(rng, queries)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_CELLS": cells, "_CACHED": 3, "_TIMED": 8, "_MANY": 11, "_VALUES": 1}.items():
            patch.setattr(exact, name, value)
        scores, positions = exact.CpuExact(matrix).search(wanted, k)
    expected, _ = faiss_module().knn(wanted, matrix, k, metric=faiss_module().METRIC_INNER_PRODUCT)
    assert scores.shape == positions.shape == (queries, k) and scores.dtype == np.float32
    held = positions >= 0
    assert (held.sum(axis=1) == min(rows, k)).all()
    assert np.allclose(scores[held], expected[held], atol=1e-6) and (scores[~held] < -1e30).all()
    lines, places = np.nonzero(held)
    assert np.allclose((wanted[lines] * matrix[positions[held]]).sum(axis=1), scores[lines, places], atol=1e-6)
    assert all(len(set(line[line >= 0])) == min(rows, k) for line in positions)


@given(
    rows=st.integers(1, 400),
    k=st.integers(1, 80),
    queries=st.integers(1, 12),
    cells=st.integers(1, 2000),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_only_the_given_positions_are_found(
    rows: int, k: int, queries: int, cells: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix, wanted = random_vectors(rng, rows), random_vectors(rng, queries)
    # A dense beginning and a sparse end, so that both ways to multiply some of the rows are taken.
    among = np.flatnonzero(rng.random(rows) < np.linspace(share, share / 8, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_CELLS", cells)
        scores, positions = exact.CpuExact(matrix).search(wanted, k, among=among)
    products = wanted @ matrix[among].T
    expected = -np.sort(-products, axis=1)[:, :k]
    assert (positions[:, expected.shape[1] :] == -1).all() and np.isin(positions, [*among, -1]).all()
    assert np.allclose(scores[:, : expected.shape[1]], expected, atol=1e-6)
    assert all(len(set(line[line >= 0])) == min(len(among), k) for line in positions)


@pytest.mark.parametrize("way", [(True, 3), (True, 999), (False, 7), (False, 999)])
def test_every_way_to_multiply_gives_the_products(way: tuple[bool, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrix, wanted = random_vectors(rng, 99), random_vectors(rng, 5)
    monkeypatch.setattr(exact, "_TIMED", 8)
    monkeypatch.setattr(exact, "_WAYS", {wanted.shape: way})
    scores, positions = exact.CpuExact(matrix).search(wanted, 99)
    assert np.allclose(np.take_along_axis(wanted @ matrix.T, positions, 1), scores, atol=1e-6)
    assert (np.sort(positions, axis=1) == np.arange(99)).all()


def test_what_was_handed_out_of_a_tail_stays_as_it_was() -> None:
    tail = Tail(2)
    before = tail.segment()
    tail.add(np.arange(1, 4), np.ones((3, 2), dtype=np.float32))
    middle = tail.segment()
    for start in range(4, 2000, 100):
        tail.add(np.arange(start, start + 100), np.full((100, 2), start, dtype=np.float32))
    assert len(before) == 0 and middle.numbers.tolist() == [1, 2, 3] and (middle.matrix == 1).all()
    whole = tail.segment()
    assert tail.size == len(whole) == 2003 and whole.matrix[3, 0] == 4 and (np.diff(whole.numbers) == 1).all()


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(-5, 40)))
def test_positions_are_those_of_the_stored_rows(held: set[int], asked: set[int]) -> None:
    segment = Segment(np.array(sorted(held), dtype=np.int64), np.zeros((len(held), 1), dtype=np.float32))
    positions = segment.positions_of(np.array(sorted(asked), dtype=np.int64))
    assert segment.numbers[positions].tolist() == sorted(held & asked)


def test_memory_maps_are_searched(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix = random_vectors(rng, 500)
    np.save(tmp_path / "m.npy", matrix)
    mapped = Segment(np.arange(500), np.load(tmp_path / "m.npy", mmap_mode="r"))
    [(_, found)] = search_views([View(mapped)], matrix[:1], 2)
    assert sorted(found.tolist()) == [0, 250]
