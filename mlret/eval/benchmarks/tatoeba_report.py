"""The tables of Tatoeba: the encoder and the baselines side by side, averages first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mlret.eval.benchmarks.tatoeba_joined import JoinedResult, JoinedRow
from mlret.eval.benchmarks.tatoeba_scores import Accuracy, TatoebaAverage, TatoebaResult, TatoebaRow
from mlret.eval.report import Figures, Picture, QueryScores, Report, shown_system, source_of, with_baselines
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

_EN_XX, _XX_EN = "en→xx", "xx→en"
_MATCHING_NAMES = {"cosine": "", "csls": "CSLS", "margin": "margin"}
# Groups of the figures that are no language.
_AVERAGES = ("all", "xtreme_36", "average", "joined")
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
    details: dict[str, Any] = {}
    if joined:
        tables.append(_joined_table(results, joined))
        details = {"joined": {r.encoder: b.to_dict() for r, b in zip(results, joined, strict=True)}}
    figures = _figures(results, joined)
    systems = {
        result.encoder: {
            "fingerprint": result.fingerprint,
            "dims": result.dims,
            "texts": result.texts,
            "seconds": result.seconds,
        }
        for result in results
    }
    return Report(
        benchmark="tatoeba",
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=tables,
        systems=systems,
        query_scores=_query_scores(results),
        pictures=tatoeba_pictures({"figures": figures, "systems": systems, "data": data, **details}),
        details=details,
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
        caption=with_baselines(PROTOCOL, [result.encoder for result in results]),
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


def tatoeba_pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plots of stored results: accuracy by language, and between languages other than English.

    Parameters
    ----------
    results
        The content of ``report.json``.
    """
    figures = results["figures"]
    names = [shown_system(name, figures) for name in results["systems"]]
    by_language = {
        name: {label: scores["mean"] for label, scores in figures[name].items() if label not in _AVERAGES}
        for name in names
    }
    title = "Tatoeba: accuracy of finding translations, mean of both directions"
    pictures = [Picture("tatoeba", partial(plots.ranked_bars, title, by_language, source=source_of(results)))]
    if "joined" in results:
        encoder = next(iter(results["joined"]))
        pairs: dict[str, list[float]] = {}
        for row in results["joined"][encoder]["rows"]:
            for label in (row["first"], row["second"]):
                pairs.setdefault(label, []).append(row["raw"] if row["calibrated"] is None else row["calibrated"])
        title = (
            "Tatoeba between two languages other than English: accuracy, mean of both directions, per cent\n"
            f"{shown_system(encoder, figures)}; a dot is a pair with another language, an upright line the mean"
        )
        draw = partial(plots.strips, title, pairs, source=source_of(results))
        pictures.append(Picture("tatoeba-joined", draw))
    return pictures
