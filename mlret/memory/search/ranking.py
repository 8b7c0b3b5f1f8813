"""Terms that are added to the score of a search (neighbours in a session, links, age), and the confidence in a result.

Scores here are on the scale of fusion, standard deviations among the candidates (:mod:`mlret.index.fusion`), so each
term is bounded in the same unit, and the score of a hit is the sum of its terms. Which terms are on by default, and
their weights, are measured by ``mlret eval memory``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.errors import InputError
from mlret.memory.text.duplicates import DuplicateThresholds, density
from mlret.memory.text.features import Facts
from mlret.memory.text.merge_guards import conflicts, same_wording, unchecked

CONTIGUITY = 0.5
"""How much of the better neighbour's score a turn gets."""
LINK_HOP = 0.25
"""How much of the best linking record's score a linked record gets."""

Scores = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Terms that are added to the channels' scores. Weights are in standard deviations of those; 0 disables a term.

    Attributes
    ----------
    contiguity
        Weight of the better neighbour's score, for records next to it in a session.
    window
        Weight of the scores of the records two places before and after a record in its session, so that a turn in a
        passage of good turns gains.
    links
        Weight of the best linked record's score: one hop, in either direction.
    dates
        Bonus of a record whose time lies within a date that the query names, in a language of
        :data:`mlret.memory.text.dates.LANGUAGES`; smaller outside it. It reorders hits and never filters.
    speaker
        Bonus of a record that was said by whom the question names, or, if it asks *you*, by the assistant.
    persons
        Penalty of a record about a relative or another person that the question does not name, and bonus of one that
        it names.
    cues
        Bonus or penalty of a record for what the question asks: an outcome, not a plan; a danger, not a liking; what is
        not so.
    occasions
        Whether a question about the last, or the first, time ranks the last, or the first, of repeated events first.
    succession
        Whether a record ranks behind the one that replaces it; the other way round if the question asks what was
        before, and not at all if it names a time before the replacement.
    decay, tau_days
        The most that a record can lose by age, and the time constant, which grows with use. Off by default.
    collapse
        Whether to collapse near-duplicates into one hit; requires thresholds calibrated for the encoder.
    sessions
        Whether to rank sessions, by the mean over the granularities that each has (turns, events, summaries, facts),
        and return the best record of each.
    """

    contiguity: float = CONTIGUITY
    window: float = 0.25
    links: float = LINK_HOP
    dates: float = 2.0
    speaker: float = 2.0
    persons: float = 0.5
    cues: float = 2.0
    occasions: bool = True
    succession: bool = True
    decay: float = 0.0
    tau_days: float = 30.0
    collapse: bool = True
    sessions: bool = False


CHANNELS_ALONE = Ranking(
    contiguity=0,
    window=0,
    links=0,
    dates=0,
    speaker=0,
    persons=0,
    cues=0,
    occasions=False,
    succession=False,
    collapse=False,
)
"""The ranking by the channels' scores, without any further term."""


@dataclass(frozen=True)
class Ranked:
    """Ranked candidates with their score terms.

    Attributes
    ----------
    order
        ``(n,)`` int64: indices of the candidates, best first; of equal scores the lower index comes first.
    scores
        ``(n,)`` float64, descending: the sums of the terms, rounded to six decimals.
    terms
        Name -> ``(n,)`` float64, in the same order.
    """

    order: Rows
    scores: Scores
    terms: dict[str, Scores]


def combine(terms: Mapping[str, ArrayLike]) -> Ranked:
    """Rank candidates by the sum of their terms.

    Parameters
    ----------
    terms
        Name -> ``(n,)``: the terms of the candidates.

    Returns
    -------
    Ranked
        The candidates, best first.

    Raises
    ------
    InputError
        If there are no terms, they differ in length, or one is not finite.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in terms.items()}
    if len({values.shape for values in arrays.values()}) != 1:
        lengths = ", ".join(f"{name}: {values.shape}" for name, values in arrays.items()) or "none"
        raise InputError(f"the terms of a ranking must have one length ({lengths})")
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(f"the term {name!r} of a ranking has a value that is not finite; remove the candidate")
    scores = np.round(sum(arrays.values(), np.zeros(())), 6) + 0.0  # Adding 0.0 removes negative zeros.
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return Ranked(order, scores[order], {name: values[order] for name, values in arrays.items()})


def contiguity(scores: ArrayLike, sessions: ArrayLike, places: ArrayLike, weight: float = CONTIGUITY) -> Scores:
    """Return the bonus of turns for their neighbours: ``weight`` times the better adjacent score, if above 0.

    An answer often shares no word with the question that was asked before it, but a query matches the question. After
    EM-LLM's contiguity buffer (Fountas et al., arXiv 2407.09450).

    Parameters
    ----------
    scores
        ``(n,)``: scores of the candidates. Neighbours of good candidates must be among them to get a bonus.
    sessions
        ``(n,)`` integers: session of each; -1 for none.
    places
        ``(n,)`` integers: position in the session. Neighbours are one apart.
    weight
        Factor of the neighbour's score.

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


