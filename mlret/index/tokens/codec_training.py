"""Decides when a codec is trained and when it grows, on how many tokens, and in how much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.sqlite.checksums import mixed
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
_COLUMNS = 16  # Dimensions of a sample that are sorted at once.


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


@dataclass(frozen=True)
class Batch:
    """Some records: their row numbers, the number of tokens of each, and the tokens in codes or in float16."""

    numbers: NDArray[np.int64]
    lengths: NDArray[np.int64]
    tokens: Tokens


def sample_of(
    stream: Callable[[], Iterable[Batch]], size: int, seed: int, codec: TokenCodec | None, dims: int
) -> NDArray[np.float32]:
    """Draw a sample of tokens, which does not depend on the order of the records or on how they are divided.

    Each token has a random key, made of the tokens of its record and its place among them; those with the lowest keys
    are drawn, in the order of their keys.

    Parameters
    ----------
    stream
        Returns the tokens in batches; it is called twice.
    size
        The size of the sample.
    seed
        The seed of the choice.
    codec
        The codec of the codes.
    dims
        The number of dimensions of a token.

    Returns
    -------
    numpy.ndarray
        ``(s, dims)`` float32.
    """
    keys = np.concatenate([np.empty(0, dtype=np.int64), *(_keys(batch, seed) for batch in stream())])
    size = min(size, len(keys))
    found, keys_found = np.empty((size, dims), dtype=np.float32), np.empty(size, dtype=np.int64)
    if not size:
        return found
    highest = np.partition(keys, size - 1)[size - 1]
    spare = size - int(np.count_nonzero(keys < highest))  # Of equal keys, which equal tokens have, only some may fit.
    done = 0
    for batch in stream():
        mine = _keys(batch, seed)
        chosen = mine <= highest
        ties = np.flatnonzero(mine == highest)
        chosen[ties[spare:]] = False
        spare -= min(spare, len(ties))
        rows = np.flatnonzero(chosen)
        part = slice(done, done + len(rows))
        found[part], keys_found[part] = as_floats(batch.tokens, rows, codec), mine[rows]
        done += len(rows)
    order = np.argsort(keys_found, kind="stable")
    return _ordered(found, order)


def _keys(batch: Batch, seed: int) -> NDArray[np.int64]:
    """Return a random number for each token, which depends on the tokens of its record alone."""
    lengths = batch.lengths[batch.lengths > 0]
    if not len(lengths):
        return np.empty(0, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    if isinstance(batch.tokens, TokenCodes):
        sums = np.asarray(batch.tokens.codes, dtype=np.int64) @ _weights(batch.tokens.codes.shape[1])
        sums = sums + batch.tokens.units.astype(np.int64)
    else:
        values = np.ascontiguousarray(batch.tokens, dtype="<f2").view("<i2")
        sums = values.astype(np.int64) @ _weights(values.shape[1])
    places = np.arange(len(sums), dtype=np.int64) - np.repeat(starts, lengths)
    whole = np.add.reduceat(mixed(sums, places), starts)
    return mixed(np.repeat(whole, lengths), places, np.full(len(sums), seed, dtype=np.int64))


@lru_cache(maxsize=8)
def _weights(count: int) -> NDArray[np.int64]:
    return mixed(np.arange(count, dtype=np.int64))


def _ordered(sample: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sort a sample in its own memory but for some columns at a time, because it may be large."""
    for start in range(0, sample.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        sample[:, part] = sample[order, part]
    return sample


def as_floats(tokens: Tokens, rows: NDArray[np.int64], codec: TokenCodec | None) -> NDArray[np.float32]:
    """Return the tokens of some rows as ``(m, dims)`` float32, decoded if they are coded."""
    if isinstance(tokens, TokenCodes):
        assert codec is not None
        return codec.decode(tokens.take(rows))
    return tokens[rows].astype(np.float32)
