"""Calibrate a trained backbone on the text that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sentence_transformers import SentenceTransformer

from mlret.data.sampling import draw_by_language
from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import Encoder
from mlret.training.recipe import CalibrationSettings
from mlret.training.text.training_text import TrainingText, is_sentence


def fit_calibration(
    model: SentenceTransformer, text: TrainingText, settings: CalibrationSettings, *, seed: int
) -> Calibration | None:
    """The calibration of a trained backbone, fitted on monolingual sentences; ``None`` where there are too few.

    The rotation is left out where the pivot has too few sentences of its own.
    """
    drawn = draw_by_language(_sentences(text), most=settings.sentences, seed=seed)
    sentences = {code: lines for code, lines in drawn.items() if len(lines) >= settings.min_sentences}
    if not sentences:
        return None
    spoken = [code for code, lines in sentences.items() for _ in lines]
    vectors = Encoder(model).encode([line for lines in sentences.values() for line in lines], language=spoken)
    ends = np.cumsum([len(lines) for lines in sentences.values()])
    embeddings = dict(zip(sentences, np.split(vectors, ends[:-1]), strict=True))
    return Calibration.fit(
        embeddings,
        shift=settings.shift,
        scale=settings.scale,
        rotate=settings.rotate and settings.pivot in embeddings,
        pivot=settings.pivot,
        seed=seed,
    )


def _sentences(text: TrainingText) -> Iterator[tuple[str, str]]:
    for document in text.documents:
        for sentence in document.sentences:
            yield document.language, sentence
    for pair in text.pairs:
        # Single words lie elsewhere than sentences; the mean is wanted of sentences.
        if is_sentence(pair.target):
            yield pair.language, pair.target
