"""The types in which an index stores vectors: float32 as it comes, or rounded to float16 or int8.

A vector is rounded when it comes in, and never again: what the tail compares, what a segment holds and what is read
from it are the same values, so that sealing and merging change no score.

In float16 each value is rounded by itself, so that the length of a vector may be off by a few millionths. In int8 the
codes of a vector are ``127 v / max |v|`` to the nearest integers, and its scale, a float32, is one over their length:
the stored vector, ``codes * scale``, has length 1, and its products with unit queries are cosines. Rounding a rounded
vector again gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import Dtype

_DTYPES: dict[Dtype, str] = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}
_LARGEST = 127
# Rows that are turned into float32 at once: few enough for a core's cache.
_BLOCK = 512


def dtype_of(dtype: Dtype) -> str:
    """Return the type of codes, as in ``numpy.dtype.str``."""
    return _DTYPES[dtype]


class Rounded:
    """Rounded vectors, which are read as float32.

    Parameters
    ----------
    codes
        ``(n, dims)`` float16 or int8; a memory map stays one.
    scales
        ``(n,)`` float32 that the codes are multiplied by; ``None`` if they are the values themselves.
    """

    def __init__(self, codes: NDArray[Any], scales: NDArray[np.float32] | None = None) -> None:
        self.codes = codes
        self.scales = scales

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of vectors and that of dimensions."""
        rows, dims = self.codes.shape
        return rows, dims

    @property
    def size(self) -> int:
        """The number of values."""
        return self.codes.size

    def __getitem__(self, rows: slice | NDArray[Any]) -> NDArray[np.float32]:
        """Return some vectors in float32; ``rows`` may have any shape, to which that of a vector is added."""
        codes = self.codes[rows]
        if self.scales is None:
            return codes.astype(np.float32)
        found: NDArray[np.float32] = np.multiply(codes, self.scales[rows][..., None], dtype=np.float32)
        return found

    def part(self, rows: slice | NDArray[Any]) -> Rounded:
        """Return some vectors as they are stored."""
        return Rounded(self.codes[rows], None if self.scales is None else self.scales[rows])

    def unscaled(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the place of each block of vectors, and its codes in float32, not multiplied by the scales."""
        for start in range(0, len(self), _BLOCK):
            place = slice(start, start + _BLOCK)
            yield place, self.codes[place].astype(np.float32)


# The vectors of a segment: ``(n, dims)``, of which any part is read as float32.
Matrix = NDArray[np.float32] | Rounded


def part_of(matrix: Matrix, rows: slice | NDArray[Any]) -> Matrix:
    """Return some vectors of a matrix as they are stored."""
    return matrix[rows] if isinstance(matrix, np.ndarray) else matrix.part(rows)


def rounded(vectors: NDArray[np.float32], dtype: Dtype) -> Matrix:
    """Return vectors of unit length in the form in which they are stored.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32, finite; of length 1, or 0.
    dtype
        The type to store.
    """
    if dtype == "float32":
        return vectors
    if dtype == "float16":
        return Rounded(vectors.astype(np.float16))
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    codes = np.rint(vectors * (_LARGEST / np.where(largest > 0, largest, 1))).astype(np.int8)
    return Rounded(codes, scales_of(codes))


def scales_of(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return what codes are multiplied by so that they have length 1: ``(n,)`` float32, 0 for codes of length 0."""
    wide = codes.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return (1 / np.where(lengths > 0, lengths, np.inf)).astype(np.float32)


def as_floats(matrix: Matrix) -> NDArray[np.float32]:
    """Return all vectors of a matrix in float32."""
    return matrix if isinstance(matrix, np.ndarray) else matrix[:]
