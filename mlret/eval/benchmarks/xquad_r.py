"""LAReQA on XQuAD-R (Roy et al., arXiv 2004.05484): questions find their answers in every language, from one pool.

A question has an answer in each language. All sentences of all languages are ranked together, so a system that prefers
sentences in the question's own language, right or wrong, has a lower mean average precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlret.data.retrieval import read_run
from mlret.errors import InputError
from mlret.eval.loading import check_names, load_scorers
from mlret.eval.matching import Scores
from mlret.eval.metrics import evaluate_run, rank_documents
from mlret.eval.published import Published
from mlret.eval.readers.xquad_r_data import XquadR, read_xquad_r
from mlret.eval.registry import Benchmark, Runs, Settings, register
from mlret.eval.report import Figures, Picture, QueryScores, Report, Run, mean_over_groups, shown_system, source_of
from mlret.eval.retrieval import AVERAGE, Protocol, metric_table
from mlret.eval.scorers import BitextScorer, Side
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder

Unit = Literal["sentence", "sentence+context"]

METRICS = ("map", "map@20", "map other languages", "recall@1 own language", "same language in top 10")
_TOP = 10
# Upper bounds of the histogram's buckets of ranks: 1, 2 to 3, and so on.
_BUCKETS = (1, 3, 10, 30, 100, 300, 1000)
# Scores that others published, not measured by mlret. The averages are the sources' own.
_ROY = "Roy et al. 2020, arXiv 2004.05484"
PUBLISHED = {
    "map": (
        Published("mBERT En-En", _ROY, {"average": 0.29}),
        Published("mBERT X-X", _ROY, {"average": 0.23}),
        Published("mBERT X-X-mono", _ROY, {"average": 0.52}),
        Published("mBERT X-Y", _ROY, {"average": 0.66}),
        Published("Translate-Test", _ROY, {"average": 0.72}),
    ),
}  # fmt: skip
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
    published=PUBLISHED,
)


@dataclass(frozen=True)
class PoolRanks:
    """Ranks of the answers, for the questions of one language.

    Attributes
    ----------
    ranks
        ``(questions, languages)`` int64, counted from 1: the rank in the whole pool of the answer in each language.
    without_own
        ``(questions, languages - 1)``: the same without candidates in the question's language.
    within
        ``(questions, languages)``: the rank of each answer among the candidates of its own language.
    own_share
        ``(questions,)``: the share of the ten best candidates that are in the question's language.
    """

    ranks: NDArray[np.int64]
    without_own: NDArray[np.int64]
    within: NDArray[np.int64]
    own_share: NDArray[np.float64]


def texts_of(data: XquadR, unit: Unit) -> tuple[list[str], list[str]]:
    """Return all texts of the pool, grouped by language, and the language of each.

    Parameters
    ----------
    data
        The benchmark.
    unit
        ``"sentence"``; or, as in LAReQA, ``"sentence+context"``: the sentence, a newline, and the paragraph that
        contains it.
    """
    texts, languages = [], []
    for language, candidates in data.candidates.items():
        for one in candidates:
            texts.append(one.sentence if unit == "sentence" else f"{one.sentence}\n{one.context}")
            languages.append(language)
    return texts, languages


def evaluate_xquad_r(
    scorers: Sequence[BitextScorer],
    data: XquadR,
    *,
    name: str,
    unit: Unit,
    runs: Mapping[str, Run] | None = None,
    run_depth: int = 0,
) -> Report:
    """Evaluate systems and saved runs.

    Parameters
    ----------
    scorers
        Scorers that have encoded all questions and the texts of :func:`texts_of`, the one under evaluation first.
    data
        The benchmark.
    name
        Name of the folder that it was read from.
    unit
        What a candidate is: a sentence, or a sentence with its paragraph.
    runs
        Saved runs by name. Query ids have the form ``de:ID``; document ids are those of the sentences. Documents
        missing from a run count as not retrieved.
    run_depth
        Number of candidates of each query to keep as runs in the report.

    Raises
    ------
    InputError
        If a run has no query of a language.
    """
    pool = Pool(data, unit)
    figures: Figures = {}
    query_scores: QueryScores = {}
    ranks: dict[str, dict[str, PoolRanks]] = {}
    kept: dict[str, dict[str, Run]] = {}

    def add(system: str, language: str, scores: dict[str, NDArray[np.float64]]) -> None:
        groups = figures.setdefault(system, {})
        groups[language] = {metric: float(values.mean()) for metric, values in scores.items()}
        query_scores.setdefault(system, {})[language] = {
            metric: dict(zip(data.questions[language], map(float, values), strict=True))
            for metric, values in scores.items()
        }

    for scorer in scorers:
        for mode in scorer.modes:
            system = scorer.name if mode == "raw" else f"{scorer.name}, {mode}"
            for language in data.languages:
                questions = Side(list(data.questions[language].values()), language)
                scores = scorer.similarities(mode, questions, pool.side)
                found = pool.ranks(scores, language)
                ranks.setdefault(system, {})[language] = found
                add(system, language, _scores(found, data.languages.index(language)))
                if run_depth:
                    kept.setdefault(system, {})[language] = pool.run(scores, language, run_depth)
    for system, run in (runs or {}).items():
        for language in data.languages:
            add(system, language, _scores_of_run(system, run, data, language))
    for groups in figures.values():
        groups[AVERAGE] = mean_over_groups(groups, METRICS)
    comparable = data.is_official and unit == "sentence+context"
    notes = []
    if not comparable:
        notes.append("figures in print are for sentences in their context, in all eleven languages; they are left out")
    tables = [metric_table(PROTOCOL, metric, figures, comparable=comparable and metric == "map") for metric in METRICS]
    histogram = {system: _histogram(found, data) for system, found in ranks.items()}
    details = {
        "candidates": {language: len(found) for language, found in data.candidates.items()},
        "histogram": histogram,
        "found first": {system: _found_first(found, data) for system, found in ranks.items()},
    }
    if scorers:
        tables.append(_histogram_table(shown_system(scorers[0].name, figures), histogram))
    return Report(
        benchmark="xquad-r",
        data=name,
        protocol=f"{PROTOCOL.description} A candidate is the {unit}.",
        figures=figures,
        tables=tables,
        systems={
            scorer.name: {"fingerprint": scorer.fingerprint, "dims": scorer.dims, "seconds": scorer.seconds}
            for scorer in scorers
        },
        notes=notes,
        query_scores=query_scores,
        runs=kept,
        pictures=pictures({"data": name, **details}),
        details=details,
    )


class Pool:
    """The sentences of all languages, which are ranked together.

    Parameters
    ----------
    data
        The benchmark.
    unit
        What a candidate is.

    Attributes
    ----------
    side
        The texts and the language of each.
    names
        The ids in the same order.
    """

    def __init__(self, data: XquadR, unit: Unit) -> None:
        self._data = data
        self.side = Side(*texts_of(data, unit))
        self.names = [one.id for candidates in data.candidates.values() for one in candidates]
        self._languages = np.array(self.side.languages)
        # Ties are broken by ascending id.
        self._order = np.argsort(np.argsort(np.array(self.names)))
        column = {name: place for place, name in enumerate(self.names)}
        self._answers = {
            code: {question: column[name] for question, name in answers.items()}
            for code, answers in data.answers.items()
        }

    def ranks(self, scores: Scores, language: str) -> PoolRanks:
        """Return the ranks of the answers.

        Parameters
        ----------
        scores
            ``(questions, n)`` scores of the pool's ``n`` candidates.
        language
            The language of the questions, which are in the benchmark's order.
        """
        questions = self._data.questions[language]
        gold = {code: np.array([of[question] for question in questions]) for code, of in self._answers.items()}
        ranks = np.stack([ranks_in(scores, columns, self._order) for columns in gold.values()], axis=1)
        elsewhere = self._languages != language
        place = np.cumsum(elsewhere) - 1
        others = scores[:, elsewhere]
        without_own = [
            ranks_in(others, place[columns], self._order[elsewhere])
            for code, columns in gold.items()
            if code != language
        ]
        within = []
        for code, columns in gold.items():
            own = np.flatnonzero(self._languages == code)
            within.append(ranks_in(scores[:, own], columns - own[0], self._order[own]))
        best = np.argpartition(-scores, min(_TOP, scores.shape[1]) - 1, axis=1)[:, :_TOP]
        return PoolRanks(
            ranks,
            np.stack(without_own, axis=1) if without_own else np.ones((len(ranks), 0), dtype=np.int64),
            np.stack(within, axis=1),
            (self._languages[best] == language).mean(axis=1),
        )

    def run(self, scores: Scores, language: str, depth: int) -> dict[str, dict[str, float]]:
        """Return the best candidates of each question as a run.

        Parameters
        ----------
        scores
            ``(questions, n)`` scores of the pool's ``n`` candidates.
        language
            The language of the questions, which are in the benchmark's order.
        depth
            Number of candidates of each question.

        Returns
        -------
        dict
            ``de:ID`` -> sentence id -> score.
        """
        run = {}
        for question, row in zip(self._data.questions[language], scores, strict=True):
            best = np.lexsort((self._order, -row))[:depth]
            run[f"{language}:{question}"] = {self.names[place]: float(row[place]) for place in best}
        return run


def ranks_in(scores: Scores, columns: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank, counted from 1, of one candidate for each query.

    Parameters
    ----------
    scores
        ``(m, n)``.
    columns
        ``(m,)``: the column of each query's candidate.
    order
        ``(n,)``: candidates with equal scores are ranked by this number, ascending.

    Returns
    -------
    numpy.ndarray
        ``(m,)`` int64.
    """
    own = np.take_along_axis(scores, columns[:, None], axis=1)
    above = (scores > own).sum(axis=1)
    tied = ((scores == own) & (order < order[columns][:, None])).sum(axis=1)
    return np.asarray(1 + above + tied, dtype=np.int64)


