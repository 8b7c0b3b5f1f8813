"""Lexical scores in a memory: BM25 over character n-grams, with statistics of the visible texts only.

The index has such a channel too (:mod:`mlret.index.lexical.fts`), made for few and large writes. A memory is written
one short text at a time and read within a scope, so three things are different here. A text is one row of hashed
n-grams, written and removed with it: a single durable add takes a fifth of the time, and erasing leaves no posting
behind that a merge would have to drop. If few texts are visible, their rows are scanned; posting lists of all rows are
built when a search over many texts first needs them, and kept in memory. Finally, n-gram frequencies and the mean
length are counted over the visible texts: what one tenant writes changes no score of another.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mlret.index.lexical.bm25 import DIGITS, MOST_TIMES, length_norms, rarity, saturation
from mlret.index.lexical.ngrams import ngrams

# A posting is one number: 24 bits for the position of a text and 2 for how often an n-gram occurs there, at most
# MOST_TIMES. To sort postings, they are prefixed with 38 bits of the n-gram's hash.
_POSITION_BITS = 24
_HASH_BITS = 38
MOST_TEXTS = 1 << _POSITION_BITS
_SHIFT = np.uint64(_POSITION_BITS + 2)
_POSTING = np.uint64((MOST_TEXTS << 2) - 1)
_TIMES = np.uint64(3)
# The low bits of a hash suffice to exclude nearly all n-grams that are not in a query.
_SIEVE = 1 << 16
_LOW = np.uint64(_SIEVE - 1)
# Texts added after the lists were built are kept in a dictionary; the lists are rebuilt when it reaches this number of
# texts or, if that is more, one in this many of those in the lists.
_LEAST_FRESH = 4096
_FRESH_PART = 8
# Lists are built only for searches over texts with more n-grams than this in total.
_UNLISTED = 1 << 18
_BATCH = 1 << 16  # Number of postings summed at once.
# Processing an n-gram of a text takes this many times as long as a posting.
_PER_GRAM = 4
_SLACK = 1e-6  # Upper bound of the difference between sums of the same terms in another order.

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Keys = NDArray[np.uint64]  # Hashes of n-grams, ascending.
List = NDArray[np.uint32]


@lru_cache(maxsize=1 << 16)
def _hash(ngram: str) -> int:
    digest = hashlib.blake2b(ngram.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _HASH_BITS)


def grams_of(text: str) -> tuple[bytes, int]:
    """Return what is stored for a text: its hashed n-grams with counts as ``<u8`` bytes, and their total number."""
    counts = Counter(map(_hash, ngrams(text)))
    codes = [gram << 2 | min(times, MOST_TIMES) for gram, times in sorted(counts.items())]
    return np.array(codes, dtype="<u8").tobytes(), counts.total()


class Postings:
    """Texts by position, searchable by the n-grams that they share with a query.

    Parameters
    ----------
    grams
        The results of :func:`grams_of` for the texts ``0 … n - 1``; empty for texts that are not searched, and ``None``
        for those that ``read`` returns when they are needed.
    read
        Called with ascending positions; returns the result of :func:`grams_of` for each.
    """

    def __init__(
        self, grams: Sequence[bytes | None], read: Callable[[Sequence[int]], Sequence[bytes]] | None = None
    ) -> None:
        self._grams = list(grams)
        self._read = read
        self._lists: _Lists | None = None

    def add(self, grams: Iterable[bytes]) -> None:
        """Append texts at the next positions."""
        for one in grams:
            if self._lists is not None:
                self._lists.add(len(self._grams), one)
            self._grams.append(one)

    def search(self, query: str, k: int, visible: Positions, lengths: NDArray[np.int32]) -> tuple[Floats, Positions]:
        """Return the visible texts that match a query best.

        Parameters
        ----------
        query
            Any text.
        k
            Number of texts; those tied with the ``k``-th are included.
        visible
            ``(m,)``, ascending: the positions that are searched and counted.
        lengths
            ``(n,)``: number of n-grams of each text.

        Returns
        -------
        scores : numpy.ndarray
            ``(m,)`` float64, descending, above 0.
        positions : numpy.ndarray
            ``(m,)`` int64; equal scores by ascending position.
        """
        mine = lengths[visible].astype(np.float64)
        total = float(mine.sum())
        keys = np.array(sorted(set(map(_hash, ngrams(query)))), dtype=np.uint64)
        if not total or not len(keys):
            return np.empty(0), np.empty(0, dtype=np.int64)
        norms = length_norms((len(visible) / total) * mine)
        if self._lists is None and total > _UNLISTED:
            self._lists = _Lists(self._held(range(len(self._grams))))
        lists = None if self._lists is None else self._lists.of(keys)
        if lists is None or _PER_GRAM * total < sum(map(len, lists)):
            found, scores = self._over_texts(keys, visible, norms)
        else:
            found, scores = self._over_lists(keys, lists, k, visible, norms, total / len(visible))
        scores = np.round(scores, DIGITS)
        if len(found) > k:
            best = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            found, scores = found[best], scores[best]
        order = np.argsort(-scores, kind="stable")
        return scores[order], found[order]

    def _over_texts(
        self, keys: Keys, positions: Positions, norms: Floats, weights: Floats | None = None
    ) -> tuple[Positions, Floats]:
        """Return the texts that share an n-gram with the keys and their scores, computed from the n-grams of each text.

        ``weights`` are those of the keys; by default they are computed from these texts alone.
        """
        which, times, places = self._shared(keys, positions)
        if weights is None:
            weights = rarity(len(positions), np.bincount(which, minlength=len(keys)))
        parts = weights[which] * saturation(times, norms[places])
        summed = np.bincount(places, weights=parts, minlength=len(positions)).astype(np.float64)
        found = np.flatnonzero(summed)
        return positions[found], summed[found]

    def _shared(self, keys: Keys, positions: Positions) -> tuple[Positions, Floats, Positions]:
        """Return every n-gram of some texts that is among the keys: index of the key, count, and index of the text."""
        grams = self._held(positions.tolist())
        codes = np.frombuffer(b"".join(grams), dtype="<u8")
        sieve = np.zeros(_SIEVE, dtype=np.bool_)
        sieve[(keys & _LOW).view(np.int64)] = True
        some = np.flatnonzero(sieve[(codes >> np.uint64(2) & _LOW).view(np.int64)])
        hashes = codes[some] >> np.uint64(2)
        which = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        same = keys[which] == hashes
        some, which = some[same], which[same]
        counts = np.fromiter(map(len, grams), dtype=np.int64, count=len(grams)) // codes.itemsize
        places = np.repeat(np.arange(len(grams)), counts)[some]
        return which, (codes[some] & _TIMES).astype(np.float64), places

    def _held(self, positions: Sequence[int]) -> list[bytes]:
        """Return the n-grams of some texts, reading those that are not in memory yet."""
        grams = self._grams
        found = list(map(grams.__getitem__, positions))
        lacking = [position for position, one in zip(positions, found, strict=True) if one is None]
        if not lacking:
            return found  # type: ignore[return-value]
        assert self._read is not None
        for position, one in zip(lacking, self._read(lacking), strict=True):
            grams[position] = one
        return [grams[position] for position in positions]  # type: ignore[misc]

    def _over_lists(
        self, keys: Keys, lists: Sequence[List], k: int, visible: Positions, norms: Floats, usual: float
    ) -> tuple[Positions, Floats]:
        """Return texts and their scores, among them the ``k`` best and those tied with them, from posting lists.

        The n-grams with the highest weights come first. As soon as the others cannot lift a further text among the
        ``k`` best, the texts that may be there are scored from their own n-grams (MaxScore: Turtle and Flood, Query
        Evaluation: Strategies and Optimizations, Information Processing & Management 1995). ``usual`` is the mean
        number of n-grams of a text.
        """
        weights = rarity(len(visible), self._frequencies(keys, lists, visible, usual))
        order = np.argsort(-weights, kind="stable").tolist()
        most = weights * saturation(MOST_TIMES, norms.min())
        still = np.append(np.cumsum(most[order][::-1])[::-1], 0.0)  # Upper bound of what the remaining n-grams add.
        norm_of = np.full(len(self._grams), np.inf)  # Invisible texts score 0.
        norm_of[visible] = norms
        summed = np.zeros(len(self._grams))
        for first, last in _batches([len(lists[one]) for one in order]):
            some = order[first:last]
            postings = np.concatenate([lists[one] for one in some])
            where, times = (postings >> np.uint32(2)).astype(np.int64), (postings & np.uint32(3)).astype(np.float64)
            parts = np.repeat(weights[some], [len(lists[one]) for one in some])
            parts *= saturation(times, norm_of[where])
            summed += np.bincount(where, weights=parts, minlength=len(summed))
            unread = sum(len(lists[one]) for one in order[last:])
            best = summed[summed > still[last]] if unread > len(visible) else summed[:0]
            if len(best) >= k:
                least = float(np.partition(best, len(best) - k)[len(best) - k])
                hopeful = np.flatnonzero(summed >= least - still[last] - _SLACK)
                if 2 * _PER_GRAM * usual * len(hopeful) < unread:
                    return self._over_texts(keys, hopeful, norm_of[hopeful], weights)
        found = np.flatnonzero(summed)
        return found, summed[found]

    def _frequencies(self, keys: Keys, lists: Sequence[List], visible: Positions, usual: float) -> Positions:
        """Return how many of the visible texts have each key."""
        every = np.array([len(one) for one in lists])
        seen = np.zeros(len(self._grams), dtype=np.bool_)
        seen[visible] = True
        hidden = len(seen) - len(visible)
        if 2 * _PER_GRAM * usual * hidden < every.sum():  # Few texts are hidden: scan those instead.
            which, _, _ = self._shared(keys, np.flatnonzero(~seen))
            return every - np.bincount(which, minlength=len(keys))
        return np.array([np.count_nonzero(seen[one >> np.uint32(2)]) for one in lists])


class _Lists:
    """Posting lists: for every n-gram the texts that have it.

    Parameters
    ----------
    grams
        The results of :func:`grams_of` for the texts ``0 … n - 1``.
    """

    def __init__(self, grams: Sequence[bytes]) -> None:
        self._size = len(grams)
        self._new: list[bytes] = []
        self._fresh: dict[int, list[int]] = {}
        self._take(_sorted_postings(grams, 0))

    def _take(self, joined: NDArray[np.uint64]) -> None:
        hashes = joined >> _SHIFT
        first = np.ones(len(joined), dtype=np.bool_)
        first[1:] = hashes[1:] != hashes[:-1]
        starts = np.flatnonzero(first)
        self._hashes = hashes[starts]
        self._starts = np.append(starts, len(joined))
        self._postings = (joined & _POSTING).astype(np.uint32)

    def add(self, position: int, grams: bytes) -> None:
        """Add the text at the next position."""
        for code in np.frombuffer(grams, dtype="<u8").tolist():
            self._fresh.setdefault(code >> 2, []).append(position << 2 | code & 3)
        self._new.append(grams)
        if len(self._new) > max(_LEAST_FRESH, self._size // _FRESH_PART):
            held = np.repeat(self._hashes, np.diff(self._starts)) << _SHIFT | self._postings
            fresh = _sorted_postings(self._new, self._size)
            self._take(np.sort(np.concatenate([held, fresh]), kind="stable"))  # Merges two sorted runs.
            self._size += len(self._new)
            self._new, self._fresh = [], {}

    def of(self, keys: Keys) -> list[List]:
        """Return for each key the postings of the texts that have it, by position, with counts."""
        places = np.searchsorted(self._hashes, keys)
        found = []
        for key, place in zip(keys.tolist(), places.tolist(), strict=True):
            known = place < len(self._hashes) and int(self._hashes[place]) == key
            one = self._postings[self._starts[place] : self._starts[place + 1]] if known else self._postings[:0]
            fresh = self._fresh.get(key)
            found.append(one if fresh is None else np.concatenate([one, np.array(fresh, dtype=np.uint32)]))
        return found


def _batches(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first index and the end of consecutive batches of limited total size."""
    first, size = 0, 0
    for place, more in enumerate(sizes):
        if size and size + more > _BATCH:
            yield first, place
            first, size = place, 0
        size += more
    yield first, len(sizes)


def _sorted_postings(grams: Sequence[bytes], first: int) -> NDArray[np.uint64]:
    codes = np.frombuffer(b"".join(grams), dtype="<u8").astype(np.uint64)
    counts = [len(one) // 8 for one in grams]
    positions = np.repeat(np.arange(first, first + len(grams), dtype=np.uint64), counts)
    joined: NDArray[np.uint64] = (codes >> np.uint64(2)) << _SHIFT | positions << np.uint64(2)
    joined |= codes & _TIMES
    joined.sort()
    return joined
