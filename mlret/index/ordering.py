"""The order of hits: by descending score, and equal scores by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def best_first(
    scores: NDArray[np.float64], k: int, ids_of: Callable[[NDArray[np.int64]], Sequence[str]]
) -> NDArray[np.int64]:
    """Return the places of the ``k`` best scores, best first; equal scores are ordered by id.

    Parameters
    ----------
    scores
        ``(n,)`` float64.
    k
        The number of places to return.
    ids_of
        Returns the ids at some places. It is called only if scores are equal, and with the places of these alone.

    Returns
    -------
    numpy.ndarray
        ``(min(k, n),)`` int64.
    """
    order: NDArray[np.int64] = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    if len(order) > k:
        ordered = ordered[: int(np.searchsorted(-ordered, -ordered[k - 1], side="right"))]
        order = order[: len(ordered)]
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return order
    tied = np.flatnonzero(np.r_[same, False] | np.r_[False, same])
    ids = dict(zip(tied.tolist(), ids_of(order[tied]), strict=True))
    places = sorted(range(len(order)), key=lambda place: (-ordered[place], ids.get(place, "")))
    return order[places[:k]]