def window(scores: ArrayLike, sessions: ArrayLike, places: ArrayLike, weight: float) -> Scores:
    """Return the bonus of turns for those two places away: ``weight`` times the sum of their scores, if above 0.

    In a conversation two turns belong to each speaker's remark and the reply to it, so the turn before the previous one
    is by the same speaker and about the same matter.

    Parameters
    ----------
    scores, sessions, places
        As for :func:`contiguity`.
    weight
        Factor of the scores.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, at least 0.
    """
    values = np.maximum(np.asarray(scores, dtype=np.float64), 0)
    session, place = np.asarray(sessions, dtype=np.int64), np.asarray(places, dtype=np.int64)
    order = np.lexsort((place, session))
    total = np.zeros(len(values))
    for step in (1, 2):  # If the turn between is not a candidate, the two are next to each other in this order.
        before, after = order[:-step], order[step:]
        apart = (session[before] == session[after]) & (place[after] - place[before] == 2) & (session[after] >= 0)
        np.add.at(total, before[apart], values[after[apart]])
        np.add.at(total, after[apart], values[before[apart]])
    return weight * total


def link_hop(scores: ArrayLike, links: ArrayLike, weight: float = LINK_HOP) -> Scores:
    """Return the bonus of records for their links: ``weight`` times the best score of a linked record, if above 0.

    Only one hop is followed: the score that is passed on is that of the channels, not what links added to it. Links
    count in both directions.

    Parameters
    ----------
    scores
        ``(n,)``: scores of the candidates.
    links
        ``(m, 2)`` integers: pairs of candidates.
    weight
        Factor of the linked record's score.

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
    """Return how well memories are retained: ``R = exp(-age / (tau * S))``, ``S = 1 + log(1 + accesses)``.

    Ebbinghaus' curve as used by MemoryBank (Zhong et al., arXiv 2305.10250), with a strength that grows ever more
    slowly: retention increases with use and decreases with time, from 1 towards 0.

    Parameters
    ----------
    age
        ``(n,)``, in the unit of ``tau``; times in the future have age 0.
    accesses
        ``(n,)``: how often each was used.
    tau
        Time after which the retention of an unused memory is ``1 / e``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, above 0 and at most 1.

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
    """Return the penalty of memories for their age, from 0 for a fresh one to ``-weight`` for a very old one.

    The penalty reorders hits and never filters them.

    Parameters
    ----------
    retained
        ``(n,)``: the result of :func:`retention`.
    weight
        Maximum penalty.
    """
    return weight * (np.asarray(retained, dtype=np.float64) - 1)


def standard(scores: ArrayLike, levels: ArrayLike | None = None) -> Scores:
    """Return standard scores within each level, so that summaries and turns are on one scale.

    Parameters
    ----------
    scores
        ``(n,)``; NaN stays NaN and is ignored.
    levels
        ``(n,)``: turn, event, session, …; by default all are of one level. A level whose scores are all equal gets 0.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64.
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
    """Rank sessions by everything that is stored about them: turns, events, summaries and facts.

    A session's score is the mean, over the levels that it has, of the standard score of its best record there. A level
    that a session lacks does not count against it. Weighting levels by the entropy of their scores, as MemGAS (arXiv
    2505.19549) does, ranked worse than the mean where both were measured.

    Parameters
    ----------
    scores
        ``(n,)``: scores of records.
    levels
        ``(n,)``: level of each.
    units
        ``(n,)`` integers: session of each; records with -1 belong to none and are skipped.

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
    """Group hits that say the same, in any language.

    A hit joins the first better one that has the same words, or that is as near as a duplicate must be without any
    guard that blocks it or lacks a list. This replaces maximal marginal relevance, which also removes hits that merely
    concern the same topic.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32 of unit length: vectors of the hits, best first.
    facts
        Facts of their texts.
    thresholds
        Thresholds of the encoder.
    times
        When the event of each text happened, ``None`` if unknown. Texts of different times are different occasions and
        are not grouped. By default all are of one time.

    Returns
    -------
    list of list of int
        The groups in the order of their best hits; each lists the ranks of its hits in ascending order.
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
    """Return how far the best record stands out: its cosine less the density around it, which is at least the usual.

    Parameters
    ----------
    cosines
        ``(n,)``: cosines of a query with the nearest records, in descending order; five are enough.
    usual
        :meth:`~mlret.memory.text.duplicates.DuplicateThresholds.density` of the query's language.

    Returns
    -------
    float
        -1 if there are no records. Below :attr:`~mlret.memory.text.duplicates.DuplicateThresholds.answer` the memory
        may say that it does not know.
    """
    nearest = np.asarray(cosines, dtype=np.float64)
    return float(nearest[0]) - density(nearest[1:], usual) if len(nearest) else -1.0
