"""Multi-vector search by MaxSim, of all documents or of those near a centroid that is near the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.kernels.dispatch import gathered
from mlret.index.tokens.lists import Lists
from mlret.index.tokens.stored_tokens import TokenQuery
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.vectors.space import View


class Effort(NamedTuple):
    """The search effort: how many candidates a search finds and compares.

    Documents with a token near one of the ``probes`` centroids nearest to a token of the query are candidates. Of
    these, the ``compared`` documents that the centroids alone rank highest are compared, or all if it is ``None``. The
    number is for up to ten hits, and grows in proportion for more. If there are fewer than ``k`` candidates, more
    centroids are probed.
    """

    probes: int
    compared: int | None = None


# A segment, positions in it, and their approximate scores.
Ranked = tuple[TokenSegment, NDArray[np.int64], NDArray[np.float32]]
_SLACK = 16
# Approximate scores of documents with the same tokens differ by less than this, depending on where they are stored.
_TIED = np.float32(1e-5)
# If at most this share of the documents is visible, all of them are compared.
_FEW = 1 / 8
_WIDEN = 4
_TEN = 10


def search_tokens(
    views: Sequence[View[TokenSegment]],
    query: TokenQuery,
    k: int,
    *,
    effort: Effort | None = None,
    ranked: Sequence[Ranked] = (),
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the records with the highest MaxSim.

    Parameters
    ----------
    views
        The segments to search: views of :class:`mlret.index.tokens.token_segments.TokenSegment`.
    query
        The query.
    k
        The number of records; fewer are returned only if fewer are visible.
    effort
        The documents to compare in a segment that has lists; ``None`` for all.
    ranked
        What :func:`compare_on_device` found in other segments.

    Returns
    -------
    scores : numpy.ndarray
        ``(c,)`` float64 in descending order, including the candidates that are tied with the ``k``-th.
    rows : numpy.ndarray
        ``(c,)`` int64 row numbers; equal scores are ordered by ascending row.
    """
    kept = _kept(k)
    found = list(ranked)
    for view in views:
        if not len(view):
            continue
        positions = candidates(view, query, k, effort)
        scores = view.segment.tokens.approximate(query, positions)
        if len(scores) > kept:
            positions, scores = _top(scores, positions, kept)
        found.append((view.segment, positions, scores))
    if not found:
        return np.empty(0), np.empty(0, dtype=np.int64)
    worst = _nth(np.concatenate([scores for *_, scores in found]), kept) - _TIED
    exact, rows = [], []
    for segment, positions, scores in found:
        some = np.sort(positions[scores >= worst])
        exact.append(segment.tokens.score(query, some))
        rows.append(segment.numbers[some])
    best, numbers = np.concatenate(exact), np.concatenate(rows)
    order = np.lexsort((numbers, -best))
    if len(order) > k:
        order = order[: int(np.sum(best >= best[order[k - 1]]))]
    return best[order], numbers[order]


def compare_on_device(view: View[TokenSegment], queries: Sequence[NDArray[np.float32]], k: int) -> list[Ranked]:
    """Return for each query the best documents of a segment on a GPU, in one pass for all queries.

    Parameters
    ----------
    view
        The segment.
    queries
        ``(t, dims)`` float32 each.
    k
        The number of documents that the search will return.
    """
    assert view.segment.device is not None
    found = view.segment.device.best(queries, _kept(k), view.visible)
    return [(view.segment, positions, scores) for positions, scores in found]


def _kept(k: int) -> int:
    """Return how many documents are scored again.

    Rounding the query to integers, or half precision, changes scores by less than the gap below so many documents.
    """
    return 2 * k + _SLACK


def _top(
    scores: NDArray[np.float32], positions: NDArray[np.int64], kept: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best candidates, and all that may be tied with the last of them."""
    some = scores >= _nth(scores, kept) - _TIED
    return positions[some], scores[some]


def _nth(scores: NDArray[np.float32], n: int) -> float:
    """Return the ``n``-th highest score, or the lowest if there are fewer."""
    return float(-np.partition(-scores, min(n, len(scores)) - 1)[min(n, len(scores)) - 1])


def candidates(view: View[TokenSegment], query: TokenQuery, k: int, effort: Effort | None) -> NDArray[np.int64]:
    """Return the positions in a segment that are to be compared, in ascending order.

    Parameters
    ----------
    view
        The segment.
    query, k, effort
        As for :func:`search_tokens`.
    """
    total = len(view.segment)
    everything = np.arange(total) if view.visible is None else view.visible
    lists: Lists | None = view.segment.lists
    if lists is None or effort is None or len(everything) <= max(k, _FEW * total):
        return everything
    centroids, probes = len(lists.starts) - 1, effort.probes
    near = query.near[:, lists.first : lists.first + centroids]
    while probes < centroids:
        scores = gathered(near, len(query.tokens), probes, lists.starts, lists.documents, total)
        positions = np.flatnonzero(scores > -np.inf)
        if view.visible is not None:
            positions = positions[view.mask[positions]]
        if len(positions) >= k:
            kept = len(positions) if effort.compared is None else max(effort.compared * -(-k // _TEN), _kept(k))
            if len(positions) <= kept:
                return positions
            return np.sort(positions[np.argpartition(-scores[positions], kept - 1)[:kept]])
        probes *= _WIDEN
    return everything
