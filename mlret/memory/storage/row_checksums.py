"""Checksums of the rows of a memory's tables, for single rows and for whole columns.

SQLite does not verify what it reads. Every row of the memory's tables has a checksum over its columns, so that a cell
that changed by accident is noticed before anything is answered from it. One row is summed with Python integers, a
hundred thousand with NumPy in the time that reading them takes; both give the same number. Each step of the sum is a
bijection of 64 bits, so that a change of one cell always changes the sum before it is shortened by two bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_MASK = 2**64 - 1
_START, _FACTOR = 0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD
_NULL = 0xA5A5A5A5A5A5A5A5
# Type marks, so that a text and a number with the same digits have different words.
_TEXT, _BYTES = 1 << 48, 1 << 49
# This bit makes the sum always take eight bytes, so that an updated row keeps its size.
_WIDE = 1 << 62
_SAMPLE = 64


class DamagedColumnError(ValueError):
    """A column holds a value of a type that is never written there."""


def word(value: Any) -> int:
    """Return the 64-bit word that represents the value of a cell."""
    kind = type(value)
    if kind is int:
        return int(value) & _MASK
    if kind is str:
        return zlib.crc32(value.encode()) | _TEXT
    if value is None:
        return _NULL
    if kind is float:
        return int.from_bytes(struct.pack("<d", value), "little")
    return zlib.crc32(value) | _BYTES


def checksum(values: Iterable[Any]) -> int:
    """Return the checksum of a row from the values of its cells, in order."""
    found = _START
    for value in values:
        # Integers, the most frequent type, are handled inline to avoid a call.
        found ^= value & _MASK if type(value) is int else word(value)
        found = found * _FACTOR & _MASK
        found ^= found >> 32
    return found >> 2 | _WIDE


def checksums(columns: Sequence[Words]) -> NDArray[np.int64]:
    """Return the checksums of ``n`` rows.

    Parameters
    ----------
    columns
        One or more ``(n,)`` uint64: the words of each column (:func:`integers`, :func:`texts`).

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64: the result of :func:`checksum` for each row.
    """
    found = np.full(len(columns[0]), _START, dtype=np.uint64)
    for column in columns:
        found ^= column
        found *= np.uint64(_FACTOR)
        found ^= found >> np.uint64(32)
    return (found >> np.uint64(2) | np.uint64(_WIDE)).view(np.int64)


def integers(values: Sequence[int | None], null: int | None = None) -> NDArray[np.int64]:
    """Return a column of integers as an array; viewed as uint64 it holds the words of the column.

    Parameters
    ----------
    values
        ``n`` integers, or ``None`` for NULL.
    null
        The integer that represents NULL.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64.

    Raises
    ------
    DamagedColumnError
        If a value is not an integer.
    """
    if is_constant(values):
        one = null if values[0] is None else values[0]
        return np.full(len(values), _integers([one])[0])
    if null is not None and None in values:
        values = [null if value is None else value for value in values]
    return _integers(values)


def is_constant(values: Sequence[Any]) -> bool:
    """Return whether a column has the same value in all of two or more rows, as many columns do."""
    return len(values) > 1 and values[0] is values[1] and values.count(values[0]) == len(values)


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    found = np.array(values) if len(values) else np.empty(0, dtype=np.int64)
    if found.dtype != np.int64:
        raise DamagedColumnError
    return found


def texts(values: Sequence[str | None]) -> Words:
    """Return the words of a column of texts, some of which may be NULL.

    Raises
    ------
    DamagedColumnError
        If a value is not a text.
    """
    try:
        if is_constant(values):
            return np.full(len(values), word(values[0]) if values[0] is None else _word_of_text(values[0]), np.uint64)
        if len(values) > _SAMPLE and len(set(values[:_SAMPLE])) > _SAMPLE // 2:  # Few repeated values.
            found = np.fromiter(map(zlib.crc32, map(str.encode, values)), dtype=np.uint64, count=len(values))  # type: ignore[arg-type]
            return found | np.uint64(_TEXT)
        words = {value: _NULL if value is None else _word_of_text(value) for value in set(values)}
    except TypeError as error:  # The value is a number or bytes.
        raise DamagedColumnError from error
    return np.fromiter(map(words.__getitem__, values), dtype=np.uint64, count=len(values))


def _word_of_text(value: str) -> int:
    return zlib.crc32(str.encode(value)) | _TEXT
