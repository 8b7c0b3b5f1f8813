"""Codes of a few bits packed into bytes, and queries as integers in the layout that the kernels read.

A kernel compares a token with several vectors at once by SIMD instructions. A *lane* is the place of one of these
vectors, a query token or a centroid, in a block of :data:`LANES` vectors.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

Bits = Literal[1, 2, 4, 8]
WHOLE = 16  # Bits of a dimension that is not coded but kept in float16.
BITS: tuple[Bits, ...] = get_args(Bits)
LANES = 32  # Query tokens, or centroids, that a kernel compares a token with at once.

_LINE = 64  # Bytes of a cache line.


def width(dims: int, bits: Bits) -> int:
    """Return the number of bytes of a packed token.

    Parameters
    ----------
    dims
        The number of dimensions of a token.
    bits
        Bits for each dimension.
    """
    return dims * bits // 8


def centre(bits: Bits) -> float:
    """Return the code that represents zero, which is half way between the middle two codes."""
    return (2**bits - 1) / 2


def largest(bits: Bits) -> int:
    """Return the largest integer of a vector that is multiplied with codes of these bits.

    Two products of it with codes fit into an int16, which AVX2 adds pairs of products in.
    """
    return 64 if bits == 8 else 127


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array with undefined content that begins at a cache line.

    A register is loaded up to twice as fast if it does not cross a cache line, and numpy aligns to 16 bytes only.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def pack(codes: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """Pack codes of a few bits into bytes.

    A byte holds dimensions that are ``width`` apart, so that one shift and one mask unpack neighbouring dimensions to
    neighbouring places.

    Parameters
    ----------
    codes
        ``(t, dims)`` uint8, each below ``2**bits``.
    bits
        Bits of a code.

    Returns
    -------
    numpy.ndarray
        ``(t, width)`` uint8.
    """
    parts = np.split(codes, 8 // bits, axis=1)
    packed = np.zeros_like(parts[0])
    for place, part in enumerate(parts):
        packed |= part << np.uint8(place * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """Unpack codes; the inverse of :func:`pack`.

    Parameters
    ----------
    packed
        ``(t, width)`` uint8.
    bits
        Bits of a code.

    Returns
    -------
    numpy.ndarray
        ``(t, dims)`` uint8.
    """
    mask = np.uint8(2**bits - 1)
    return np.concatenate([packed >> np.uint8(place * bits) & mask for place in range(8 // bits)], axis=1)


class Lanes(NamedTuple):
    """Vectors as integers in blocks of ``LANES``, which kernels multiply with codes.

    A vector is ``scales`` times its integers, which are at most :func:`largest` in magnitude. With codes of at most 8
    bits and up to 512 dimensions, products stay below 2^24, so that int32 and float32 give the same sums in any order.

    Attributes
    ----------
    integers
        ``(blocks, LANES, dims)`` int8; unused lanes are zero.
    scales
        ``(blocks, LANES)`` float32.
    shifts
        ``(blocks, LANES)`` float32: what the codes' offset from zero adds to a product.
    used
        The number of vectors.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    shifts: NDArray[np.float32]
    used: int


def lanes(vectors: NDArray[np.float32], bits: Bits) -> Lanes:
    """Quantise vectors to int8, up to ``largest(bits)``, for multiplication with codes.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32.
    bits
        Bits of the codes.

    Returns
    -------
    Lanes
        The vectors in blocks of ``LANES``.
    """
    count, dims = vectors.shape
    blocks = -(-count // LANES)
    scales = np.zeros(blocks * LANES, dtype=np.float32)
    scales[:count] = np.abs(vectors).max(axis=1) / largest(bits)
    integers = np.zeros((blocks * LANES, dims), dtype=np.int8)
    integers[:count] = np.rint(vectors / np.maximum(scales[:count, None], 1e-30))
    shifts = centre(bits) * scales * integers.sum(axis=1, dtype=np.int32)
    return Lanes(
        integers.reshape(blocks, LANES, dims),
        scales.reshape(blocks, LANES),
        shifts.astype(np.float32).reshape(blocks, LANES),
        count,
    )
