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
    model: SentenceTransformer, text: TrainingText, settings: CalibrationSettings | None, *, seed: int
) -> Calibration | None:
    """Fit the calibration of a trained backbone on monolingual sentences.

    Parameters
    ----------
    model
        The trained backbone.
    text
        Training text, from which sentences are drawn in each language.
    settings
        How many sentences to draw, and which parts of the calibration to fit; ``None`` to fit none.
    seed
        Seed of the draw and of the fit.

    Returns
    -------
    Calibration or None
        The calibration, without a rotation if the pivot has too few sentences; ``None`` without settings, or if every
        language has too few.
    """
    if settings is None:
        return None
    drawn = draw_by_language(_sentences(text), most=settings.sentences, seed=seed)
    sentences = {code: lines for code, lines in drawn.items() if len(lines) >= settings.min_sentences}
    if not sentences:
        return None
    languages = [code for code, lines in sentences.items() for _ in lines]
    vectors = Encoder(model).encode([line for lines in sentences.values() for line in lines], language=languages)
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
        # The vectors of single words lie elsewhere than those of sentences, and the mean must be that of sentences.
        if is_sentence(pair.target):
            yield pair.language, pair.target
