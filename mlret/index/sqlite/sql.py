"""Parts of SQL statements that take many values, and integers that SQLite returns as one string."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

VARIABLES = 500  # Parameters in one statement; SQLite's limit was 999 for a long time.
_T = TypeVar("_T")


def marks(values: Sized) -> str:
    """Return a question mark for each value, joined by commas, for the parameters of a statement."""
    return ",".join("?" * len(values))


def parts(values: Sequence[_T], size: int = VARIABLES) -> Iterator[list[_T]]:
    """Split values into lists that are short enough for the parameters of one statement.

    Parameters
    ----------
    values
        The values.
    size
        The length of each list but the last.
    """
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def integers_of(joined: str | None) -> NDArray[np.int64]:
    """Return the integers that ``group_concat`` joined, which are read several times faster than as many rows.

    Parameters
    ----------
    joined
        Integers joined by commas; ``None`` for no integers.
    """
    numbers: NDArray[np.int64] = np.fromstring(joined or "", dtype=np.int64, sep=",")
    return numbers
