"""Dense evidence in a memory: the cosine (or MaxSim) of a query with the versions that may be seen.

All that may be seen is compared, which is exact; only where that is much, and the index has accelerators for it or a
GPU, those are asked. A long text has vectors of its parts besides that of the whole, and counts by the best of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.exact import CpuExact
from mlret.index.search import DECIMALS
from mlret.index.store import Store
from mlret.memory.columns import Columns
from mlret.memory.numbering import Positions

# So many rows are compared one by one even where the index has an accelerator.
_FEW = 8192
# To compare a row takes a quarter of the time that it takes to copy it from where it stands alone.
_SCATTERED = 4
_SAMPLED = 16
_COPIED = 8192  # rows copied at once: 8 MB at 256 dimensions
_MARGIN = 1e-5  # a product in float32 sums in another order than the scores that count
_WIDEN = 4

Scored = tuple[NDArray[np.float64], Positions]


def nearest(store: Store, columns: Columns, vector: NDArray[np.float32], visible: Positions, k: int) -> Scored:
    """The visible versions nearest to a query.

    Parameters
    ----------
    store, columns
        The memory.
    vector
        ``(dims,)`` float32, or ``(t, dims)`` of the query's tokens.
    visible
        ``(n,)``, rising: the positions that may be found.
    k
        How many; those tied with the ``k``-th come too.

    Returns
    -------
    scores : numpy.ndarray
        ``(m,)`` float64, falling, rounded to six decimals.
    positions : numpy.ndarray
        ``(m,)`` int64; equal scores by rising position.
    """
    rows = rows_of(columns, visible)
    wanted = k
    while True:
        scores, found = _rows(store, vector, rows, wanted)
        positions = _wholes(columns, found)
        scores, positions = _best(scores, positions)
        if len(positions) >= k or wanted >= len(rows):
            break
        wanted *= _WIDEN  # of one text there were several parts
    if len(scores) > k:
        last = int(np.count_nonzero(scores >= scores[k - 1]))
        scores, positions = scores[:last], positions[:last]
    return scores, positions


def similarities(
    store: Store, columns: Columns, vector: NDArray[np.float32], positions: Positions
) -> NDArray[np.float64]:
    """The score of each of some positions with a query, as :func:`nearest` gives it; NaN where there is no vector."""
    rows = rows_of(columns, positions)
    scores = np.full(len(rows), np.nan)
    for view in store.views(rows):
        if len(view):
            places = np.searchsorted(rows, view.segment.numbers[view.visible])
            assert view.visible is not None
            scores[places] = store.space.score(view.segment, vector, view.visible)
    there = ~np.isnan(scores)
    best, wholes = _best(scores[there], _wholes(columns, rows[there]))
    order = np.argsort(wholes)
    found = np.full(len(positions), np.nan)
    places = np.searchsorted(wholes[order], positions)
    known = places < len(wholes)
    known[known] = wholes[order][places[known]] == positions[known]
    found[known] = best[order][places[known]]
    return found


def rows_of(columns: Columns, positions: Positions) -> NDArray[np.int64]:
    """The rows of versions and of their parts, rising."""
    rows: NDArray[np.int64] = columns.row[positions]
    if columns.parts:
        parts = [row for position in positions.tolist() for row in columns.parts.get(position, ())]
        rows = np.concatenate([rows, np.array(parts, dtype=np.int64)])
        rows.sort()
    return rows


def _rows(store: Store, vector: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> Scored:
    if not len(rows):
        return np.empty(0), np.empty(0, dtype=np.int64)
    views: list[Any] = [view for view in store.views(rows) if len(view)]
    if store.manifest.similarity != "cosine" or (len(rows) > _FEW and not all(map(_plain, views))):
        [found] = store.space.search(views, [vector], k, exact=False)
        return found
    rough = [_products(view.segment.matrix, view.visible, vector) for view in views]
    joined = np.concatenate(rough)
    bound = -np.inf if len(joined) <= k else _kth(joined, k) - 2 * _MARGIN
    scores, numbers = [], []
    for view, some in zip(views, rough, strict=True):
        positions = view.visible[some >= bound]
        scores.append(store.space.score(view.segment, vector, positions))
        numbers.append(view.segment.numbers[positions])
    return np.concatenate(scores), np.concatenate(numbers)


def _kth(values: NDArray[np.float32], k: int) -> float:
    """The ``k``-th highest, of ``k`` or more."""
    some = values[::_SAMPLED]
    if len(some) > k:  # what is below the k-th of some is below that of all
        values = values[values >= np.partition(some, len(some) - k)[len(some) - k]]
    return float(np.partition(values, len(values) - k)[len(values) - k])


def _plain(view: Any) -> bool:
    """Whether nothing finds the best of a segment faster than comparing all on the CPU."""
    return view.segment.accelerator is None and isinstance(view.segment.exact, CpuExact)


def _products(
    matrix: NDArray[np.float32], positions: NDArray[np.int64], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(n,)``: the product of a vector with the lines at some positions, rising, of a matrix.

    Line by line in one thread: a BLAS' product shares the work among threads that wait for each other, and took tens of
    times as long where other work kept one of their cores busy.
    """
    first, last = int(positions[0]), int(positions[-1])
    if last - first < _SCATTERED * len(positions):
        found: NDArray[np.float32] = np.vecdot(matrix[first : last + 1], vector)[positions - first]
        return found
    parts = [positions[start : start + _COPIED] for start in range(0, len(positions), _COPIED)]
    return np.concatenate([np.vecdot(matrix[part], vector) for part in parts])


def _wholes(columns: Columns, rows: NDArray[np.int64]) -> Positions:
    if not columns.parts:
        return columns.positions(rows)
    known = columns.wholes
    return np.array(
        [known[row] if row in known else int(columns.positions(np.array([row]))[0]) for row in rows.tolist()],
        dtype=np.int64,
    )


def _best(scores: NDArray[np.float64], positions: Positions) -> Scored:
    """The best score of each position, falling, then by rising position."""
    order = np.lexsort((positions, -scores))
    positions, scores = positions[order], np.round(scores[order], DECIMALS)
    _, first = np.unique(positions, return_index=True)
    first.sort()
    return scores[first], positions[first]
