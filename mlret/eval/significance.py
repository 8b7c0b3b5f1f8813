"""Test whether one system is better than another by comparing their scores query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

_AT_ONCE = 2**24  # number of resampled scores held in memory at once


@dataclass(frozen=True)
class Comparison:
    """Comparison of two systems on the queries of one group (usually a language).

    Attributes
    ----------
    group
        Name of the group.
    queries
        Number of queries, the same for both systems.
    first, second
        Mean score of each system.
    low, high
        95 % confidence interval of ``second - first``: percentiles of the paired bootstrap over queries.
    p
        Two-sided p-value of the paired randomisation test.
    adjusted
        The p-value after Holm's correction for the number of groups.
    wins, losses
        Number of queries on which ``second`` scores above and below ``first``.
    """

    group: str
    queries: int
    first: float
    second: float
    low: float
    high: float
    p: float
    adjusted: float
    wins: int
    losses: int

    @property
    def difference(self) -> float:
        """Difference of the means, ``second - first``."""
        return self.second - self.first


def compare_groups(
    first: Mapping[str, Mapping[str, float]],
    second: Mapping[str, Mapping[str, float]],
    *,
    resamples: int = 9_999,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two systems, group by group.

    The randomisation test (Fisher; Smucker et al., CIKM 2007) swaps the two scores of each query with probability one
    half and estimates how often the means then differ by at least the observed difference. Holm's step-down correction
    (1979) keeps the probability of any false finding over all groups at the level of a single test.

    Parameters
    ----------
    first, second
        Group -> query -> score.
    resamples
        Number of resamples of the test and of the bootstrap. The smallest possible p-value is ``1 / (resamples + 1)``.
    seed
        Seed of the resampling.

    Returns
    -------
    list of Comparison
        One for each group that both systems have, in the order of ``first``.

    Raises
    ------
    InputError
        If the systems share no group, or one has a query of a shared group that the other lacks.
    """
    shared = [group for group in first if group in second]
    if not shared:
        raise InputError(
            f"the two share no language: {', '.join(first) or 'none'} and {', '.join(second) or 'none'}; compare "
            "results of one benchmark"
        )
    found: list[Comparison] = []
    for group in shared:
        a, b = _paired(group, first[group], second[group])
        generator = np.random.default_rng([seed, len(found)])
        low, high = bootstrap_interval(b - a, resamples, generator)
        p = randomisation_test(b - a, resamples, generator)
        tally = (int((b > a).sum()), int((b < a).sum()))
        found.append(Comparison(group, len(a), float(a.mean()), float(b.mean()), low, high, p, p, *tally))
    adjusted = holm([one.p for one in found])
    return [Comparison(**{**vars(one), "adjusted": p}) for one, p in zip(found, adjusted, strict=True)]


def randomisation_test(differences: NDArray[np.float64], resamples: int, generator: np.random.Generator) -> float:
    """Return the two-sided p-value of the paired randomisation test.

    Signs are drawn at random, or enumerated if there are few enough combinations.

    Parameters
    ----------
    differences
        ``(n,)`` differences of the paired scores.
    resamples
        Number of random sign assignments.
    generator
        Source of randomness.
    """
    from scipy.stats import permutation_test

    # Queries without a difference do not affect the test, and a single difference gives the same statistic with either
    # sign.
    moved = differences[differences != 0]
    if len(moved) < 2:
        return 1.0
    result = permutation_test(
        (moved,),
        lambda sample, axis: np.abs(sample.mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // len(moved)),
        alternative="greater",
        rng=generator,
    )
    return float(result.pvalue)


def bootstrap_interval(
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of paired differences.

    Parameters
    ----------
    differences
        ``(n,)`` differences of the paired scores.
    resamples
        Number of bootstrap resamples.
    generator
        Source of randomness.

    Returns
    -------
    tuple of float
        Lower and upper bound.
    """
    from scipy.stats import bootstrap

    if len(differences) < 2 or np.ptp(differences) == 0:
        return float(differences.mean()), float(differences.mean())
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // len(differences)),
        confidence_level=0.95,
        method="percentile",
        rng=generator,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down procedure; compare each result with the significance level directly."""
    adjusted = [0.0] * len(values)
    worst = 0.0
    for rank, position in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        worst = max(worst, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = worst
    return adjusted


def _paired(
    group: str, first: Mapping[str, float], second: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if first.keys() != second.keys():
        query = sorted(first.keys() ^ second.keys())[0]
        where = "first" if query in first else "second"
        raise InputError(
            f"{group}: query {query!r} is in the {where} alone; a paired test needs both on the same queries"
        )
    if not first:
        raise InputError(f"{group}: has no queries to compare")
    queries = list(first)
    return np.array([first[query] for query in queries]), np.array([second[query] for query in queries])
