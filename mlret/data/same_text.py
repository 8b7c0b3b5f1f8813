"""Recognise texts that say the same, by removing trivial differences before comparing them.

Texts are compared in two places: training skips texts that occur in evaluation files, and a passage that repeats an
answer is not used as a negative. In both, a copy must be recognised whatever software has done to it, and a different
statement must not be taken for a copy. The following differences are therefore trivial and removed:

- case, white space, Unicode's different encodings of a character (composed or not, full width, ligatures), and
  invisible characters (soft hyphens, joiners, variation selectors);
- punctuation such as commas, quotation marks and full stops, brackets, and hyphens between letters;
- signs that are optional in a script: Arabic harakat and tatweel, the points of Hebrew and Syriac. They mark the vowels
  of words that readers know anyway, and copies of a passage may or may not have them.

The following differences distinguish texts and are kept:

- letters, digits, and the marks that belong to them: vowel signs of Hindi, Bengali, Tamil, Thai, Khmer or Burmese, tone
  marks and accents, even if Unicode has no composed character for them;
- symbols: currencies, ``+ < > = ± × ÷ ~ ° ^ % & @``, emoji, and ``#`` at a word or a number (C#, #1);
- signs between digits: 1.5 and 15, 1,5, 3:1, 24/7, 10-12; a hyphen that is a minus (-5) or ends a word (A-);
  superscript digits (10² and 102).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from hashlib import blake2b

import regex

# Increase this whenever the normalised form of a text may change, so that data that was filtered before is filtered
# again.
VERSION = 2

_HIDDEN = regex.compile(
    r"[\p{Cc}\p{Cf}\uFE00-\uFE0F\U000E0100-\U000E01EF\u034F\u180B-\u180F--[\t-\r\x1C-\x1F\x85]]+", regex.V1
)
# Tatweel, Arabic's vowel signs and recitation signs, the points of Hebrew and of Syriac.
_OPTIONAL = regex.compile(
    r"[\u0640\u0610-\u061A\u064B-\u0652\u0670\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED"
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0730-\u074A]+"
)
_RAISED = regex.compile(r"[⁰¹²³⁴-⁹⁺⁻ⁿⁱ]+")
# A mark that follows no letter, digit or symbol, as in the compatibility forms of spacing accents.
_STRAY = regex.compile(r"(?<![\p{L}\p{N}\p{M}\p{S}])\p{M}+")
_BETWEEN_LETTERS = regex.compile(r"(?<=[\p{L}\p{M}])\s+(?=[\p{L}\p{M}])")
_BETWEEN = regex.compile(r"[^\p{L}\p{N}\p{M}]+")
_MINUS = frozenset("-\u2010\u2011\u2212")
_DASHES = _MINUS | frozenset("\u2012\u2013\u2014\u2015\u301c")
# All symbols except layout (spacing accents, lines, boxes, bullets), and punctuation that carries meaning.
_SYMBOL = regex.compile(r"[[\p{S}%‰٪&@]--[\p{Sk}|©®\uFFFD\u2500-\u25FF]]|\^", regex.V1)
# Signs that separate two digits only without a space beside them ("1,5", not "1, 5"), and signs that always do.
_TIGHT = frozenset(".,:'′٫٬·")
_LOOSE = frozenset("/*#")


def normalised(text: str) -> str:
    """Return a text without trivial differences; texts that say the same give equal results.

    Returns
    -------
    str
        The case-folded text; empty if the text is only punctuation.
    """
    if text.isascii():
        folded = text.casefold()
    else:
        folded = _RAISED.sub(lambda raised: f"^{raised[0]}", text)
        folded = _STRAY.sub("", unicodedata.normalize("NFKC", folded).casefold())
        folded = unicodedata.normalize("NFC", _OPTIONAL.sub("", folded))
    folded = _BETWEEN_LETTERS.sub("", _HIDDEN.sub("", folded))
    return str(_BETWEEN.sub(_kept, folded))


def _kept(found: regex.Match[str]) -> str:
    """Return the significant signs among the characters between two words."""
    text, (start, end) = found.string, found.span()
    return _signs(found[0], _kind(text[start - 1]) if start else "", _kind(text[end]) if end < len(text) else "")


def _kind(character: str) -> str:
    """Return ``N`` for a digit, ``L`` for other characters of words, and ``""`` for anything else."""
    category = unicodedata.category(character)
    return "N" if category == "Nd" else "L" if category[0] in "LMN" else ""


@lru_cache(maxsize=1 << 14)
def _signs(run: str, before: str, after: str) -> str:
    """Return the significant signs of a run of other characters, between two characters of the given kinds."""
    if before == after == "N":
        return _between_digits(run)
    kept = []
    last = len(run) - 1
    for place, sign in enumerate(run):
        left = _kind(run[place - 1]) if place else before
        right = after if place == last else ""
        if sign in _MINUS:
            minus = right == "N" and left != "L"
            grade = left == "L" and not right and run[place + 1 : place + 2] not in _DASHES
            kept.append("-" if minus or grade else "")
        elif sign == "#":
            kept.append("#" if left or right == "N" or run[place - 1 : place] == "#" else "")
        elif sign == ".":
            kept.append("." if right == "N" and not left else "")
        elif _SYMBOL.match(sign):
            kept.append(sign)
    return "".join(kept)


def _between_digits(run: str) -> str:
    """Return the signs between two digits, or a space if there are none.

    For example, "1 5" must differ from 15, and "10 – 12" must equal 10-12.
    """
    tight = not any(sign.isspace() for sign in run)
    kept = "".join(
        "-" if sign in _DASHES else sign
        for sign in run
        if sign in _DASHES or sign in _LOOSE or (tight and sign in _TIGHT) or _SYMBOL.match(sign)
    )
    return kept or " "


def text_key(text: str) -> str:
    """Return a key that is equal for passages that say the same; for mere punctuation, the text itself."""
    return normalised(text) or text


@lru_cache(maxsize=1 << 16)
def text_number(text: str) -> int:
    """Return 63 bits of a hash of :func:`text_key`, which is the same on every machine."""
    return int.from_bytes(blake2b(text_key(text).encode(), digest_size=8).digest()) >> 1
