"""What is added to the evidence of a search: neighbours in a conversation, links, age; and when to say nothing.

Scores here are on the scale that fusion gives, standard deviations among the candidates (:mod:`mlret.index.fusion`), so
what is added has a bound in the same unit, and the score of a hit is the sum of its terms. Which terms are on by
default, and what each is worth: both are measured by ``mlret eval memory``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.errors import InputError
from mlret.memory.duplicates import DuplicateThresholds, density
from mlret.memory.facts import Facts
from mlret.memory.guards import conflicts, same_wording, unchecked

CONTIGUITY = 0.5
"""How much of the better neighbour's score a turn gets."""
LINK_HOP = 0.25
"""How much of the best linking record's score a linked record gets."""

Scores = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """Candidates in their order, and why.

    Attributes
    ----------
    order
        ``(n,)`` int64: places of the candidates, best first; equal scores by the lower place.
    scores
        ``(n,)`` float64, falling; the sum of the terms, rounded to six decimals.
    terms
        Name -> ``(n,)`` float64, in the same order.
    """

    order: Rows
    scores: Scores
    terms: dict[str, Scores]


def combine(terms: Mapping[str, ArrayLike]) -> Ranked:
    """Rank by the sum of terms.

    Parameters
    ----------
    terms
        Name -> ``(n,)`` of the candidates.

    Raises
    ------
    InputError
        If there is no term, or two differ in length, or one is no number.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in terms.items()}
    if len({values.shape for values in arrays.values()}) != 1:
        lengths = ", ".join(f"{name}: {values.shape}" for name, values in arrays.items()) or "none"
        raise InputError(f"the terms of a ranking must have one length ({lengths})")
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(f"the term {name!r} of a ranking holds what is no number; leave the candidate out")
    scores = np.round(sum(arrays.values(), np.zeros(())), 6) + 0.0  # + 0.0: no negative zero
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return Ranked(order, scores[order], {name: values[order] for name, values in arrays.items()})


def contiguity(scores: ArrayLike, sessions: ArrayLike, places: ArrayLike, weight: float = CONTIGUITY) -> Scores:
    """What a turn gets for its neighbours: ``weight`` times the better score of the turns beside it, if above 0.

    An answer often shares no word with the question that was asked before it; the question does. After EM-LLM's
    contiguity buffer (Fountas et al., arXiv 2407.09450).

    Parameters
    ----------
    scores
        ``(n,)`` of the candidates; the neighbours of good ones must be among them, or they get nothing.
    sessions
        ``(n,)`` integers: the conversation of each; -1 for none.
    places
        ``(n,)`` integers: the place in it. Neighbours are one apart.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, at least 0.
    """
    values = np.asarray(scores, dtype=np.float64)
    session, place = np.asarray(sessions, dtype=np.int64), np.asarray(places, dtype=np.int64)
    order = np.lexsort((place, session))
    beside = (np.diff(session[order]) == 0) & (np.diff(place[order]) == 1) & (session[order][1:] >= 0)
    before, after = order[:-1][beside], order[1:][beside]
    best = np.zeros(len(values))
    np.maximum.at(best, before, values[after])
    np.maximum.at(best, after, values[before])
    return weight * best


def link_hop(scores: ArrayLike, links: ArrayLike, weight: float = LINK_HOP) -> Scores:
    """What a record gets for its links: ``weight`` times the best score of a record linked to it, if above 0.

    One hop: what is handed on is the evidence, not what links added to it. Links count both ways.

    Parameters
    ----------
    scores
        ``(n,)`` of the candidates.
    links
        ``(m, 2)`` integers: pairs of candidates.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, at least 0.
    """
    values = np.asarray(scores, dtype=np.float64)
    pairs = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    best = np.zeros(len(values))
    np.maximum.at(best, pairs[:, 0], values[pairs[:, 1]])
    np.maximum.at(best, pairs[:, 1], values[pairs[:, 0]])
    return weight * best


def retention(age: ArrayLike, accesses: ArrayLike, tau: float) -> Scores:
    """How well a memory is retained: ``R = exp(-age / (tau * S))``, ``S = 1 + log(1 + accesses)``.

    Ebbinghaus' curve as MemoryBank (Zhong et al., arXiv 2305.10250) takes it, with a strength that grows
    ever more slowly: it rises with use and falls with time, from 1 towards 0.

    Parameters
    ----------
    age
        ``(n,)``, in the unit of ``tau``; what lies ahead has age 0.
    accesses
        ``(n,)``, how often each was used.
    tau
        After so long an unused memory is down to ``1 / e``.

    Raises
    ------
    InputError
        If ``tau`` is not above 0.
    """
    if not tau > 0:
        raise InputError(f"tau is {tau!r}; give a time above 0, after which an unused memory is down to 1/e")
    strength = 1 + np.log1p(np.maximum(np.asarray(accesses, dtype=np.float64), 0))
    return np.asarray(np.exp(-np.maximum(np.asarray(age, dtype=np.float64), 0) / (tau * strength)))


def decay(retained: ArrayLike, weight: float) -> Scores:
    """What a memory loses by its age: from 0 for a fresh one to ``-weight`` for one long past; it is never a filter."""
    return weight * (np.asarray(retained, dtype=np.float64) - 1)


def standard(scores: ArrayLike, levels: ArrayLike | None = None) -> Scores:
    """Standard scores, within each level: a summary's and a turn's are then on one scale.

    Parameters
    ----------
    scores
        ``(n,)``; NaN stays NaN and counts for nothing.
    levels
        ``(n,)``: turn, event, session, …; all one by default. A level whose scores are all the same has 0.
    """
    values = np.asarray(scores, dtype=np.float64)
    of = (
        np.zeros(len(values), dtype=np.int64)
        if levels is None
        else np.unique(np.asarray(levels), return_inverse=True)[1]
    )
    found = np.full(len(values), np.nan)
    for level in np.unique(of):
        some = (of == level) & ~np.isnan(values)
        spread = values[some].std() if some.any() else 0.0
        found[some] = (values[some] - values[some].mean()) / spread if spread > 1e-12 else 0.0
    return found


def granularities(scores: ArrayLike, levels: ArrayLike, units: ArrayLike) -> tuple[Rows, Scores]:
    """Rank sessions by all that is stored of them: turns, events, summaries, facts.

    A session's score is the mean, over the levels that it has, of the standard score of its best record there. A level
    that a session lacks does not count against it. Weighing levels by the entropy of their scores, as MemGAS (arXiv
    2505.19549) does, ranked worse than the mean where both were measured.

    Parameters
    ----------
    scores
        ``(n,)`` of records.
    levels
        ``(n,)``: the level of each.
    units
        ``(n,)`` integers: the session of each; -1 for none, which is passed over.

    Returns
    -------
    units : numpy.ndarray
        ``(u,)`` int64, best first; of equal ones the lower number first.
    scores : numpy.ndarray
        ``(u,)`` float64.
    """
    unit = np.asarray(units, dtype=np.int64)
    chosen = unit >= 0
    values, unit = np.asarray(scores, dtype=np.float64)[chosen], unit[chosen]
    kinds, level = np.unique(np.asarray(levels)[chosen], return_inverse=True)
    names, row = np.unique(unit, return_inverse=True)
    best = np.full((len(names), len(kinds)), -np.inf)
    np.maximum.at(best, (row, level), values)
    best[best == -np.inf] = np.nan
    on_scale = np.column_stack([standard(column) for column in best.T]) if len(kinds) else best
    total = np.nan_to_num(on_scale).sum(axis=1) / np.maximum(1, (~np.isnan(on_scale)).sum(axis=1))
    order = np.lexsort((names, -total))
    return names[order], total[order]


def collapse(
    vectors: NDArray[np.float32],
    facts: Sequence[Facts],
    thresholds: DuplicateThresholds,
    times: Sequence[object] | None = None,
) -> list[list[int]]:
    """Gather hits that say the same, in whatever language.

    A hit joins the first better one that says the same words, or that it is as near to as a duplicate must be, with no
    guard between them that speaks against it or lacks a list. This
    takes the place of maximal marginal relevance, which also thins out what merely concerns the same thing.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32 of unit length, of the hits, best first.
    facts
        Of their texts.
    thresholds
        Of the encoder.
    times
        When what each text tells of happened, ``None`` where that is not known: texts of different times are different
        occasions. By default all are of one time.

    Returns
    -------
    list of list of int
        The groups by their best, and in each the places by rank.
    """
    groups: list[list[int]] = []
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    for place, one in enumerate(facts):
        for group in groups:
            head = facts[group[0]]
            usual = (thresholds.density(one.language) + thresholds.density(head.language)) / 2
            margin = cosines[place, group[0]] - usual
            if times is not None and times[place] != times[group[0]]:
                continue
            near = margin >= thresholds.duplicate and not conflicts(one, head) and not unchecked(one, head)
            if near or same_wording(one, head):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def confidence(cosines: ArrayLike, usual: float) -> float:
    """How far the best record stands out: its cosine less how close the next ones are, but at least the usual.

    Parameters
    ----------
    cosines
        ``(n,)`` of a query with the nearest records, the highest first; five are enough.
    usual
        :meth:`~mlret.memory.duplicates.DuplicateThresholds.density` of the query's language.

    Returns
    -------
    float
        -1 where there are no records. Below :attr:`~mlret.memory.duplicates.DuplicateThresholds.answer` the memory may
        say that it does not know.
    """
    nearest = np.asarray(cosines, dtype=np.float64)
    return float(nearest[0]) - density(nearest[1:], usual) if len(nearest) else -1.0
