"""What a search has read of lexical indexes, kept in memory because queries share their frequent n-grams."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
# Postings that are kept, of eight bytes each; a list counts as this many in addition to its postings.
MOST_POSTINGS = 2_000_000
_LIST = 64
# n-grams whose frequencies are kept.
MOST_FREQUENCIES = 50_000
# Lengths are kept by the number of the text, of four bytes each, if no number is higher.
MOST_LENGTHS = 2**24


class Postings(NamedTuple):
    """The texts that have an n-gram: at least once, twice, and three times. ``(n,)`` int64 each, of distinct texts."""

    once: Numbers
    twice: Numbers
    often: Numbers


class KeptPostings:
    """Posting lists, frequencies and lengths that were read, as long as the databases do not change.

    Reading a list takes some 10 microseconds however short it is, and an index that is divided into shards reads as
    many lists in each of them.

    Parameters
    ----------
    changes
        Returns a value that differs after each change of a database.
    """

    def __init__(self, changes: Callable[[], Hashable]) -> None:
        self._changes = changes
        self._seen: Hashable = None
        self._lists: OrderedDict[str, Postings] = OrderedDict()
        self._postings = 0
        self._frequencies: dict[str, tuple[int, ...]] = {}
        self._totals: Sequence[tuple[int, int]] | None = None
        # Two more than the length; 0 where it was not read, and 1 for a text that is not indexed.
        self._lengths = np.zeros(0, dtype=np.int32)
        self._lock = threading.Lock()

    def lists(self, ngrams: Iterable[str]) -> dict[str, Postings]:
        """Return the lists that are kept of some n-grams."""
        with self._lock:
            self._check()
            found = {ngram: self._lists[ngram] for ngram in ngrams if ngram in self._lists}
            for ngram in found:
                self._lists.move_to_end(ngram)
            return found

    def keep(self, lists: Mapping[str, Postings]) -> None:
        """Keep lists that were read from the databases as they are. They must not be changed any more."""
        with self._lock:
            self._check()
            for ngram, postings in lists.items():
                if ngram not in self._lists:
                    self._lists[ngram] = postings
                    self._postings += _size(postings)
            while self._postings > MOST_POSTINGS:
                _, oldest = self._lists.popitem(last=False)
                self._postings -= _size(oldest)

    def frequencies(self, ngrams: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Return the frequencies that are kept of some n-grams: the number of texts in each table."""
        with self._lock:
            self._check()
            return {ngram: self._frequencies[ngram] for ngram in ngrams if ngram in self._frequencies}

    def keep_frequencies(self, found: Mapping[str, tuple[int, ...]]) -> None:
        """Keep frequencies that were read from the databases as they are."""
        with self._lock:
            self._check()
            if len(self._frequencies) + len(found) > MOST_FREQUENCIES:
                self._frequencies.clear()
            self._frequencies.update(found)

    def totals(self, read: Callable[[], Sequence[tuple[int, int]]]) -> Sequence[tuple[int, int]]:
        """Return the number of texts of each table and their length, which ``read`` returns if they are not kept."""
        with self._lock:
            self._check()
            if self._totals is None:
                self._totals = read()
            return self._totals

    def lengths(self, numbers: Numbers, read: Callable[[Numbers], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the length of each text; -1 for one that is not indexed.

        Parameters
        ----------
        numbers
            ``(n,)`` int64 without duplicates.
        read
            Returns the lengths of those that are not kept.
        """
        if not len(numbers) or numbers.min() < 0 or numbers.max() >= MOST_LENGTHS:
            return read(numbers)
        with self._lock:
            self._check()
            if numbers.max() >= len(self._lengths):
                longer = np.zeros(int(numbers.max() * 1.25) + 1, dtype=np.int32)
                longer[: len(self._lengths)] = self._lengths
                self._lengths = longer
            kept = self._lengths[numbers]
            unknown = np.flatnonzero(kept == 0)
            if len(unknown):
                kept[unknown] = np.clip(read(numbers[unknown]) + 2, 1, np.iinfo(np.int32).max)
                self._lengths[numbers[unknown]] = kept[unknown]
        return kept.astype(np.float64) - 2

    def _check(self) -> None:
        """Forget everything if a database has changed."""
        if (changes := self._changes()) != self._seen:
            self._lists.clear()
            self._frequencies.clear()
            self._lengths = np.zeros(0, dtype=np.int32)
            self._postings, self._totals, self._seen = 0, None, changes


def _size(postings: Postings) -> int:
    return _LIST + sum(map(len, postings))
