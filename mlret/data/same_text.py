"""Whether two texts say the same: what remains of a text when trivial differences are taken away.

Texts are compared in two places: training leaves out what evaluation files say, and a passage that repeats an answer is
no negative. In both, a copy should be recognised whatever software has done to it, and another statement should not be
taken for a copy. So these are trivial:

- case, white space, Unicode's ways to write one character (composed or not, full width, ligatures), and characters that
  are not seen (soft hyphens, joiners, variation selectors);
- punctuation, such as commas, quotation marks and full stops, brackets, and hyphens between letters;
- signs that writers of the script may leave out: Arabic harakat and tatweel, the points of Hebrew and Syriac; they mark
  the vowels of words that readers know anyway, and a copy of the same passage has them or not.

And these tell texts apart:

- letters, digits, and the marks that belong to them: vowel signs of Hindi, Bengali, Tamil, Thai, Khmer or Burmese, tone
  marks and accents, also where Unicode has no composed character for them;
- symbols: currencies, ``+ < > = ± × ÷ ~ ° ^ % & @``, emoji, and ``#`` at a word or a number (C#, #1);
- what stands between digits: 1.5 and 15, 1,5, 3:1, 24/7, 10-12; a hyphen that is a minus (-5) or ends a word (A-);
  superscript digits (10² and 102).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from hashlib import blake2b

import regex

# Raise it whenever a text may come out otherwise: what was filtered before is then filtered anew.
VERSION = 2

_HIDDEN = regex.compile(
    r"[\p{Cc}\p{Cf}\uFE00-\uFE0F\U000E0100-\U000E01EF\u034F\u180B-\u180F--[\t-\r\x1C-\x1F\x85]]+", regex.V1
)
# Tatweel, the vowel signs of Arabic and its signs of recitation, the points of Hebrew and of Syriac.
_OPTIONAL = regex.compile(
    r"[\u0640\u0610-\u061A\u064B-\u0652\u0670\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED"
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0730-\u074A]+"
)
_RAISED = regex.compile(r"[⁰¹²³⁴-⁹⁺⁻ⁿⁱ]+")
# A mark that belongs to no letter, digit or symbol, as the compatibility forms of spacing accents have it.
_STRAY = regex.compile(r"(?<![\p{L}\p{N}\p{M}\p{S}])\p{M}+")
_BETWEEN_LETTERS = regex.compile(r"(?<=[\p{L}\p{M}])\s+(?=[\p{L}\p{M}])")
_BETWEEN = regex.compile(r"[^\p{L}\p{N}\p{M}]+")
_MINUS = frozenset("-\u2010\u2011\u2212")
_DASHES = _MINUS | frozenset("\u2012\u2013\u2014\u2015\u301c")
# Symbols but those that are layout: accents that stand alone, lines, boxes, bullets; and punctuation that is no stop.
_SYMBOL = regex.compile(r"[[\p{S}%‰٪&@]--[\p{Sk}|©®\uFFFD\u2500-\u25FF]]|\^", regex.V1)
# What divides two digits only where no blank stands beside it ("1,5", not "1, 5"), and what does with blanks, too.
_TIGHT = frozenset(".,:'′٫٬·")
_LOOSE = frozenset("/*#")


def normalised(text: str) -> str:
    """A text without trivial differences, for comparing: two texts that say the same come out equal.

    Returns
    -------
    str
        Case-folded; empty where the text is mere punctuation.
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
    """What counts of the characters between two words."""
    text, (start, end) = found.string, found.span()
    return _signs(found[0], _kind(text[start - 1]) if start else "", _kind(text[end]) if end < len(text) else "")


def _kind(character: str) -> str:
    """``N`` for a digit, ``L`` for what else words are made of, and otherwise nothing."""
    category = unicodedata.category(character)
    return "N" if category == "Nd" else "L" if category[0] in "LMN" else ""


@lru_cache(maxsize=1 << 14)
def _signs(run: str, before: str, after: str) -> str:
    """What counts of characters that are no letters, digits or marks, between two characters of these kinds."""
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
    """The signs between two digits, a blank where there are none: "1 5" is not 15, and "10 – 12" is 10-12."""
    tight = not any(sign.isspace() for sign in run)
    kept = "".join(
        "-" if sign in _DASHES else sign
        for sign in run
        if sign in _DASHES or sign in _LOOSE or (tight and sign in _TIGHT) or _SYMBOL.match(sign)
    )
    return kept or " "


def text_key(text: str) -> str:
    """What two passages that say the same have in common; of mere punctuation, all of it."""
    return normalised(text) or text


@lru_cache(maxsize=1 << 16)
def text_number(text: str) -> int:
    """63 bits of :func:`text_key`: the same number on every machine for texts that say the same, else another."""
    return int.from_bytes(blake2b(text_key(text).encode(), digest_size=8).digest()) >> 1
