"""Fuse the rankings of several channels (dense, lexical) into one.

A channel may be unable to say anything about a record: words of another language or script than the query's cannot
match. Such a record is scored by the channels that apply to it, on the same scale, and is not put behind those that
merely had the chance. Evidence that a channel finds all the same, such as a number that both texts hold, can only help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.data.scripts import scripts_of, share_script
from mlret.errors import InputError

_NEARLY_ONE = 1 - 1e-9
RRF_K = 60  # Cormack et al. chose it in a pilot; results hardly depend on it


@dataclass(frozen=True)
class Fused:
    """Records in their fused order.

    Attributes
    ----------
    rows
        ``(n,)`` int64, best first; equal scores by rising row.
    scores
        ``(n,)`` float64, falling.
    parts
        ``(n, c)`` float64: what each channel says of the record, on the common scale; NaN where it was not counted.
        ``scores`` is the mean of a row over what is no NaN.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: NDArray[np.float64]


def align(
    channels: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The records that any channel found, and what each channel gave them.

    Parameters
    ----------
    channels
        For each of ``c`` channels its scores and rows, a row at most once.

    Returns
    -------
    rows : numpy.ndarray
        ``(n,)`` int64, rising.
    scores : numpy.ndarray
        ``(n, c)`` float64; NaN where a channel did not find the record.
    """
    rows = np.unique(np.concatenate([rows for _, rows in channels])) if channels else np.empty(0, dtype=np.int64)
    scores = np.full((len(rows), len(channels)), np.nan)
    for channel, (found, where) in enumerate(channels):
        scores[np.searchsorted(rows, where), channel] = found
    return rows, scores


def reciprocal_rank_fusion(
    rows: NDArray[np.int64], scores: NDArray[np.float64], applies: NDArray[np.bool_], *, k: int = RRF_K
) -> Fused:
    """The mean of ``1 / (k + rank)`` over the channels that apply to a record.

    Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods
    (SIGIR 2009), sum over the channels; the mean ranks records to which all channels apply in the same way. Ranks count
    from 1; equal scores rank by rising row. A channel that applies and did not find the record counts as 0; one that
    found nothing at all is left out.

    Parameters
    ----------
    rows
        ``(n,)`` int64, each once.
    scores
        ``(n, c)`` float64, higher is better; NaN where a channel did not find the record.
    applies
        ``(n, c)`` bool: whether the channel would have found the record, were it about the query; see
        :func:`lexical_applies`.
    k
        What is added to every rank.

    Raises
    ------
    InputError
        If the shapes disagree, or no channel applies to a record.
    """
    _check(rows, scores, applies)
    found = ~np.isnan(scores)
    parts = np.where(applies & found.any(axis=0), 0.0, np.nan)
    for channel in range(scores.shape[1]):
        order = np.lexsort((rows, -scores[:, channel]))[: np.count_nonzero(found[:, channel])]  # NaN is sorted last
        parts[order, channel] = 1 / (k + 1 + np.arange(len(order)))
    return _ordered(rows, parts, applies)


def z_mean(rows: NDArray[np.int64], scores: NDArray[np.float64], applies: NDArray[np.bool_]) -> Fused:
    """The mean of the standard scores over the channels that apply to a record.

    A channel's standard score is ``(score - mean) / deviation``, both over the records that it applies to or found. A
    record that it could have found and did not counts with the lowest score that it found: it may have had as much.
    A channel that found nothing, or all with one score, tells nothing apart and is left out. To average over the
    systems that speak of a record is CombANZ of Fox and Shaw, Combination of Multiple Searches (TREC-2, 1994); to do
    it with standard scores is from Renda and Straccia, Web Metasearch: Rank vs. Score Based Rank Aggregation Methods
    (SAC 2003).

    Parameters
    ----------
    rows, scores, applies
        As for :func:`reciprocal_rank_fusion`. Best without NaN for a channel that can score any record.

    Raises
    ------
    InputError
        If the shapes disagree, or no channel applies to a record.
    """
    _check(rows, scores, applies)
    found = ~np.isnan(scores)
    parts = np.full_like(scores, np.nan)
    for channel in np.flatnonzero(found.any(axis=0)):
        concerned = applies[:, channel] | found[:, channel]
        filled = np.where(found[:, channel], scores[:, channel], np.nanmin(scores[:, channel]))[concerned]
        if np.ptp(filled) > 0:
            parts[concerned, channel] = (filled - filled.mean()) / filled.std()
    return _ordered(rows, parts, applies)


def in_unit(sums: ArrayLike) -> NDArray[np.float64]:
    """Sums of standard scores and what is added to them, brought between 0 and 1: ``1 / (1 + exp(-sum))``.

    The order stays. One half is what an average candidate has, or one beside which there is no other. It is a place
    among the candidates of one query, and no probability: to compare queries, take the cosine.
    """
    return np.asarray(1 / (1 + np.exp(-np.asarray(sums, dtype=np.float64))))


def alone(cosines: ArrayLike) -> NDArray[np.float64]:
    """The sums of candidates that no channel tells apart, such as a single one: :func:`in_unit` makes them
    ``(1 + cosine) / 2``.

    Parameters
    ----------
    cosines
        ``(n,)`` with the query.
    """
    return 2 * np.arctanh(np.clip(np.asarray(cosines, dtype=np.float64), -_NEARLY_ONE, _NEARLY_ONE))


def lexical_applies(
    query: str, language: str | None, texts: Sequence[str], languages: Sequence[str | None]
) -> NDArray[np.bool_]:
    """Which records would share words with a query if they were about the same thing.

    They are those in the query's language and script. Where a language is not known, the script alone decides.
    Between languages of one script words do match (names, loan words, numbers), but their absence means nothing.

    Parameters
    ----------
    query, language
        The query, and its language if it is known.
    texts, languages
        ``n`` records, and the language of each if it is known.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool: the column of the lexical channel in ``applies``.
    """
    scripts = scripts_of(query)
    wanted = _primary(language)
    return np.array(
        [
            (wanted is None or of is None or _primary(of) == wanted) and share_script(scripts, scripts_of(text))
            for text, of in zip(texts, languages, strict=True)
        ],
        dtype=np.bool_,
    )


def _primary(language: str | None) -> str | None:
    return None if language is None else language.partition("-")[0]


def _check(rows: NDArray[np.int64], scores: NDArray[np.float64], applies: NDArray[np.bool_]) -> None:
    if scores.ndim != 2 or len(scores) != len(rows) or applies.shape != scores.shape:
        raise InputError(
            f"{len(rows)} rows, scores of shape {scores.shape} and applies of shape {applies.shape} do not fit; "
            "give both matrices a line a row and a column a channel"
        )
    if len(rows) and not (applies | ~np.isnan(scores)).any(axis=1).all():
        raise InputError("no channel applies to a record; leave it out")


def _ordered(rows: NDArray[np.int64], parts: NDArray[np.float64], applies: NDArray[np.bool_]) -> Fused:
    """Average what counts for each record, and sort. ``parts`` is NaN where a channel says nothing."""
    counted = np.where(applies, parts, np.nan)
    # What a channel found although it need not have counts only where that raises the mean.
    for channel in range(parts.shape[1]):
        better = ~applies[:, channel] & (parts[:, channel] > _mean(counted, empty=-np.inf))
        counted[better, channel] = parts[better, channel]
    scores = _mean(counted, empty=0.0)
    order = np.lexsort((rows, -scores))
    return Fused(rows[order], scores[order], counted[order])


def _mean(parts: NDArray[np.float64], *, empty: float) -> NDArray[np.float64]:
    """The mean of each row over what is no NaN; ``empty`` where all is."""
    present = ~np.isnan(parts)
    counts = present.sum(axis=1)
    sums = np.where(present, parts, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), empty)
