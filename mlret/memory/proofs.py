"""Checksums of the rows of a memory's tables, row by row and of whole columns.

SQLite does not check what it reads. Every row of the memory's tables has a checksum over its columns, so that a cell
that changed by itself is noticed before anything is answered from it. One row is summed with Python's integers, a
hundred thousand with numpy's, in the time in which they are read; both give the same number. Each step of the sum is a
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
# A text and a number never have the same word by having the same digits.
_TEXT, _BYTES = 1 << 48, 1 << 49
# The sum always takes eight bytes, so that a row that is brought up to date keeps its size.
_WIDE = 1 << 62
_SAMPLE = 64


class DamagedColumnError(ValueError):
    """A column holds a value of a type that was never written there."""


def word(value: Any) -> int:
    """The 64 bits that stand for a value of a cell."""
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
    """The checksum of a row: of the values of its cells, in order."""
    found = _START
    for value in values:
        # What is most frequent stands here, without a call.
        found ^= value & _MASK if type(value) is int else word(value)
        found = found * _FACTOR & _MASK
        found ^= found >> 32
    return found >> 2 | _WIDE


def checksums(columns: Sequence[Words]) -> NDArray[np.int64]:
    """The checksums of ``n`` rows.

    Parameters
    ----------
    columns
        One or more ``(n,)`` uint64: the words of each column (:func:`integers`, :func:`texts`).

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64: what :func:`checksum` gives for each row.
    """
    found = np.full(len(columns[0]), _START, dtype=np.uint64)
    for column in columns:
        found ^= column
        found *= np.uint64(_FACTOR)
        found ^= found >> np.uint64(32)
    return (found >> np.uint64(2) | np.uint64(_WIDE)).view(np.int64)


def integers(values: Sequence[int | None], null: int | None = None) -> NDArray[np.int64]:
    """A column of integers, ``null`` in place of NULL; viewed as uint64 it is the words of the column.

    Raises
    ------
    DamagedColumnError
        If a value is none.
    """
    if is_constant(values):
        one = null if values[0] is None else values[0]
        return np.full(len(values), _integers([one])[0])
    if null is not None and None in values:
        values = [null if value is None else value for value in values]
    return _integers(values)


def is_constant(values: Sequence[Any]) -> bool:
    """Whether a column says the same in every row, as many do."""
    return len(values) > 1 and values[0] is values[1] and values.count(values[0]) == len(values)


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    found = np.array(values) if len(values) else np.empty(0, dtype=np.int64)
    if found.dtype != np.int64:
        raise DamagedColumnError
    return found


def texts(values: Sequence[str | None]) -> Words:
    """The words of a column of texts, of which some may be NULL.

    Raises
    ------
    DamagedColumnError
        If a value is no text.
    """
    try:
        if is_constant(values):
            return np.full(len(values), word(values[0]) if values[0] is None else _word_of_text(values[0]), np.uint64)
        if len(values) > _SAMPLE and len(set(values[:_SAMPLE])) > _SAMPLE // 2:  # hardly any value comes twice
            found = np.fromiter(map(zlib.crc32, map(str.encode, values)), dtype=np.uint64, count=len(values))  # type: ignore[arg-type]
            return found | np.uint64(_TEXT)
        words = {value: _NULL if value is None else _word_of_text(value) for value in set(values)}
    except TypeError as error:  # a number, or bytes
        raise DamagedColumnError from error
    return np.fromiter(map(words.__getitem__, values), dtype=np.uint64, count=len(values))


def _word_of_text(value: str) -> int:
    return zlib.crc32(str.encode(value)) | _TEXT
