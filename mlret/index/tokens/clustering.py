"""Centroids of tokens by k-means, using Lloyd's algorithm over integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.bits import LANES, Lanes, lanes
from mlret.index.tokens.kernels.dispatch import add_by_centroid, nearest, products, to_bytes

_BLOCK = 2**16  # Tokens that are handled at once.
_NOWHERE = np.float32(1e30)


class Centroids:
    """Centroids that are prepared for finding the nearest one of a token.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self._lanes: Lanes = lanes(vectors, 8)
        blocks = len(self._lanes.integers)
        halves = np.full(blocks * LANES, _NOWHERE, dtype=np.float32)
        halves[: len(vectors)] = (vectors**2).sum(axis=1) / 2
        self._halves = halves.reshape(blocks, LANES)
        self._bytes = to_bytes(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def products(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of each centroid with each of ``(n, dims)`` vectors, both quantised to 8 bits.

        The result is ``(blocks, k, LANES)`` float32.
        """
        return products(*self._bytes, lanes(vectors, 8))

    def nearest(self, tokens: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the centroid nearest to each of ``(t, dims)`` tokens, up to rounding to 8 bits: ``(t,)`` int64."""
        found = np.empty(len(tokens), dtype=np.int64)
        for start in range(0, len(tokens), _BLOCK):
            codes, scales = to_bytes(tokens[start : start + _BLOCK])
            found[start : start + _BLOCK] = nearest(codes, scales, self._lanes, self._halves)
        return found


def k_means(
    sample: NDArray[np.float32],
    count: int,
    *,
    rounds: int = 6,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Centroids:
    """Cluster a sample by Lloyd's algorithm (1982). The centroids need not have unit length.

    Parameters
    ----------
    sample
        ``(t, dims)`` float32, ``t >= count``.
    count
        The number of centroids.
    rounds
        The number of rounds of assigning and averaging.
    seed
        The seed for choosing the tokens that are the first centroids and those that replace empty centroids.
    progress
        Called with the number of tokens assigned so far, out of ``rounds * t``.

    Returns
    -------
    Centroids
        The centroids.
    """
    rng = np.random.default_rng(seed)
    centroids = Centroids(sample[rng.choice(len(sample), count, replace=False)])
    for turn in range(rounds):
        sums, sizes = np.zeros_like(centroids.vectors), np.zeros(count, dtype=np.int64)
        for start in range(0, len(sample), _BLOCK):
            block = sample[start : start + _BLOCK]
            add_by_centroid(block, centroids.nearest(block), sums, sizes)
            if progress is not None:
                progress(turn * len(sample) + start + len(block))
        empty = np.flatnonzero(sizes == 0)
        sums[empty] = sample[rng.choice(len(sample), len(empty), replace=False)]
        sums /= np.maximum(sizes, 1)[:, None].astype(np.float32)
        centroids = Centroids(sums)
    return centroids
