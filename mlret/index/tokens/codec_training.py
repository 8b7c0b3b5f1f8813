"""Decides when a codec is trained and when it grows, on how many tokens, and in how much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.tokens.bits import WHOLE, Bits
from mlret.index.tokens.codec import TokenCodec, TokenCodes, centroids_for

Tokens = TokenCodes | NDArray[np.floating[Any]]

# With fewer tokens they are kept in float16, because comparing with all takes a hundredth of a second.
LEAST = 2**17
# The largest size of a sample; clustering it takes little more memory.
_SAMPLE_BYTES = 2**30
_GROWTH = 2  # A codec grows if the tokens need this many times its centroids.
DRIFT = 1.2  # How much farther from their centroids tokens may be than those of the training sample.
LOOKED_AT = 2**14  # Tokens on which drift is measured.


@dataclass(frozen=True)
class CodecPlan:
    """Whether a codec should be trained or should grow, by how many centroids, and from a sample of how many tokens."""

    due: bool
    centroids: int
    sample: int

    def train(
        self,
        codec: TokenCodec | None,
        tokens: NDArray[np.float32],
        settings: IndexSettings,
        progress: Callable[[int], None] | None = None,
    ) -> TokenCodec:
        """Train a codec, or let an existing one grow, on a sample of tokens.

        Parameters
        ----------
        codec
            The codec to grow; ``None`` to train a new one.
        tokens
            ``(t, dims)`` float32 sample, which is overwritten.
        settings
            The settings of the index, which give the bits and the seed.
        progress
            As for :func:`mlret.index.tokens.clustering.k_means`.
        """
        if codec is not None:
            return codec.grown(tokens, centroids=self.centroids, seed=settings.seed, progress=progress)
        bits: Bits = 8 if settings.bits == 16 else settings.bits
        return TokenCodec.train(tokens, bits, centroids=self.centroids, seed=settings.seed, progress=progress)


def plan_codec(
    settings: IndexSettings, dims: int, total: int, count: int, codec: TokenCodec | None, *, drift: float = 1.0
) -> CodecPlan:
    """Decide what to do with the codec before ``count`` tokens are coded.

    A codec grows only if at least half of all tokens are available: a sample of a few new tokens would cluster only
    these.

    Parameters
    ----------
    settings
        ``train_size`` tokens train each centroid, as far as a sample of a gigabyte allows.
    dims
        The number of dimensions of a token.
    total
        The number of tokens of the index, including these.
    count
        The number of tokens from which a sample is drawn.
    codec
        The existing codec, if there is one.
    drift
        The drift of these tokens, as returned by :meth:`TokenCodec.drift`.
    """
    wanted = centroids_for(total)
    sample = min(count, settings.train_size * wanted, _SAMPLE_BYTES // (4 * dims))
    if codec is None:
        due = total >= LEAST and settings.bits != WHOLE
    else:
        outgrown = wanted >= _GROWTH * (len(codec.centroids) - codec.first)
        due = (outgrown or drift > DRIFT) and 2 * count >= total and sample >= wanted
    return CodecPlan(due, wanted, sample)


class Sample:
    """Draws a random sample of tokens from a stream.

    Parameters
    ----------
    size
        The size of the sample.
    count
        The number of tokens in the stream.
    seed
        The seed of the choice.
    """

    def __init__(self, size: int, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._chosen = np.sort(rng.choice(count, min(size, count), replace=False))

    def draw(self, stream: Iterable[Tokens], codec: TokenCodec | None, dims: int) -> NDArray[np.float32]:
        """Draw the sample from a stream of tokens.

        Parameters
        ----------
        stream
            The tokens in blocks, in float16 or in codes.
        codec
            The codec of the codes.
        dims
            The number of dimensions of a token.

        Returns
        -------
        numpy.ndarray
            ``(s, dims)`` float32.
        """
        found = np.empty((len(self._chosen), dims), dtype=np.float32)
        start = done = 0
        for block in stream:
            stop = int(np.searchsorted(self._chosen, done + len(block)))
            found[start:stop] = as_floats(block, self._chosen[start:stop] - done, codec)
            start, done = stop, done + len(block)
        return found


def as_floats(tokens: Tokens, rows: NDArray[np.int64], codec: TokenCodec | None) -> NDArray[np.float32]:
    """Return the tokens of some rows as ``(m, dims)`` float32, decoded if they are coded."""
    if isinstance(tokens, TokenCodes):
        assert codec is not None
        return codec.decode(tokens.take(rows))
    return tokens[rows].astype(np.float32)
