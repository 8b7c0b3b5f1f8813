"""Is one system better than another? Tests that pair their scores query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

_AT_ONCE = 2**24  # resampled scores in memory


@dataclass(frozen=True)
class Comparison:
    """Two systems on the queries of one group (mostly a language).

    Attributes
    ----------
    group
        Its name.
    queries
        How many queries both answered.
    first, second
        Their means.
    low, high
        The 95 % confidence interval of ``second - first``: percentiles of the paired bootstrap over queries.
    p
        Two-sided, of the paired randomisation test.
    adjusted
        The same after Holm's correction for the number of groups.
    wins, losses
        Queries where ``second`` is above and below ``first``.
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
        """``second - first``."""
        return self.second - self.first


def compare_groups(
    first: Mapping[str, Mapping[str, float]],
    second: Mapping[str, Mapping[str, float]],
    *,
    resamples: int = 9_999,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two systems, group by group.

    The randomisation test (Fisher; Smucker et al., CIKM 2007) swaps the two scores of every query with probability one
    half and asks how often the means then differ as much as they do. Holm's step-down correction (1979) holds the
    chance of any false finding over all groups at the level that one test has.

    Parameters
    ----------
    first, second
        Group -> query -> score.
    resamples
        Of the test and of the bootstrap each; the least p is one over one more.
    seed
        Of the resampling.

    Raises
    ------
    InputError
        If they share no group, or one has a query of a shared group that the other lacks.
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
    """The two-sided p of paired ``(n,)`` differences, by random signs; where few signs are possible, by all of them."""
    from scipy.stats import permutation_test

    # Queries without a difference change neither side of the comparison; of one alone either sign is as good.
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
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of the mean of ``(n,)`` paired differences."""
    from scipy.stats import bootstrap

    if len(differences) < 2 or np.ptp(differences) == 0:
        return float(differences.mean()), float(differences.mean())
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // len(differences)),
        confidence_level=level,
        method="percentile",
        rng=generator,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down procedure: each may be held against the level as it is."""
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
