"""Checksums over columns of integers that can be updated row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every input bit affects every output bit.
_STEPS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_STEP, _FIRST, _SECOND = map(np.uint64, _STEPS)
_MASK = 2**64 - 1
# SQLite has signed 64-bit integers.
MODULUS = 2**63
# Up to this many numbers are faster without numpy.
_FEW = 8


def mixed(*columns: ArrayLike) -> NDArray[np.int64]:
    """Return a checksum of each row.

    Parameters
    ----------
    columns
        One or more ``(n,)`` int64 arrays.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64, not negative.
    """
    found = np.zeros(np.shape(columns[0]), dtype=np.uint64)
    for column in columns:
        found = (found ^ np.asarray(column, dtype=np.int64).view(np.uint64)) + _STEP
        found = (found ^ (found >> np.uint64(30))) * _FIRST
        found = (found ^ (found >> np.uint64(27))) * _SECOND
        found ^= found >> np.uint64(31)
    return (found >> np.uint64(1)).view(np.int64)


def mixed_row(*row: int) -> int:
    """Return the checksum that :func:`mixed` gives one row."""
    found = 0
    step, first, second = _STEPS
    for value in row:
        found = ((found ^ (value & _MASK)) + step) & _MASK
        found = ((found ^ (found >> 30)) * first) & _MASK
        found = ((found ^ (found >> 27)) * second) & _MASK
        found ^= found >> 31
    return found >> 1


def mixed_rows(*columns: Sequence[int]) -> list[int]:
    """Return the checksums that :func:`mixed` gives rows, as a list."""
    if len(columns[0]) <= _FEW:
        return [mixed_row(*row) for row in zip(*columns, strict=True)]
    found: list[int] = mixed(*columns).tolist()
    return found


def sum_of(numbers: Sequence[int] | NDArray[np.int64]) -> int:
    """Return a checksum of a set of integers, from 0 to :data:`MODULUS` - 1.

    The checksum of the union of two disjoint sets is the sum of theirs, modulo :data:`MODULUS`.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 without duplicates.
    """
    if len(numbers) <= _FEW:
        return sum(mixed_row(int(number)) for number in numbers) % MODULUS
    return int(mixed(numbers).view(np.uint64).sum(dtype=np.uint64)) % MODULUS
