"""Search files for many short byte strings at once, reading each file a single time.

A fragment of 15 bytes or more that occurs anywhere in a block contains four bytes that begin at a multiple of twelve.
So only every twelfth place of a block is looked at, for all long fragments together: first whether its two bytes occur
in any of them, by a table, then whether its four bytes do, then whether the last 15 bytes of the fragment are around
them. For the few places that are left, the fragments themselves are compared. Shorter fragments are compared at every
place, by two of their bytes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_STEP = 12
_WORD = 4
_LONG = _STEP + _WORD - 1  # A fragment of this many bytes contains such a word, wherever it begins.
# Bytes that are searched at once: with what is computed from them, they fit into the cache of a core.
_CHUNK = _STEP << 15
# Common characters, by which the bytes of a short fragment that are compared first are not chosen.
_COMMON = frozenset(b' etaoinshrdlucm0123456789",-\0')


class Fragments:
    """Byte strings to search for.

    Parameters
    ----------
    fragments
        The byte strings, of two bytes or more.
    """

    def __init__(self, fragments: Iterable[bytes]) -> None:
        self._every = tuple(dict.fromkeys(fragments))
        self._short = [one for one in self._every if len(one) < _LONG]
        self._long = [one for one in self._every if len(one) >= _LONG]
        # The last bytes of each long fragment: the end of an id is its own, where all that were given on one day have
        # the same beginning. Every word of an end is listed, with the end that it is from and its offset in it.
        self._ends = np.array([list(one[-_LONG:]) for one in self._long], dtype=np.uint8).reshape(-1, _LONG)
        listed = sorted(
            (int.from_bytes(one[-_LONG:][offset : offset + _WORD], "little"), number, offset)
            for number, one in enumerate(self._long)
            for offset in range(_STEP)
        )
        table = np.array(listed, dtype=np.int64).reshape(-1, 3)
        self._of, self._offsets = table[:, 1], table[:, 2]
        self._words, self._firsts, self._counts = (
            array.astype(kind)
            for array, kind in zip(
                np.unique(table[:, 0], return_index=True, return_counts=True),
                (np.uint32, np.int64, np.int64),
                strict=True,
            )
        )
        self._begins = np.zeros(1 << 16, dtype=np.bool_)
        self._begins[self._words & np.uint32(0xFFFF)] = True

    @property
    def overlap(self) -> int:
        """Number of bytes by which consecutive blocks must overlap, so that no occurrence is cut by all of them."""
        return max(map(len, self._every), default=1) - 1

    def found_in(self, block: Bytes) -> set[bytes]:
        """Return the fragments that occur in a block.

        Parameters
        ----------
        block
            ``(n,)`` uint8, contiguous.
        """
        found: set[bytes] = set()
        for start in range(0, len(block), _CHUNK):
            chunk = block[start : start + _CHUNK + self.overlap]
            if self._long:
                self._add_long(chunk, found)
            found.update(one for one in self._short if one not in found and _occurs(one, chunk))
        return found

    def _add_long(self, chunk: Bytes, found: set[bytes]) -> None:
        """Add the long fragments that occur in a chunk."""
        pairs = chunk[: len(chunk) // 2 * 2].view("<u2")[:: _STEP // 2]
        places = np.flatnonzero(self._begins[pairs.astype(np.intp)])
        places = places[places <= (len(chunk) - _WORD) // _STEP]
        if not len(places):
            return
        four = chunk[: len(chunk) // _WORD * _WORD].view("<u4")[:: _STEP // _WORD][places]
        where = np.minimum(np.searchsorted(self._words, four), len(self._words) - 1)
        same = self._words[where] == four
        starts, entries = self._listed(places[same] * _STEP, where[same])
        within = (starts >= 0) & (starts <= len(chunk) - _LONG)
        starts, of = starts[within], self._of[entries[within]]
        ends = chunk[starts[:, None] + np.arange(_LONG)]
        equal = (ends == self._ends[of]).all(axis=1)
        for number in np.unique(of[equal]).tolist():
            one = self._long[number]
            begins = starts[equal & (of == number)] - (len(one) - _LONG)
            if one not in found and len(_where(one, chunk, begins)):
                found.add(one)

    def _listed(self, places: NDArray[np.int64], words: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return where each end that has one of the words would begin, and its number in the list of words."""
        counts = self._counts[words]
        turns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = np.repeat(self._firsts[words], counts) + turns
        return np.repeat(places, counts) - self._offsets[entries], entries


def _occurs(fragment: bytes, chunk: Bytes) -> bool:
    """Return whether a fragment occurs in a chunk, comparing the two neighbouring bytes first that seem to be rare."""
    if len(chunk) < len(fragment):
        return False
    rare = [(first in _COMMON) + (second in _COMMON) for first, second in pairwise(fragment)]
    offset = rare.index(min(rare))
    pair = np.frombuffer(fragment, dtype="<u2", count=1, offset=offset)[0]
    starts = []
    for first in (0, 1):  # Pairs that begin at even places, then at odd ones.
        half = chunk[first : first + (len(chunk) - first) // 2 * 2].view("<u2")
        hits = half == pair
        if hits.any():
            starts.append(2 * np.flatnonzero(hits) + first - offset)
    return bool(starts) and len(_where(fragment, chunk, np.concatenate(starts))) > 0


def _where(fragment: bytes, chunk: Bytes, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of some places of a chunk at which a fragment begins."""
    starts = starts[(starts >= 0) & (starts <= len(chunk) - len(fragment))]
    for offset, value in enumerate(fragment):
        if not len(starts):
            break
        starts = starts[chunk[starts + offset] == value]
    return starts
