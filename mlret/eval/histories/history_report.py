"""Rank every history with every system, score the rankings, and report the results with tests of significance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlret.errors import InputError
from mlret.eval.histories.stored_rankings import StoredRankings
from mlret.eval.readers.history import History, Question
from mlret.eval.report import Figures, Picture, QueryScores, Report, source_of, with_baselines
from mlret.eval.retrieval import AVERAGE
from mlret.eval.significance import bootstrap_interval, holm, randomisation_test
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

if TYPE_CHECKING:
    from mlret.eval.histories.rankers import HistoryRanker

_RESAMPLES = 9_999
_LEVEL = 0.05
Score = Callable[[History, Question, Sequence[int]], dict[str, float]]
Groups = Callable[[Sequence[Question]], dict[str, list[str]]]


@dataclass(frozen=True)
class HistoryProtocol:
    """How a benchmark of histories is scored.

    Attributes
    ----------
    benchmark
        The benchmark's name on the command line.
    title
        Title of its tables.
    description
        The rules, and where they are defined.
    score
        Scores the ranking of one question.
    metrics
        Names of the metrics to report, the one that systems are compared by first.
    shown
        Metrics of the first table.
    groups
        Returns the ids of the questions of each group, that of the average first.
    """

    benchmark: str
    title: str
    description: str
    score: Score
    metrics: Sequence[str]
    shown: Sequence[str]
    groups: Groups


@dataclass
class _Scored:
    """Scores of one system: question -> metric -> value, and the seconds that ranking took, without encoding."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0


