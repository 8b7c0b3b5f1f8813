"""The tokens of documents as a segment stores them, in codes or in float16, and MaxSim over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.bits import Lanes
from mlret.index.tokens.codec import TokenCodec, TokenCodes
from mlret.index.tokens.kernels.dispatch import PackedTokens, maxsim
from mlret.index.vectors.ragged import Ragged, rows_of

# A score is accurate to about this many decimals; documents whose scores are closer than that are tied.
DECIMALS = 4
_BLOCK = 2**14  # Tokens in float16 that are multiplied at once.
_KEPT = 2**17  # Up to this many tokens in float16 are kept in float32, so that they are converted once.


@dataclass(frozen=True)
class TokenQuery:
    """A query that is prepared for the kernels.

    Attributes
    ----------
    tokens
        ``(n, dims)`` float32.
    lanes, near, constant
        As returned by :meth:`TokenCodec.query`; ``lanes`` is ``None`` without a codec.
    """

    tokens: NDArray[np.float32]
    lanes: Lanes | None
    near: NDArray[np.float32]
    constant: float

    @classmethod
    def of(cls, tokens: NDArray[np.float32], codec: TokenCodec | None) -> TokenQuery:
        """Prepare a query for tokens that a codec coded, or for tokens in float16 if ``codec`` is ``None``."""
        if codec is None:
            return cls(tokens, None, np.empty((0, 0, 0), dtype=np.float32), 0.0)
        return cls(tokens, *codec.query(tokens))


class StoredTokens(ABC):
    """The tokens of documents, one document after another.

    Attributes
    ----------
    offsets
        ``(n + 1,)`` int64: document ``d`` has the tokens ``offsets[d]`` … ``offsets[d + 1]``, without the last.
    """

    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @abstractmethod
    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the MaxSim of ``(m,)`` documents (ascending) as fast as possible: ``(m,)`` float32.

        A document without tokens scores -1 for each token of the query.
        """

    @abstractmethod
    def matrices(self, documents: NDArray[np.int64]) -> Ragged:
        """Return the tokens of documents in float32, as exactly as they are stored."""

    @abstractmethod
    def raw(self, rows: NDArray[np.int64]) -> TokenCodes | NDArray[np.floating[Any]]:
        """Return some of the tokens in the form in which they are stored."""

    @abstractmethod
    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        """Return the nearest centroid of the codec's last generation for each token, counted from its first.

        The result is ``(t,)`` int64.
        """

    def score(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the MaxSim of documents with the unrounded query: ``(m,)`` float64, rounded to ``DECIMALS``.

        The score of a document does not depend on the other documents that are scored with it.

        Parameters
        ----------
        query
            The query.
        documents
            ``(m,)`` int64: the documents to score.
        """
        products, offsets, constant = self._products(query, documents)
        scores = np.full(len(documents), -float(len(query.tokens)))
        some = np.flatnonzero(np.diff(offsets))
        if len(some):
            scores[some] = np.maximum.reduceat(products, offsets[some], axis=0).sum(axis=1) + constant
        return np.round(scores, DECIMALS) + 0.0

    @abstractmethod
    def _products(
        self, query: TokenQuery, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        """Return the products of the documents' tokens with the query's tokens.

        Returns
        -------
        products : numpy.ndarray
            ``(t, n)`` float64.
        offsets : numpy.ndarray
            Where the tokens of each document begin, and where the last one ends.
        constant : float
            What must be added to the sum of the maxima over the query's tokens.
        """


class CodedTokens(StoredTokens):
    """Tokens in a few bits for each dimension.

    Parameters
    ----------
    codec
        The codec that coded them, which may have grown since.
    packed
        The codes.
    """

    def __init__(self, codec: TokenCodec, packed: PackedTokens) -> None:
        self.codec = codec
        self.packed = packed
        self.offsets = packed.offsets

    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the MaxSim of documents with the query rounded to 8 bits: ``(m,)`` float32."""
        assert query.lanes is not None
        scores = maxsim(self.packed, documents, query.lanes, query.near)
        scores[self._filled[documents]] += np.float32(query.constant)
        return scores

    @cached_property
    def _filled(self) -> NDArray[np.bool_]:
        return self.offsets[1:] > self.offsets[:-1]

    def matrices(self, documents: NDArray[np.int64]) -> Ragged:
        rows, offsets = rows_of(self.offsets, documents)
        return Ragged(self.codec.decode(self.raw(rows)), offsets)

    def raw(self, rows: NDArray[np.int64]) -> TokenCodes:
        return self._all.take(rows)

    @cached_property
    def _all(self) -> TokenCodes:
        count = int(self.offsets[-1])
        return TokenCodes(self.packed.codes[:count], self.packed.units, self.packed.centroids)

    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        return codec.latest(self._all)

    def _products(
        self, query: TokenQuery, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        rows, offsets = rows_of(self.offsets, documents)
        rotated = (query.tokens.astype(np.float64) @ self.codec.rotation).T
        return self.codec.inner(self.raw(rows)).astype(np.float64) @ rotated, offsets, query.constant


class WholeTokens(StoredTokens):
    """Tokens that are stored exactly, in float16.

    Parameters
    ----------
    tokens
        The tokens.
    """

    def __init__(self, tokens: Ragged) -> None:
        self.tokens = tokens
        self.offsets = tokens.offsets

    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the MaxSim of documents, exact up to rounding each product to float32: ``(m,)`` float32."""
        scores = np.full(len(documents), -float(len(query.tokens)), dtype=np.float32)
        everything = len(documents) == len(self)
        lengths = (self.offsets[1:] - self.offsets[:-1])[documents]
        ends = np.cumsum(lengths)
        start = 0
        while start < len(documents):
            done = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
            some = np.flatnonzero(lengths[start:stop]) + start
            if len(some):
                if everything:
                    values = self._values[self.offsets[start] : self.offsets[stop]]
                else:
                    values = self._values[rows_of(self.offsets, documents[start:stop])[0]]
                products = values.astype(np.float32, copy=False) @ query.tokens.T
                first = (ends - lengths)[some] - done
                scores[some] = np.maximum.reduceat(products, first, axis=0).sum(axis=1)
            start = stop
        return scores

    @cached_property
    def _values(self) -> NDArray[np.floating[Any]]:
        values = self.tokens.values
        return values.astype(np.float32) if len(values) <= _KEPT else values

    def matrices(self, documents: NDArray[np.int64]) -> Ragged:
        found = self.tokens.take(documents)
        return Ragged(found.values.astype(np.float32), found.offsets)

    def raw(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        return self.tokens.values[rows]

    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        return codec.latest_of(self.tokens.values)

    def _products(
        self, query: TokenQuery, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        found = self.tokens.take(documents)
        return found.values.astype(np.float64) @ query.tokens.astype(np.float64).T, found.offsets, 0.0
