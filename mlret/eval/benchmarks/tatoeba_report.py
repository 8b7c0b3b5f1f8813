"""The tables of Tatoeba: the encoder and the baselines side by side, averages first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from mlret.eval.benchmarks.tatoeba import Accuracy, TatoebaAverage, TatoebaResult, TatoebaRow, Way
from mlret.eval.benchmarks.tatoeba_joined import JoinedResult, JoinedRow
from mlret.eval.report import Figures, Picture, QueryScores, Report, with_floors
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

_EN_XX, _XX_EN = "en→xx", "xx→en"
_MATCHING_NAMES = {"cosine": "", "csls": "CSLS", "margin": "margin"}
_BREAKS = {"calibrated": "calib."}

PROTOCOL = (
    f"Nearest neighbour among the sentences of the same pair of languages. {_XX_EN}: the query is in the language, the "
    f"candidates are English; {_EN_XX}: the other way; mean: of both. By cosine where nothing else is said. Averages "
    "give every language the same weight."
)
_JOINED_TITLE = "Between languages other than English: accuracy in per cent, mean of both directions"
_JOINED_CAPTION = (
    "Sentences of two languages that translate the same English look for each other by cosine among all sentences of "
    "the other language; queries: of one direction. Pairs of languages with fewer than ten are left out; each has the "
    "same weight."
)


def tatoeba_report(data: str, results: Sequence[TatoebaResult], joined: Sequence[JoinedResult] = ()) -> Report:
    """Combine the results of encoders and baselines over the same languages into one report.

    Parameters
    ----------
    data
        Name of the folder or file that the test set was read from.
    results
        The results, that of the encoder under evaluation first.
    joined
        The same systems between languages other than English; empty if that was not requested.
    """
    tables = [_table(results)]
    pictures = [Picture("tatoeba", partial(plots.ranked_bars, *_bars(results)))]
    if joined:
        tables.append(_joined_table(results, joined))
        pictures.append(Picture("tatoeba-joined", partial(_draw_joined, joined[0])))
    return Report(
        benchmark="tatoeba",
        data=data,
        protocol=PROTOCOL,
        figures=_figures(results, joined),
        tables=tables,
        systems={
            result.encoder: {
                "fingerprint": result.fingerprint,
                "dims": result.dims,
                "texts": result.texts,
                "seconds": result.seconds,
            }
            for result in results
        },
        query_scores=_query_scores(results),
        pictures=pictures,
        details={"joined": {r.encoder: b.to_dict() for r, b in zip(results, joined, strict=True)}} if joined else {},
    )


def _system(result: TatoebaResult, mode: str) -> str:
    return result.encoder if mode == "raw" else f"{result.encoder}, {mode}"


def _figures(results: Sequence[TatoebaResult], joined: Sequence[JoinedResult]) -> Figures:
    figures: Figures = {}
    for result in results:
        groups = {**result.averages, **{row.label: row for row in result.rows}}
        groups["average"] = groups.get("xtreme_36", groups["all"])
        for group, scored in groups.items():
            for (mode, matching), accuracy in scored.scores.items():
                prefix = "" if matching == "cosine" else f"{matching} "
                metrics = {prefix + name: value for name, value in accuracy.to_dict().items()}
                figures.setdefault(_system(result, mode), {}).setdefault(group, {}).update(metrics)
    for result, between in zip(results, joined, strict=False):
        figures[result.encoder]["joined"] = {"mean": between.raw}
        if between.calibrated is not None:
            figures[_system(result, "calibrated")]["joined"] = {"mean": between.calibrated}
    return figures


def _query_scores(results: Sequence[TatoebaResult]) -> QueryScores:
    scores: QueryScores = {}
    for result in results:
        for row in result.rows:
            for (mode, matching), hits in row.hits.items():
                name = "accuracy" if matching == "cosine" else f"{matching} accuracy"
                queries = {
                    f"{direction}:{number}": float(hit)
                    for direction, side in zip(("xx-en", "en-xx"), hits, strict=True)
                    for number, hit in enumerate(side, start=1)
                }
                scores.setdefault(_system(result, mode), {}).setdefault(row.label, {})[name] = queries
    return scores


def _table(results: Sequence[TatoebaResult]) -> ResultTable:
    first, others = results[0], results[1:]
    mark = f", fingerprint {first.fingerprint}" if first.fingerprint else ""
    size = f" ({first.dims} dimensions{mark})" if first.dims else ""
    headings = ["language", "code", "pairs"]
    for mode, matching in first.ways:
        name = " ".join(filter(None, (mode, _MATCHING_NAMES[matching])))
        headings += [f"{name} {part}" for part in ((_XX_EN, _EN_XX, "mean") if matching == "cosine" else ("mean",))]
    headings += [f"{_system(result, mode)} mean" for result in others for mode in _modes(result)]
    averages = [
        [average.name, "", "", *_cells(average, others, [result.averages[key] for result in others])]
        for key, average in first.averages.items()
    ]
    languages = [
        [row.name, row.label, f"{row.n:,}", *_cells(row, others, [result.rows[place] for result in others])]
        for place, row in enumerate(first.rows)
    ]
    return ResultTable(
        title=f"Tatoeba: accuracy of {first.encoder}{size}, in per cent",
        headings=headings,
        sections=[averages, languages],
        caption=with_floors(PROTOCOL, [result.encoder for result in results]),
        text_columns=2,
        strong=True,
        breaks=_BREAKS,
    )


def _modes(result: TatoebaResult) -> list[str]:
    return list(dict.fromkeys(mode for mode, _ in result.ways))


def _cells(
    own: TatoebaRow | TatoebaAverage, others: Sequence[TatoebaResult], scored: Sequence[TatoebaRow | TatoebaAverage]
) -> Iterator[str]:
    for (_, matching), accuracy in own.scores.items():
        if matching == "cosine":
            yield from map(percent, (accuracy.xx_en, accuracy.en_xx))
        yield percent(accuracy.mean)
    for result, other in zip(others, scored, strict=True):
        yield from (percent(_by_cosine(other, mode).mean) for mode in _modes(result))


def _by_cosine(scored: TatoebaRow | TatoebaAverage, mode: str) -> Accuracy:
    ways: dict[Any, Accuracy] = dict(scored.scores)
    return ways[mode, "cosine"]


def _joined_table(results: Sequence[TatoebaResult], joined: Sequence[JoinedResult]) -> ResultTable:
    own, *others = joined
    modes = ["raw"] if own.calibrated is None else ["raw", "calibrated"]
    rows = [
        [f"{row.first}-{row.second}", f"{row.queries:,}", *_joined_cells(row, [other.rows[place] for other in others])]
        for place, row in enumerate(own.rows)
    ]
    average = [f"all {len(own.rows):,} pairs", f"{own.queries:,}", *_joined_cells(own, others)]
    return ResultTable(
        title=_JOINED_TITLE,
        headings=["languages", "queries", *modes, *(result.encoder for result in results[1:])],
        sections=[[average], rows],
        caption=_JOINED_CAPTION,
        strong=True,
        breaks=_BREAKS,
    )


def _joined_cells(own: JoinedRow | JoinedResult, others: Sequence[JoinedRow | JoinedResult]) -> Iterator[str]:
    yield percent(own.raw)
    if own.calibrated is not None:
        yield percent(own.calibrated)
    yield from (percent(other.raw) for other in others)


def _bars(results: Sequence[TatoebaResult]) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the plot's title, and the mean accuracy of each language for each system, in the system's best mode."""
    shown: dict[str, dict[str, float]] = {}
    for result in results:
        way: Way = ("calibrated", "cosine") if "calibrated" in _modes(result) else ("raw", "cosine")
        shown[_system(result, way[0])] = {row.label: row.scores[way].mean for row in result.rows}
    return "Tatoeba: accuracy, mean of both directions", shown


def _draw_joined(joined: JoinedResult, path: Any) -> None:
    labels = sorted({label for row in joined.rows for label in (row.first, row.second)})
    place = {label: number for number, label in enumerate(labels)}
    matrix: list[list[float | None]] = [[None] * len(labels) for _ in labels]
    for row in joined.rows:
        value = row.raw if row.calibrated is None else row.calibrated
        matrix[place[row.first]][place[row.second]] = matrix[place[row.second]][place[row.first]] = value
    plots.heat_map("Tatoeba joined on English: accuracy, mean of both ways", labels, labels, matrix, path)
