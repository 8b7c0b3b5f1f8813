"""Small words that decide what a sentence states: quantity, obligation, time and degree, by language.

*All* and *some*, *must* and *may*, *yesterday* and *tomorrow*, *more* and *less* hardly move a vector, and change what
is true. The lists in ``particles.json`` are of closed classes: a few words a language, in the forms that are common.
They are compared between languages only: within one language all words must agree (:mod:`mlret.memory.guards`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import regex

# Class -> its members; a text states the members of a class that it names.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "quantity": ("all", "some", "most", "few", "only"),
    "modality": ("must", "may", "should"),
    "time words": ("yesterday", "today", "tomorrow", "before", "after", "ended"),
    "degree": ("more", "less"),
}
# In these a word is found inside a run of letters: they are written without spaces, or with endings.
_ANYWHERE = frozenset({"zh", "ja", "ko"})
# A member whose presence in one text alone is a difference; of the others, two texts differ if each has one that the
# other lacks: translators leave them out and put them in.
_DECISIVE = frozenset({"only", "must", "may", "yesterday", "today", "tomorrow", "ended"})
# What may be written together with the word after it.
_PREFIXES = {"ar": "[وفبلك]{0,2}", "he": "[ובלהכמש]{0,2}"}


def particles_of(text: str, language: str) -> frozenset[str] | None:
    """The members of :data:`CLASSES` that a text names; ``None`` where the language has no lists.

    Parameters
    ----------
    text
        Case-folded.
    language
        Without script and country.
    """
    patterns = _patterns(language)
    if patterns is None:
        return None
    plain = text.replace("’", "'")
    return frozenset(member for member, pattern in patterns.items() if pattern.search(plain))


def opposed(first: frozenset[str], second: frozenset[str]) -> list[str]:
    """The classes in which two texts of different languages state different things."""
    found = []
    for name, members in CLASSES.items():
        one, other = first.intersection(members), second.intersection(members)
        if (one ^ other) & _DECISIVE or (one - other and other - one):
            found.append(name)
    return found


def particle_languages() -> list[str]:
    """The languages with lists, sorted."""
    return sorted(_lists())


@lru_cache(maxsize=1)
def _lists() -> dict[str, dict[str, str]]:
    """Language -> member -> words.

    A star stands for any ending, an underscore for a blank; a word with a parenthesis is a pattern.
    """
    path = Path(__file__).with_name("particles.json")
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=64)
def _patterns(language: str) -> dict[str, regex.Pattern[str]] | None:
    if language not in _lists():
        return None
    found = {}
    for member, words in _lists()[language].items():
        if language in _ANYWHERE:
            found[member] = regex.compile("|".join(words.split()))
            continue
        escaped = "|".join(
            word if "(" in word else regex.escape(word).replace(r"\*", r"\w*").replace("_", r"\s+")
            for word in sorted(words.split(), key=len, reverse=True)
        )
        found[member] = regex.compile(rf"(?<!\w){_PREFIXES.get(language, '')}(?:{escaped})(?!\w)")
    return found
