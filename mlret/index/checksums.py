"""Checksums over columns of integers that can be brought up to date row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of a number reaches every bit of what comes
# out.
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# SQLite has signed integers of 64 bits.
MODULUS = 2**63


def mixed(*columns: ArrayLike) -> NDArray[np.int64]:
    """A checksum of each row.

    Parameters
    ----------
    columns
        One or more ``(n,)`` int64.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64, from 0 up.
    """
    found = np.zeros(np.shape(columns[0]), dtype=np.uint64)
    for column in columns:
        found = (found ^ np.asarray(column, dtype=np.int64).view(np.uint64)) + _STEP
        found = (found ^ (found >> np.uint64(30))) * _FIRST
        found = (found ^ (found >> np.uint64(27))) * _SECOND
        found ^= found >> np.uint64(31)
    return (found >> np.uint64(1)).view(np.int64)


def sum_of(numbers: ArrayLike) -> int:
    """A checksum of a set of integers: that of two sets without a common element is the sum of theirs, modulo
    :data:`MODULUS`.

    Parameters
    ----------
    numbers
        ``(n,)`` int64, each once.
    """
    return int(mixed(np.asarray(numbers, dtype=np.int64)).astype(np.uint64).sum(dtype=np.uint64)) % MODULUS
