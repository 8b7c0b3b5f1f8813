"""Searches segments with one vector for each record: finds candidates in each, scores them exactly, and merges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.index.vectors.exact import CpuExact
from mlret.index.vectors.segments import Segment
from mlret.index.vectors.space import View

# A float32 cosine is accurate to about six decimals; records whose cosines are closer than that are tied.
DECIMALS = 6
_SLACK = 16
# How far a rounded score may be above the cosine, and float32 above both.
_ROUNDING = 2e-6
# If at most this share of a segment is visible, its rows are compared one by one, which is exact and faster.
_FEW = 1 / 8
_WIDEN = 4
_MOST_EFFORT = 64.0
_RESCORED = 4_096  # Vectors scored at once.

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


def search_views(
    views: Sequence[View[Segment]], queries: NDArray[np.float32], k: int, *, exact: bool = False, refine: int = 1
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Find for each query every row that may be among the ``k`` best.

    In a segment without an accelerator the search is exact, and all rows tied with the ``k``-th are included, so that
    the caller can break ties. An accelerator proposes candidates, which are then scored exactly; it may miss some of
    the best rows, but never returns fewer rows than there are.

    Parameters
    ----------
    views
        The segments to search.
    queries
        ``(q, dims)`` float32, L2-normalised.
    k
        The number of rows to find, at least 1.
    exact
        Compare with every row, without the accelerators.
    refine
        The number of candidates that an accelerator is asked for, as a factor on ``k``.

    Returns
    -------
    list of (scores, rows)
        For each query ``(c,)`` float64 cosines, rounded to ``DECIMALS``, in descending order, and ``(c,)`` int64 rows;
        ``c >= k`` unless there are fewer rows.
    """
    views = [view for view in views if len(view)]
    if not views:
        return [(np.empty(0), np.empty(0, dtype=np.int64)) for _ in queries]
    if len(queries) == 1 and len(views) > 1 and all(_is_plain(view, exact) for view in views):
        return [_best_of_one(views, queries, k)]
    parts = []
    best = np.empty((len(queries), 0))
    for view in views:
        if _uses_accelerator(view, exact):
            positions = _accelerated(view, queries, k, refine)
        else:
            floors = best.min(axis=1) if best.shape[1] == k else None
            positions = _exactly(view, queries, min(k, len(view)), floors)
        if not positions.shape[1]:
            continue
        parts.append((view, score(view.segment, queries, positions), positions))
        if len(views) > 1:
            best = np.concatenate([best, parts[-1][1]], axis=1)
            if best.shape[1] > k:
                best = np.partition(best, best.shape[1] - k, axis=1)[:, -k:]
    return [_best(parts, query, k) for query in range(len(queries))]


def _uses_accelerator(view: View[Segment], exact: bool) -> bool:
    return not exact and len(view) > _FEW * len(view.segment) and view.segment.accelerated


def _is_plain(view: View[Segment], exact: bool) -> bool:
    """Return whether all rows of a segment are compared by the CPU."""
    return isinstance(view.segment.exact, CpuExact) and not _uses_accelerator(view, exact)


