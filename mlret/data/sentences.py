"""Split running text into sentences, by ICU's rules for the language."""

from __future__ import annotations

from mlret.errors import require


def split_sentences(text: str, language: str) -> list[str]:
    """Split a text into sentences.

    Parameters
    ----------
    text
        Running text; a line break ends a sentence.
    language
        mlret's language code; ICU falls back to its root rules where it has none of its own.

    Returns
    -------
    list of str
        The sentences, stripped; none is empty.
    """
    breakers = require("icu4py.breakers", extra="train", feature="sentence splitting")
    locale = language.replace("-", "_")
    pieces = (piece for line in text.splitlines() for piece in breakers.SentenceBreaker(line, locale))
    return [sentence for piece in pieces if (sentence := str(piece).strip())]
