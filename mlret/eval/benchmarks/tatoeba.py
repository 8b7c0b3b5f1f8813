"""The benchmark Tatoeba: its settings, and how they are evaluated and reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from mlret.errors import InputError
from mlret.eval.benchmarks.tatoeba_joined import evaluate_joined, join_on_english
from mlret.eval.benchmarks.tatoeba_report import tatoeba_pictures, tatoeba_report
from mlret.eval.benchmarks.tatoeba_scores import all_texts, evaluate_tatoeba
from mlret.eval.loading import load_scorers
from mlret.eval.matching import Matching
from mlret.eval.readers.tatoeba_data import XTREME_36, read_tatoeba
from mlret.eval.registry import BITEXT, UNSET, Benchmark, Option, Settings, register
from mlret.eval.scorers import Mode

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Report

# How a score is computed: with or without calibration, and with which matching.
Way = tuple[Mode, Matching]


class TatoebaSettings(Settings):
    """Settings of `mlret eval tatoeba`."""

    benchmark: Literal["tatoeba"] = "tatoeba"
    data: Path = Field(description="Folder with tatoeba.v1.tsv.gz, or LASER's data/tatoeba/v1.")
    xtreme_only: bool = Field(False, description="Only the 36 languages of XTREME.")
    matchings: Annotated[
        list[Matching],
        Option(
            ("--margin",),
            value=bool,
            default=False,
            help="Also match by ratio margin.",
            read=lambda margin: ["cosine", "csls", "margin"] if margin else UNSET,
        ),
    ] = Field(["cosine", "csls"], description="How neighbours are found; always by cosine.")
    joined: bool = Field(False, description="Also between languages other than English, joined on their English.")


def _evaluate(settings: TatoebaSettings, encoders: Sequence[AnyEncoder], show_progress: bool) -> Report:
    if settings.xtreme_only and settings.languages:
        raise InputError("languages and xtreme_only exclude each other: give one of them")
    pairs = read_tatoeba(settings.data, languages=list(XTREME_36) if settings.xtreme_only else settings.languages)
    if settings.joined:
        join_on_english(pairs)
    results, joined = [], []
    for scorer in load_scorers(settings, encoders, list(all_texts(pairs)), show_progress):
        matchings = list(dict.fromkeys(["cosine", *settings.matchings])) if scorer.fingerprint else ["cosine"]
        results.append(evaluate_tatoeba(scorer, pairs, matchings=cast(list[Matching], matchings)))
        if settings.joined:
            joined.append(evaluate_joined(scorer, pairs))
    return tatoeba_report(settings.data.name, results, joined)


TATOEBA = register(
    Benchmark(
        TatoebaSettings,
        "Find translations in 112 languages, in both directions, by cosine and CSLS, raw and calibrated.",
        _evaluate,
        options=(
            "data",
            "models",
            "languages",
            "xtreme_only",
            "matchings",
            "joined",
            "floors",
            "batch_size",
        ),
        panel=BITEXT,
        pictures=tatoeba_pictures,
    )
)
