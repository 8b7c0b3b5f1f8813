"""Multi-vector search: documents by MaxSim, all of them or those near a centroid that is near the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.space import View
from mlret.index.tokens.kernels import marked, most
from mlret.index.tokens.lists import Lists
from mlret.index.tokens.stored import TokenQuery

# A segment, positions in it, and about how they score.
Ranked = tuple[Any, NDArray[np.int64], NDArray[np.float32]]
_SLACK = 16
# Where at most this part of the documents may be found, all of them are compared.
_FEW = 1 / 8
_WIDEN = 4


def search_tokens(
    views: Sequence[View], query: TokenQuery, k: int, *, probes: int | None = None, ranked: Sequence[Ranked] = ()
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
    probes
        Where a segment has lists, compare only documents with a token near one of so many centroids nearest to a token
        of the query; more where these are fewer than ``k``. ``None`` for all documents.
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
        positions = _candidates(view, query, k, probes)
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


def _candidates(view: View, query: TokenQuery, k: int, probes: int | None) -> NDArray[np.int64]:
    total = len(view.segment)
    everything = np.arange(total) if view.visible is None else view.visible
    lists: Lists | None = view.segment.lists
    if lists is None or probes is None or len(everything) <= max(k, _FEW * total):
        return everything
    centroids = len(lists.starts) - 1
    near = query.near[:, lists.first : lists.first + centroids]
    while probes < centroids:
        found = marked(most(near, len(query.tokens), probes).reshape(-1), lists.starts, lists.documents, total)
        candidates = np.flatnonzero(found) if view.visible is None else view.visible[found[view.visible]]
        if len(candidates) >= k:
            return candidates
        probes *= _WIDEN
    return everything
