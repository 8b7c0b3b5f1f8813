"""Small words that decide what a sentence states: quantity, obligation, time and degree, by language.

*All* and *some*, *must* and *may*, *yesterday* and *tomorrow*, *more* and *less* hardly move a vector, but change what
is true. The lists in ``particles.json`` are of closed classes: a few words for each language, in their common forms.
They are compared only between languages: within one language all words must agree
(:mod:`mlret.memory.text.merge_guards`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import regex

from mlret.memory.text.word_lists import Patterns

# Class -> its members.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "quantity": ("all", "some", "most", "few", "only"),
    "modality": ("must", "may", "should"),
    "time words": ("yesterday", "today", "tomorrow", "before", "after", "ended"),
    "degree": ("more", "less"),
}
# Languages in which words are matched inside a run of letters, because they are written without spaces or with endings.
_ANYWHERE = frozenset({"zh", "ja", "ko"})
# Members whose presence in only one text is a difference. For the others, two texts differ only if each has a member
# that the other lacks, because translators often omit or add them.
_DECISIVE = frozenset({"only", "must", "may", "yesterday", "today", "tomorrow", "ended"})
_GAP = r"\s(?:[^.!?;\n]{0,40}\s)?"  # A few words of one sentence.
# Prefixes that may be written together with the following word.
_PREFIXES = {"ar": "[وفبلك]{0,2}", "he": "[ובלהכמש]{0,2}"}


def particles_of(text: str, language: str) -> frozenset[str] | None:
    """Return the members of :data:`CLASSES` that a text names; ``None`` if the language has no lists.

    Parameters
    ----------
    text
        Case-folded text.
    language
        Language code without script and country.
    """
    patterns = _patterns(language)
    if patterns is None:
        return None
    plain = text.replace("’", "'")
    return frozenset(member for member, words in patterns.items() if words.occur_in(plain))


def opposed(first: frozenset[str], second: frozenset[str]) -> list[str]:
    """Return the classes in which two texts of different languages state different things.

    Parameters
    ----------
    first, second
        The results of :func:`particles_of` for each text.
    """
    found = []
    for name, members in CLASSES.items():
        one, other = first.intersection(members), second.intersection(members)
        if (one ^ other) & _DECISIVE or (one - other and other - one):
            found.append(name)
    return found


@lru_cache(maxsize=1)
def _lists() -> dict[str, dict[str, str]]:
    """Return the lists: language -> member -> words.

    A star stands for any ending, an underscore for a blank; a word with a parenthesis is a regular expression.
    """
    path = Path(__file__).with_name("particles.json")
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=64)
def _patterns(language: str) -> dict[str, Patterns] | None:
    if language not in _lists():
        return None
    return {member: word_patterns(words, language) for member, words in _lists()[language].items()}


def word_patterns(words: str, language: str) -> Patterns:
    """Return the patterns of words in case-folded text of a language.

    Parameters
    ----------
    words
        Words with blanks between them. A star stands for any ending or beginning, an underscore for a blank, and a star
        between two underscores for a few words; a word with a parenthesis is a regular expression, and in languages
        without spaces each word is one.
    language
        Language code without script and country.
    """
    if language in _ANYWHERE:
        return Patterns(words.replace("_", r"\s?").split())
    escaped = [
        word if "(" in word else regex.escape(word).replace(r"_\*_", _GAP).replace(r"\*", r"\w*").replace("_", r"\s+")
        for word in words.split()
    ]
    prefix = _PREFIXES.get(language, "")
    return Patterns(escaped, lambda word: rf"(?<!\w){prefix}(?:{word})(?!\w)")
