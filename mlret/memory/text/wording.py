"""Compare the wording of two texts in one language: texts with the same words are duplicates without further checks.

Only differences of form are ignored: Unicode composition, width, white space, the shape of quotation marks and digits,
capitals where they mark the start of a sentence or where one of the texts uses none, and the mark that ends a
statement. Everything else counts, because it may be what the text is about: `5 €` and `5 $`, `A+` and `A-`, `x²` and
`x2`, a question mark, a comma.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

# Compatibility forms that are mere shapes of a character; superscripts, fractions and circled numbers are not.
_SHAPES = frozenset({"<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<vertical>", "<noBreak>"})
# Marks of text direction, of possible line breaks, and of how a character is drawn.
_INVISIBLE = regex.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe0e\ufe0f\ufeff]")
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("‘’‛ʼ`´", "'"),
        **dict.fromkeys("“”„‟«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "؟": "?",
        "،": ",",
        "、": ",",
        "؛": ";",
        "…": "...",
    }
)
_STATEMENT_ENDS = regex.compile(r"(?:(?<!\d)!|[.。।॥۔።։])+$")
_ENDS_IN_ORDINAL = regex.compile(r"\d\.$")
# Languages in which a final `5.` may mean `fifth`.
_DOTTED_ORDINALS = frozenset("cs da de et fi hr hu is lv nb nn no pl sk sl sr tr".split())  # noqa: SIM905
_DOTLESS = str.maketrans({"I": "ı", "İ": "i"})
_SENTENCE_ENDS = (".", "!", "?", ":", "。")


def same_form(text: str) -> str:
    """Return the form that identical texts share: composed, in one width, with single blanks."""
    if not text.isascii():
        shaped = "".join(
            unicodedata.normalize("NFKC", character) if _is_shape(character) else character for character in text
        )
        text = unicodedata.normalize("NFC", shaped)
    return " ".join(text.split())


@lru_cache(maxsize=4096)
def _is_shape(character: str) -> bool:
    return unicodedata.decomposition(character).partition(" ")[0] in _SHAPES


def exact_wording(text: str, language: str | None = None) -> str:
    """Return a text with differences of form removed, except for capitals, which :func:`same_words` compares.

    Parameters
    ----------
    text
        Any text.
    language
        Its language without script and country, if known.
    """
    plain = _INVISIBLE.sub("", same_form(text)).translate(_ALIKE)
    if not plain.isascii():
        plain = "".join(_digit(character) for character in plain)
    plain = " ".join(plain.split())
    if language in _DOTTED_ORDINALS and _ENDS_IN_ORDINAL.search(plain):
        return plain
    shorter = _STATEMENT_ENDS.sub("", plain).rstrip()
    return shorter or plain


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def same_words(first: str, second: str, language: str | None = None) -> bool:
    """Return whether two exact wordings are equal or differ only in capitals that carry no meaning.

    Capitals carry no meaning at the start of a sentence, or if one of the texts has no capitals or nothing else. They
    do carry meaning in a unit after a number (`5 MW`, `5 mW`) and in an abbreviation (`US`, `us`).

    Parameters
    ----------
    first, second
        The results of :func:`exact_wording` for each text.
    language
        Language of both, if known.
    """
    if first == second:
        return True
    ones, others = first.split(), second.split()
    if len(ones) != len(others) or any(
        _lower(one, language) != _lower(other, language) for one, other in zip(ones, others, strict=True)
    ):
        return False
    shouted = first.upper() == first or second.upper() == second
    plain = shouted or first.lower() == first or second.lower() == second
    before = ""
    for one, other in zip(ones, others, strict=True):
        if one != other and (
            not (plain or before == "" or before.endswith(_SENTENCE_ENDS))
            or any(character.isdecimal() for character in before[-1:] + one[:1])
            or (not shouted and (_abbreviation(one) or _abbreviation(other)))
        ):
            return False
        before = one
    return True


def _lower(word: str, language: str | None) -> str:
    return (word.translate(_DOTLESS) if language in ("tr", "az") else word).lower()


def _abbreviation(word: str) -> bool:
    """Return whether a word has two or more letters, all of them capitals."""
    letters = [character for character in word if character.isalpha()]
    return len(letters) > 1 and all(map(str.isupper, letters))
