"""Fit the weights of the score terms to feedback about which hits were useful.

After a search, the user says which of the hits were useful. From a log of such searches the weights of the terms
(meaning, words, neighbours, links, time, …) are fitted, all at once and in the order of the log: the same log gives the
same weights, and an empty log gives the initial ones. This is the supervision that RMM (Tan et al., arXiv 2503.08026)
takes from citations, with a convex loss in place of REINFORCE, so that nothing is random.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.errors import InputError, require
from mlret.memory.search.ranking import Ranked, combine

PRIOR = 10.0
"""How many searches the first weights are worth: with few searches little changes."""
MOST = 4.0
"""No weight grows beyond this; none falls below 0, for evidence never speaks against a record."""


@dataclass(frozen=True)
class LoggedSearch:
    """The candidates of one search, and which of them were useful.

    Attributes
    ----------
    terms
        Name -> ``(n,)``: the score terms of the candidates, before weighting.
    used
        ``(n,)`` bool. A search of which none or all were useful does not affect the weights.
    """

    terms: Mapping[str, Sequence[float]]
    used: Sequence[bool]

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.terms.values()} | {len(self.used)}
        if len(lengths) != 1:
            raise InputError(f"a logged search has terms and marks of {sorted(lengths)} candidates; log one of each")

    def as_json(self) -> dict[str, Any]:
        """Return the terms, rounded to six decimals, and the marks as JSON values."""
        terms = {name: [round(float(value), 6) for value in values] for name, values in self.terms.items()}
        return {"terms": terms, "used": [bool(one) for one in self.used]}


def fit_weights(log: Iterable[LoggedSearch], names: Sequence[str], *, prior: float = PRIOR) -> dict[str, float]:
    """Return the weights that best explain which candidates were useful, regularised towards 1.

    They minimise, over the searches, the cross entropy between what was used and the softmax of the scores, plus
    ``prior / 2`` times the squared distance of each weight from 1: ListNet with top-one probabilities (Cao et al.,
    Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007), which is convex in the weights.

    Parameters
    ----------
    log
        Searches, in the order in which they were made. Terms that a search lacks count as 0.
    names
        Names of the terms to weight.
    prior
        Strength of the regularisation, above 0; see :data:`PRIOR`.

    Returns
    -------
    dict
        Name -> weight, 0 to :data:`MOST`, rounded to six decimals; all 1 if the log holds nothing to learn from.

    Raises
    ------
    InputError
        If ``prior`` is not above 0.
    """
    if not prior > 0:
        raise InputError(f"the prior is {prior!r}; give a number of searches above 0")
    cases: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
    for search in log:
        used = np.asarray(search.used, dtype=np.bool_)
        if used.any() and not used.all():
            zeros = np.zeros(len(used))
            features = [np.asarray(search.terms.get(name, zeros), dtype=np.float64) for name in names]
            cases.append((np.column_stack(features), used))
    if not cases or not names:
        return dict.fromkeys(names, 1.0)
    minimize = require("scipy.optimize", extra="eval", feature="fitting the weights of a memory's channels").minimize

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = prior / 2 * float(((weights - 1) ** 2).sum())
        slope = prior * (weights - 1)
        for features, used in cases:
            scores = features @ weights
            shares = scores - scores.max()
            shares -= np.log(np.exp(shares).sum())
            total -= float(shares[used].mean())
            slope = slope + features.T @ np.exp(shares) - features[used].mean(axis=0)
        return total, slope

    bounds = [(0.0, MOST)] * len(names)
    found = minimize(loss, np.ones(len(names)), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return {name: round(float(weight), 6) for name, weight in zip(names, found.x, strict=True)}


def weighted(terms: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> Ranked:
    """Rank candidates by the weighted sum of their terms; terms without a weight have weight 1.

    Parameters
    ----------
    terms
        As for :func:`~mlret.memory.search.ranking.combine`.
    weights
        The result of :func:`fit_weights`.
    """
    return combine({name: weights.get(name, 1.0) * np.asarray(values, dtype=float) for name, values in terms.items()})
