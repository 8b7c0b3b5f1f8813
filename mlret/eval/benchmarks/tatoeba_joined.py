"""Tatoeba between two languages other than English, joined on the English sentence that both translate.

If an English sentence occurs in the pairs of two languages, its translations translate each other. There are few of
these (XTREME's 36 languages have 149 language pairs with ten or more), so only they are queries; the candidates are all
sentences of the other language, as in the task with English.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mlret.errors import InputError
from mlret.eval.matching import best_candidates
from mlret.eval.readers.tatoeba_data import TatoebaPairs
from mlret.eval.scorers import BitextScorer, Mode, Side


@dataclass(frozen=True)
class JoinedRow:
    """Scores of one language pair.

    ``first`` and ``second`` are labels of the test set, ``queries`` is the number of queries in each direction, and
    ``raw`` and ``calibrated`` are the mean accuracies of both directions, from 0 to 1.
    """

    first: str
    second: str
    queries: int
    raw: float
    calibrated: float | None


@dataclass(frozen=True)
class JoinedResult:
    """Scores of an encoder; the averages give every language pair the same weight."""

    rows: list[JoinedRow]

    @property
    def raw(self) -> float:
        """Mean accuracy without calibration, from 0 to 1."""
        return float(np.mean([row.raw for row in self.rows]))

    @property
    def calibrated(self) -> float | None:
        """Mean accuracy with calibration, from 0 to 1; ``None`` for an encoder without calibration."""
        scores = [row.calibrated for row in self.rows if row.calibrated is not None]
        return float(np.mean(scores)) if scores else None

    @property
    def queries(self) -> int:
        """Number of queries of all language pairs, in one direction."""
        return sum(row.queries for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain data for JSON. Accuracies are from 0 to 1."""
        return {
            "average": {
                "pairs_of_languages": len(self.rows),
                "queries": self.queries,
                "raw": self.raw,
                "calibrated": self.calibrated,
            },
            "rows": [asdict(row) for row in self.rows],
        }


Joined = tuple[TatoebaPairs, TatoebaPairs, set[str]]


def join_on_english(pairs: Sequence[TatoebaPairs], *, min_queries: int = 10) -> list[Joined]:
    """Return all pairs of languages that share English sentences.

    Parameters
    ----------
    pairs
        The test set.
    min_queries
        Minimum number of shared English sentences.

    Returns
    -------
    list of tuple
        Both languages' sentences, and the set of shared English sentences.

    Raises
    ------
    InputError
        If no two languages share that many.
    """
    english = {pair.label: set(pair.english) for pair in pairs}
    joined = [(a, b, english[a.label] & english[b.label]) for a, b in combinations(pairs, 2)]
    joined = [entry for entry in joined if len(entry[2]) >= min_queries]
    if not joined:
        raise InputError(
            f"no two of the {len(pairs)} languages share {min_queries} English sentences: choose more languages"
        )
    return joined


def evaluate_joined(scorer: BitextScorer, pairs: Sequence[TatoebaPairs], *, min_queries: int = 10) -> JoinedResult:
    """Evaluate an encoder between every two languages that share at least ``min_queries`` English sentences.

    Parameters
    ----------
    scorer
        A scorer that has encoded all sentences of ``pairs``.
    pairs
        The test set.
    min_queries
        Language pairs with fewer queries are skipped.

    Raises
    ------
    InputError
        If no two languages share that many sentences.
    """
    rows = []
    for first, second, shared in join_on_english(pairs, min_queries=min_queries):
        accuracies = {mode: _both_ways(first, second, shared, scorer, mode) for mode in scorer.modes}
        rows.append(JoinedRow(first.label, second.label, len(shared), accuracies["raw"], accuracies.get("calibrated")))
    return JoinedResult(rows)


def _both_ways(first: TatoebaPairs, second: TatoebaPairs, shared: set[str], scorer: BitextScorer, mode: Mode) -> float:
    return (_one_way(first, second, shared, scorer, mode) + _one_way(second, first, shared, scorer, mode)) / 2


def _one_way(asked: TatoebaPairs, found: TatoebaPairs, shared: set[str], scorer: BitextScorer, mode: Mode) -> float:
    """Return the share of queries whose nearest candidate has the same English translation.

    If several sentences share an English translation, only the first is a query.
    """
    first_of = {english: row for row, english in reversed(list(enumerate(asked.english))) if english in shared}
    queries = Side([asked.sentences[row] for row in first_of.values()], asked.language)
    best = best_candidates(scorer.similarities(mode, queries, Side(found.sentences, found.language)))
    right = [found.english[row] == english for english, row in zip(first_of, best, strict=True)]
    return float(np.mean(right))
