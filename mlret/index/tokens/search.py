"""Multi-vector search: documents by MaxSim, all of them or those near a centroid that is near the query."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.codec import TokenCodec, TokenCodes
from mlret.index.tokens.kernels import PackedTokens, marked, maxsim, most

# A score is good for about so many decimals: documents closer than that are tied.
DECIMALS = 4
_SLACK = 16
# Where at most this part of the documents may be found, all of them are compared.
_FEW = 1 / 8
_WIDEN = 4


class Lists(NamedTuple):
    """For each centroid, the documents that have a token near it.

    Centroid ``c`` has ``documents[starts[c] : starts[c + 1]]``, rising: ``(k + 1,)`` int64 and ``(entries,)`` int32.
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]


def lists_of(centroids: NDArray[np.unsignedinteger[Any]], offsets: NDArray[np.int64], count: int) -> Lists:
    """The lists of ``count`` centroids, from the centroid of each token and the tokens of each document."""
    documents = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(centroids.astype(np.int64) * len(offsets) + documents)
    sizes = np.bincount(pairs // len(offsets), minlength=count)
    return Lists(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), (pairs % len(offsets)).astype(np.int32))


class TokenSearch:
    """Search over coded documents.

    Parameters
    ----------
    codec
        What coded them.
    tokens
        Their tokens.
    lists
        Their lists; without them every search compares all.
    """

    def __init__(self, codec: TokenCodec, tokens: PackedTokens, lists: Lists | None = None) -> None:
        self._codec = codec
        self._tokens = tokens
        self._lists = lists

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        probes: int | None = None,
        visible: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The documents with the highest MaxSim.

        Parameters
        ----------
        query
            ``(n, dims)`` float32 tokens.
        k
            How many; fewer come back only if fewer are visible.
        probes
            Compare only documents with a token near one of so many centroids nearest to a token of the query; more
            where these are fewer than ``k``. ``None`` for all documents.
        visible
            ``(m,)`` int64, rising: the only documents to look at.

        Returns
        -------
        scores : numpy.ndarray
            ``(c,)`` float64, rounded to ``DECIMALS``, falling; all that are tied with the ``k``-th among them as far as
            they were candidates.
        documents : numpy.ndarray
            ``(c,)`` int64; equal scores by rising document.
        """
        lanes, near, constant = self._codec.query(query)
        candidates = self._candidates(near, len(query), k, probes, visible)
        scores = maxsim(self._tokens, candidates, lanes, near)
        # The integers of the query err by less than what separates so many more.
        kept = min(len(candidates), 2 * k + _SLACK)
        if kept < len(candidates):
            candidates = np.sort(candidates[np.argpartition(-scores, kept - 1)[:kept]])
        exact = self.score(query, candidates, constant=constant)
        order = np.lexsort((candidates, -exact))
        if len(order) > k:
            order = order[: int(np.sum(exact >= exact[order[k - 1]]))]
        return exact[order], candidates[order]

    def score(
        self, query: NDArray[np.float32], documents: NDArray[np.int64], *, constant: float | None = None
    ) -> NDArray[np.float64]:
        """``(m,)`` float64: the MaxSim of documents, of the decoded tokens and the query as it is."""
        offsets = self._tokens.offsets
        lengths = np.diff(offsets)[documents]
        constant = float((query @ self._codec.mean).sum(dtype=np.float64)) if constant is None else constant
        scores = np.full(len(documents), -float(len(query)))
        some = np.flatnonzero(lengths)
        if len(some):
            starts = np.cumsum(lengths[some]) - lengths[some]
            rows = np.repeat(offsets[documents[some]] - starts, lengths[some]) + np.arange(lengths.sum())
            coded = TokenCodes(self._tokens.codes[rows], self._tokens.units[rows], self._tokens.centroids[rows])
            inner = self._codec.centroids.vectors[coded.centroids] + self._codec.residuals(coded.codes, coded.units)
            products = inner.astype(np.float64) @ (query.astype(np.float64) @ self._codec.rotation).T
            scores[some] = np.maximum.reduceat(products, starts, axis=0).sum(axis=1) + constant
        return np.round(scores, DECIMALS) + 0.0

    def _candidates(
        self, near: NDArray[np.float32], count: int, k: int, probes: int | None, visible: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        total = len(self._tokens)
        everything = np.arange(total) if visible is None else visible
        if self._lists is None or probes is None or len(everything) <= max(k, _FEW * total):
            return everything
        centroids = len(self._lists.starts) - 1
        while probes < centroids:
            found = marked(most(near, count, probes).reshape(-1), *self._lists, total)
            candidates = np.flatnonzero(found) if visible is None else visible[found[visible]]
            if len(candidates) >= k:
                return candidates
            probes *= _WIDEN
        return everything
