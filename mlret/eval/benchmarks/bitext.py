"""Bitext retrieval between every two languages of parallel sentences: accuracy and xSIM.

xSIM is LASER's error rate of matching by ratio margin (Heffernan et al., arXiv 2205.12654, section 4.1); see
:func:`mlret.eval.matching.xsim_misses`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from mlret.eval.loading import load_scorers
from mlret.eval.matching import csls, hits_of_aligned, ratio_margin, xsim_misses
from mlret.eval.readers.parallel_text import ParallelTexts, read_parallel
from mlret.eval.registry import BITEXT, LINES, Benchmark, Lines, Settings, register
from mlret.eval.report import (
    Figures,
    Picture,
    QueryScores,
    Report,
    mean_over_groups,
    shown_system,
    source_of,
    with_baselines,
)
from mlret.eval.retrieval import AVERAGE
from mlret.eval.scorers import BitextScorer, Mode, Side
from mlret.reporting import plots
from mlret.reporting.table import ResultTable, percent

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder

METRICS = ("accuracy", "csls accuracy", "margin accuracy", "xsim")
PROTOCOL = (
    "Every sentence looks for its translation among all sentences of the other language. accuracy: the nearest by "
    "cosine; CSLS: corrected for dense regions over 10 neighbours; margin: by ratio margin over 4; xSIM: the error "
    "rate of LASER's xsim (ratio margin among the 4 nearest), lower is better. Averages give every ordered pair of "
    "languages the same weight."
)


def evaluate_bitext(
    scorers: Sequence[BitextScorer], parallel: ParallelTexts, *, data: str, show_progress: bool = False
) -> Report:
    """Evaluate systems between every two languages, in both directions.

    Parameters
    ----------
    scorers
        Scorers that have encoded all texts, the one under evaluation first.
    parallel
        The sentences.
    data
        Name of the folder or file that they were read from.
    show_progress
        Show a progress bar.

    Returns
    -------
    Report
        Accuracy and xSIM by system and ordered language pair.
    """
    from tqdm import tqdm

    figures: Figures = {}
    query_scores: QueryScores = {}
    ways = list(permutations(parallel.texts, 2))
    for scorer in scorers:
        for mode in scorer.modes:
            system = scorer.name if mode == "raw" else f"{scorer.name}, {mode}"
            figures[system], query_scores[system] = {}, {}
            for first, second in tqdm(ways, desc=system, disable=not show_progress):
                scores = _scores(scorer, mode, parallel, first, second)
                group = f"{first}-{second}"
                figures[system][group] = {metric: float(np.mean(values)) for metric, values in scores.items()}
                query_scores[system][group] = {
                    metric: {str(number): float(value) for number, value in enumerate(values, start=1)}
                    for metric, values in scores.items()
                }
            figures[system][AVERAGE] = mean_over_groups(figures[system], METRICS)
    shown = shown_system(scorers[0].name, figures)
    return Report(
        benchmark="bitext",
        data=data,
        protocol=PROTOCOL,
        figures=figures,
        tables=[_systems_table(figures, parallel), _languages_table(figures[shown], shown, parallel)],
        systems={
            scorer.name: {"fingerprint": scorer.fingerprint, "dims": scorer.dims, "seconds": scorer.seconds}
            for scorer in scorers
        },
        query_scores=query_scores,
        pictures=pictures({"figures": figures, "data": data}),
    )


def _scores(scorer: BitextScorer, mode: Mode, parallel: ParallelTexts, first: str, second: str) -> dict[str, Any]:
    sides = (Side(parallel.texts[label], parallel.languages[label]) for label in (first, second))
    similarity = scorer.similarities(mode, *sides)
    return {
        "accuracy": hits_of_aligned(similarity),
        "csls accuracy": hits_of_aligned(csls(similarity)),
        "margin accuracy": hits_of_aligned(ratio_margin(similarity)),
        "xsim": xsim_misses(similarity),
    }


def _systems_table(figures: Figures, parallel: ParallelTexts) -> ResultTable:
    rows = [[name, *(percent(groups[AVERAGE][metric]) for metric in METRICS)] for name, groups in figures.items()]
    title = f"Bitext retrieval: {len(parallel):,} sentences in {len(parallel.texts)} languages, in per cent"
    return ResultTable(
        title, ["system", "accuracy", "CSLS", "margin", "xSIM"], [rows], with_baselines(PROTOCOL, figures)
    )


def _languages_table(groups: dict[str, dict[str, float]], system: str, parallel: ParallelTexts) -> ResultTable:
    labels = list(parallel.texts)
    rows = []
    for label in labels:
        asked = [groups[f"{label}-{other}"] for other in labels if other != label]
        found = [groups[f"{other}-{label}"] for other in labels if other != label]
        means = [
            float(np.mean([scores["accuracy"] for scores in asked])),
            float(np.mean([scores["accuracy"] for scores in found])),
            float(np.mean([scores["xsim"] for scores in [*asked, *found]])),
        ]
        rows.append([label, *map(percent, means)])
    return ResultTable(
        f"{system}: each language against all others, in per cent",
        ["language", "as query", "as candidate", "xSIM"],
        [rows],
    )


def pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of accuracy by pair of languages from the content of ``report.json``."""
    figures = results["figures"]
    system = shown_system(next(iter(figures)), figures)
    groups = figures[system]
    labels = labels_of_pairs(group for group in groups if group != AVERAGE)
    values = [[groups[f"{a}-{b}"]["accuracy"] if a != b else None for b in labels] for a in labels]
    title = f"Translations found first, by pair of languages\n{system}"
    draw = partial(
        plots.heat_map,
        title,
        labels,
        labels,
        values,
        row_label="query",
        column_label="candidates",
        source=source_of(results),
    )
    return [Picture("bitext", draw)]


def labels_of_pairs(pairs: Iterable[str]) -> list[str]:
    """Return the languages of the groups ``"a-b"`` of all ordered pairs, in order; their labels may contain dashes."""
    known = list(pairs)
    splits = ((known[0][:place], known[0][place + 1 :]) for place, c in enumerate(known[0]) if c == "-")
    first = next(one for one, other in splits if f"{other}-{one}" in known)
    return [first, *(pair.removeprefix(f"{first}-") for pair in known if pair.startswith(f"{first}-"))]


class BitextSettings(Settings):
    """Settings of `mlret eval bitext`."""

    benchmark: Literal["bitext"] = "bitext"
    data: Path = Field(description="Folder with a file a language (FLORES, NTREX, sw.txt), or a TSV of columns.")
    lines: Lines = LINES


def _evaluate(settings: BitextSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    parallel = read_parallel(settings.data, languages=settings.languages, lines=settings.lines)
    scorers = load_scorers(settings, encoders, parallel.all_texts, show_progress)
    return evaluate_bitext(scorers, parallel, data=settings.data.name, show_progress=show_progress)


BITEXT_RETRIEVAL = register(
    Benchmark(
        BitextSettings,
        "Find translations between every two languages of parallel sentences: accuracy and xSIM.",
        _evaluate,
        options=("data", "models", "languages", "lines", "floors", "batch_size"),
        panel=BITEXT,
        pictures=pictures,
    )
)
