"""The similarity of a query with passages, for encoders of both kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def similarities(query: NDArray[np.float32], passages: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the similarity of a query with each passage.

    Parameters
    ----------
    query
        ``(dims,)``, or ``(t, dims)`` token vectors.
    passages
        ``n`` arrays ``(dims,)`` or ``(u, dims)``, of any ``u``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64: the cosine of vectors of unit length; of token vectors the mean, over the tokens of the query,
        of the highest cosine with a token of the passage, which is MaxSim divided by ``t``. It is -1 where one side has
        no tokens, since they have nothing in common.
    """
    asked = np.atleast_2d(query)
    tokens = [np.atleast_2d(one) for one in passages]
    counts = np.array([len(one) for one in tokens], dtype=np.int64)
    found = np.full(len(tokens), -1.0)
    there = counts > 0
    if len(asked) and there.any():
        starts = np.concatenate([[0], np.cumsum(counts[there])[:-1]])
        products = asked @ np.concatenate([one for one in tokens if len(one)]).T
        found[there] = np.maximum.reduceat(products, starts, axis=1).mean(axis=0)
    return found
