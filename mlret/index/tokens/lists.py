"""Inverted lists: for each centroid the documents that have a token near it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lists(NamedTuple):
    """For each centroid of a generation, the documents that have a token near it.

    Attributes
    ----------
    starts
        ``(k + 1,)`` int64: the list of centroid ``first + c`` is ``documents[starts[c] : starts[c + 1]]``.
    documents
        ``(entries,)`` int32, ascending within each list.
    first
        The first centroid of the generation.
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    first: int = 0


def lists_of(centroids: NDArray[np.int64], offsets: NDArray[np.int64], count: int, first: int = 0) -> Lists:
    """Build the lists of ``count`` centroids from the centroid of each token.

    Parameters
    ----------
    centroids
        ``(t,)`` the centroid of each token, counted from ``first``.
    offsets
        ``(n + 1,)`` the place where the tokens of each document begin.
    count
        The number of centroids of the generation.
    first
        The first centroid of the generation.
    """
    documents = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(centroids * len(offsets) + documents)
    sizes = np.bincount(pairs // len(offsets), minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Lists(starts, (pairs % len(offsets)).astype(np.int32), first)
