"""Compare two results on one benchmark, query by query."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlret.data.retrieval import read_any_qrels, read_run
from mlret.errors import InputError
from mlret.eval.metrics import evaluate_run
from mlret.eval.report import SCORES, read_query_scores
from mlret.eval.significance import Comparison, compare_groups
from mlret.reporting.table import ResultTable, percent

_LEVEL = 0.05
# Group -> query -> score.
Scores = dict[str, dict[str, float]]


def compare_results(
    first: Path,
    second: Path,
    *,
    metric: str | None = None,
    systems: tuple[str | None, str | None] = (None, None),
    qrels: Path | None = None,
    resamples: int = 9_999,
    seed: int = 0,
) -> tuple[str, list[Comparison]]:
    """Compare two folders that `mlret eval … --output` wrote, or two TREC runs.

    Parameters
    ----------
    first
        Folder, or its ``scores.tsv.gz``, or a TREC run if ``qrels`` is given.
    second
        As ``first``. To compare two systems of one folder, give the folder twice.
    metric
        The metric to compare. By default the first metric of the results, or ``"ndcg@10"`` for runs.
    systems
        The system of each folder to compare; by default the first.
    qrels
        Relevance judgements, to compare runs.
    resamples
        Number of resamples of the bootstrap and of the randomisation test.
    seed
        Seed of both.

    Returns
    -------
    metric : str
        The metric that was compared.
    comparisons : list of Comparison
        One for each group.

    Raises
    ------
    InputError
        If a file, system or metric does not exist, or the two results do not have the same queries.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mlret.data.retrieval import write_run
    >>> from mlret.eval import compare_results
    >>> queries = [f"q{number}" for number in range(20)]
    >>> with open("qrels.txt", "w") as file:
    ...     for query in queries:
    ...         print(query, 0, "right", 1, file=file)
    >>> write_run("old.trec", {query: {"wrong": 2.0, "right": 1.0} for query in queries}, tag="old")
    >>> write_run("new.trec", {query: {"wrong": 1.0, "right": 2.0} for query in queries}, tag="new")
    >>> metric, [comparison] = compare_results(
    ...     Path("old.trec"), Path("new.trec"), metric="mrr@10", qrels=Path("qrels.txt"), resamples=999
    ... )
    >>> comparison.first, comparison.second, comparison.wins, comparison.adjusted < 0.05
    (0.5, 1.0, 20, True)
    """
    if qrels is not None:
        metric = metric or "ndcg@10"
        judged = read_any_qrels(qrels)
        scores = [
            {"all": {q: s[metric] for q, s in evaluate_run(judged, read_run(path), [metric]).per_query.items()}}
            for path in (first, second)
        ]
        return metric, compare_groups(*scores, resamples=resamples, seed=seed)
    found = [_read(path) for path in (first, second)]
    chosen = [_system(results, name, path) for results, name, path in zip(found, systems, (first, second), strict=True)]
    if metric is None:
        metric = next(iter(next(iter(chosen[0].values()))))
    sides = [_metric(groups, metric, path) for groups, path in zip(chosen, (first, second), strict=True)]
    return metric, compare_groups(*sides, resamples=resamples, seed=seed)


def comparison_table(metric: str, comparisons: list[Comparison], names: tuple[str, str]) -> ResultTable:
    """Format comparisons as a table; differences significant at 5 % after Holm's correction are marked with ``*``.

    Parameters
    ----------
    metric
        Name of the metric.
    comparisons
        The comparisons, one for each group.
    names
        Names of the first and the second system.

    Returns
    -------
    ResultTable
        One row for each group.
    """
    rows = [
        [
            one.group,
            f"{one.queries:,}",
            percent(one.first),
            percent(one.second),
            f"{100 * one.difference:+.1f}",
            f"{100 * one.low:+.1f} … {100 * one.high:+.1f}",
            f"{one.wins:,}/{one.losses:,}",
            f"{one.p:.4f}",
            f"{one.adjusted:.4f}{' *' if one.adjusted < _LEVEL else ''}",
        ]
        for one in comparisons
    ]
    return ResultTable(
        f"{metric}: {names[0]} (A) against {names[1]} (B), in per cent",
        ["group", "queries", "A", "B", "B-A", "95 % interval", "won/lost", "p", "p Holm"],
        [rows],
        "Paired over queries. Interval: bootstrap; p: two-sided randomisation test; p Holm: corrected for the number "
        "of groups, * where it is below 0.05.",
    )


def as_dict(metric: str, comparisons: list[Comparison]) -> dict[str, Any]:
    """Return the comparison as plain data for JSON.

    Parameters
    ----------
    metric
        Name of the metric.
    comparisons
        The comparisons, one for each group.

    Returns
    -------
    dict
        The metric and the comparisons.
    """
    return {
        "metric": metric,
        "groups": [{**asdict(one), "difference": one.difference} for one in comparisons],
    }


def _read(path: Path) -> dict[str, dict[str, Scores]]:
    file = path / SCORES if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: not there; give what `mlret eval … --output FOLDER` wrote, or runs and `qrels=…`")
    return read_query_scores(file)


def _system(results: dict[str, dict[str, Scores]], name: str | None, path: Path) -> dict[str, Scores]:
    name = name or next(iter(results))
    if name not in results:
        raise InputError(f"{path}: has no system {name!r}; there are {', '.join(results)}")
    return results[name]


def _metric(groups: dict[str, Scores], metric: str, path: Path) -> Scores:
    scores = {group: metrics[metric] for group, metrics in groups.items() if metric in metrics}
    if not scores:
        there = ", ".join(dict.fromkeys(name for metrics in groups.values() for name in metrics))
        raise InputError(f"{path}: has no metric {metric!r}; there are {there}")
    return scores
