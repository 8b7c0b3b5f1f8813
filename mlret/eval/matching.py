"""Bitext retrieval: find each sentence's translation from the similarities of two sides.

All of it starts from the ``(m, n)`` matrix of similarities, so that both directions and every score cost one product.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

Matching = Literal["cosine", "csls", "margin"]
MATCHINGS: tuple[Matching, ...] = ("cosine", "csls", "margin")
# Neighbours that the density is averaged over: Conneau et al. (1710.04087), Artetxe and Schwenk (1811.01136).
CSLS_K, MARGIN_K = 10, 4

Scores = NDArray[np.float32]


def similarities(queries: Any, candidates: Any) -> Scores:
    """The inner products of two sides; equal vectors score the same to the last bit.

    Parameters
    ----------
    queries
        ``(m, d)`` float32 unit vectors, a NumPy array or a SciPy sparse matrix.
    candidates
        ``(n, d)`` of the same kind.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32.
    """
    if not isinstance(candidates, np.ndarray):
        return np.asarray((queries @ candidates.T).toarray(), dtype=np.float32)
    # A matrix product may round equal rows and columns differently, so each different vector is multiplied once.
    rows, row_of = _different(queries)
    columns, column_of = _different(candidates)
    products = queries[rows] @ candidates[columns].T
    if len(rows) < len(queries):
        products = products[row_of]
    return np.asarray(products if len(columns) == len(candidates) else products[:, column_of], dtype=np.float32)


def csls(similarity: Scores, k: int = CSLS_K) -> Scores:
    """Cross-domain similarity local scaling (Conneau et al., arXiv 1710.04087, section 2.3): ``2 cos - r_x - r_y``.

    ``r`` is the mean similarity to the ``k`` nearest of the other side, to all where it has fewer.
    """
    rows, columns = _densities(similarity, k)
    return np.asarray(2 * similarity - rows[:, None] - columns, dtype=np.float32)


def ratio_margin(similarity: Scores, k: int = MARGIN_K) -> Scores:
    """The ratio margin (Artetxe and Schwenk, arXiv 1811.01136, section 3): ``cos / ((r_x + r_y) / 2)``; ``r`` as above.

    Where the densities sum to nothing or less, as they do where no words are shared, the ratio says nothing, and the
    similarity is taken as it is.
    """
    rows, columns = _densities(similarity, k)
    density = (rows[:, None] + columns) / 2
    safe = np.where(density > 1e-9, density, 1)
    return np.asarray(similarity / safe, dtype=np.float32)


def matched(similarity: Scores, matching: Matching) -> Scores:
    """The scores by one of :data:`MATCHINGS`."""
    if matching == "csls":
        return csls(similarity)
    return ratio_margin(similarity) if matching == "margin" else similarity


def best_candidates(scores: Scores) -> NDArray[np.int64]:
    """The column of the best score of each row; of equal scores the first."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def hits_of_aligned(scores: Scores) -> NDArray[np.bool_]:
    """Whether each query's best candidate is the one at its own place: ``(n,)`` bool.

    Parameters
    ----------
    scores
        ``(n, n)``; row ``i`` translates column ``i``.

    Raises
    ------
    InputError
        If there are no rows, or other than columns.
    """
    rows, columns = scores.shape
    if rows != columns or rows == 0:
        raise InputError(f"sides of {rows} and {columns} sentences: both must have the same number, and at least one")
    return np.asarray(best_candidates(scores) == np.arange(rows), dtype=bool)


def xsim_misses(similarity: Scores, k: int = MARGIN_K) -> NDArray[np.bool_]:
    """The queries that xSIM counts as errors, as LASER's ``xsim.py`` does with ``margin='ratio'``.

    The candidates of a query are its ``k`` nearest by cosine alone, and of them the best by ratio margin is taken.

    Parameters
    ----------
    similarity
        ``(n, n)`` cosines; row ``i`` translates column ``i``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool.
    """
    k = min(k, *similarity.shape)
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    margins = np.take_along_axis(ratio_margin(similarity, k), near, axis=1)
    best = np.take_along_axis(near, margins.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(best != np.arange(len(similarity)), dtype=bool)


def _densities(similarity: Scores, k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _mean_of_largest(similarity, k), _mean_of_largest(np.ascontiguousarray(similarity.T), k)


def _mean_of_largest(similarity: Scores, k: int) -> NDArray[np.float32]:
    k = min(k, similarity.shape[1])
    largest = np.partition(similarity, similarity.shape[1] - k, axis=1)[:, -k:]
    # Sorted, so that equal rows sum in the same order.
    return np.asarray(np.sort(largest, axis=1).mean(axis=1), dtype=np.float32)


def _different(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that hold each different vector first, and for every row the place of its vector among them."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(vector.tobytes(), len(first)) for vector in vectors]
    inverse = np.array(places, dtype=np.int64)
    rows = np.zeros(len(first), dtype=np.int64)
    rows[inverse[::-1]] = np.arange(len(vectors))[::-1]
    return rows, inverse
