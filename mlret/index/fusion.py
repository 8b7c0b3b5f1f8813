"""Fuse the rankings of several channels (dense, lexical) into one.

A channel may be unable to judge a record: a text in another language or script than the query cannot match its words.
Such a record is scored by the channels that apply to it, on the same scale, and so is not ranked behind records that
merely could have matched. If a channel matches such a record nevertheless, for instance by a number that both texts
contain, the match can only raise its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.data.scripts import scripts_of, share_script
from mlret.errors import InputError

_NEARLY_ONE = 1 - 1e-9
RRF_K = 60  # Cormack et al. chose it in a pilot experiment; the results hardly depend on it.


@dataclass(frozen=True)
class Fused:
    """Records in their fused order.

    Attributes
    ----------
    rows
        ``(n,)`` int64, best first; equal scores are ordered by ascending row.
    scores
        ``(n,)`` float64, in descending order.
    parts
        ``(n, c)`` float64: the score of each channel for the record, on the common scale; NaN where it was not counted.
        ``scores`` is the mean of each row over the values that are not NaN.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: NDArray[np.float64]


def align(
    channels: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Collect the records that any channel found, with the score that each channel gave them.

    Parameters
    ----------
    channels
        For each of ``c`` channels its scores and rows. A channel names a row at most once.

    Returns
    -------
    rows : numpy.ndarray
        ``(n,)`` int64, in ascending order.
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
    """Rank records by the mean of ``1 / (k + rank)`` over the channels that apply to them.

    Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods
    (SIGIR 2009), sum over the channels; the mean gives the same order for records to which all channels apply. Ranks
    start at 1, and equal scores are ranked by ascending row. A channel that applies to a record and did not find it
    counts as 0. A channel that found nothing at all is excluded.

    Parameters
    ----------
    rows
        ``(n,)`` int64 without duplicates.
    scores
        ``(n, c)`` float64, higher is better; NaN where a channel did not find the record.
    applies
        ``(n, c)`` bool: whether the channel would have found the record if it were relevant to the query; see
        :func:`lexical_applies`.
    k
        The constant that is added to every rank.

    Returns
    -------
    Fused
        The records in their fused order.

    Raises
    ------
    InputError
        If the shapes disagree, or no channel applies to a record.
    """
    _check(rows, scores, applies)
    found = ~np.isnan(scores)
    parts = np.where(applies & found.any(axis=0), 0.0, np.nan)
    for channel in range(scores.shape[1]):
        order = np.lexsort((rows, -scores[:, channel]))[: np.count_nonzero(found[:, channel])]  # NaN is sorted last.
        parts[order, channel] = 1 / (k + 1 + np.arange(len(order)))
    return _ordered(rows, parts, applies)


def z_mean(rows: NDArray[np.int64], scores: NDArray[np.float64], applies: NDArray[np.bool_]) -> Fused:
    """Rank records by the mean of their standard scores over the channels that apply to them.

    A channel's standard score is ``(score - mean) / deviation``, both over the records that the channel applies to or
    found. A record that the channel applies to and did not find gets the lowest score that the channel found, which is
    an upper bound of its score. A channel that found nothing, or gave all records one score, distinguishes nothing and
    is excluded. Averaging over the systems that score a record is CombANZ of Fox and Shaw, Combination of Multiple
    Searches (TREC-2, 1994); using standard scores is from Renda and Straccia, Web Metasearch: Rank vs. Score Based Rank
    Aggregation Methods (SAC 2003).

    Parameters
    ----------
    rows, scores, applies
        As for :func:`reciprocal_rank_fusion`. A channel that can score any record should leave no NaN.

    Returns
    -------
    Fused
        The records in their fused order.

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
    """Map sums of standard scores to values between 0 and 1 by ``1 / (1 + exp(-sum))``.

    The order is kept. The value 0.5 is that of an average candidate, or of a candidate without any other to compare
    with. The result is a relative score among the candidates of one query and not a probability; use the cosine to
    compare across queries.
    """
    return np.asarray(1 / (1 + np.exp(-np.asarray(sums, dtype=np.float64))))


def alone(cosines: ArrayLike) -> NDArray[np.float64]:
    """Return sums for candidates that no channel distinguishes, such as a single one, from their cosines.

    :func:`in_unit` maps these sums to ``(1 + cosine) / 2``.

    Parameters
    ----------
    cosines
        ``(n,)`` cosines with the query.
    """
    return 2 * np.arctanh(np.clip(np.asarray(cosines, dtype=np.float64), -_NEARLY_ONE, _NEARLY_ONE))


def lexical_applies(
    query: str, language: str | None, texts: Sequence[str], languages: Sequence[str | None]
) -> NDArray[np.bool_]:
    """Return which records would share words with a query if they were about the same thing.

    These are the records in the query's language and script. If a language is unknown, the script alone decides. Words
    may match between languages of one script (names, loan words, numbers), but their absence says nothing about
    relevance.

    Parameters
    ----------
    query, language
        The query, and its language if known.
    texts, languages
        The texts of ``n`` records, and the language of each if known.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool: the column of the lexical channel in ``applies``.
    """
    wanted = Written(scripts_of(query), language)
    return np.array(
        [may_share_words(wanted, Written(scripts_of(text), of)) for text, of in zip(texts, languages, strict=True)],
        dtype=np.bool_,
    )


class Written(NamedTuple):
    """How a text is written: its scripts, as :func:`mlret.data.scripts.scripts_of` names them, and its language."""

    scripts: frozenset[str]
    language: str | None


def may_share_words(query: Written, text: Written) -> bool:
    """Return whether a text would share words with a query if both were about the same thing.

    See :func:`lexical_applies`.
    """
    one, other = query.language, text.language
    alike = one is None or other is None or one == other or _primary(one) == _primary(other)
    return alike and share_script(query.scripts, text.scripts)


def _primary(language: str) -> str:
    return language.partition("-")[0]


def _check(rows: NDArray[np.int64], scores: NDArray[np.float64], applies: NDArray[np.bool_]) -> None:
    if scores.ndim != 2 or len(scores) != len(rows) or applies.shape != scores.shape:
        raise InputError(
            f"{len(rows)} rows, scores of shape {scores.shape} and applies of shape {applies.shape} do not fit; "
            "give both matrices one line for each row and one column for each channel"
        )
    if len(rows) and not (applies | ~np.isnan(scores)).any(axis=1).all():
        raise InputError("no channel applies to a record; leave it out")


def _ordered(rows: NDArray[np.int64], parts: NDArray[np.float64], applies: NDArray[np.bool_]) -> Fused:
    """Average the counted scores of each record, and sort. ``parts`` is NaN where a channel gives no score."""
    counted = np.where(applies, parts, np.nan)
    # A match in a channel that does not apply to the record counts only if it raises the mean.
    for channel in range(parts.shape[1]):
        better = ~applies[:, channel] & (parts[:, channel] > _mean(counted, empty=-np.inf))
        counted[better, channel] = parts[better, channel]
    scores = _mean(counted, empty=0.0)
    order = np.lexsort((rows, -scores))
    return Fused(rows[order], scores[order], counted[order])


def _mean(parts: NDArray[np.float64], *, empty: float) -> NDArray[np.float64]:
    """Return the mean of each row over the values that are not NaN; ``empty`` for a row that is all NaN."""
    present = ~np.isnan(parts)
    counts = present.sum(axis=1)
    sums = np.where(present, parts, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), empty)
