"""Search files for many short byte strings at once, reading each file a single time.

A fragment of 15 bytes or more that occurs anywhere in a block contains four bytes that begin at a multiple of twelve.
So only every twelfth place of a block is looked at, for all long fragments together: first whether its two bytes occur
in any of them, by a table, then whether its four bytes do. For the few places that are left, the fragments themselves
are compared. Shorter fragments are compared at every place, by two of their bytes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_STEP = 12
_WORD = 4
_LONG = _STEP + _WORD - 1  # A fragment of this many bytes contains such a word, wherever it begins.
# Bytes that are searched at once: with what is computed from them, they fit into the cache of a core.
_CHUNK = _STEP << 15
# Common letters, by which the bytes of a short fragment that are compared first are not chosen.
_COMMON = frozenset(b" etaoinshrdlucm\0")


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
        # For each word of a long fragment the fragments that contain it, with its offset in them.
        self._at: dict[int, list[tuple[bytes, int]]] = {}
        for one in self._every:
            if len(one) >= _LONG:
                # The end of an id is its own, where all that were given on one day have the same beginning.
                for offset in range(len(one) - _LONG, len(one) - _LONG + _STEP):
                    word = int.from_bytes(one[offset : offset + _WORD], "little")
                    self._at.setdefault(word, []).append((one, offset))
        self._words = np.array(sorted(self._at), dtype=np.uint32)
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
            if len(self._words):
                found |= self._long_in(chunk, found)
            found.update(one for one in self._short if one not in found and _occurs(one, chunk))
        return found

    def _long_in(self, chunk: Bytes, known: set[bytes]) -> set[bytes]:
        pairs = chunk[: len(chunk) // 2 * 2].view("<u2")[:: _STEP // 2]
        places = np.flatnonzero(self._begins[pairs.astype(np.intp)])
        places = places[places <= (len(chunk) - _WORD) // _STEP] * _STEP
        if not len(places):
            return set()
        four = chunk[places[:, None] + np.arange(_WORD)].view("<u4")[:, 0]
        where = np.minimum(np.searchsorted(self._words, four), len(self._words) - 1)
        same = self._words[where] == four
        places, four = places[same], four[same]
        found: set[bytes] = set()
        for word, some in _groups(four, places):
            for one, offset in self._at[word]:
                if one not in found and one not in known and len(_where(one, chunk, some - offset)):
                    found.add(one)
        return found


def _occurs(fragment: bytes, chunk: Bytes) -> bool:
    """Return whether a fragment occurs in a chunk, comparing the two neighbouring bytes first that seem to be rare."""
    if len(chunk) < len(fragment):
        return False
    rare = [(first in _COMMON) + (second in _COMMON) for first, second in pairwise(fragment)]
    offset = rare.index(min(rare))
    end = len(chunk) - len(fragment) + 1
    hits = chunk[offset : offset + end] == fragment[offset]
    hits &= chunk[offset + 1 : offset + 1 + end] == fragment[offset + 1]
    return bool(hits.any()) and len(_where(fragment, chunk, np.flatnonzero(hits))) > 0


def _where(fragment: bytes, chunk: Bytes, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of some places of a chunk at which a fragment begins."""
    starts = starts[(starts >= 0) & (starts <= len(chunk) - len(fragment))]
    for offset, value in enumerate(fragment):
        if not len(starts):
            break
        starts = starts[chunk[starts + offset] == value]
    return starts


def _groups(keys: NDArray[np.uint32], values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each distinct key with its values."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    cuts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    starts: Sequence[int] = [0, *cuts.tolist()]
    for start, some in zip(starts, np.split(values, cuts), strict=True):
        yield int(keys[start]), some
