"""LAReQA on XQuAD-R (Roy et al., arXiv 2004.05484): does a question find its answer in every language, from one pool?

A question has an answer in each language. All sentences of all languages are ranked together, so a system that prefers
the question's own language, right or wrong, pays for it: mean average precision falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.eval import plots
from mlret.eval.benchmarks.xquad_r_data import XquadR
from mlret.eval.matching import Scores
from mlret.eval.report import Figures, Picture, QueryScores, Report, mean_over_groups
from mlret.eval.retrieval import AVERAGE, Protocol, metric_table
from mlret.eval.scorers import BitextScorer, Mode, Side
from mlret.eval.table import ResultTable, percent

Unit = Literal["sentence", "sentence+context"]

METRICS = ("map", "map@20", "map other languages", "recall@1 own language", "same language in top 10")
# Ranks that the histogram tells apart: the first, 2 to 3, …
_BUCKETS = (1, 3, 10, 30, 100, 300, 1000)
PROTOCOL = Protocol(
    benchmark="xquad-r",
    title="XQuAD-R (LAReQA)",
    description=(
        "LAReQA (Roy et al., arXiv 2004.05484): the sentences of all languages in one pool; relevant are the sentences "
        "that answer, one in each language. map@20 is XTREME-R's. map other languages: without candidates in the "
        "question's language. A column is the language of the questions; the average gives each the same weight."
    ),
    metrics=METRICS,
    depth=0,
    sizes={},
)


@dataclass(frozen=True)
class PoolRanks:
    """Where the answers stand, for the questions of one language.

    Attributes
    ----------
    ranks
        ``(questions, languages)`` int64, from 1: the rank of the answer in each language in the whole pool.
    without_own
        ``(questions, languages - 1)``: the same, candidates in the question's language left out.
    within
        ``(questions, languages)``: the rank of each answer among the candidates of its language alone.
    own_share
        ``(questions,)``: the share of the ten best that are in the question's language.
    """

    ranks: NDArray[np.int64]
    without_own: NDArray[np.int64]
    within: NDArray[np.int64]
    own_share: NDArray[np.float64]


def texts_of(data: XquadR, unit: Unit) -> tuple[list[str], list[str]]:
    """All texts of the pool, by language, and the language of each.

    ``"sentence+context"``, as in LAReQA, is the sentence, a line's end and the paragraph it stands in.
    """
    texts, languages = [], []
    for language, candidates in data.candidates.items():
        for one in candidates:
            texts.append(one.sentence if unit == "sentence" else f"{one.sentence}\n{one.context}")
            languages.append(language)
    return texts, languages


def evaluate_xquad_r(scorers: Sequence[BitextScorer], data: XquadR, *, name: str, unit: Unit) -> Report:
    """Evaluate systems.

    Parameters
    ----------
    scorers
        Have encoded all questions and :func:`texts_of`; the first is the one that is asked about.
    data
        The benchmark.
    name
        Of the folder that it was read from.
    unit
        What a candidate is.
    """
    pool = Side(*texts_of(data, unit))
    figures: Figures = {}
    query_scores: QueryScores = {}
    ranks: dict[str, dict[str, PoolRanks]] = {}
    for scorer in scorers:
        for mode in scorer.modes:
            system = scorer.name if mode == "raw" else f"{scorer.name}, {mode}"
            ranks[system] = {language: _ranks(scorer, mode, data, language, pool) for language in data.languages}
            figures[system], query_scores[system] = {}, {}
            for language, found in ranks[system].items():
                scores = _scores(found, data.languages.index(language))
                figures[system][language] = {metric: float(values.mean()) for metric, values in scores.items()}
                query_scores[system][language] = {
                    metric: dict(zip(data.questions[language], map(float, values), strict=True))
                    for metric, values in scores.items()
                }
            figures[system][AVERAGE] = mean_over_groups(figures[system], METRICS)
    best = list(figures)[len(scorers[0].modes) - 1]
    comparable = data.is_official and unit == "sentence+context"
    notes = []
    if not comparable:
        notes.append("figures in print are for sentences in their context, in all eleven languages; they are left out")
    return Report(
        benchmark="xquad-r",
        data=name,
        protocol=f"{PROTOCOL.description} A candidate is the {unit}.",
        figures=figures,
        tables=[
            metric_table(PROTOCOL, "map", figures, comparable=comparable),
            *(metric_table(PROTOCOL, metric, figures, comparable=False) for metric in METRICS[1:]),
            _histogram_table(best, ranks[best], data),
        ],
        systems={
            scorer.name: {"fingerprint": scorer.fingerprint, "dims": scorer.dims, "seconds": scorer.seconds}
            for scorer in scorers
        },
        notes=notes,
        query_scores=query_scores,
        pictures=[
            Picture("xquad-r-languages", partial(_draw_heat_map, best, ranks[best], data)),
            Picture("xquad-r-ranks", partial(_draw_histogram, best, ranks[best], data)),
        ],
        details={
            "candidates": {language: len(found) for language, found in data.candidates.items()},
            "histogram": {system: _histogram(found, data) for system, found in ranks.items()},
        },
    )


def ranks_in(scores: Scores, columns: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank, from 1, of one candidate for each query.

    Parameters
    ----------
    scores
        ``(m, n)``.
    columns
        ``(m,)``: the candidate of each query.
    order
        ``(n,)``: of candidates with the same score the one with the smaller number comes first.
    """
    own = np.take_along_axis(scores, columns[:, None], axis=1)
    above = (scores > own).sum(axis=1)
    tied = ((scores == own) & (order < order[columns][:, None])).sum(axis=1)
    return np.asarray(1 + above + tied, dtype=np.int64)


