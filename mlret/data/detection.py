"""Detect the language of a text offline, with py3langid's model of 139 languages (version 0.4)."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlret.data.detection_guards import guarded
from mlret.data.languages import normalise_language

# The beginning of a text suffices to detect its language: a whole book would do no better.
DETECTION_CHARACTERS = 2000
_NO_LANGUAGE = "zxx"  # ISO 639: no linguistic content


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_DIR / MODEL_FILE, norm_probs=True)


def detect_language(text: str, *, confidence: float = 0.5) -> str | None:
    """Return the normalised language code of a text, with the script if it is not the language's usual one.

    Languages that the detector takes for a neighbour, and the two scripts of Chinese and of Serbian, are distinguished
    by :mod:`mlret.data.detection_guards`.

    Parameters
    ----------
    text
        Any text.
    confidence
        Minimum probability of the detected language.

    Returns
    -------
    str or None
        ``None`` if the text has no letters, the detection is less certain than ``confidence``, or the text is detected
        as having no linguistic content.
    """
    if not any(character.isalpha() for character in text):
        return None
    code, probability = _identifier().classify(text)
    code, probability = guarded(text, code, float(probability), lambda: dict(_identifier().rank(text)), confidence)
    return _normalised(code) if probability >= confidence and code != _NO_LANGUAGE else None


def language_probabilities(text: str) -> dict[str, float]:
    """Map every language that the detector supports, as a normalised code, to the probability that a text is in it."""
    found: dict[str, float] = {}
    for code, probability in _identifier().rank(text):
        if code != _NO_LANGUAGE:
            language = _normalised(code)
            found[language] = found.get(language, 0.0) + float(probability)
    return found


@cache
def _normalised(code: str) -> str:
    return normalise_language(code)
