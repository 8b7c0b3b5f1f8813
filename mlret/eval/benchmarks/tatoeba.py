"""Tatoeba bitext retrieval: whether a sentence finds its translation among all sentences of the other side.

Each language is evaluated in both directions: every sentence is matched with its nearest neighbour among the English
sentences of that language's pairs, and every English sentence among the language's sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlret.errors import InputError
from mlret.eval.benchmarks.registry import BITEXT, UNSET, Benchmark, Option, Settings, register
from mlret.eval.benchmarks.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from mlret.eval.benchmarks.tatoeba_joined import evaluate_joined, join_on_english
from mlret.eval.loading import load_scorers
from mlret.eval.matching import Matching, hits_of_aligned, matched
from mlret.eval.scorers import BitextScorer, EncodedTexts, Mode, Side, TextEncoder

if TYPE_CHECKING:
    from mlret.encoders.multi_vector import AnyEncoder
    from mlret.eval.report import Picture, Report

# How a score is computed: with or without calibration, and with which matching.
Way = tuple[Mode, Matching]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy from 0 to 1. Queries are in the language for ``xx_en`` and in English for ``en_xx``."""

    xx_en: float
    en_xx: float

    @property
    def mean(self) -> float:
        """Mean of both directions."""
        return (self.xx_en + self.en_xx) / 2

    def to_dict(self) -> dict[str, float]:
        """Return the accuracies as plain data for JSON."""
        return {"xx_en": self.xx_en, "en_xx": self.en_xx, "mean": self.mean}


class _Scored:
    """Base of rows and averages: accuracies by the way of scoring."""

    scores: dict[Way, Accuracy]

    @property
    def raw(self) -> Accuracy:
        """Accuracy by cosine, without calibration."""
        return self.scores["raw", "cosine"]

    @property
    def calibrated(self) -> Accuracy | None:
        """Accuracy by cosine, with calibration; ``None`` for an encoder without calibration."""
        return self.scores.get(("calibrated", "cosine"))


@dataclass(frozen=True)
class TatoebaRow(_Scored):
    """Scores of one language.

    ``label`` is the test set's code, ``language`` mlret's code, ``name`` the English name and ``n`` the number of
    pairs. ``hits`` holds ``(2, n)`` booleans for each way of scoring: which queries found their translation, xx→en and
    en→xx.
    """

    label: str
    language: str
    name: str
    n: int
    scores: dict[Way, Accuracy]
    hits: dict[Way, NDArray[np.bool_]] = field(compare=False, repr=False)


@dataclass(frozen=True)
class TatoebaAverage(_Scored):
    """Unweighted mean over languages."""

    name: str
    languages: int
    scores: dict[Way, Accuracy]


@dataclass(frozen=True)
class TatoebaResult:
    """Scores of one system on Tatoeba.

    Attributes
    ----------
    encoder
        The system's name.
    fingerprint, dims
        Fingerprint and number of dimensions of the encoder; ``None`` if the system is not an encoder.
    texts, seconds
        Number of distinct texts that were encoded, and the time it took.
    rows
        One for each language, sorted by label.
    """

    encoder: str
    fingerprint: str | None
    dims: int | None
    texts: int
    seconds: float
    rows: list[TatoebaRow]

    @property
    def averages(self) -> dict[str, TatoebaAverage]:
        """The averages over ``"all"`` languages, and over ``"xtreme_36"`` if all 36 were evaluated."""
        averages = {}
        xtreme = [row for row in self.rows if row.label in XTREME_36]
        # A mean over only some of the 36 languages could be mistaken for the published score.
        if len(xtreme) == len(XTREME_36):
            averages["xtreme_36"] = _average("XTREME's 36", xtreme)
        averages["all"] = _average(f"all {len(self.rows)}", self.rows)
        return averages

    @property
    def ways(self) -> list[Way]:
        """The ways of scoring that were evaluated."""
        return list(self.rows[0].scores)


def evaluate_tatoeba(
    system: TextEncoder | BitextScorer,
    data: str | Path | Sequence[TatoebaPairs],
    *,
    matchings: Sequence[Matching] = ("cosine",),
) -> TatoebaResult:
    """Evaluate a system on the Tatoeba test set.

    Parameters
    ----------
    system
        An encoder, or a scorer that has already encoded the test set. A system with calibration is scored twice: raw
        and calibrated.
    data
        The folder that contains the test set, or the result of :func:`read_tatoeba`.
    matchings
        How the best candidate is chosen: ``"cosine"``, as in XTREME, or ``"csls"`` or ``"margin"``, which correct for
        candidates that are close to everything.

    Raises
    ------
    InputError
        If the test set is missing or malformed.
    """
    pairs = read_tatoeba(data) if isinstance(data, str | Path) else list(data)
    encoded = hasattr(system, "similarities")
    scorer = cast(BitextScorer, system) if encoded else EncodedTexts(cast(TextEncoder, system), all_texts(pairs))
    rows = [_row(pair, scorer, matchings) for pair in pairs]
    return TatoebaResult(scorer.name, scorer.fingerprint, scorer.dims, len(scorer), scorer.seconds, rows)


def all_texts(pairs: Sequence[TatoebaPairs]) -> Iterator[str]:
    """Yield every text of a test set."""
    for pair in pairs:
        yield from pair.sentences
        yield from pair.english


def _row(pair: TatoebaPairs, scorer: BitextScorer, matchings: Sequence[Matching]) -> TatoebaRow:
    own, english = Side(pair.sentences, pair.language), Side(pair.english, "en")
    hits: dict[Way, NDArray[np.bool_]] = {}
    for mode in scorer.modes:
        forward = scorer.similarities(mode, own, english)
        # Cosines are symmetric, but BM25 and MaxSim are not.
        backward = None if isinstance(scorer, EncodedTexts) else scorer.similarities(mode, english, own)
        for matching in matchings:
            there = matched(forward, matching)
            back = there.T if backward is None else matched(backward, matching)
            hits[mode, matching] = np.stack([hits_of_aligned(there), hits_of_aligned(back)])
    scores = {way: Accuracy(*map(float, both.mean(axis=1))) for way, both in hits.items()}
    return TatoebaRow(pair.label, pair.language, pair.name, len(pair), scores, hits)


def _average(name: str, rows: Sequence[TatoebaRow]) -> TatoebaAverage:
    scores = {way: _mean([row.scores[way] for row in rows]) for way in rows[0].scores}
    return TatoebaAverage(name, len(rows), scores)


def _mean(accuracies: Sequence[Accuracy]) -> Accuracy:
    return Accuracy(
        xx_en=sum(accuracy.xx_en for accuracy in accuracies) / len(accuracies),
        en_xx=sum(accuracy.en_xx for accuracy in accuracies) / len(accuracies),
    )


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
    from mlret.eval.benchmarks.tatoeba_report import tatoeba_report

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


def _pictures(results: Mapping[str, Any]) -> list[Picture]:
    from mlret.eval.benchmarks.tatoeba_report import tatoeba_pictures

    return tatoeba_pictures(results)


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
        pictures=_pictures,
    )
)