def average_precision(ranks: NDArray[np.int64], depth: int | None = None) -> NDArray[np.float64]:
    """Return the average precision of queries from the ranks of their relevant documents, as trec_eval's ``map``.

    Parameters
    ----------
    ranks
        ``(m, r)``, counted from 1: the ranks of all relevant documents of each query, in any order.
    depth
        Documents below this rank count as not retrieved; the divisor is still ``r``.

    Returns
    -------
    numpy.ndarray
        ``(m,)`` float64.
    """
    ordered = np.sort(ranks, axis=1)
    precisions = np.arange(1, ranks.shape[1] + 1) / ordered
    if depth is not None:
        precisions = np.where(ordered <= depth, precisions, 0.0)
    return np.asarray(precisions.mean(axis=1), dtype=np.float64)


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


def _scores_of_run(system: str, run: Run, data: XquadR, language: str) -> dict[str, NDArray[np.float64]]:
    """Return the scores of a saved run, computed by pytrec_eval, with the same metrics as :func:`_scores`."""
    of_language = {one.id: code for code, candidates in data.candidates.items() for one in candidates}
    asked = {question: run.get(f"{language}:{question}", {}) for question in data.questions[language]}
    if not any(asked.values()):
        raise InputError(f"{system}: has no query of {language}; queries are called {language}:ID, as in topics.tsv")
    qrels = {question: {answers[question]: 1 for answers in data.answers.values()} for question in asked}

    def part(documents: Mapping[str, Any], own: bool) -> dict[str, Any]:
        return {name: value for name, value in documents.items() if (of_language.get(name) == language) == own}

    def score(metric: str, own: bool | None = None) -> NDArray[np.float64]:
        found = asked if own is None else {question: part(documents, own) for question, documents in asked.items()}
        judged = qrels if own is None else {question: part(grades, own) for question, grades in qrels.items()}
        if not any(judged.values()):
            return np.zeros(len(asked))
        per_query = evaluate_run(judged, found, [metric]).per_query
        return np.array([per_query[question][metric] for question in asked])

    shares = []
    for documents in asked.values():
        best = rank_documents(documents)[:_TOP]
        shares.append(sum(of_language.get(name) == language for name in best) / max(1, len(best)))
    return {
        "map": score("map"),
        "map@20": score("map@20"),
        "map other languages": score("map", own=False),
        "recall@1 own language": score("recall@1", own=True),
        "same language in top 10": np.array(shares),
    }


