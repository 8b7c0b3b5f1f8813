"""When a codec is trained and when it grows, on how many tokens, in how much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.kinds import IndexSettings
from mlret.index.tokens.bits import WHOLE, Bits
from mlret.index.tokens.codec import TokenCodec, TokenCodes, centroids_for

Tokens = TokenCodes | NDArray[np.floating[Any]]

# Fewer tokens are kept whole: comparing with all takes a hundredth of a second.
LEAST = 2**17
# A sample takes so much at most; clustering it takes little more.
_SAMPLE_BYTES = 2**30
_GROWTH = 2  # centroids that the tokens ask for, over those there are
DRIFT = 1.2  # how much farther from their centroids tokens may be than those that were trained on
LOOKED_AT = 2**14  # tokens that drift is measured on


@dataclass(frozen=True)
class CodecPlan:
    """Whether a codec is to be trained, or to grow: by how many centroids, from a sample of how many tokens."""

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
        """Train a codec, or let one grow, on such a sample, which is overwritten."""
        if codec is not None:
            return codec.grown(tokens, centroids=self.centroids, seed=settings.seed, progress=progress)
        bits: Bits = 8 if settings.bits == 16 else settings.bits
        return TokenCodec.train(tokens, bits, centroids=self.centroids, seed=settings.seed, progress=progress)


def plan_codec(
    settings: IndexSettings, dims: int, total: int, count: int, codec: TokenCodec | None, *, drift: float = 1.0
) -> CodecPlan:
    """What to do before ``count`` tokens are coded.

    A codec grows only where half of all tokens are at hand: a sample of the few that are new would cluster these alone.

    Parameters
    ----------
    settings
        ``train_size`` tokens train each centroid, as far as a gigabyte allows.
    dims
        Of a token.
    total
        Tokens of the index, with these.
    count
        Tokens that a sample is drawn from.
    codec
        The one there is.
    drift
        As :meth:`TokenCodec.drift` gives it of them.
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
    """Draws tokens from a stream.

    Parameters
    ----------
    size
        How many.
    count
        How many the stream has.
    seed
        Of the choice.
    """

    def __init__(self, size: int, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._chosen = np.sort(rng.choice(count, min(size, count), replace=False))

    def draw(self, stream: Iterable[Tokens], codec: TokenCodec | None, dims: int) -> NDArray[np.float32]:
        """``(s, dims)`` float32, of tokens in float16 or as the codec coded them."""
        found = np.empty((len(self._chosen), dims), dtype=np.float32)
        start = done = 0
        for block in stream:
            stop = int(np.searchsorted(self._chosen, done + len(block)))
            found[start:stop] = as_floats(block, self._chosen[start:stop] - done, codec)
            start, done = stop, done + len(block)
        return found


def as_floats(tokens: Tokens, rows: NDArray[np.int64], codec: TokenCodec | None) -> NDArray[np.float32]:
    """``(m, dims)`` float32: some of the tokens."""
    if isinstance(tokens, TokenCodes):
        assert codec is not None
        return codec.decode(tokens.take(rows))
    return tokens[rows].astype(np.float32)
