"""Split a conversation into events, runs of turns about one topic, from the vectors of the turns.

No language model is used. The segmentation minimises the sum of squared distances between each turn and the mean of its
event, plus a penalty for every event: optimal partitioning (Jackson et al., An algorithm for optimal partitioning of
data on an interval, 2005) of the kind that Alemi and Ginsparg (arXiv 1503.05543) use on word vectors. Placing a
boundary wherever a turn is far from the mean of the preceding ones, as EM-LLM does by surprise, finds fewer true
boundaries and more false ones: ``mlret eval memory`` measures both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.errors import InputError

PENALTY = 2.0
"""Of an event, in units of the mean squared distance of a turn from the mean of all.

Where nothing changes, one more mean explains by chance what one turn's distance is; twice that is no chance any more.
"""
SMALLEST, LARGEST = 2, 64
"""Turns of an event; a session of fewer turns is one."""


def segment(
    vectors: ArrayLike, *, penalty: float = PENALTY, smallest: int = SMALLEST, largest: int = LARGEST
) -> list[tuple[int, int]]:
    """Split a session into events.

    Parameters
    ----------
    vectors
        ``(n, dims)``: the vectors of the turns in order, of unit length.
    penalty
        Cost of an event, in the unit of :data:`PENALTY`; higher values give fewer events.
    smallest, largest
        Minimum and maximum number of turns of an event.

    Returns
    -------
    list of (start, end)
        Spans in ascending order, ``end`` exclusive, that cover all turns; a single one if nothing stands out and
        ``largest`` allows it.

    Raises
    ------
    InputError
        If the sizes are not ``1 <= smallest <= largest / 2``, with which any session can be split, or the penalty is
        negative.
    """
    turns = np.asarray(vectors, dtype=np.float64)
    if not 1 <= smallest <= largest / 2 or penalty < 0:
        raise InputError(
            f"events of {smallest} to {largest} turns, with a penalty of {penalty}: the sizes must be at least 1, the "
            "largest twice the smallest or more, and the penalty at least 0"
        )
    count = len(turns)
    if count <= smallest:
        return [(0, count)] if count else []
    sums = np.concatenate([np.zeros((1, turns.shape[1])), np.cumsum(turns, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->i", turns, turns))])
    price = penalty * _scatter(sums, squares, np.array([0]), count)[0] / count
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    before = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        starts = np.arange(max(0, end - largest), end - smallest + 1)
        if not len(starts):
            continue
        totals = best[starts] + _scatter(sums, squares, starts, end) + price
        # Rounding makes identical turns one event regardless of the order of summation.
        chosen = int(np.round(totals, 9).argmin())
        best[end], before[end] = totals[chosen], starts[chosen]
    found, end = [], count
    while end > 0:
        found.append((int(before[end]), end))
        end = int(before[end])
    return found[::-1]


def _scatter(
    sums: NDArray[np.float64], squares: NDArray[np.float64], starts: NDArray[np.int64], end: int
) -> NDArray[np.float64]:
    """Return the sum of squared distances from their mean, for the turns from each start to the end."""
    total = sums[end] - sums[starts]
    return np.asarray(squares[end] - squares[starts] - np.einsum("ij,ij->i", total, total) / (end - starts))
