"""Tatoeba bitext retrieval: whether a sentence finds its translation among all sentences of the other side.

Each language is evaluated in both directions: every sentence is matched with its nearest neighbour among the English
sentences of that language's pairs, and every English sentence among the language's sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from mlret.eval.matching import Matching, hits_of_aligned, matched
from mlret.eval.readers.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from mlret.eval.scorers import BitextScorer, EncodedTexts, Mode, Side, TextEncoder

if TYPE_CHECKING:
    pass

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
