"""What a lexical search reads and how it weighs it, decided from the frequencies of the query's n-grams.

The plan holds everything about a search that depends on all texts together: their number, their mean length and the
weights of the n-grams. An index that is divided into shards makes one plan from the statistics of all of them, so that
each shard gives a text the score that it has in an undivided index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlret.index.lexical.bm25 import rarity

# The number of postings that one search may read, at about 0.3 microseconds each.
POSTINGS = 200_000
# Splitting a text into n-grams takes as long as reading this many postings.
TEXT_COST = 600


@dataclass(frozen=True, slots=True)
class LexicalStatistics:
    """What a plan needs to know of texts.

    Attributes
    ----------
    texts
        The number of texts.
    length
        The number of n-grams in all of them.
    frequencies
        n-gram -> number of texts that have it, for those n-grams of some queries that occur.
    """

    texts: int = 0
    length: int = 0
    frequencies: dict[str, int] = field(default_factory=dict)


def together(statistics: Iterable[LexicalStatistics]) -> LexicalStatistics:
    """Return the statistics of all texts, given those of parts of them."""
    texts = length = 0
    frequencies: dict[str, int] = {}
    for part in statistics:
        texts, length = texts + part.texts, length + part.length
        for ngram, frequency in part.frequencies.items():
            frequencies[ngram] = frequencies.get(ngram, 0) + frequency
    return LexicalStatistics(texts, length, frequencies)


@dataclass(frozen=True, slots=True)
class LexicalPlan:
    """How the texts that match one query are found.

    Attributes
    ----------
    ngrams
        The n-grams of the query that occur, the rarest first.
    weights
        The weight of each of them.
    reading
        How many of them are read: those that fit into ``POSTINGS``.
    mean_length
        The mean length of all texts, in n-grams.
    from_texts
        Whether the texts that may be found are so few that reading them is faster than reading posting lists. All
        n-grams count then.
    least
        Further n-grams are read, one by one, until this many texts are found.
    """

    ngrams: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    reading: int = 0
    mean_length: float = 1.0
    from_texts: bool = False
    least: int = 0

    @property
    def reads_more(self) -> bool:
        """Whether n-grams are skipped that could find more texts."""
        return not self.from_texts and self.reading < len(self.ngrams)


def plan_search(
    ngrams: Sequence[str], statistics: LexicalStatistics, allowed: int | None = None, *, least: int = 0
) -> LexicalPlan:
    """Decide how a query is searched.

    Parameters
    ----------
    ngrams
        The distinct n-grams of the query.
    statistics
        Those of all texts, with the frequencies of these n-grams.
    allowed
        The number of texts that may be found; ``None`` for all, or if texts cannot be read.
    least
        The number of texts to find before n-grams are skipped.

    Returns
    -------
    LexicalPlan
        The plan. It has no n-grams if nothing can be found.
    """
    found = statistics.frequencies
    by_rarity = sorted((found[ngram], ngram) for ngram in ngrams if ngram in found)
    if not statistics.texts or not statistics.length or not by_rarity:
        return LexicalPlan()
    frequencies = np.array([frequency for frequency, _ in by_rarity], dtype=np.int64)
    spent = np.cumsum(frequencies)
    return LexicalPlan(
        tuple(ngram for _, ngram in by_rarity),
        tuple(rarity(statistics.texts, frequencies).tolist()),
        int(np.searchsorted(spent, POSTINGS, side="right")),
        statistics.length / statistics.texts,
        allowed is not None and TEXT_COST * allowed < int(spent[-1]),
        least,
    )
