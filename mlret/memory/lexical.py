"""Lexical evidence in a memory: BM25 over character n-grams, with the statistics of the scope alone.

The index has such a channel too (:mod:`mlret.index.lexical`), made for few and large writes. A memory is written one
short text at a time and read within a scope, and three things are different here. A text is one row of hashes of its
n-grams, written and removed with it: a single durable add takes a fifth of the time, and erasing leaves no posting
behind that a merge would have to drop. The posting lists are made of those rows when they are first needed, and kept in
memory. And how rare an n-gram is, and how long a text is on average, is counted over what the search may see: what one
tenant writes moves no score of another's.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mlret.index.lexical import K1, B
from mlret.index.ngrams import ngrams

# A posting is one number: 38 bits of the hash of an n-gram, 24 of the position of a text, 2 of how often it occurs
# there, up to three times: BM25 saturates, and the fourth time hardly counts.
_POSITION_BITS = 24
_HASH_BITS = 38
_MOST_TIMES = 3
MOST_TEXTS = 1 << _POSITION_BITS
_TIMES = np.uint64(3)
# Texts that came since the sorted postings were made are in a dictionary; of so many, or of this part, new ones are.
_LEAST_FRESH = 4096
_FRESH_PART = 8
# Posting lists are read, at about an eighth of the time that an n-gram of a text takes, unless the visible texts have
# fewer by far.
_READING = 8
# Sums of the same terms in another order differ in their last bits; rounded to so many digits, a tie stays a tie.
_DIGITS = 9


@lru_cache(maxsize=1 << 16)
def _hash(ngram: str) -> int:
    digest = hashlib.blake2b(ngram.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _HASH_BITS)


def grams_of(text: str) -> tuple[bytes, int]:
    """What is stored of a text: its hashed n-grams with how often each occurs, ``<u8``, and how many there are."""
    counts = Counter(map(_hash, ngrams(text)))
    codes = [gram << 2 | min(times, _MOST_TIMES) for gram, times in sorted(counts.items())]
    return np.array(codes, dtype="<u8").tobytes(), counts.total()


class Postings:
    """Texts by position, searched by the n-grams that they share with a query.

    Parameters
    ----------
    grams
        What :func:`grams_of` gave for the texts ``0 … n - 1``; empty for one that is not searched.
    """

    def __init__(self, grams: Sequence[bytes]) -> None:
        self._grams = list(grams)
        self._counts = [len(one) // 8 for one in grams]
        self._sorted = _sorted_postings(grams, 0)
        self._first_fresh = len(self._grams)
        self._fresh: dict[int, list[int]] = {}

    def add(self, grams: Iterable[bytes]) -> None:
        """Append texts, at the next positions."""
        for one in grams:
            position = len(self._grams)
            for code in np.frombuffer(one, dtype="<u8").tolist():
                self._fresh.setdefault(code >> 2, []).append(position << 2 | code & 3)
            self._grams.append(one)
            self._counts.append(len(one) // 8)
        if len(self._grams) - self._first_fresh > max(_LEAST_FRESH, len(self._grams) // _FRESH_PART):
            fresh = _sorted_postings(self._grams[self._first_fresh :], self._first_fresh)
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]), kind="stable")  # two runs: a merge
            self._first_fresh, self._fresh = len(self._grams), {}

    def search(
        self, query: str, k: int, visible: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The visible texts that match a query best.

        Parameters
        ----------
        query
            Any text.
        k
            How many; those tied with the ``k``-th come too.
        visible
            ``(m,)``, rising: which positions are looked at, and counted.
        lengths
            ``(n,)``: the n-grams of each text.

        Returns
        -------
        scores : numpy.ndarray
            ``(m,)`` float64, falling, above 0.
        positions : numpy.ndarray
            ``(m,)`` int64; equal scores by rising position.
        """
        mine = lengths[visible].astype(np.float64)
        total = float(mine.sum())
        keys = np.array(sorted(set(map(_hash, ngrams(query)))), dtype=np.uint64)
        if not total or not len(keys):
            return np.empty(0), np.empty(0, dtype=np.int64)
        norms = K1 * (1 - B) + K1 * B * (len(visible) / total) * mine
        starts, ends = self._range(keys)
        if _READING * total < int((ends - starts).sum()):
            summed = self._over_texts(keys, visible, norms)
        else:
            summed = self._over_lists(keys, starts, ends, visible, norms)
        found = np.flatnonzero(summed)
        scores = np.round(summed[found], _DIGITS)
        if len(found) > k:
            best = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            found, scores = found[best], scores[best]
        order = np.argsort(-scores, kind="stable")
        return scores[order], visible[found[order]]

    def _over_lists(
        self,
        keys: NDArray[np.uint64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        visible: NDArray[np.int64],
        norms: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The score of each visible text, from the posting lists of the query's n-grams."""
        summed = np.zeros(len(visible))
        place_of = np.full(len(self._grams), -1, dtype=np.int64)
        place_of[visible] = np.arange(len(visible))
        mask = np.uint64((MOST_TEXTS << 2) - 1)
        for key, start, end in zip(keys.tolist(), starts.tolist(), ends.tolist(), strict=True):
            postings = self._sorted[start:end] & mask
            if (fresh := self._fresh.get(key)) is not None:
                postings = np.concatenate([postings, np.array(fresh, dtype=np.uint64)])
            places = place_of[(postings >> np.uint64(2)).astype(np.int64)]
            seen = places >= 0
            places, times = places[seen], (postings[seen] & _TIMES).astype(np.float64)
            if len(places):
                summed[places] += _weight(len(visible), len(places)) * (K1 + 1) * times / (times + norms[places])
        return summed

    def _over_texts(
        self, keys: NDArray[np.uint64], visible: NDArray[np.int64], norms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The same, from the n-grams of each visible text: where they are few, less is read."""
        some = visible.tolist()
        grams = [self._grams[position] for position in some]
        codes = np.frombuffer(b"".join(grams), dtype="<u8")
        hashes = codes >> np.uint64(2)
        which = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        shared = np.flatnonzero(keys[which] == hashes)
        ends = np.cumsum([self._counts[position] for position in some])
        places = np.searchsorted(ends, shared, side="right")
        which, times = which[shared], (codes[shared] & _TIMES).astype(np.float64)
        frequencies = np.bincount(which, minlength=len(keys)).tolist()
        weights = np.array([_weight(len(visible), count) for count in frequencies])
        parts = weights[which] * (K1 + 1) * times / (times + norms[places])
        return np.bincount(places, weights=parts, minlength=len(visible)).astype(np.float64)

    def _range(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shift = np.uint64(_POSITION_BITS + 2)
        return np.searchsorted(self._sorted, keys << shift), np.searchsorted(
            self._sorted, (keys + np.uint64(1)) << shift
        )


def _weight(texts: int, frequency: int) -> float:
    """BM25's inverse document frequency, the one that cannot become negative."""
    return math.log1p((texts - frequency + 0.5) / (frequency + 0.5))


def _sorted_postings(grams: Sequence[bytes], first: int) -> NDArray[np.uint64]:
    codes = np.frombuffer(b"".join(grams), dtype="<u8").astype(np.uint64)
    counts = [len(one) // 8 for one in grams]
    positions = np.repeat(np.arange(first, first + len(grams), dtype=np.uint64), counts)
    joined: NDArray[np.uint64] = (codes >> np.uint64(2)) << np.uint64(_POSITION_BITS + 2) | positions << np.uint64(2)
    joined |= codes & _TIMES
    joined.sort()
    return joined