def _best_of_one(
    views: Sequence[View[Segment]], query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Search several segments for one query, ``(1, dims)``: what the best so far exclude is not looked at further."""
    first, *others = sorted(views, key=len, reverse=True)
    [positions] = _exactly(first, query, min(k, len(first)))
    best = score(first.segment, query, positions[None])[0]
    parts = [(first, positions)]
    for view in others:
        exact = view.segment.exact
        assert isinstance(exact, CpuExact)
        # Both products, that of the k-th best and that of a row that is as good, may differ from the cosine.
        lowest = -np.inf if len(best) < k else best.min() - 2 * exact.margin - _ROUNDING
        products = exact.products(query[0], view.visible)
        places = np.flatnonzero(products >= lowest)
        if len(places) > _SLACK * k:
            [positions] = _exactly(view, query, min(k, len(view)))
            found = score(view.segment, query, positions[None])[0]
        elif len(places):
            positions = places if view.visible is None else view.visible[places]
            found = products[places].astype(np.float64)
        else:
            continue
        parts.append((view, positions))
        best = np.concatenate([best, found])
        if len(best) > k:
            best = np.partition(best, len(best) - k)[-k:]
    scores = scores_of([(view.segment, positions) for view, positions in parts], query)
    numbers = np.concatenate([view.numbers(positions) for view, positions in parts])
    return _with_ties(scores, numbers, k)


def scores_of(parts: Sequence[tuple[Segment, NDArray[np.int64]]], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of a query, ``(1, dims)``, with the vectors at some positions of each of several segments."""
    vectors = np.concatenate([segment.matrix[positions] for segment, positions in parts])
    found: NDArray[np.float64] = _cosines(vectors[None], query)[0]
    return found


def score(segment: Segment, queries: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine of each query with the vectors at some positions of a segment.

    The order of summation does not depend on the batch, so equal vectors have equal scores.

    Parameters
    ----------
    segment
        The segment.
    queries
        ``(q, dims)`` float32.
    positions
        ``(q, c)`` int64; -1 for none.

    Returns
    -------
    numpy.ndarray
        ``(q, c)`` float64 in [-1, 1], rounded to ``DECIMALS``; -inf where there is no position.
    """
    if positions.size and positions.size <= _RESCORED and positions.min() >= 0:
        return _cosines(segment.matrix[positions], queries)
    scores = np.full(positions.shape, -np.inf)
    step = max(1, _RESCORED // max(1, positions.shape[1]))
    for start in range(0, len(queries), step):
        part = positions[start : start + step]
        found = _cosines(segment.matrix[np.maximum(part, 0)], queries[start : start + step])
        scores[start : start + step] = np.where(part >= 0, found, -np.inf)
    return scores


def _cosines(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines of ``(q, c, dims)`` vectors with ``(q, dims)`` queries."""
    products = vectors.astype(np.float64)
    products *= queries[:, None, :]
    # Adding 0.0 removes negative zeros. Lengths are 1 up to float32's rounding, so clipping changes no true cosine.
    found: NDArray[np.float64] = products.sum(axis=2).round(DECIMALS) + 0.0
    np.minimum(found, 1, out=found)
    return np.maximum(found, -1, out=found)


def _best(
    parts: Sequence[tuple[View[Segment], NDArray[np.float64], NDArray[np.int64]]], query: int, k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores = np.concatenate([scores[query] for _, scores, _ in parts])
    rows = np.concatenate([view.numbers(positions[query]) for view, _, positions in parts])
    there = scores > -np.inf
    return _with_ties(scores[there], rows[there], k)


def _with_ties(
    scores: NDArray[np.float64], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the ``k`` best scores and all that equal the last of them, in descending order, and their rows."""
    order = np.argsort(-scores, kind="stable")
    if len(order) > k:
        order = order[: np.count_nonzero(scores >= scores[order[k - 1]])]
    return scores[order], rows[order]


def _accelerated(view: View[Segment], queries: NDArray[np.float32], k: int, refine: int) -> NDArray[np.int64]:
    """Return ``(q, c)`` positions from the accelerator, among which the ``k`` best are to be found.

    The search effort is raised for queries that find too few; if that does not suffice, all rows are compared.
    """
    wanted = min(k * refine, len(view))
    accelerator = view.segment.accelerator
    assert accelerator is not None
    bitmap = None if view.visible is None else view.bitmap
    _, found = accelerator.search(queries, wanted, allowed=bitmap)
    pending = np.flatnonzero((found < 0).any(axis=1)) if found.min() < 0 else np.empty(0, dtype=np.int64)
    effort = float(_WIDEN)
    while len(pending) and effort <= _MOST_EFFORT:
        _, found[pending] = accelerator.search(queries[pending], wanted, allowed=bitmap, effort=effort)
        pending = pending[(found[pending] < 0).any(axis=1)]
        effort *= _WIDEN
    if len(pending):
        found[pending] = _exactly(view, queries[pending], wanted)[:, :wanted]
    # Where the vectors themselves were compared, only rounding in float32 is between this order and the exact one.
    return found[:, : k + _SLACK] if accelerator.compares_vectors else found


def _exactly(
    view: View[Segment], queries: NDArray[np.float32], k: int, floors: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Return ``(q, c)`` positions, including all that may be tied with the ``k``-th best, padded with -1.

    ``floors``, ``(q,)``, are scores that ``k`` rows of other segments reach. Positions that do not are left out.
    """
    exact = view.segment.exact
    # A GPU compares all rows, visible or not, faster than a CPU copies the visible ones, unless they are few.
    among = isinstance(exact, CpuExact) or len(view) <= _FEW * len(view.segment)
    on_cpu = exact if isinstance(exact, CpuExact) else CpuExact(view.segment.matrix)
    size = len(view) if among else len(view.segment)
    found: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(queries)
    pending = np.arange(len(queries))
    bounds = None if floors is None else (floors - exact.margin - _ROUNDING).astype(np.float32)
    # Fetch more than k, because of ties, and if some of the positions that the segment returns may not be visible.
    fetch = int((k + _SLACK) * size / len(view)) + 1
    while len(pending):
        fetch = min(fetch, size)
        if among:
            some = None if bounds is None else bounds[pending]
            scores, positions = on_cpu.search(queries[pending], fetch, among=view.visible, bounds=some)
            seen = positions >= 0
        else:
            scores, positions = exact.search(queries[pending], fetch)
            seen = positions >= 0 if view.visible is None else view.mask[positions] & (positions >= 0)
        unfinished = []
        for place, query in enumerate(pending):
            mine = scores[place, seen[place]]
            # Positions that were not returned score no better than the last one that was. The result is complete if
            # that is below the k-th by more than the margin.
            whole = fetch == size or len(mine) == len(view) or (among and len(mine) < fetch)
            if whole or (len(mine) >= k and scores[place, -1] < mine[k - 1] - exact.margin):
                found[query] = positions[place, seen[place]]
            else:
                unfinished.append(query)
        pending = np.array(unfinished, dtype=np.int64)
        fetch *= _WIDEN
    width = max(map(len, found))
    return np.stack([np.pad(positions, (0, width - len(positions)), constant_values=-1) for positions in found])
