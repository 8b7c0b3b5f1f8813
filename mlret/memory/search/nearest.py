"""Dense scores in a memory: the cosine (or MaxSim) of a query with the visible versions.

All visible versions are compared, which is exact; only if they are many, and the index has accelerators or a GPU, are
those used. A long text has vectors of its parts besides that of the whole, and its score is that of the best of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.store.store import Store
from mlret.index.vectors.exact import CpuExact
from mlret.index.vectors.rounding import Matrix
from mlret.index.vectors.scan import DECIMALS
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.positions import Positions

# Up to this many rows are compared exactly even if the index has an accelerator.
_FEW = 8192
# Comparing a row in place is four times faster than gathering scattered rows first.
_SCATTERED = 4
_SAMPLED = 16
_COPIED = 8192  # Rows gathered at once: 8 MB at 256 dimensions.
_MARGIN = 1e-5  # Bound of the rounding error of float32 products against the final scores.
_WIDEN = 4

Scored = tuple[NDArray[np.float64], Positions]


def nearest(store: Store, columns: Columns, vector: NDArray[np.float32], visible: Positions, k: int) -> Scored:
    """Return the visible versions nearest to a query.

    Parameters
    ----------
    store, columns
        The memory.
    vector
        ``(dims,)`` float32, or ``(t, dims)`` for the tokens of the query.
    visible
        ``(n,)``, ascending: the positions that may be found.
    k
        Number of versions; those tied with the ``k``-th are included.

    Returns
    -------
    scores : numpy.ndarray
        ``(m,)`` float64, descending, rounded to six decimals.
    positions : numpy.ndarray
        ``(m,)`` int64; equal scores by ascending position.
    """
    rows = rows_of(columns, visible)
    wanted = k
    while True:
        scores, found = _rows(store, vector, rows, wanted)
        positions = _wholes(columns, found)
        scores, positions = _best(scores, positions)
        if len(positions) >= k or wanted >= len(rows):
            break
        wanted *= _WIDEN  # Several of the rows were parts of the same text.
    if len(scores) > k:
        last = int(np.count_nonzero(scores >= scores[k - 1]))
        scores, positions = scores[:last], positions[:last]
    return scores, positions


def similarities(
    store: Store, columns: Columns, vector: NDArray[np.float32], positions: Positions
) -> NDArray[np.float64]:
    """Return the score of each of some positions with a query, as :func:`nearest` computes it.

    Parameters
    ----------
    store, columns
        The memory.
    vector
        ``(dims,)`` float32, or ``(t, dims)`` for the tokens of the query.
    positions
        ``(n,)``, ascending.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64; NaN where there is no vector.
    """
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
    """Return the rows of versions and of their parts, in ascending order.

    Parameters
    ----------
    columns
        The tenant's versions.
    positions
        ``(n,)``, ascending.
    """
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
    """Return the ``k``-th highest of ``k`` or more values."""
    some = values[::_SAMPLED]
    if len(some) > k:  # The k-th highest of a sample is a lower bound.
        values = values[values >= np.partition(some, len(some) - k)[len(some) - k]]
    return float(np.partition(values, len(values) - k)[len(values) - k])


def _plain(view: Any) -> bool:
    """Return whether comparing all rows on the CPU is the fastest way to search a segment."""
    return view.segment.kind == "flat" and isinstance(view.segment.exact, CpuExact)


def _products(matrix: Matrix, positions: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products of a vector with some rows of a matrix: ``(n,)``, for ascending positions.

    Rows are multiplied in one thread: a BLAS product divides the work among threads that wait for each other, and took
    tens of times as long when other work kept one of their cores busy.
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
    """Return the best score of each position, in descending order, equal ones by ascending position."""
    order = np.lexsort((positions, -scores))
    positions, scores = positions[order], np.round(scores[order], DECIMALS)
    _, first = np.unique(positions, return_index=True)
    first.sort()
    return scores[first], positions[first]
