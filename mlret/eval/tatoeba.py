"""Tatoeba bitext retrieval: does a sentence find its translation among all the sentences of the other side?

For each language, both ways: every sentence looks for its nearest neighbour by cosine among the English
sentences of that language's pairs, and every English sentence among the sentences of the language.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlret.eval.metrics import bitext_accuracy
from mlret.eval.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from mlret.eval.vectors import EncodedTexts, TextEncoder


@dataclass(frozen=True)
class Accuracy:
    """Accuracy from 0 to 1: ``xx_en`` has the query in the language, ``en_xx`` in English."""

    xx_en: float
    en_xx: float

    @property
    def mean(self) -> float:
        """The mean of both directions."""
        return (self.xx_en + self.en_xx) / 2

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"xx_en": self.xx_en, "en_xx": self.en_xx, "mean": self.mean}


@dataclass(frozen=True)
class TatoebaRow:
    """One language: the test set's ``label``, the same in mlret's form, its name, its number of pairs.

    ``calibrated`` is ``None`` for an encoder without calibration.
    """

    label: str
    language: str
    name: str
    n: int
    raw: Accuracy
    calibrated: Accuracy | None


@dataclass(frozen=True)
class TatoebaAverage:
    """The unweighted mean over languages."""

    name: str
    languages: int
    raw: Accuracy
    calibrated: Accuracy | None


@dataclass(frozen=True)
class TatoebaResult:
    """What an encoder scores on Tatoeba.

    Attributes
    ----------
    encoder
        The encoder's name; ``fingerprint`` is ``None`` for a floor.
    texts
        How many different texts were encoded, in ``seconds``.
    rows
        One a language, sorted by label.
    """

    encoder: str
    fingerprint: str | None
    dims: int
    texts: int
    seconds: float
    rows: list[TatoebaRow]

    @property
    def averages(self) -> dict[str, TatoebaAverage]:
        """``"xtreme_36"``, unless one of the 36 languages is missing, and ``"all"`` that were evaluated."""
        averages = {}
        xtreme = [row for row in self.rows if row.label in XTREME_36]
        # A mean over some of the 36 would pass for the published figure.
        if len(xtreme) == len(XTREME_36):
            averages["xtreme_36"] = _average("XTREME's 36", xtreme)
        averages["all"] = _average(f"all {len(self.rows)}", self.rows)
        return averages

    def to_dict(self) -> dict[str, Any]:
        """For JSON. Accuracies are from 0 to 1."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "rows"},
            "averages": {key: _entry(average) for key, average in self.averages.items()},
            "rows": [_entry(row) for row in self.rows],
        }


def evaluate_tatoeba(
    encoder: TextEncoder,
    data: str | Path | Sequence[TatoebaPairs],
    *,
    languages: Sequence[str] | None = None,
    texts: EncodedTexts | None = None,
    batch_size: int = 256,
    show_progress: bool = False,
) -> TatoebaResult:
    """Evaluate an encoder on the Tatoeba test set.

    Parameters
    ----------
    encoder
        The encoder. One with calibration is scored twice: raw and calibrated.
    data
        The folder that holds the test set, or what :func:`read_tatoeba` read.
    languages
        Which languages; all by default. Not used where ``data`` is already read.
    texts
        The vectors of all sentences, where they are there already.
    batch_size
        Texts in one forward pass.
    show_progress
        Show a progress bar.

    Raises
    ------
    InputError
        If the test set is missing or malformed, or lacks one of the languages.
    """
    pairs = read_tatoeba(data, languages=languages) if isinstance(data, str | Path) else list(data)
    fingerprint = getattr(encoder, "fingerprint", None)
    if texts is None:
        texts = EncodedTexts(encoder, all_texts(pairs), batch_size=batch_size, show_progress=show_progress)
    return TatoebaResult(
        encoder=encoder.name,
        fingerprint=fingerprint,
        dims=encoder.dims,
        texts=len(texts),
        seconds=texts.seconds,
        rows=[_row(pair, texts) for pair in pairs],
    )


def all_texts(pairs: Sequence[TatoebaPairs]) -> Iterator[str]:
    """Every text of a test set, for :class:`mlret.eval.vectors.EncodedTexts`."""
    for pair in pairs:
        yield from pair.sentences
        yield from pair.english


def _row(pair: TatoebaPairs, texts: EncodedTexts) -> TatoebaRow:
    raw = _both_ways(texts.raw(pair.sentences), texts.raw(pair.english))
    calibrated = None
    if texts.has_calibration:
        calibrated = _both_ways(texts.calibrated(pair.sentences, pair.language), texts.calibrated(pair.english, "en"))
    return TatoebaRow(pair.label, pair.language, pair.name, len(pair), raw, calibrated)


def _both_ways(sentences: Any, english: Any) -> Accuracy:
    return Accuracy(xx_en=bitext_accuracy(sentences, english), en_xx=bitext_accuracy(english, sentences))


def _average(name: str, rows: Sequence[TatoebaRow]) -> TatoebaAverage:
    calibrated = [row.calibrated for row in rows if row.calibrated is not None]
    raw = _mean([row.raw for row in rows])
    return TatoebaAverage(name, len(rows), raw, _mean(calibrated) if calibrated else None)


def _mean(accuracies: Sequence[Accuracy]) -> Accuracy:
    return Accuracy(
        xx_en=sum(accuracy.xx_en for accuracy in accuracies) / len(accuracies),
        en_xx=sum(accuracy.en_xx for accuracy in accuracies) / len(accuracies),
    )


def _entry(scored: TatoebaRow | TatoebaAverage) -> dict[str, Any]:
    return {
        **asdict(scored),
        "raw": scored.raw.to_dict(),
        "calibrated": scored.calibrated.to_dict() if scored.calibrated else None,
    }