def _histogram(ranks: dict[str, PoolRanks], data: XquadR) -> dict[str, dict[str, list[float]]]:
    """Return the share of answers in each bucket of ranks, for the question's own language and for the others.

    The last bucket has no upper bound.
    """
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


def _found_first(ranks: dict[str, PoolRanks], data: XquadR) -> dict[str, dict[str, float]]:
    """Return the share of answers that are first in their language, by language of the questions and the answers."""
    return {
        language: dict(zip(data.languages, (ranks[language].within == 1).mean(axis=0).tolist(), strict=True))
        for language in data.languages
    }


def _histogram_table(system: str, histograms: Mapping[str, dict[str, dict[str, list[float]]]]) -> ResultTable:
    rows = [
        [language, side, *map(percent, shares)]
        for language, sides in histograms[system].items()
        for side, shares in sides.items()
    ]
    return ResultTable(
        f"Language bias of {system}: where the answers stand in the pool, in per cent",
        ["questions", "answers in", *_bucket_names()],
        [rows],
        "A system without a bias has the same figures for the question's own language and for the others.",
        text_columns=2,
    )


def pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plots of the first system from the content of ``report.json``; none if only runs were scored."""
    if not (histogram := results["histogram"]):
        return []
    system = shown_system(next(iter(histogram)), histogram)
    curves = {
        side: np.mean([sides[side] for sides in histogram[system].values()], axis=0).tolist()
        for side in ("own language", "other languages")
    }
    draw = partial(
        plots.lines,
        f"XQuAD-R: ranks of the answers in one pool of all languages\n{system}",
        _bucket_names(),
        curves,
        x_label="rank",
        y_label="answers, per cent",
        source=source_of(results),
    )
    drawn = [Picture("xquad-r-ranks", draw)]
    if found := results.get("found first"):
        languages = list(found[system])
        draw = partial(
            plots.heat_map,
            f"XQuAD-R: answers found first among the sentences of a language\n{system}",
            languages,
            languages,
            [list(row.values()) for row in found[system].values()],
            row_label="question",
            column_label="answer",
            source=source_of(results),
        )
        drawn.insert(0, Picture("xquad-r-languages", draw))
    return drawn


class XquadRSettings(Settings):
    """Settings of `mlret eval xquad-r`."""

    benchmark: Literal["xquad-r"] = "xquad-r"
    data: Path = Field(description="Folder with xquad-r/de.json …, or the same as tables.")
    unit: Unit = Field(
        "sentence+context", description="What a candidate is: sentence+context, as in LAReQA, or sentence."
    )
    runs: Runs = Field([], description="A TREC run with queries de:ID. Alone, no encoder is loaded. Repeat it.")
    run_depth: int = Field(0, ge=0, description="Write runs with this many candidates per question.")


def _evaluate(settings: XquadRSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    found = read_xquad_r(settings.data, languages=settings.languages)
    runs = {path.name.split(".")[0]: read_run(path) for path in settings.runs}
    scorers: list[BitextScorer] = []
    if not runs or settings.models or encoders:
        questions = [text for asked in found.questions.values() for text in asked.values()]
        scorers = load_scorers(settings, encoders, [*questions, *texts_of(found, settings.unit)[0]], show_progress)
    check_names([*(scorer.name for scorer in scorers), *runs])
    return evaluate_xquad_r(
        scorers, found, name=settings.data.name, unit=settings.unit, runs=runs, run_depth=settings.run_depth
    )


XQUAD_R = register(
    Benchmark(
        XquadRSettings,
        "Find answers in eleven languages in one pool (LAReQA): mean average precision and language bias.",
        _evaluate,
        options=("data", "models", "runs", "languages", "unit", "run_depth", "floors", "batch_size"),
        pictures=pictures,
    )
)
