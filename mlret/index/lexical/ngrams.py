"""Splits texts into character n-grams, which are the terms of the lexical channel in any script.

The lengths of the n-grams are those that best found a passage by a sentence cut out of it, in fifteen languages of the
training text. Between equally good lengths the longer ones were taken, because their posting lists are shorter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from mlret.data.scripts import script_of

# Neither sign survives normalisation within a word, and both are token characters for FTS5's ascii tokenizer.
EDGE = "·"
WHOLE = "¤"
# Longer words are pasted data, for which the n-grams suffice.
_LONGEST_WHOLE = 40

_WORD_LENGTH = 4
_SYLLABIC_LENGTH = 2
_HAN_LENGTHS = (1, 2)  # In Han text a single character may be a word.
_UNSPACED_LENGTHS = (2, 3)

# In these scripts a letter is a consonant with its vowel or a whole syllable, and spaces separate words.
_SYLLABIC = {"ETHIOPIC", "HANGUL", "YI"}
_HAN = {"BOPOMOFO", "HAN", "HIRAGANA", "KATAKANA"}
_UNSPACED = {"BALINESE", "JAVANESE", "KHMER", "LAO", "MYANMAR", "NEW TAI", "TAI LE", "TAI THAM", "TAI VIET", "THAI"}

# Dropped are marks that writers of Arabic and Hebrew mostly omit, the stretching tatweel, accents (which many omit when
# they type a query), and joiners and soft hyphens within words. Vowel signs of Indic and Southeast Asian scripts are
# kept.
_DROPPED = dict.fromkeys(
    [
        *range(0x0300, 0x0370),
        *range(0x0591, 0x05BE),
        0x05BF,
        *range(0x05C1, 0x05C3),
        *range(0x05C4, 0x05C6),
        0x05C7,
        *range(0x0610, 0x061B),
        0x0640,
        *range(0x064B, 0x0660),
        0x0670,
        0x00AD,
        *range(0x200C, 0x2010),
        0x2060,
    ]
)


class _Classes(dict[int, str]):
    """Maps a code point to the class of the character, which is computed when it is first needed."""

    def __missing__(self, point: int) -> str:
        self[point] = value = _class_of(chr(point))
        return value


class _Digits(dict[int, str]):
    """Maps a code point to the same character, or to the ASCII digit of its value."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        value = unicodedata.decimal(character, None)
        self[point] = folded = character if value is None else str(value)
        return folded


def _class_of(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return "d"
    if category[0] not in "LMN":
        return " "
    script = script_of(character)
    if script in _HAN:
        return "h"
    if script in _UNSPACED:
        return "u"
    return "s" if script in _SYLLABIC else "a"


_CLASSES = _Classes()
_DIGITS = _Digits()
_RUN = re.compile("[ad]+|h+|u+|s+")
_NUMBER = re.compile("[0-9]+")


def normalise(text: str) -> str:
    """Return the form in which texts are compared: NFKC, case-folded, without accents, with ASCII digits.

    Accents are dropped in scripts in which they are marks on complete letters (Latin, Greek, Cyrillic, Arabic, Hebrew).
    A query typed without accents then finds texts written with them, which is worth more than the distinctions that are
    lost.

    Parameters
    ----------
    text
        Any text.
    """
    if text.isascii():
        return text.casefold()
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = unicodedata.normalize("NFD", folded).translate(_DROPPED)
    return unicodedata.normalize("NFKC", bare).translate(_DIGITS)


def ngrams(text: str) -> list[str]:
    """Return the n-grams of a text, each as often as it occurs.

    - Words of alphabets: 4-grams over the word with an edge mark on either side, and the complete word. Digits count as
      letters; a number within a word of letters is also a term of its own.
    - Hangul, Ethiopic, Yi: bigrams over the word with its edge marks.
    - Han and kana, written without spaces: single characters and bigrams.
    - Thai, Lao, Khmer, Myanmar and similar scripts: bigrams and trigrams.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list of str
        Terms without white space or ASCII punctuation, grouped by the words of the text in their order; empty if the
        text has no letter or digit.
    """
    text = normalise(text)
    classes = text.translate(_CLASSES)
    tokens: list[str] = []
    for run in _RUN.finditer(classes):
        word = text[run.start() : run.end()]
        kind = classes[run.start()]
        if kind == "h":
            tokens += _cut(word, _HAN_LENGTHS)
        elif kind == "u":
            tokens += _cut(word, _UNSPACED_LENGTHS)
        elif kind == "s":
            tokens += _cut(EDGE + word + EDGE, (_SYLLABIC_LENGTH,))
        else:
            tokens += _word_tokens(word)
            if "d" in classes[run.start() : run.end()] and not word.isdecimal():
                for number in _NUMBER.findall(word):
                    tokens += _whole(number)
    return tokens


def runs(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield where the words of a text start and end, as it is written, and whether spaces separate words there.

    A run of a script without spaces is one word; :func:`ngrams` cuts it into n-grams without marking its edges.
    """
    classes = text.translate(_CLASSES)
    for run in _RUN.finditer(classes):
        yield run.start(), run.end(), classes[run.start()] not in "hu"


def _word_tokens(word: str) -> Iterator[str]:
    marked = EDGE + word + EDGE
    for start in range(len(marked) - _WORD_LENGTH + 1):
        yield marked[start : start + _WORD_LENGTH]
    if len(marked) != _WORD_LENGTH:  # For a word of two letters, the n-gram is the complete word.
        yield from _whole(word)


def _whole(word: str) -> Iterator[str]:
    if len(word) + 2 == _WORD_LENGTH:
        yield EDGE + word + EDGE
    elif len(word) <= _LONGEST_WHOLE:
        yield WHOLE + word


def _cut(word: str, lengths: tuple[int, ...]) -> Iterator[str]:
    if len(word) < lengths[0]:
        yield word
    for length in lengths:
        for start in range(len(word) - length + 1):
            yield word[start : start + length]
