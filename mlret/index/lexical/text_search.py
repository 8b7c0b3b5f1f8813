"""Finds texts by BM25 in one or several lexical tables, as if they were one.

The shards of an index that are in one process are searched together: what is computed after their posting lists are
read then takes no longer than in an undivided index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.index.lexical.bm25 import DIGITS, MOST_TIMES, Floats, length_norms, saturation
from mlret.index.lexical.kept_postings import KeptPostings, Numbers, Postings
from mlret.index.lexical.lexical_damage import DamagedLexicalError
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import LexicalPlan, LexicalStatistics

_TIMES = np.arange(1, MOST_TIMES + 1, dtype=np.float64)
# Lengths are first looked up for this many texts, those with the highest upper bounds of their scores.
FIRST_LENGTHS = 256
# Weights are added in an array with a place for each number up to the highest, unless it would be longer than this and
# have more than so many places for each posting.
_FEW_NUMBERS, _PLACES = 2**16, 16
# An empty range of rows.
NO_ROWS = (1, 0)


class Matches(NamedTuple):
    """The texts that match a query.

    Attributes
    ----------
    scores
        ``(n,)`` float64 in descending order, above 0.
    numbers
        ``(n,)`` int64; equal scores are ordered by ascending number.
    texts
        The number of texts that share an n-gram that was read with the query.
    """

    scores: Floats
    numbers: Numbers
    texts: int


NO_MATCHES = Matches(np.empty(0), np.empty(0, dtype=np.int64), 0)


class Table(Protocol):
    """What is read of a table of texts. Rows are positive."""

    readable: bool

    def totals(self) -> tuple[int, int]:
        """Return the number of texts and the number of n-grams in all of them."""

    def frequencies(self, ngrams: Sequence[str]) -> dict[str, int]:
        """Return in how many texts each of those n-grams is that occur."""

    def postings(
        self, wanted: Sequence[str], times: Sequence[int], within: tuple[int, int] | None
    ) -> tuple[NDArray[np.int64], Numbers]:
        """Return how many texts have each n-gram at least so often, and their rows, one list after another."""

    def lengths(self, rows: Numbers) -> Floats:
        """Return the length of each text in n-grams; -1 for a row that is not indexed."""

    def texts(self, rows: Sequence[int]) -> Mapping[int, str]:
        """Return the texts of rows, if the table is ``readable``."""


class TextSearch:
    """Finds texts in several tables.

    A text is named by a number: its row times the number of tables, plus the place of its table.

    Parameters
    ----------
    tables
        Returns the tables.
    changes
        Returns a value that differs after each change of a table. With it, what was read is kept in memory for the next
        searches.
    """

    def __init__(self, tables: Callable[[], Sequence[Table]], changes: Callable[[], Hashable] | None = None) -> None:
        self._tables = tables
        self._kept = None if changes is None else KeptPostings(changes)

    def statistics(self, wanted: Sequence[str]) -> LexicalStatistics:
        """Return the number and length of all texts, and how many of them have each n-gram.

        Parameters
        ----------
        wanted
            Distinct n-grams.

        Raises
        ------
        DamagedLexicalError
            If the counts do not belong together.
        """
        totals = self._totals()
        texts, length = (sum(some) for some in zip(*totals, strict=True))
        if not texts or not length:
            return LexicalStatistics(texts, length)
        found = {ngram: sum(some) for ngram, some in self._frequencies(wanted).items()}
        return LexicalStatistics(texts, length, {ngram: count for ngram, count in found.items() if count})

    def matches(
        self,
        plan: LexicalPlan,
        k: int,
        *,
        allowed: Sequence[Numbers] | None = None,
    ) -> Matches:
        """Return the texts that match a query best, as a plan says.

        Parameters
        ----------
        plan
            The plan, which may have been made from the statistics of more texts than these.
        k
            The number of texts to return. All that are tied with the last of them are returned too.
        allowed
            For each table ``(m,)`` int64 in ascending order: the only rows to search.

        Returns
        -------
        Matches
            The best texts.

        Raises
        ------
        DamagedLexicalError
            If the counts, lengths or posting lists that are read do not belong together.
        """
        if not plan.ngrams or (allowed is not None and not any(map(len, allowed))):
            return NO_MATCHES
        tables = self._tables()
        if plan.from_texts and allowed is not None and all(table.readable for table in tables):
            texts = {
                number: text
                for place, (table, rows) in enumerate(zip(tables, allowed, strict=True))
                for number, text in _numbered(table.texts(rows.tolist()), place, len(tables))
            }
            return _best_texts(texts, dict(zip(plan.ngrams, plan.weights, strict=True)), k, plan.mean_length)
        numbers = None if allowed is None else _merged(allowed)
        within = [None] * len(tables) if allowed is None else [_range(rows) for rows in allowed]
        lists = [_among(one, numbers) for one in self._lists(plan.ngrams[: plan.reading], within)]
        for ngram in plan.ngrams[plan.reading :]:
            if _distinct(lists) >= plan.least:
                break
            lists += [_among(one, numbers) for one in self._lists([ngram], within)]
        if not any(len(one.once) for one in lists):
            return NO_MATCHES
        return self._best(*_summed(lists, plan.weights), k, plan.mean_length)

    def _totals(self) -> Sequence[tuple[int, int]]:
        def read() -> Sequence[tuple[int, int]]:
            return [table.totals() for table in self._tables()]

        return read() if self._kept is None else self._kept.totals(read)

    def _frequencies(self, wanted: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return for each n-gram how many texts of each table have it.

        Raises
        ------
        DamagedLexicalError
            If there are not as many texts.
        """
        found = {} if self._kept is None else self._kept.frequencies(wanted)
        missing = [ngram for ngram in wanted if ngram not in found]
        if missing:
            parts = [table.frequencies(missing) for table in self._tables()]
            for part, (texts, _) in zip(parts, self._totals(), strict=True):
                if any(type(count) is not int or not 0 < count <= texts for count in part.values()):
                    raise DamagedLexicalError("an n-gram is counted in more texts than there are, or in none")
            read = {ngram: tuple(part.get(ngram, 0) for part in parts) for ngram in missing}
            if self._kept is not None:
                self._kept.keep_frequencies(read)
            found |= read
        return found

    def _lists(self, wanted: Sequence[str], within: Sequence[tuple[int, int] | None]) -> list[Postings]:
        """Return the posting lists of n-grams.

        ``within`` are the first and the last row of each table that matter. Kept lists may have others too.
        """
        found = {} if self._kept is None else self._kept.lists(wanted)
        missing = [ngram for ngram in wanted if ngram not in found]
        if missing:
            read = self._read(missing, within)
            if self._kept is not None and not any(within):
                self._kept.keep(read)
            found |= read
        return [found[ngram] for ngram in wanted]

    def _read(self, wanted: Sequence[str], within: Sequence[tuple[int, int] | None]) -> dict[str, Postings]:
        tables = self._tables()
        frequencies = self._frequencies(wanted)
        counts = np.zeros((MOST_TIMES, len(tables), len(wanted)), dtype=np.int64)
        numbers: list[list[Numbers]] = [[] for _ in range(MOST_TIMES)]
        for place, (table, some) in enumerate(zip(tables, within, strict=True)):
            there = np.array([at for at, ngram in enumerate(wanted) if frequencies[ngram][place]], dtype=np.int64)
            # Few texts have an n-gram three times, and only those that have it twice.
            for times in ((1, 2), (3,)):
                if not len(there) or some == NO_ROWS:
                    continue
                levels = np.array(times)[:, None] - 1
                counts[levels, place, there], rows = table.postings([wanted[at] for at in there.tolist()], times, some)
                ends = np.cumsum(counts[levels, place, there].sum(axis=1)).tolist()
                for level, start, end in zip(times, [0, *ends], ends, strict=False):
                    numbers[level - 1].append(rows[start:end] * len(tables) + place)
                there = there[counts[1, place, there] > 0]
            if some is None:
                stated = [frequencies[ngram][place] for ngram in wanted]
                _check_counts(wanted, counts[0, place], stated)
        by_level = [_by_ngram(*one) for one in zip(counts, numbers, strict=True)]
        return {ngram: Postings(*some) for ngram, some in zip(wanted, zip(*by_level, strict=True), strict=True)}

    def _best(self, numbers: Numbers, weights: Floats, k: int, mean_length: float) -> Matches:
        """Return the ``k`` best texts and all that are tied with the last.

        Lengths are not looked up for texts that cannot be among them.
        """
        reach = weights @ _saturated(np.zeros(1))[0]
        scores, kept = np.empty(0), np.empty(0, dtype=np.int64)
        left, count = np.arange(len(numbers)), max(FIRST_LENGTHS, 2 * k)
        while len(left):
            part = left
            if len(left) > count:
                order = np.argpartition(-reach[left], count - 1)
                part, left = left[order[:count]], left[order[count:]]
            else:
                left = left[:0]
            lengths = self._lengths(numbers[part])
            present = lengths >= 0
            part, lengths = part[present], lengths[present]
            scores = np.concatenate([scores, _scored(weights[part], lengths / mean_length)])
            kept = np.concatenate([kept, numbers[part]])
            best = _first_with_ties(scores, kept, k)
            scores, kept = scores[best], kept[best]
            if len(scores) >= k and len(left):
                left = left[reach[left].round(DIGITS) >= scores[k - 1]]
            count *= 2
        return Matches(scores, kept, len(numbers))

    def _lengths(self, numbers: Numbers) -> Floats:
        return self._read_lengths(numbers) if self._kept is None else self._kept.lengths(numbers, self._read_lengths)

    def _read_lengths(self, numbers: Numbers) -> Floats:
        tables = self._tables()
        if len(tables) == 1:
            return tables[0].lengths(numbers)
        lengths = np.full(len(numbers), -1.0)
        for number, table in enumerate(tables):
            places = np.flatnonzero(numbers % len(tables) == number)
            if len(places):
                lengths[places] = table.lengths(numbers[places] // len(tables))
        return lengths


def _numbered(texts: Mapping[int, str], place: int, tables: int) -> list[tuple[int, str]]:
    return [(row * tables + place, text) for row, text in texts.items()]


def _merged(rows: Sequence[Numbers]) -> Numbers:
    """Return the numbers of rows of all tables, in ascending order."""
    if len(rows) == 1:
        return rows[0]
    return np.sort(np.concatenate([some * len(rows) + place for place, some in enumerate(rows)]))


def _range(rows: Numbers) -> tuple[int, int]:
    """Return the first and the last of some rows; an empty range if there are none."""
    return (int(rows[0]), int(rows[-1])) if len(rows) else NO_ROWS


def _among(postings: Postings, allowed: Numbers | None) -> Postings:
    """Return the postings of those texts that are allowed, which are given in ascending order."""
    if allowed is None:
        return postings
    return Postings(*(_common(numbers, allowed) for numbers in postings))


def _common(numbers: Numbers, allowed: Numbers) -> Numbers:
    places = np.minimum(np.searchsorted(allowed, numbers), len(allowed) - 1)
    inside: Numbers = numbers[allowed[places] == numbers]
    return inside


def _check_counts(wanted: Sequence[str], counts: NDArray[np.int64], stated: Sequence[int]) -> None:
    wrong = np.flatnonzero(counts != stated)
    if len(wrong):
        raise DamagedLexicalError(f"the n-gram {wanted[int(wrong[0])]!r} is not in as many texts as were counted")


def _by_ngram(counts: NDArray[np.int64], numbers: Sequence[Numbers]) -> list[Numbers]:
    """Return for each n-gram its numbers in all tables.

    Parameters
    ----------
    counts
        ``(tables, ngrams)`` int64: the number of postings.
    numbers
        The numbers of each table that has any, of one n-gram after another.
    """
    if not numbers:
        return [np.empty(0, dtype=np.int64)] * counts.shape[1]
    together = np.concatenate(numbers)
    if len(counts) > 1:
        of = np.repeat(np.tile(np.arange(counts.shape[1]), len(counts)), counts.ravel())
        together = together[np.argsort(of, kind="stable")]
    ends = np.cumsum(counts.sum(axis=0)).tolist()
    # Copies, so that what is kept of one n-gram does not keep the lists of the others.
    return [together[start:end].copy() for start, end in zip([0, *ends], ends, strict=False)]


def _distinct(lists: Sequence[Postings]) -> int:
    return len(np.unique(np.concatenate([one.once for one in lists]))) if lists else 0


def _summed(lists: Sequence[Postings], weights: Sequence[float]) -> tuple[Numbers, Floats]:
    """Return the distinct numbers, and for each the summed weights of its n-grams by occurrence.

    The weights are ``(n, 3)``: those of n-grams that occur once, twice, and three times or more.
    """
    each = np.array(weights[: len(lists)])
    numbers, once = _added(
        np.concatenate([one.once for one in lists]), np.repeat(each, [len(one.once) for one in lists])
    )
    further = []
    for some in ([one.twice for one in lists], [one.often for one in lists]):
        together = np.concatenate(some)
        places = np.minimum(np.searchsorted(numbers, together), len(numbers) - 1)
        if not np.array_equal(numbers[places], together):
            raise DamagedLexicalError("an n-gram occurs several times in texts that do not have it")
        further.append(np.bincount(places, np.repeat(each, list(map(len, some))), minlength=len(numbers)))
    twice, often = further
    return numbers, np.stack([once - twice, twice - often, often], axis=1)


def _added(numbers: Numbers, weights: Floats) -> tuple[Numbers, Floats]:
    """Return the distinct numbers in ascending order, and the sum of the weights, which are positive, of each."""
    highest = int(numbers.max())
    if numbers.min() >= 0 and highest < max(_FEW_NUMBERS, _PLACES * len(numbers)):
        sums = np.asarray(np.bincount(numbers, weights), dtype=np.float64)
        distinct = np.asarray(np.flatnonzero(sums), dtype=np.int64)
        return distinct, sums[distinct]
    found, places = np.unique(numbers, return_inverse=True)
    return found, np.asarray(np.bincount(places, weights), dtype=np.float64)


def _best_texts(texts: Mapping[int, str], weights: Mapping[str, float], k: int, mean_length: float) -> Matches:
    """Return the best texts, computed from the texts instead of the posting lists, with the same result."""
    numbers = np.array(sorted(texts), dtype=np.int64)
    sums, lengths = np.zeros((len(numbers), MOST_TIMES)), np.zeros(len(numbers))
    for place, number in enumerate(numbers.tolist()):
        counts = Counter(ngrams(texts[number]))
        lengths[place] = counts.total()
        for ngram, weight in weights.items():
            if ngram in counts:
                sums[place, min(counts[ngram], MOST_TIMES) - 1] += weight
    scores = _scored(sums, lengths / mean_length)
    best = _first_with_ties(scores, numbers, k)
    best = best[scores[best] > 0]
    return Matches(scores[best], numbers[best], int(np.count_nonzero(scores > 0)))


def _first_with_ties(scores: Floats, numbers: Numbers, k: int) -> NDArray[np.int64]:
    """Return the positions of the ``k`` best scores and of all that equal the last of them, in descending order."""
    order = np.lexsort((numbers, -scores))
    if len(order) <= k:
        return order
    return order[: int(np.count_nonzero(scores >= scores[order[k - 1]]))]


def _scored(weights: Floats, relative_lengths: Floats) -> Floats:
    scores: Floats = np.einsum("ij,ij->i", weights, _saturated(relative_lengths)).round(DIGITS)
    return scores


def _saturated(relative_lengths: Floats) -> Floats:
    """Return BM25's factor for one, two and three occurrences of an n-gram in texts of these lengths: ``(n, 3)``."""
    return saturation(_TIMES, length_norms(relative_lengths)[:, None])
