"""Bitext retrieval: find each sentence's translation from the similarities of two sides.

Everything starts from the ``(m, n)`` similarity matrix, so both directions and all scores need only one matrix product.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

Matching = Literal["cosine", "csls", "margin"]
MATCHINGS: tuple[Matching, ...] = ("cosine", "csls", "margin")
# Number of neighbours that the local density is averaged over: Conneau et al. (1710.04087), Artetxe and Schwenk
# (1811.01136).
CSLS_K, MARGIN_K = 10, 4

Scores = NDArray[np.float32]


def similarities(queries: Any, candidates: Any) -> Scores:
    """Compute the inner products of two sides; equal vectors get bit-identical scores.

    Parameters
    ----------
    queries
        ``(m, d)`` float32 unit vectors, a NumPy array or a SciPy sparse matrix.
    candidates
        ``(n, d)`` float32 unit vectors of the same type.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32.
    """
    if not isinstance(candidates, np.ndarray):
        return np.asarray((queries @ candidates.T).toarray(), dtype=np.float32)
    # A matrix product may round equal rows and columns differently, so each distinct vector is multiplied only once.
    rows, row_of = _different(queries)
    columns, column_of = _different(candidates)
    products = queries[rows] @ candidates[columns].T
    if len(rows) < len(queries):
        products = products[row_of]
    return np.asarray(products if len(columns) == len(candidates) else products[:, column_of], dtype=np.float32)


def csls(similarity: Scores) -> Scores:
    """Compute CSLS, cross-domain similarity local scaling: ``2 cos - r_x - r_y``.

    It is defined by Conneau et al., arXiv 1710.04087, section 2.3; ``r`` is the mean similarity to the ten nearest
    sentences of the other side, or to all if it has fewer.

    Parameters
    ----------
    similarity
        ``(m, n)`` cosines.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32.
    """
    rows, columns = _densities(similarity, CSLS_K)
    return np.asarray(2 * similarity - rows[:, None] - columns, dtype=np.float32)


def ratio_margin(similarity: Scores, k: int = MARGIN_K) -> Scores:
    """Compute the ratio margin ``cos / ((r_x + r_y) / 2)`` (Artetxe and Schwenk, arXiv 1811.01136, section 3).

    If the sum of the densities is not above zero, as for texts that share no words, the ratio is undefined and the
    similarity is returned unchanged.

    Parameters
    ----------
    similarity
        ``(m, n)`` cosines.
    k
        ``r`` is the mean similarity to the ``k`` nearest sentences of the other side, or to all if it has fewer.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32.
    """
    rows, columns = _densities(similarity, k)
    density = (rows[:, None] + columns) / 2
    safe = np.where(density > 1e-9, density, 1)
    return np.asarray(similarity / safe, dtype=np.float32)


def matched(similarity: Scores, matching: Matching) -> Scores:
    """Return the scores of one of :data:`MATCHINGS`.

    Parameters
    ----------
    similarity
        ``(m, n)`` cosines.
    matching
        ``"csls"`` or ``"margin"``; ``"cosine"`` returns the cosines unchanged.

    Returns
    -------
    numpy.ndarray
        ``(m, n)`` float32.
    """
    if matching == "csls":
        return csls(similarity)
    return ratio_margin(similarity) if matching == "margin" else similarity


def best_candidates(scores: Scores) -> NDArray[np.int64]:
    """Return the column of the best score in each row, the first column if scores are equal."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def hits_of_aligned(scores: Scores) -> NDArray[np.bool_]:
    """Return whether each query's best candidate is the one at the same position: ``(n,)`` bool.

    Parameters
    ----------
    scores
        ``(n, n)``; row ``i`` is the translation of column ``i``.

    Raises
    ------
    InputError
        If the matrix is empty or not square.
    """
    rows, columns = scores.shape
    if rows != columns or rows == 0:
        raise InputError(f"sides of {rows} and {columns} sentences: both must have the same number, and at least one")
    return np.asarray(best_candidates(scores) == np.arange(rows), dtype=bool)


def xsim_misses(similarity: Scores) -> NDArray[np.bool_]:
    """Return which queries xSIM counts as errors, like LASER's ``xsim.py`` with ``margin='ratio'``.

    The candidates of a query are its four nearest by cosine; the one with the highest ratio margin is chosen.

    Parameters
    ----------
    similarity
        ``(n, n)`` cosines; row ``i`` is the translation of column ``i``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool, true for an error.
    """
    k = min(MARGIN_K, *similarity.shape)
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    margins = np.take_along_axis(ratio_margin(similarity, k), near, axis=1)
    best = np.take_along_axis(near, margins.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(best != np.arange(len(similarity)), dtype=bool)


def _densities(similarity: Scores, k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _mean_of_largest(similarity, k), _mean_of_largest(np.ascontiguousarray(similarity.T), k)


def _mean_of_largest(similarity: Scores, k: int) -> NDArray[np.float32]:
    k = min(k, similarity.shape[1])
    largest = np.partition(similarity, similarity.shape[1] - k, axis=1)[:, -k:]
    # Sorting makes equal rows sum in the same order, and so to the same value.
    return np.asarray(np.sort(largest, axis=1).mean(axis=1), dtype=np.float32)


def _different(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each distinct vector, and for every row the position of its vector among them."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(vector.tobytes(), len(first)) for vector in vectors]
    inverse = np.array(places, dtype=np.int64)
    rows = np.zeros(len(first), dtype=np.int64)
    rows[inverse[::-1]] = np.arange(len(vectors))[::-1]
    return rows, inverse
