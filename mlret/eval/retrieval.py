"""Evaluate retrieval benchmarks: rank each collection's documents, score the runs, and average over groups."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlret.eval.collection import Collection, checked
from mlret.eval.metrics import evaluate_run
from mlret.eval.published import Published
from mlret.eval.report import Figures, Picture, QueryScores, Report, mean_over_groups, source_of, with_baselines
from mlret.eval.report import Run as RunLike
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

if TYPE_CHECKING:
    from mlret.eval.systems import RetrievalSystem

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
        The benchmark's name on the command line.
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
    published
        Metric -> scores that others published.
    """

    benchmark: str
    title: str
    description: str
    metrics: tuple[str, ...]
    depth: int
    sizes: dict[str, int]
    published: Mapping[str, Sequence[Published]] = field(default_factory=dict)


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
    comparable = _is_official(protocol, {collection.group: collection.size for collection in collections})
    if protocol.sizes and not comparable:
        notes.append(
            "these are not the official corpora, so figures in print do not compare and are left out: "
            + ", ".join(_size(protocol, collection) for collection in collections)
        )
    facts = {system.name: {**system.facts(), "seconds": seconds[system.name]} for system in systems}
    title = _title(protocol, comparable=comparable)
    details = {"collections": [_describe(collection) for collection in collections]}
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
        pictures=_pictures(protocol, {"figures": figures, "systems": facts, "data": data, **details}),
        details=details,
    )


def retrieval_pictures(protocol: Protocol, results: Mapping[str, Any]) -> list[Picture]:
    """Return the plots of stored results.

    Parameters
    ----------
    protocol
        How the benchmark is scored.
    results
        The content of ``report.json``. If it states another protocol (that of another version of the data), the plots
        have neither the version nor published scores.
    """
    if results["protocol"] != protocol.description:
        protocol = replace(protocol, title=protocol.title.partition(" v")[0], sizes={})
    return _pictures(protocol, results)


def _pictures(protocol: Protocol, results: Mapping[str, Any]) -> list[Picture]:
    """Return bars of the averages and, if at least two indexes were searched, quality against time and bytes."""
    figures, metric = results["figures"], protocol.metrics[0]
    comparable = _is_official(protocol, {one["group"]: one["documents"] for one in results["collections"]})
    ours = {name: groups[AVERAGE][metric] for name, groups in figures.items()}
    others = protocol.published.get(metric, ()) if comparable else ()
    title = _title(protocol, comparable=comparable)
    mean = f"{metric}, mean over {len(next(iter(figures.values()))) - 1} groups"
    printed = {entry.system: entry.scores[AVERAGE] for entry in others}
    draw = partial(plots.baselines, f"{title}\n{mean}", ours, printed, source=source_of(results))
    pictures = [Picture(protocol.benchmark, draw)]
    points = [
        {"name": name, "score": ours[name], **facts}
        for name, facts in results["systems"].items()
        if "milliseconds" in facts
    ]
    if len(points) > 1:
        draw = partial(plots.trade_offs, f"{protocol.title}: {mean}", points, metric, source=source_of(results))
        pictures.append(Picture(f"{protocol.benchmark}-trade-offs", draw))
    return pictures


def _title(protocol: Protocol, *, comparable: bool) -> str:
    return protocol.title if comparable or not protocol.sizes else f"{protocol.title}, not the official corpora"


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
    caption = with_baselines(protocol.description, figures)
    if comparable and (others := protocol.published.get(metric)):
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


def _is_official(protocol: Protocol, sizes: Mapping[str, int | None]) -> bool:
    """Return whether every corpus has its official size; a corpus that was not read (saved runs only) is assumed to."""
    return bool(protocol.sizes) and all(size in (None, protocol.sizes.get(group)) for group, size in sizes.items())


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
