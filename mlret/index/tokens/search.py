"""Multi-vector search: documents by MaxSim, all of them or those near a centroid that is near the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.index.space import View
from mlret.index.tokens.kernels import gathered
from mlret.index.tokens.lists import Lists
from mlret.index.tokens.stored import TokenQuery


class Effort(NamedTuple):
    """How hard to look.

    Documents with a token near one of the ``probes`` centroids nearest to a token of the query are candidates. Of these
    the ``compared`` that the centroids alone rank highest are compared, or all where it is ``None``; so many for up to
    ten hits, in proportion for more. Where there are fewer than ``k`` candidates, more centroids are probed.
    """

    probes: int
    compared: int | None = None


# A segment, positions in it, and about how they score.
Ranked = tuple[Any, NDArray[np.int64], NDArray[np.float32]]
_SLACK = 16
# Where at most this part of the documents may be found, all of them are compared.
_FEW = 1 / 8
_WIDEN = 4
_TEN = 10


def search_tokens(
    views: Sequence[View],
    query: TokenQuery,
    k: int,
    *,
    effort: Effort | None = None,
    ranked: Sequence[Ranked] = (),
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The records with the highest MaxSim.

    Parameters
    ----------
    views
        Where to search: of :class:`mlret.index.tokens.segments.TokenSegment`.
    query
        The query.
    k
        How many; fewer come back only if fewer are visible.
    effort
        Which documents of a segment that has lists are compared; ``None`` for all.
    ranked
        What :func:`compare_on_device` found in other segments.

    Returns
    -------
    scores : numpy.ndarray
        ``(c,)`` float64, falling; all that are tied with the ``k``-th among them as far as they were candidates.
    rows : numpy.ndarray
        ``(c,)`` int64 row numbers; equal scores by rising row.
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
    worst = _nth(np.concatenate([scores for *_, scores in found]), kept)
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


def compare_on_device(view: View, queries: Sequence[NDArray[np.float32]], k: int) -> list[Ranked]:
    """For each query the best documents of a segment that is on a GPU, all queries in one pass."""
    found = view.segment.device.best(queries, _kept(k), view.visible)
    return [(view.segment, positions, scores) for positions, scores in found]


def _kept(k: int) -> int:
    """How many are scored again: a query's integers, or half precision, err by less than what separates so many."""
    return 2 * k + _SLACK


def _top(
    scores: NDArray[np.float32], positions: NDArray[np.int64], kept: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    some = np.argpartition(-scores, kept - 1)[:kept]
    return positions[some], scores[some]


def _nth(scores: NDArray[np.float32], n: int) -> float:
    """The ``n``-th highest score, or the lowest if there are fewer."""
    return float(-np.partition(-scores, min(n, len(scores)) - 1)[min(n, len(scores)) - 1])


def candidates(view: View, query: TokenQuery, k: int, effort: Effort | None) -> NDArray[np.int64]:
    """Positions in a segment that are to be compared, rising; parameters as for :func:`search_tokens`."""
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
