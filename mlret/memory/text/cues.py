"""Cues: words that say how a text relates to others, such as *no longer*, *moved*, *actually* or *last time*.

A statement may say that something is new, has ended, was corrected, is only planned, or is harmful; a question may ask
about the past, the last time, an outcome or a danger. ``cues.json`` lists the commonest words for each, the words for
relatives and other people, and the small words that any two texts may share, for :data:`LANGUAGES`. A cue is no proof:
it only counts together with other evidence (:mod:`mlret.memory.text.changes`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mlret.memory.text.calendar_names import UNSPACED
from mlret.memory.text.particles import word_patterns
from mlret.memory.text.word_lists import Patterns

LANGUAGES = (
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt",
    "ro", "ru", "sv", "sw", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""Languages that have lists of cues."""


_FIRST_WORDS, _FIRST_CHARACTERS = 3, 8


class _Lists(NamedTuple):
    cues: Mapping[str, Patterns]
    persons: Mapping[str, Patterns]
    me: Patterns
    small: frozenset[str]


def cues_of(text: str, language: str | None) -> frozenset[str]:
    """Return the cues that a text gives; none if its language has no lists.

    Parameters
    ----------
    text
        Any text.
    language
        Its language code; script and country are ignored.

    Returns
    -------
    frozenset of str
        Of a statement ``now``, ``ended``, ``changed`` (moved, switched), ``corrected``, ``cancelled``, ``plan``,
        ``done``, ``harm``, ``like`` and ``live``; of a question ``q_before``, ``q_last``, ``q_first``, ``q_result``,
        ``q_harm``, ``q_lack``, ``q_when`` and ``q_you``.
    """
    return _found(text, language, "cues")


def gives_any(text: str, language: str | None, names: Iterable[str]) -> bool:
    """Return whether a text gives any of some cues, which is found out sooner than all that it gives."""
    lists = _lists(language)
    return lists is not None and any(lists.cues[name].occur_in(_plain(text)) for name in names)


def persons_of(text: str, language: str | None) -> frozenset[str]:
    """Return the relatives and other people that a text names by a word such as *sister*; see :func:`cues_of`."""
    return _found(text, language, "persons")


def leading_persons_of(text: str, language: str | None) -> frozenset[str]:
    """Return the persons that the first words of a text name, which are often its subject; see :func:`persons_of`."""
    if not persons_of(text, language):
        return frozenset()
    if language is not None and language.partition("-")[0] in UNSPACED - {"ko"}:
        return persons_of(text[:_FIRST_CHARACTERS], language)
    return persons_of(" ".join(text.split(maxsplit=_FIRST_WORDS)[:_FIRST_WORDS]), language)


def speaks_of_self(text: str, language: str | None) -> bool:
    """Return whether a text has a word of the first person, such as *my*; see :func:`cues_of`."""
    lists = _lists(language)
    return lists is not None and lists.me.occur_in(text.casefold().replace("’", "'"))


def is_small(word: str, language: str | None) -> bool:
    """Return whether a case-folded word is a pronoun, preposition or the like, which any two texts may share."""
    lists = _lists(language)
    return lists is not None and word in lists.small


def is_person(word: str, language: str | None) -> bool:
    """Return whether a case-folded word names a person such as *sister*."""
    return bool(persons_of(word, language))


@lru_cache(maxsize=1)
def _words() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("cues.json").read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=64)
def _lists(language: str | None) -> _Lists | None:
    code = (language or "").partition("-")[0]
    words = _words().get(code)
    if words is None:
        return None
    cues, persons = (
        {name: word_patterns(some, code) for name, some in words[key].items()} for key in ("cues", "persons")
    )
    return _Lists(cues, persons, word_patterns(words["self"], code), frozenset(words["small"].split()))


@lru_cache(maxsize=4096)  # A stored text is compared with many others.
def _found(text: str, language: str | None, key: str) -> frozenset[str]:
    lists = _lists(language)
    if lists is None:
        return frozenset()
    plain = _plain(text)
    return frozenset(name for name, words in getattr(lists, key).items() if words.occur_in(plain))


def _plain(text: str) -> str:
    return text.casefold().replace("’", "'")