def average_precision(ranks: NDArray[np.int64], depth: int | None = None) -> NDArray[np.float64]:
    """The average precision of queries whose relevant documents stand at these ranks, as trec_eval's ``map``.

    Parameters
    ----------
    ranks
        ``(m, r)``, from 1: all relevant documents of each query, in any order.
    depth
        Documents ranked lower count as not retrieved; the divisor stays ``r``.
    """
    ordered = np.sort(ranks, axis=1)
    precisions = np.arange(1, ranks.shape[1] + 1) / ordered
    if depth is not None:
        precisions = np.where(ordered <= depth, precisions, 0.0)
    return np.asarray(precisions.mean(axis=1), dtype=np.float64)


def _ranks(scorer: BitextScorer, mode: Mode, data: XquadR, language: str, pool: Side) -> PoolRanks:
    questions = Side(list(data.questions[language].values()), language)
    scores = scorer.similarities(mode, questions, pool)
    names = [one.id for candidates in data.candidates.values() for one in candidates]
    column = {name: place for place, name in enumerate(names)}
    order = np.argsort(np.argsort(np.array(names)))
    of_language = np.array(pool.languages)
    gold = {
        code: np.array([column[data.answers[code][question]] for question in data.questions[language]])
        for code in data.languages
    }
    ranks = np.stack([ranks_in(scores, columns, order) for columns in gold.values()], axis=1)
    others = np.flatnonzero(of_language != language)
    place = np.cumsum(of_language != language) - 1
    elsewhere = [
        ranks_in(scores[:, others], place[columns], order[others]) for code, columns in gold.items() if code != language
    ]
    within = []
    for code, columns in gold.items():
        own = np.flatnonzero(of_language == code)
        within.append(ranks_in(scores[:, own], columns - own[0], order[own]))
    best = np.argpartition(-scores, min(10, scores.shape[1]) - 1, axis=1)[:, :10]
    return PoolRanks(
        ranks,
        np.stack(elsewhere, axis=1) if elsewhere else np.ones((len(ranks), 0), dtype=np.int64),
        np.stack(within, axis=1),
        (of_language[best] == language).mean(axis=1),
    )


def _scores(found: PoolRanks, own: int) -> dict[str, NDArray[np.float64]]:
    return {
        "map": average_precision(found.ranks),
        "map@20": average_precision(found.ranks, 20),
        "map other languages": average_precision(found.without_own)
        if found.without_own.size
        else np.zeros(len(found.ranks)),
        "recall@1 own language": (found.within[:, own] == 1).astype(np.float64),
        "same language in top 10": found.own_share,
    }


def _histogram(ranks: dict[str, PoolRanks], data: XquadR) -> dict[str, dict[str, list[float]]]:
    """Own and other languages -> the share of answers in each bucket of ranks, the last without an end."""
    shares: dict[str, dict[str, list[float]]] = {}
    for language, found in ranks.items():
        own = data.languages.index(language)
        others = np.delete(found.ranks, own, axis=1)
        shares[language] = {"own language": _shares(found.ranks[:, own]), "other languages": _shares(others)}
    return shares


def _shares(ranks: NDArray[np.int64]) -> list[float]:
    bucket = np.searchsorted(_BUCKETS, ranks.ravel())
    return [float(share) for share in np.bincount(bucket, minlength=len(_BUCKETS) + 1) / max(1, ranks.size)]


def _bucket_names() -> list[str]:
    starts = [1, *(edge + 1 for edge in _BUCKETS)]
    names = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, _BUCKETS, strict=False)]
    return [*names, f"over {_BUCKETS[-1]}"]


def _histogram_table(system: str, ranks: dict[str, PoolRanks], data: XquadR) -> ResultTable:
    rows = [
        [language, side, *map(percent, shares)]
        for language, sides in _histogram(ranks, data).items()
        for side, shares in sides.items()
    ]
    return ResultTable(
        f"Language bias of {system}: where the answers stand in the pool, in per cent",
        ["questions", "answers in", *_bucket_names()],
        [rows],
        "A system without a bias has the same figures for the question's own language and for the others.",
        text_columns=2,
    )


def _draw_heat_map(system: str, ranks: dict[str, PoolRanks], data: XquadR, path: Any) -> None:
    values = [[float(np.mean(column == 1)) for column in ranks[language].within.T] for language in data.languages]
    plots.heat_map(
        f"XQuAD-R: answers found first among the sentences of a language\n{system}",
        data.languages,
        data.languages,
        values,
        path,
        row_label="question",
        column_label="answer",
    )


def _draw_histogram(system: str, ranks: dict[str, PoolRanks], data: XquadR, path: Any) -> None:
    histograms = _histogram(ranks, data)
    curves = {
        side: [float(value) for value in np.mean([sides[side] for sides in histograms.values()], axis=0)]
        for side in ("own language", "other languages")
    }
    title = f"XQuAD-R: ranks of the answers in one pool\n{system}"
    plots.lines(title, _bucket_names(), curves, path, x_label="rank", y_label="per cent of answers")
