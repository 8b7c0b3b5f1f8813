"""Posting lists that are kept in memory, because the queries of an index share their frequent n-grams."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Rows that are kept, of eight bytes each; a list counts as this many in addition to its rows.
MOST_ROWS = 1_000_000
_LIST = 64


class KeptPostings:
    """The posting lists that were read last, as long as the database does not change.

    Reading a list takes some 30 microseconds however short it is, and an index that is divided into shards reads as
    many lists in each of them.

    Parameters
    ----------
    changes
        Returns a number that differs after each change of the database.
    """

    def __init__(self, changes: Callable[[], int]) -> None:
        self._changes = changes
        self._seen = -1
        self._lists: OrderedDict[str, NDArray[np.int64]] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    def get(self, token: str) -> NDArray[np.int64] | None:
        """Return the rows of a token, ``None`` if they are not kept."""
        with self._lock:
            if self._changes() != self._seen:
                return None
            rows = self._lists.get(token)
            if rows is not None:
                self._lists.move_to_end(token)
            return rows

    def keep(self, token: str, rows: NDArray[np.int64]) -> None:
        """Keep the rows of a token, which were read from the database as it is.

        Parameters
        ----------
        token
            The token.
        rows
            ``(n,)`` int64; it must not be changed any more.
        """
        with self._lock:
            if (changes := self._changes()) != self._seen:
                self._lists.clear()
                self._rows, self._seen = 0, changes
            if token not in self._lists:
                self._lists[token] = rows
                self._rows += len(rows) + _LIST
            while self._rows > MOST_ROWS:
                _, oldest = self._lists.popitem(last=False)
                self._rows -= len(oldest) + _LIST
