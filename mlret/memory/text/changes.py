"""Decide whether a text changes what an earlier one said: *we moved to Oslo* after *I live in Bergen*.

No rule here understands a sentence. A later text replaces an earlier one if it gives a cue of change
(:mod:`mlret.memory.text.cues`), both are about the same thing, as far as their vectors and the words that they share
show it, and neither names a person that the other does not. Each cue demands as much of this evidence as it needs: a
correction names what it corrects, a move may share no word with the old address. In doubt nothing is replaced, because
both texts stay found, and a text that is wrongly said to be out of date misleads.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import regex

from mlret.memory.text.calendar_names import UNSPACED
from mlret.memory.text.cues import cues_of, gives_any, is_person, is_small, persons_of, speaks_of_self
from mlret.memory.text.features import Facts, facts_of
from mlret.memory.text.negation_words import negation_pattern
from mlret.memory.text.sentence_kinds import Shown

CHANGES = frozenset({"now", "ended", "changed", "corrected", "cancelled", "harm"})
"""Cues of which a text needs one to replace another."""

_DIGIT = regex.compile(r"\d")
_WORD = regex.compile(r"\w+")
_RUN = regex.compile(r"\p{Han}+|[\p{Katakana}ー]+|\d+|[^\W\d\p{Han}\p{Hiragana}\p{Katakana}]+")
_CLAUSE_ENDS = regex.compile(r"[.;:!?。！？；।]\s|[.;:!?。！？；।]$|[。！？；]")
_PREFIXES = {"ar": regex.compile(r"^(?:[وفبلك]{0,2}ال|لل)(?=\w{2})"), "he": regex.compile(r"^[ובלהכמש](?=\w{3})")}
_SUBJECTS = {
    "ja": regex.compile(r"(\w{1,6}?)(?:さん|ちゃん|くん|君)?(?:は|には|にとって)"),
    "ko": regex.compile(r"(\w{1,5}?)(?:은|는|이는|에게|이가)(?!\w)"),
}
"""The particles that mark whom a sentence is about."""
_STEM = 5  # Letters of a stem.
_LENGTHS = {"ar": 4, "he": 4, "hi": 4, "ko": 2}  # Letters of a stem in languages with shorter ones.
_SAME = 0.8  # Overlap above which two texts are the same but for a detail, which may be another occasion.
# Minimum overlap of texts whose cues only their vectors show, of which one is, or both are, only likely, and how much
# nearer they must be then.
_SHOWN, _MUCH, _NEARER = 0.2, 0.4, 0.03
_LONGEST = 24  # Stems of the longest text that is compared: a cue in a paragraph is not about all of it.
_SHORTEST = {"ar": 3, "he": 3, "hi": 2, "ko": 2}  # Letters that a word has at least to count; 4 in other languages.


@dataclass(frozen=True)
class Said:
    """What a text says, as far as it matters for changes.

    Attributes
    ----------
    facts
        The facts of the text.
    cues
        Its cues.
    persons, subjects
        The relatives and others that it names, and those that it names in its first clause.
    stems
        Beginnings of its words, without small words and persons; pairs of characters in Chinese and Japanese.
    subject
        Beginnings of the words that its first word may consist of, if that may be the name of whom it is about: unless
        the text is about the speaker, or the first word is marked as an object.
    shown
        The kinds of statements that its vector shows it to be; ``None`` if the encoder has none.
    """

    facts: Facts
    cues: frozenset[str]
    persons: frozenset[str]
    subjects: frozenset[str]
    stems: frozenset[str]
    subject: frozenset[str] = frozenset()
    shown: Shown | None = None


@lru_cache(maxsize=4096)
def said_in(text: str, language: str | None) -> Said:
    """Return what a text says.

    Parameters
    ----------
    text
        Any text.
    language
        Its language; the result has no cues, and thus changes nothing, if it has no lists.
    """
    facts = facts_of(text, language)
    first = _CLAUSE_ENDS.split(text, maxsplit=1)[0]
    return Said(
        facts,
        cues_of(text, facts.language),
        persons_of(text, facts.language),
        persons_of(first, facts.language),
        frozenset(stems_of(text, facts.language)),
        _subject(text, facts.language),
    )


def _subject(text: str, language: str | None) -> frozenset[str]:
    """Return the stems of the word that a text begins with, if it may name whom the text is about."""
    if speaks_of_self(text, language):
        return frozenset()
    marks = _SUBJECTS.get(language or "")
    if marks is not None:
        found = marks.match(text)
        return frozenset() if found is None else frozenset(stems_of(found[1], language))
    if language in UNSPACED:
        return frozenset(stems_of(text[:3], language))
    return frozenset(stems_of(" ".join(text.split(maxsplit=2)[:2]), language)[:1])


def stems_of(text: str, language: str | None) -> list[str]:
    """Return the beginnings of a text's words, in order, without small words and words for persons.

    Parameters
    ----------
    text
        Any text.
    language
        Its language code without script; Chinese and Japanese have pairs of characters and whole runs of other letters.
    """
    folded = text.casefold()
    if language in UNSPACED and language != "ko":
        found = []
        for run in _RUN.findall(folded):
            han = len(run) > 1 and regex.match(r"\p{Han}", run)
            found += [run[place : place + 2] for place in range(len(run) - 1)] if han else [run]
        return [one for one in found if not is_small(one, language) and not is_person(one, language)]
    length, shortest = _LENGTHS.get(language or "", _STEM), _SHORTEST.get(language or "", 4)
    stems = []
    for word in _WORD.findall(folded):
        plain = _PREFIXES[language].sub("", word) if language in _PREFIXES else word
        counts = len(plain) >= shortest or plain.isdecimal()
        if counts and not is_small(word, language) and not is_person(word, language):
            stems.append(plain[:length])
    return stems


def may_replace(text: str, language: str | None) -> bool:
    """Return whether a text may replace another, which is cheaper to find out than what it replaces.

    Parameters
    ----------
    text, language
        As for :func:`said_in`.
    """
    if gives_any(text, language, CHANGES):
        return True
    negation = None if language is None else negation_pattern(language)
    return negation is not None and bool(_DIGIT.search(text)) and bool(negation.search(text.casefold()))


def replaces(new: Said, old: Said, margin: float) -> float | None:
    """Return how strongly a text replaces an earlier one, or ``None`` if nothing shows that it does.

    Parameters
    ----------
    new, old
        The later and the earlier text.
    margin
        Cosine of their vectors less the usual density of the language, as in
        :class:`~mlret.memory.text.duplicates.DuplicateThresholds`.
    """
    if new.facts.language is None or new.facts.language != old.facts.language:
        return None
    if new.facts.question or old.facts.question or max(len(new.stems), len(old.stems)) > _LONGEST:
        return None
    cues = _cues(new, old)
    shared = new.stems & old.stems
    maybe, perhaps = (
        one | (said.shown.likely if said.shown else set()) for one, said in ((cues, new), (old.cues, old))
    )
    if not maybe & CHANGES or not _same_subject(new, old, maybe, perhaps, shared):
        return None
    overlap = len(shared) / max(1, min(len(new.stems), len(old.stems)))
    for rule in _RULES:
        if rule.new in old.cues and rule.new != rule.old:  # What both say is no change from one to the other.
            continue
        if rule.person and (overlap > _SAME or not new.subjects & old.persons):
            continue
        worded = rule.new in cues and (rule.old is None or rule.old in old.cues)
        if rule.agreed and not (worded and (new.shown is None or rule.new in new.shown.likely)):
            continue
        if not worded and not (_is_shown(rule, new, old, overlap, margin) and (overlap >= _SHOWN or not rule.shared)):
            continue
        count = len(_objects(new, old, shared, subjects=rule.new == "harm") if rule.objects else shared)
        if count >= rule.shared and overlap >= rule.overlap and margin >= rule.margin:
            return margin + overlap / 2
    return None


def _is_shown(rule: _Rule, new: Said, old: Said, overlap: float, margin: float) -> bool:
    """Return whether the vectors show the cues of a rule that the words do not.

    Of two cues one may be only likely if the texts are nearer, and both if they have much in common.
    """
    if new.shown is None or old.shown is None or (rule.old and overlap > _SAME):
        return False
    sure = rule.new in new.cues or rule.new in new.shown.sure
    if rule.old is None:
        return sure
    before = rule.old in old.cues or rule.old in old.shown.sure
    nearer = margin >= rule.margin + _NEARER
    if sure and before:
        return nearer or rule.new in new.cues or rule.old in old.cues
    if rule.new in old.shown.likely or rule.old not in old.shown.likely:
        return False
    if sure or not rule.unsure:
        return sure and nearer
    much = overlap >= _MUCH and margin >= _NEARER
    return rule.new in new.shown.likely and (much or (nearer and before))


def _cues(new: Said, old: Said) -> frozenset[str]:
    """Return the cues of a text; one that repeats a number, gives another and negates something corrects it."""
    numbers, others = new.facts.numbers, old.facts.numbers
    corrects = bool(new.facts.negations and numbers & others and numbers - others)
    return new.cues | ({"corrected"} if corrects else set())


def _same_subject(
    new: Said, old: Said, cues: Collection[str], before: Collection[str], shared: Collection[str]
) -> bool:
    """Return whether the texts may be about the same people."""
    named = "corrected" in cues and bool(_names(new) & _names(old))
    if old.persons - new.persons and not named and not ("plan" in before and shared):
        return False
    # A cancellation names who fell ill, and a correction who noticed the mistake.
    return new.subjects <= old.persons or (bool(shared) and ("cancelled" in cues or "corrected" in cues))


def _names(said: Said) -> set[str]:
    """Return the beginnings of the capitalised words, so that *Ellen's* is *Ellen*."""
    return {name[:_STEM] for name in said.facts.names}