def evaluate_histories(
    protocol: HistoryProtocol,
    histories: Callable[[], Iterator[History]],
    openers: Sequence[Callable[[], HistoryRanker]],
    *,
    language: str | None,
    data: str,
    total: int,
    resume: Path | None = None,
    notes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> Report:
    """Rank every history with every system, and report the scores.

    Parameters
    ----------
    protocol
        How to score.
    histories
        Streams the histories.
    openers
        Open the systems, the one under evaluation first.
    language
        Language code of all texts; ``None`` to detect it.
    data
        Name of the file that was read.
    total
        Number of histories, for the progress bar.
    resume
        A folder that keeps the rankings of each history, so that an evaluation that was interrupted continues.
    notes
        Remarks on the data.
    details
        Further results for the JSON output.
    show_progress
        Show a progress bar.

    Raises
    ------
    InputError
        If there is no question to score, or the folder cannot be written.
    """
    from tqdm import tqdm

    from mlret.eval.histories.rankers import EncodedHistory

    questions: list[Question] = []
    with ExitStack() as stack:
        rankers: list[HistoryRanker] = []
        for open_ranker in openers:
            rankers.append(open_ranker())
            stack.callback(rankers[-1].close)
        scored = {ranker.name: _Scored() for ranker in rankers}
        settings = {"benchmark": protocol.benchmark, "language": language}
        stores = [StoredRankings(resume, {**settings, "system": one.name, **one.facts()}) for one in rankers]
        for history in tqdm(histories(), total=total, desc=protocol.benchmark, disable=not show_progress):
            by_encoder = {one.encoder: EncodedHistory(history, one.encoder, language) for one in rankers}
            questions += history.questions
            for ranker, store in zip(rankers, stores, strict=True):
                rankings = store.get(history)
                if rankings is None:
                    encoded = by_encoder[ranker.encoder]
                    if ranker.encoder is not None:  # Encoded before the time is taken, for all systems that use it.
                        encoded.encode()
                    start = time.perf_counter()
                    rankings = ranker.rank(encoded)
                    scored[ranker.name].seconds += time.perf_counter() - start
                    store.put(history, rankings)
                for question, ranking in zip(history.questions, rankings, strict=True):
                    scored[ranker.name].scores[question.id] = protocol.score(history, question, ranking)
        systems = {one.name: {**one.facts(), "seconds": scored[one.name].seconds} for one in rankers}
    return _report(protocol, questions, scored, systems, data=data, notes=list(notes), details=dict(details or {}))


def _report(
    protocol: HistoryProtocol,
    questions: Sequence[Question],
    scored: Mapping[str, _Scored],
    systems: dict[str, dict[str, Any]],
    *,
    data: str,
    notes: list[str],
    details: dict[str, Any],
) -> Report:
    groups = {name: ids for name, ids in protocol.groups(questions).items() if ids}
    if AVERAGE not in groups:
        raise InputError(f"{data}: no question has evidence in its history, so there is nothing to score")
    figures: Figures = {
        system: {name: _means(of.scores, ids, protocol.metrics) for name, ids in groups.items()}
        for system, of in scored.items()
    }
    query_scores: QueryScores = {
        system: {
            name: {metric: {id: of.scores[id][metric] for id in ids} for metric in protocol.metrics}
            for name, ids in groups.items()
        }
        for system, of in scored.items()
    }
    main = protocol.metrics[0]
    tables = [_averages(protocol, figures, groups, name) for name in groups if name.startswith(AVERAGE)]
    tables += [_by_group(protocol, figures, groups), _significance(main, query_scores)][: 2 if len(scored) > 1 else 1]
    counts = {"groups": {name: len(ids) for name, ids in groups.items()}}
    return Report(
        benchmark=protocol.benchmark,
        data=data,
        protocol=protocol.description,
        figures=figures,
        tables=tables,
        systems=systems,
        notes=notes,
        query_scores=query_scores,
        pictures=history_pictures(main, {"figures": figures, "data": data, "benchmark": protocol.benchmark}),
        details={**counts, **details},
    )


def history_pictures(metric: str, results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of all systems by group from the content of ``report.json``.

    Parameters
    ----------
    metric
        The metric to draw.
    results
        The content of ``report.json``.
    """
    figures = results["figures"]
    columns = list(next(iter(figures.values())))
    values = [[groups[name][metric] for name in columns] for groups in figures.values()]
    title = f"{results['benchmark']}: {metric}"
    draw = partial(plots.heat_map, title, list(figures), columns, values, source=source_of(results))
    return [Picture(results["benchmark"], draw)]


def _means(scores: Mapping[str, Mapping[str, float]], ids: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    return {metric: float(np.mean([scores[id][metric] for id in ids])) for metric in metrics}


def _averages(
    protocol: HistoryProtocol, figures: Figures, groups: Mapping[str, Sequence[str]], group: str
) -> ResultTable:
    rows = [[system, *(percent(of[group][metric]) for metric in protocol.shown)] for system, of in figures.items()]
    title = f"{protocol.title}: {group} over {len(groups[group]):,} questions, in per cent"
    return ResultTable(title, ["system", *protocol.shown], [rows], with_baselines(protocol.description, figures))


def _by_group(protocol: HistoryProtocol, figures: Figures, groups: Mapping[str, Sequence[str]]) -> ResultTable:
    names = [name for name in groups if not name.startswith(AVERAGE)]
    main = protocol.metrics[0]
    rows = [[system, *(percent(of[name][main]) for name in names)] for system, of in figures.items()]
    numbers = ["questions", *(f"{len(groups[name]):,}" for name in names)]
    return ResultTable(f"{main} by kind of question, in per cent", ["", *names], [[numbers], rows])


def _significance(metric: str, scores: QueryScores) -> ResultTable:
    """Test the first system against each of the others, over the questions of the average."""
    (first, reference), *others = ((system, groups[AVERAGE][metric]) for system, groups in scores.items())
    tested = []
    for number, (_, values) in enumerate(others):
        difference = np.array([reference[id] - values[id] for id in reference], dtype=np.float64)
        random = np.random.default_rng([0, number])
        low, high = bootstrap_interval(difference, _RESAMPLES, random)
        tested.append((difference, low, high, randomisation_test(difference, _RESAMPLES, random)))
    adjusted = holm([p for *_, p in tested])
    rows = [
        [
            system,
            f"{100 * difference.mean():+.1f}",
            f"{100 * low:+.1f} … {100 * high:+.1f}",
            f"{int((difference > 0).sum()):,}/{int((difference < 0).sum()):,}",
            f"{p:.4f}",
            f"{corrected:.4f}{' *' if corrected < _LEVEL else ''}",
        ]
        for (system, _), (difference, low, high, p), corrected in zip(others, tested, adjusted, strict=True)
    ]
    headings = ["compared with", "difference", "95 % interval", "won/lost", "p", "p Holm"]
    caption = (
        "Paired over questions. Interval: bootstrap; p: two-sided randomisation test; p Holm: corrected for the "
        "number of systems; * significant at 5 %. Questions about one history are not independent, so intervals are "
        "too narrow where there are few histories."
    )
    return ResultTable(f"{metric}: {first} compared with the other systems", headings, [rows], caption)
