"""Choose results that are similar to a query and not to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def marginally_relevant(
    query: NDArray[np.float32], vectors: NDArray[np.float32], k: int, threshold: float
) -> tuple[list[int], list[float]]:
    """Choose results one by one, each the most similar to the query after what it repeats of the chosen ones.

    Carbonell and Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries
    (SIGIR 1998). A candidate's score is ``threshold`` times its cosine with the query, less ``1 - threshold`` times its
    largest cosine with a result that was chosen before it.

    Parameters
    ----------
    query
        ``(dims,)`` float32.
    vectors
        ``(n, dims)`` float32: the candidates. Of candidates with equal scores, the first is chosen.
    k
        How many results to choose, at least 1.
    threshold
        From 0 (avoid what is similar to earlier results) to 1 (the order of a search).

    Returns
    -------
    positions : list of int
        The positions of the chosen candidates, ``min(k, n)`` of them.
    scores : list of float
        The score of each, when it was chosen.
    """
    candidates = _unit(vectors.astype(np.float64))
    relevance = threshold * (candidates @ _unit(query.astype(np.float64)))
    scores = relevance.copy()
    repeated = np.full(len(candidates), -np.inf)
    positions: list[int] = []
    values: list[float] = []
    for _ in range(min(k, len(candidates))):
        best = int(scores.argmax())
        positions.append(best)
        values.append(float(scores[best]))
        repeated = np.maximum(repeated, candidates @ candidates[best])
        scores = relevance - (1 - threshold) * repeated
        scores[positions] = -np.inf
    return positions, values


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))
