"""Evaluate retrieval benchmarks: rank each collection's documents, score the runs, and average over groups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlret.eval.collection import Collection, checked
from mlret.eval.metrics import evaluate_run
from mlret.eval.published import published
from mlret.eval.report import Figures, Picture, QueryScores, Report, mean_over_groups, with_floors
from mlret.eval.report import Run as RunLike
from mlret.eval.systems import RetrievalSystem
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

AVERAGE = "average"
# An average recomputed from published scores, which are rounded to three digits, may differ from the published average
# by this much.
_ROUNDING = 0.002


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is scored.

    Attributes
    ----------
    benchmark
        The benchmark's name on the command line and in ``published.yaml``.
    title
        Title of its tables.
    description
        The rules, and where they are defined.
    metrics
        Metric names of :func:`mlret.eval.metrics.evaluate_run`, the most commonly quoted one first.
    depth
        Number of documents to rank for each query.
    sizes
        Group -> number of documents in the official corpus. Published scores are shown only if every corpus has its
        official size; if this is empty, they are not shown.
    """

    benchmark: str
    title: str
    description: str
    metrics: tuple[str, ...]
    depth: int
    sizes: dict[str, int]


def evaluate_collections(
    protocol: Protocol, collections: Sequence[Collection], systems: Sequence[RetrievalSystem], *, data: str
) -> Report:
    """Evaluate systems on every collection.

    Parameters
    ----------
    protocol
        How to score.
    collections
        The groups, usually one per language.
    systems
        The systems to evaluate, the one under evaluation first.
    data
        Name of the folder that the benchmark was read from.

    Returns
    -------
    Report
        The scores by system and group, with tables, runs and plots.

    Raises
    ------
    InputError
        If a collection is inconsistent; see :func:`mlret.eval.collection.checked`.
    """
    collections = [checked(collection) for collection in collections]
    figures: Figures = {system.name: {} for system in systems}
    query_scores: QueryScores = {system.name: {} for system in systems}
    runs: dict[str, dict[str, RunLike]] = {system.name: {} for system in systems}
    seconds = dict.fromkeys(figures, 0.0)
    for collection in collections:
        for system in systems:
            start = time.perf_counter()
            run = system.retrieve(collection, protocol.depth)
            seconds[system.name] += time.perf_counter() - start
            scores = evaluate_run(collection.qrels, run, protocol.metrics)
            figures[system.name][collection.group] = scores.mean
            query_scores[system.name][collection.group] = {
                metric: {query: values[metric] for query, values in scores.per_query.items()}
                for metric in protocol.metrics
            }
            runs[system.name][collection.group] = run
    for groups in figures.values():
        groups[AVERAGE] = mean_over_groups(groups, protocol.metrics)
    notes = [note for collection in collections for note in collection.notes]
    comparable = _is_official(protocol, collections)
    if protocol.sizes and not comparable:
        notes.append(
            "these are not the official corpora, so figures in print do not compare and are left out: "
            + ", ".join(_size(protocol, collection) for collection in collections)
        )
    facts = {system.name: {**system.facts(), "seconds": seconds[system.name]} for system in systems}
    title = protocol.title if comparable or not protocol.sizes else f"{protocol.title}, not the official corpora"
    return Report(
        benchmark=protocol.benchmark,
        data=data,
        protocol=protocol.description,
        figures=figures,
        tables=[
            metric_table(protocol, metric, figures, title=title, comparable=comparable) for metric in protocol.metrics
        ],
        systems=facts,
        notes=notes,
        query_scores=query_scores,
        runs=runs,
        pictures=[_bars(protocol, figures, title, comparable=comparable), *_trade_offs(protocol, figures, facts)],
        details={"collections": [_describe(collection) for collection in collections]},
    )


def metric_table(
    protocol: Protocol, metric: str, figures: Figures, *, comparable: bool, title: str | None = None
) -> ResultTable:
    """Build a table with a row per system and a column per group.

    Parameters
    ----------
    protocol
        How the benchmark is scored.
    metric
        The metric to show.
    figures
        System -> group -> metric -> value.
    comparable
        Whether to add published scores of other systems in a second section.
    title
        Title of the table; by default that of the protocol.
    """
    groups = [group for group in next(iter(figures.values())) if group != AVERAGE]
    columns = [*groups, AVERAGE]
    ours = [[name, *(percent(scores[group][metric]) for group in columns)] for name, scores in figures.items()]
    sections = [ours]
    caption = with_floors(protocol.description, figures)
    if comparable and (others := published(protocol.benchmark, metric)):
        rows: list[list[str]] = []
        sources: dict[str, int] = {}
        odd = False
        for entry in others:
            number = sources.setdefault(entry.source, len(sources) + 1)
            languages = [score for group, score in entry.scores.items() if group != AVERAGE]
            mark = bool(languages) and abs(sum(languages) / len(languages) - entry.scores[AVERAGE]) > _ROUNDING
            odd |= mark
            name = f"{entry.system}, published [{number}]{'†' if mark else ''}"
            rows.append([name, *(percent(entry.scores.get(group)) for group in columns)])
        sections.append(rows)
        named = "; ".join(f"[{number}] {source}" for source, number in sources.items())
        caption += f" Published figures, not measured here: {named}."
        caption += " † The average in print is not the mean of the languages in print." if odd else ""
    return ResultTable(
        f"{title or protocol.title}: {metric}, in per cent",
        ["system", *columns],
        sections,
        caption,
        strong=len(sections) > 1,
    )


def _is_official(protocol: Protocol, collections: Sequence[Collection]) -> bool:
    """Return whether every corpus has its official size; a corpus that was not read (saved runs only) is assumed to."""
    return bool(protocol.sizes) and all(
        collection.size in (None, protocol.sizes.get(collection.group)) for collection in collections
    )


def _size(protocol: Protocol, collection: Collection) -> str:
    official = protocol.sizes.get(collection.group)
    return f"{collection.group} {collection.size or 0:,} documents" + (f" of {official:,}" if official else "")


def _describe(collection: Collection) -> dict[str, Any]:
    judged = sum(grade > 0 for grades in collection.qrels.values() for grade in grades.values())
    return {
        "group": collection.group,
        "documents": collection.size,
        "queries": len(collection.qrels),
        "relevant": judged,
    }


def _bars(protocol: Protocol, figures: Figures, title: str, *, comparable: bool) -> Picture:
    metric = protocol.metrics[0]
    ours = {name: scores[AVERAGE][metric] for name, scores in figures.items()}
    others = published(protocol.benchmark, metric) if comparable else []
    printed = {entry.system: entry.scores[AVERAGE] for entry in others}
    heading = f"{title}\n{metric}, mean over {len(next(iter(figures.values()))) - 1} groups"
    return Picture(protocol.benchmark, partial(plots.baselines, heading, ours, printed))


def _trade_offs(protocol: Protocol, figures: Figures, facts: dict[str, dict[str, Any]]) -> list[Picture]:
    """Return plots of quality against search time and bytes, if at least two systems with an index were measured."""
    metric = protocol.metrics[0]
    points = [
        {"name": name, "score": figures[name][AVERAGE][metric], **known}
        for name, known in facts.items()
        if "milliseconds" in known
    ]
    title = f"{protocol.title}: {metric}, mean over {len(next(iter(figures.values()))) - 1} groups"
    draw = partial(plots.trade_offs, title, points, metric)
    return [Picture(f"{protocol.benchmark}-trade-offs", draw)] if len(points) > 1 else []
