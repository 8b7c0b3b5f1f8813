"""The tokens of documents as a segment has them, in codes or whole, and MaxSim over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.bits import Lanes
from mlret.index.tokens.codec import TokenCodec, TokenCodes
from mlret.index.tokens.kernels import PackedTokens, maxsim
from mlret.index.tokens.ragged import Ragged, rows_of

# A score is good for about so many decimals: documents closer than that are tied.
DECIMALS = 4
_BLOCK = 2**14  # whole tokens multiplied at once
_KEPT = 2**17  # whole tokens kept in float32, which are converted once


@dataclass(frozen=True)
class TokenQuery:
    """A query as the kernels want it.

    Attributes
    ----------
    tokens
        ``(n, dims)`` float32.
    lanes, near, constant
        As :meth:`TokenCodec.query` gives them; ``lanes`` is ``None`` without a codec.
    """

    tokens: NDArray[np.float32]
    lanes: Lanes | None
    near: NDArray[np.float32]
    constant: float

    @classmethod
    def of(cls, tokens: NDArray[np.float32], codec: TokenCodec | None) -> TokenQuery:
        """A query for what this codec coded."""
        if codec is None:
            return cls(tokens, None, np.empty((0, 0, 0), dtype=np.float32), 0.0)
        return cls(tokens, *codec.query(tokens))


class StoredTokens(ABC):
    """The tokens of documents, one document after another.

    Attributes
    ----------
    offsets
        ``(n + 1,)`` int64: document ``d`` has the tokens ``offsets[d]`` … ``offsets[d + 1]``.
    """

    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @abstractmethod
    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(m,)``: the MaxSim of documents (rising), as fast as can be; -1 a query token where there is no token."""

    @abstractmethod
    def matrices(self, documents: NDArray[np.int64]) -> Ragged:
        """What is known of the tokens of documents, in float32."""

    @abstractmethod
    def raw(self, rows: NDArray[np.int64]) -> TokenCodes | NDArray[np.floating[Any]]:
        """Some of the tokens, as they are stored."""

    @abstractmethod
    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        """``(t,)``: the centroid of the codec's last generation that is nearest to each token, from its first."""

    def score(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(m,)`` float64: the MaxSim of documents with the query as it is, rounded to ``DECIMALS``; the same for a
        document whatever it is scored beside."""
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
        """``(t, n)`` products of the documents' tokens with the query's, their offsets, and what a sum of the query's
        maxima lacks."""


class CodedTokens(StoredTokens):
    """Tokens in a few bits a dimension.

    Parameters
    ----------
    codec
        What coded them, or has grown since.
    packed
        The codes.
    """

    def __init__(self, codec: TokenCodec, packed: PackedTokens) -> None:
        self.codec = codec
        self.packed = packed
        self.offsets = packed.offsets

    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of any; the query rounded to 8 bits."""
        assert query.lanes is not None
        scores = maxsim(self.packed, documents, query.lanes, query.near)
        scores[self._filled[documents]] += np.float32(query.constant)
        return scores

    @cached_property
    def _filled(self) -> NDArray[np.bool_]:
        return self.offsets[1:] > self.offsets[:-1]

    def matrices(self, documents: NDArray[np.int64]) -> Ragged:
        """What the codes stand for."""
        rows, offsets = rows_of(self.offsets, documents)
        return Ragged(self.codec.decode(self.raw(rows)), offsets)

    def raw(self, rows: NDArray[np.int64]) -> TokenCodes:
        """The codes of some tokens."""
        return self._all.take(rows)

    @cached_property
    def _all(self) -> TokenCodes:
        count = int(self.offsets[-1])
        return TokenCodes(self.packed.codes[:count], self.packed.units, self.packed.centroids)

    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        """As of any."""
        return codec.latest(self._all)

    def _products(
        self, query: TokenQuery, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        rows, offsets = rows_of(self.offsets, documents)
        turned = (query.tokens.astype(np.float64) @ self.codec.rotation).T
        return self.codec.inner(self.raw(rows)).astype(np.float64) @ turned, offsets, query.constant


class WholeTokens(StoredTokens):
    """Tokens in float16, exactly.

    Parameters
    ----------
    tokens
        The tokens.
    """

    def __init__(self, tokens: Ragged) -> None:
        self.tokens = tokens
        self.offsets = tokens.offsets

    def approximate(self, query: TokenQuery, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of any; exact but for the rounding of a product to float32."""
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
        """The tokens."""
        found = self.tokens.take(documents)
        return Ragged(found.values.astype(np.float32), found.offsets)

    def raw(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """As of any."""
        return self.tokens.values[rows]

    def latest(self, codec: TokenCodec) -> NDArray[np.int64]:
        """As of any."""
        return codec.latest_of(self.tokens.values)

    def _products(
        self, query: TokenQuery, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        found = self.tokens.take(documents)
        return found.values.astype(np.float64) @ query.tokens.astype(np.float64).T, found.offsets, 0.0
