"""Test rotations: Procrustes against SciPy, CSLS against a loop, self-learning against planted rotations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from mlret.encoders import rotation
from mlret.encoders.rotation import adversarial_rotation, fit_rotation, mutual_neighbours, procrustes
from mlret.errors import InputError

Rows = NDArray[np.float32]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread, because thousands of small operations spend more time waiting for threads than computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def any_rotation(dims: int, random: np.random.Generator) -> Rows:
    return np.linalg.qr(random.normal(size=(dims, dims)))[0].astype(np.float32)


def small_rotation(dims: int, angle: float, random: np.random.Generator) -> Rows:
    """Return a rotation of every plane by at most ``angle`` radians."""
    skew = random.normal(size=(dims, dims))
    skew -= skew.T
    values, vectors = np.linalg.eigh(1j * skew / np.linalg.norm(skew, 2))
    return (vectors @ np.diag(np.exp(-1j * angle * values)) @ vectors.conj().T).real.astype(np.float32)


def cloud(centres: NDArray[np.float64], n: int, random: np.random.Generator, noise: float = 0.3) -> Rows:
    drawn = centres[random.integers(len(centres), size=n)]
    return (drawn + noise * random.normal(size=drawn.shape)).astype(np.float32)


def unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def neighbours(source: Rows, target: Rows, k: int = 10) -> list[list[int]]:
    units = (torch.from_numpy(unit(rows).astype(np.float32)) for rows in (source, target))
    pairs: list[list[int]] = mutual_neighbours(*units, k).tolist()
    return pairs


def assert_orthogonal(matrix: Rows, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=atol)


@given(st.integers(1, 24), st.integers(0, 40), SEEDS)
@settings(deadline=None, max_examples=50)
def test_procrustes_recovers_a_planted_rotation(dims: int, more: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    planted = any_rotation(dims, random)
    source = random.normal(size=(2 * dims + more, dims)).astype(np.float32)
    np.testing.assert_allclose(procrustes(source, source @ planted.T), planted, atol=1e-4)


@given(st.integers(1, 16), st.integers(1, 40), SEEDS)
@settings(deadline=None, max_examples=50)
def test_procrustes_is_orthogonal_and_fits_as_well_as_scipys(dims: int, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, n, dims)).astype(np.float32)
    found = procrustes(source, target)
    assert_orthogonal(found)
    expected = orthogonal_procrustes(source, target)[0]
    assert np.linalg.norm(source @ found.T - target) == pytest.approx(
        np.linalg.norm(source @ expected - target), abs=1e-3
    )


def csls_by_loops(source: Rows, target: Rows, k: int) -> list[list[int]]:
    source, target = unit(source.astype(np.float64)), unit(target.astype(np.float64))
    cosine = [[float(x @ y) for y in target] for x in source]
    near_source = [np.mean(sorted(row)[-k:]) for row in cosine]
    near_target = [np.mean(sorted(column)[-k:]) for column in zip(*cosine, strict=True)]
    csls = np.array(
        [[2 * c - near_source[i] - near_target[j] for j, c in enumerate(row)] for i, row in enumerate(cosine)]
    )
    return [
        [i, j]
        for i in range(len(source))
        for j in range(len(target))
        if csls[i, j] == csls[i].max() and csls[i, j] == csls[:, j].max()
    ]


@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 6), st.integers(1, 12), SEEDS)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_mutual_neighbours_equal_those_of_a_loop(n: int, m: int, dims: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = (random.normal(size=(rows, dims)).astype(np.float32) for rows in (n, m))
    expected = csls_by_loops(source, target, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation, "_BLOCK", 7)
        in_blocks = neighbours(source, target, k)
    assert neighbours(source, target, k) == in_blocks == expected


def test_csls_keeps_a_hub_from_being_everyones_neighbour() -> None:
    random = np.random.default_rng(0)
    directions = unit(random.normal(size=(30, 40)))
    common = unit(random.normal(size=(1, 40)))
    source = unit(directions + common)
    target = unit(directions + 0.6 * random.normal(size=directions.shape) / 40**0.5)
    target = np.concatenate([target, common])  # the mean direction is near to all rows of the source
    nearest = (source @ target.T).argmax(1)
    right_by_cosine = (nearest == np.arange(30)).mean()
    pairs = neighbours(source, target)
    right = sum(int(i == j) for i, j in pairs)
    assert right == len(pairs) >= 25 > 30 * right_by_cosine


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dims", "n", "clusters"), [(8, 600, 40), (16, 800, 60)])
def test_self_learning_undoes_a_small_rotation_between_disjoint_samples(
    dims: int, n: int, clusters: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, dims))
    planted = small_rotation(dims, 0.6, random)
    source, target = cloud(centres, n, random), cloud(centres, n, random) @ planted.T
    found = fit_rotation(source, target, seed=seed)
    assert found.kept == "self-learning" and found.pairs >= dims and 1 <= found.iterations <= 10
    assert found.criterion_after > found.criterion_before
    assert_orthogonal(found.matrix)
    assert np.linalg.norm(found.matrix - planted) < 0.5 * np.linalg.norm(np.eye(dims) - planted)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("dims", "n"), [(16, 600), (32, 1000)])
def test_the_identity_is_kept_between_unrelated_clouds(dims: int, n: int, seed: int) -> None:
    # Measured on the rows that it was fitted to, a map always looks better than the identity here.
    random = np.random.default_rng(seed)
    found = fit_rotation(*random.normal(size=(2, n, dims)).astype(np.float32), seed=seed)
    assert found.iterations > 0 and found.pairs >= dims
    assert found.kept == "identity" and found.criterion_after == found.criterion_before
    np.testing.assert_array_equal(found.matrix, np.eye(dims))


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 40), SEEDS)
@settings(deadline=None, max_examples=40)
def test_the_identity_is_kept_where_pairs_are_too_few(n: int, m: int, dims: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = (random.normal(size=(rows, dims)).astype(np.float32) for rows in (min(n, 25), m))
    found = fit_rotation(source, target)
    assert found.kept == "identity" and found.iterations == 0
    assert found.pairs < max(dims, 20)
    np.testing.assert_array_equal(found.matrix, np.eye(dims))


@given(st.integers(2, 8), st.floats(0, 3), SEEDS)
@settings(deadline=None, max_examples=25)
def test_learning_never_lowers_the_criterion(dims: int, angle: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(10, dims))
    rotated = cloud(centres, 300, random) @ small_rotation(dims, angle, random).T
    found = fit_rotation(cloud(centres, 250, random), rotated, seed=seed % 7)
    assert found.criterion_after >= found.criterion_before
    assert (found.criterion_after == found.criterion_before) == (found.kept == "identity")
    assert_orthogonal(found.matrix)


def test_fitting_is_repeated_by_its_seed() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 8))
    source, target = cloud(centres, 400, random), cloud(centres, 400, random) @ small_rotation(8, 0.5, random).T
    once, again, other = (fit_rotation(source, target, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.matrix, again.matrix)
    assert once.criterion_before != other.criterion_before  # other rows are held out then


@pytest.fixture(scope="module")
def far_off() -> tuple[Rows, Rows, Rows]:
    """Return a source, a target and the rotation between them, too far apart for self-learning from the identity."""
    random = np.random.default_rng(2)
    centres = random.normal(size=(12, 8)) * np.linspace(3, 0.3, 8) + np.linspace(1, 0, 8)
    planted = small_rotation(8, 1.5, random)
    return cloud(centres, 600, random, 0.2), cloud(centres, 600, random, 0.2) @ planted.T, planted


def test_the_adversarial_start_aligns_a_far_off_cloud(far_off: tuple[Rows, Rows, Rows]) -> None:
    source, target, planted = far_off
    found = adversarial_rotation(source, target, epochs=4, steps=100, hidden=64)
    assert_orthogonal(found, atol=1e-3)

    def alignment(matrix: Rows) -> float:
        return float((unit(source @ matrix.T) * unit(source @ planted.T)).sum(1).mean())

    assert alignment(np.eye(8, dtype=np.float32)) < 0.6
    assert alignment(fit_rotation(source, target).matrix) < 0.6
    assert alignment(found) > 0.9


def test_the_adversarial_start_is_repeated_by_its_seed_and_leaves_torchs_alone(
    far_off: tuple[Rows, Rows, Rows],
) -> None:
    source, target, _ = far_off
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    once, again, other = (
        adversarial_rotation(source, target, epochs=2, steps=10, hidden=32, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 1e-6
    assert torch.equal(torch.rand(3), expected)


def test_self_learning_starts_from_the_adversarial_map(far_off: tuple[Rows, Rows, Rows]) -> None:
    source, target, _ = far_off
    found = fit_rotation(source, target, adversarial=True, epochs=1, steps=5, seed=3)
    assert found.criterion_after >= found.criterion_before
    assert_orthogonal(found.matrix)
    stopped = fit_rotation(source, target, adversarial=True, epochs=1, steps=5, iterations=0, seed=3)
    assert stopped.iterations == 0 and stopped.kept in ("identity", "adversarial")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), "4 and 5 dimensions"),
        (np.ones((1, 4)), np.ones((3, 4)), "the source of a rotation has the shape"),
        (np.ones((3, 4)), np.ones(4), "the target of a rotation has the shape"),
        (np.ones((3, 4)), np.full((3, 4), np.nan), "the target of a rotation holds NaN"),
    ],
)
def test_what_is_no_pair_of_clouds_is_refused(source: Rows, target: Rows, message: str) -> None:
    for function in (fit_rotation, adversarial_rotation):
        with pytest.raises(InputError, match=message):
            function(source.astype(np.float32), target.astype(np.float32))  # type: ignore[operator]


def test_procrustes_needs_rows_that_belong_together() -> None:
    with pytest.raises(InputError, match="two matrices of one shape"):
        procrustes(np.ones((3, 4), np.float32), np.ones((2, 4), np.float32))
