"""Codes tokens in a few bits for each dimension, as the rounded residual from a centroid.

The residual codes are those of ColBERTv2 (Santhanam et al. 2022, arXiv 2112.01488, section 3.3) with three changes. All
tokens are centred by one mean: the product of a query with the mean is the same for every document, so rankings do not
change, and the centroids of encoders whose tokens share a direction are not spent on that direction. A random rotation
spreads over all dimensions what a few dimensions hold. Steps are uniform, with a length for each token (as in RaBitQ,
Gao and Long 2024, arXiv 2405.12497), so that codes can be multiplied as integers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mlret.errors import Corrupt
from mlret.index.tokens.bits import BITS, Bits, Lanes, centre, lanes, pack, unpack, width
from mlret.index.tokens.clustering import Centroids, k_means

# The optimal step for rounding a normal distribution of deviation 1, by bits (Max 1960, table II).
_STEPS = {1: 1.596, 2: 0.996, 4: 0.335}
_LARGEST_UNIT = 2**16 - 1
_BLOCK = 2**14
_TRIED = 2**16  # Tokens of a sample on which steps and spread are measured.


@dataclass(frozen=True)
class TokenCodes:
    """Coded tokens.

    Attributes
    ----------
    codes
        ``(t, width)`` uint8: the packed codes of the residuals.
    units
        ``(t,)`` uint16: the length of a token's step, in units of the codec.
    centroids
        ``(t,)`` uint16 or uint32: the centroid of each token.
    """

    codes: NDArray[np.uint8]
    units: NDArray[np.uint16]
    centroids: NDArray[np.unsignedinteger[Any]]

    def __len__(self) -> int:
        return len(self.units)

    def take(self, rows: NDArray[np.int64]) -> TokenCodes:
        """Return the tokens with these indices."""
        return TokenCodes(self.codes[rows], self.units[rows], self.centroids[rows])


class TokenCodec:
    """Encodes tokens into codes and decodes them.

    Centroids are only ever added, so existing codes stay valid when a codec grows. Each generation of centroids is a
    clustering of its own, and new tokens are coded by the last one.

    Parameters
    ----------
    mean
        ``(dims,)`` float32.
    rotation
        ``(dims, inner)`` float32 with orthonormal rows; ``inner`` is ``dims``, or larger to fill complete words.
    centroids
        ``(k, inner)`` float32, of centred and rotated tokens.
    bits
        Bits for each dimension of the residual.
    unit
        The length of a step is this number times a 16-bit integer.
    first
        The first centroid of the last generation.
    spread
        The mean squared length of the residuals of that generation's sample.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        rotation: NDArray[np.float32],
        centroids: NDArray[np.float32],
        bits: Bits,
        unit: float,
        *,
        first: int = 0,
        spread: float = 0.0,
    ) -> None:
        self.mean = mean
        self.rotation = rotation
        self.centroids = Centroids(centroids)
        self.bits: Bits = bits
        self.unit = unit
        self.first = first
        self.spread = spread
        self._latest = Centroids(centroids[first:]) if first else self.centroids

    @property
    def dims(self) -> int:
        """Number of dimensions of a token vector."""
        return len(self.mean)

    @property
    def width(self) -> int:
        """Number of bytes of a coded residual."""
        return width(self.rotation.shape[1], self.bits)

    @classmethod
    def train(
        cls,
        sample: NDArray[np.float32],
        bits: Bits = 4,
        *,
        centroids: int,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> TokenCodec:
        """Fit a codec to a sample of tokens.

        Parameters
        ----------
        sample
            ``(t, dims)`` float32 tokens, drawn from all; it is overwritten.
        bits
            Bits for each dimension: 1, 2, 4 or 8.
        centroids
            The number of centroids; fewer if the sample has fewer tokens.
        seed
            The seed of the rotation and the centroids.
        progress
            As for :func:`mlret.index.tokens.clustering.k_means`.

        Returns
        -------
        TokenCodec
            The codec.
        """
        rng = np.random.default_rng(seed)
        dims = sample.shape[1]
        inner = -(-dims * bits // 32) * 32 // bits
        rotation, _ = np.linalg.qr(rng.standard_normal((inner, inner)))
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        rotated = _rotated(sample, mean, rotation[:dims].astype(np.float32))
        found = k_means(rotated, min(centroids, len(rotated)), seed=seed, progress=progress)
        codec = cls(mean, rotation[:dims].astype(np.float32), found.vectors, bits, 1.0)
        residuals = codec._residuals_of(rotated[:_TRIED])
        # Tokens of another kind may be as far from every centroid as they are long, and longer than those of the
        # sample.
        farthest = 4 * max(float(np.linalg.norm(rotated[:_TRIED], axis=1).max()), 1e-6)
        codec.unit = _longest_step(farthest, inner, bits) / _LARGEST_UNIT
        codec.spread = _spread(residuals)
        return codec

    def grown(
        self,
        sample: NDArray[np.float32],
        *,
        centroids: int,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> TokenCodec:
        """Return a codec with one more generation of centroids.

        Parameters
        ----------
        sample
            ``(t, dims)`` float32 tokens; it may be overwritten.
        centroids
            The number of new centroids; fewer if the sample has fewer tokens.
        seed
            The seed of the new centroids.
        progress
            As for :func:`mlret.index.tokens.clustering.k_means`.
        """
        rotated = _rotated(sample, self.mean, self.rotation)
        found = k_means(rotated, min(centroids, len(rotated)), seed=seed, progress=progress)
        every = np.concatenate([self.centroids.vectors, found.vectors])
        codec = TokenCodec(self.mean, self.rotation, every, self.bits, self.unit, first=len(self.centroids))
        codec.spread = _spread(codec._residuals_of(rotated[:_TRIED]))
        return codec

    def residuals(self, tokens: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the residuals of tokens from their centroids of the last generation: ``(t, dims)`` float32."""
        return np.asarray(self._residuals_of(self._rotated(tokens)) @ self.rotation.T, dtype=np.float32)

    def drift(self, tokens: NDArray[np.float32]) -> float:
        """Return how much farther tokens are from their centroids than those of the last generation's sample were.

        The value is a ratio of mean squared distances: 1 for tokens of the same kind, and more for others.

        Parameters
        ----------
        tokens
            ``(t, dims)`` float32.
        """
        return _spread(self._residuals_of(self._rotated(tokens))) / max(self.spread, 1e-12)

    def _rotated(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((tokens - self.mean) @ self.rotation, dtype=np.float32)

    def _residuals_of(self, rotated: NDArray[np.float32]) -> NDArray[np.float32]:
        return rotated - self._latest.vectors[self._latest.nearest(rotated)]

    def encode(self, tokens: NDArray[np.floating[Any]]) -> TokenCodes:
        """Code ``(t, dims)`` tokens by the last generation of centroids."""
        count = len(tokens)
        small = np.uint16 if len(self.centroids) <= 2**16 else np.uint32
        found = TokenCodes(
            np.empty((count, self.width), np.uint8), np.empty(count, np.uint16), np.empty(count, dtype=small)
        )
        for start in range(0, count, _BLOCK):
            part = slice(start, min(start + _BLOCK, count))
            rotated = self._rotated(tokens[part].astype(np.float32, copy=False))
            near = self.first + self._latest.nearest(rotated)
            codes, lengths = _rounded(rotated - self.centroids.vectors[near], self.bits)
            found.centroids[part] = near
            found.codes[part] = pack(codes, self.bits)
            found.units[part] = np.rint(np.minimum(lengths / np.float32(self.unit), _LARGEST_UNIT))
        return found

    def decode(self, coded: TokenCodes) -> NDArray[np.float32]:
        """Return the ``(t, dims)`` float32 tokens that the codes represent."""
        return np.asarray(self.inner(coded) @ self.rotation.T + self.mean, dtype=np.float32)

    def inner(self, coded: TokenCodes) -> NDArray[np.float32]:
        """Return the ``(t, inner)`` float32 tokens that the codes represent, centred and rotated."""
        return np.asarray(self.centroids.vectors[coded.centroids] + self._residuals(coded.codes, coded.units))

    def latest(self, coded: TokenCodes) -> NDArray[np.int64]:
        """Return the nearest centroid of the last generation for each token, ``(t,)`` int64, counted from its first."""
        found = coded.centroids.astype(np.int64) - self.first
        for start in range(0, len(found), _BLOCK):
            old = np.flatnonzero(found[start : start + _BLOCK] < 0) + start
            if len(old):
                found[old] = self._latest.nearest(self.inner(coded.take(old)))
        return found

    def latest_of(self, tokens: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return :meth:`latest` of ``(t, dims)`` tokens that are not coded."""
        found = np.empty(len(tokens), dtype=np.int64)
        for start in range(0, len(tokens), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part] = self._latest.nearest(self._rotated(tokens[part].astype(np.float32, copy=False)))
        return found

    def _residuals(self, codes: NDArray[np.uint8], units: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return the ``(t, inner)`` float32 residuals that the codes represent."""
        found = unpack(codes, self.bits).astype(np.float32) - np.float32(centre(self.bits))
        found *= (units * np.float32(self.unit))[:, None]
        return found

    def query(self, tokens: NDArray[np.float32]) -> tuple[Lanes, NDArray[np.float32], float]:
        """Prepare a query for the kernels.

        Parameters
        ----------
        tokens
            ``(n, dims)`` float32.

        Returns
        -------
        lanes : Lanes
            The rotated tokens as integers.
        near : numpy.ndarray
            ``(blocks, k, LANES)`` float32: the product of each centroid with each token, both rounded to 8 bits.
        constant : float
            The product with the mean, which must be added to every document's score.
        """
        rotated = np.asarray(tokens @ self.rotation, dtype=np.float32)
        constant = float((tokens @ self.mean).sum(dtype=np.float64))
        return lanes(rotated, self.bits), self.centroids.products(rotated), constant

    def generation(self, first: int, count: int) -> str:
        """Return a hash that identifies some of the centroids, as 16 hexadecimal digits.

        Parameters
        ----------
        first
            The first of these centroids.
        count
            The number of these centroids.
        """
        some = np.ascontiguousarray(self.centroids.vectors[first : first + count])
        return hashlib.blake2b(some.tobytes(), digest_size=8).hexdigest()

    def save(self, path: Path) -> None:
        """Write the codec to a safetensors file."""
        arrays = {"mean": self.mean, "rotation": self.rotation, "centroids": self.centroids.vectors}
        numbers = {
            "bits": np.array([self.bits]),
            "first": np.array([self.first]),
            "unit": np.array([self.unit], dtype=np.float64),
            "spread": np.array([self.spread], dtype=np.float64),
        }
        save_file({name: np.ascontiguousarray(array) for name, array in (arrays | numbers).items()}, path)

    @classmethod
    def load(cls, path: Path) -> TokenCodec:
        """Read a codec from a file.

        Raises
        ------
        MlretError
            If the file holds no codec.
        """
        try:
            found = load_file(path)
            bits, first = int(found["bits"][0]), int(found["first"][0])
            if bits not in BITS:
                raise ValueError(f"{bits} bits")
            unit, spread = float(found["unit"][0]), float(found["spread"][0])
            arrays = found["mean"], found["rotation"], found["centroids"]
            return cls(*arrays, bits, unit, first=first, spread=spread)
        except (OSError, KeyError, IndexError, ValueError, SafetensorError) as error:
            raise Corrupt(f"{path} is not a codec of tokens ({error})") from error


def centroids_for(tokens: int) -> int:
    """Return the number of centroids for a number of tokens.

    It is the largest power of two up to 16 times the square root of the tokens (ColBERT's rule).
    """
    return max(1, int(2 ** math.floor(math.log2(16 * math.sqrt(max(1, tokens))))))


def _rotated(
    sample: NDArray[np.float32], mean: NDArray[np.float32], rotation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Centre and rotate a sample, in its own memory if possible, because it may take half of what is available."""
    fits = rotation.shape[1] == sample.shape[1]
    found = sample if fits else np.empty((len(sample), rotation.shape[1]), dtype=np.float32)
    for start in range(0, len(sample), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = (sample[part] - mean) @ rotation
    return found


def _longest_step(length: float, dims: int, bits: Bits) -> float:
    """Return the step for a residual of this length."""
    return length / centre(8) if bits == 8 else _STEPS[bits] * length / math.sqrt(dims)


def _spread(residuals: NDArray[np.float32]) -> float:
    return float((residuals.astype(np.float64) ** 2).sum(axis=1).mean()) if len(residuals) else 0.0


def _rounded(residuals: NDArray[np.float32], bits: Bits) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the codes of ``(t, inner)`` residuals, and the length of a step for each token."""
    middle, largest = np.float32(centre(bits)), np.float32(2**bits - 1)
    if bits == 8:  # With 8 bits the steps are fine enough that no value has to be clipped.
        steps = np.abs(residuals).max(axis=1) / middle
    else:
        steps = np.float32(_STEPS[bits]) * np.sqrt((residuals**2).mean(axis=1))
    steps = np.maximum(steps, np.float32(1e-12))
    codes = np.clip(np.rint(residuals / steps[:, None] + middle), 0, largest)
    if bits < 8:
        numbers = codes - middle
        # The length of a step that fits these codes best.
        steps = np.maximum((numbers * residuals).sum(axis=1) / (numbers**2).sum(axis=1), 0)
    return codes.astype(np.uint8), np.asarray(steps, dtype=np.float32)