def _objects(new: Said, old: Said, shared: Collection[str], *, subjects: bool) -> list[str]:
    """Return the shared words that are no names; nor, with ``subjects``, may name whom either text is about.

    Whoever has an allergy may like something else.
    """
    names = set(new.subject | old.subject) if subjects else set[str]()
    if new.facts.language != "de":  # Where nouns have capitals, too, these show no name.
        names |= {name[:_STEM] for name in set(new.facts.names) & set(old.facts.names)}
    return [stem for stem in shared if stem not in names]


@dataclass(frozen=True, slots=True)
class _Rule:
    """The evidence that a cue needs: a cue of each text, and the least that the texts share."""

    new: str
    old: str | None = None
    shared: int = 1
    overlap: float = 0.0
    margin: float = -0.06
    person: bool = False  # Whether both must name the same person.
    agreed: bool = False  # Whether words and vector must both show the cue, where kinds of sentences are known.
    unsure: bool = False  # Whether it is enough that the vector of the new text makes its cue likely.
    objects: bool = False  # Whether the names of people do not count as shared.


_RULES = (
    _Rule("corrected", overlap=0.3),
    _Rule("ended", margin=-0.04),
    _Rule("ended", shared=0, margin=0.08),
    _Rule("now", overlap=0.25, margin=0.04, objects=True),
    _Rule("now", "like", overlap=0.3, margin=-0.01),
    _Rule("changed", overlap=0.5, margin=-0.01, objects=True),
    _Rule("changed", overlap=0.2, margin=0.01, objects=True, agreed=True),
    _Rule("changed", "live", shared=0, margin=-0.1),
    _Rule("changed", "live", shared=0, margin=0.0, person=True, unsure=True),
    _Rule("changed", "changed", shared=0, margin=-0.01, person=True),
    _Rule("cancelled", "plan", unsure=True),
    _Rule("harm", "like", margin=-0.15, objects=True),
)
