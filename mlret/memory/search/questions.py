"""What a question asks for beyond its topic: the last time, an outcome, a danger, what someone said, the past.

The channels compare topics, so *what must I not eat* finds favourite dishes as well as allergies. Cues of the question
and of the best candidates (:mod:`mlret.memory.text.cues`) decide between records of one topic. Each is a bounded term,
in the unit of the other terms, and none of them removes a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise

import numpy as np
import regex
from numpy.typing import NDArray

from mlret.memory.text.calendar_names import calendar_names
from mlret.memory.text.changes import stems_of
from mlret.memory.text.cues import cues_of, leading_persons_of, persons_of
from mlret.memory.text.dates import time_windows
from mlret.memory.text.negation_words import negation_pattern
from mlret.memory.text.signs import asks
from mlret.memory.text.time_window import TimeWindow

COMPARED = 20
"""Best candidates whose texts are compared with the question."""
_DIGIT = regex.compile(r"\d")
_NAMED = regex.compile(r"\p{Lu}\w+|\p{Lo}{2,}")
_OUTCOME = frozenset({"done", "cancelled"})
_OCCASIONS = frozenset({"q_last", "q_first"})
_LIKELY = 0.5  # Probability from which a question is taken as one of a kind.
_ALIKE = 0.5  # Minimum share of the words that records of a repeated event have in common.
_SPREAD = 1.0  # How far below the first of them the records of a repeated event may be.
_NEAR = 0.75  # How far below the best candidate the best record of a repeated event may be.

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A question, and what its words ask for.

    Attributes
    ----------
    text, language
        The question and its language, ``None`` if unknown.
    now
        The present, from which relative dates are counted.
    kinds
        Kind of question -> how probable its vector makes it; see :mod:`mlret.memory.text.sentence_kinds`.
    """

    text: str
    language: str | None
    now: datetime = field(default_factory=lambda: datetime.now(UTC).astimezone())
    kinds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def cues(self) -> frozenset[str]:
        """Cues of the question."""
        return cues_of(self.text, self.language)

    @cached_property
    def persons(self) -> frozenset[str]:
        """Relatives and others that the question names."""
        return persons_of(self.text, self.language)

    @cached_property
    def windows(self) -> list[TimeWindow]:
        """The dates that the question names."""
        return time_windows(self.text, self.language, self.now)

    @cached_property
    def negated(self) -> bool:
        """Whether the question has a negation."""
        return _negated(self.text, self.language)

    def asks(self, kind: str) -> float:
        """Return how probable it is that this is a question of a kind: 1 if its words show it, 0 if it is unlikely.

        A question about what *you* said is of another kind, unless its words show more.
        """
        if kind in self.cues:
            return 1.0
        probable = self.kinds.get(kind, 0.0)
        return 0.0 if probable < _LIKELY or "q_you" in self.cues else probable

    @property
    def names_speakers(self) -> bool:
        """Whether the question may be about what someone said: it has a name, or asks *you*."""
        return "q_you" in self.cues or _NAMED.search(self.text) is not None


def person_bonus(question: Question, texts: Sequence[tuple[str, str | None]], weight: float) -> Scores:
    """Return the bonus of records for whom they are about.

    A record about a relative or another person loses ``weight`` if the question names no such person, and gains it if
    the question names the same one.

    Parameters
    ----------
    question
        The question.
    texts
        ``n`` texts with their languages.
    weight
        Bonus or penalty.
    """
    asked = question.persons
    found = np.zeros(len(texts))
    for place, (text, language) in enumerate(texts):
        named = persons_of(text, language)
        if asked & named:
            found[place] = weight
        elif named and leading_persons_of(text, language):
            found[place] = -weight
    return found


def cue_bonus(
    question: Question,
    texts: Sequence[tuple[str, str | None]],
    weight: float,
    kinds: Mapping[str, Scores] | None = None,
) -> Scores:
    """Return the bonus of records for the cues that a question asks for.

    An outcome ranks before a plan; a danger before a liking, if the question asks about dangers; what is negated before
    what is not, if the question is negated or asks what is missing; a number or day before others, if it asks when or
    how many; and a statement before a question.

    Parameters
    ----------
    question
        The question.
    texts
        ``n`` texts with their languages.
    weight
        Bonus or penalty of one cue.
    kinds
        Kind of statement -> ``(n,)``: how probable the vectors make it. What a list of cues has is certain.
    """
    found = np.zeros(len(texts))
    asks_result, asks_harm = question.asks("q_result"), question.asks("q_harm")
    lacking = 1.0 if question.negated else question.asks("q_lack")
    if question.windows or question.cues & _OCCASIONS:  # Each of the repeated events has an outcome.
        asks_result /= 2
    # The cues of a record are only looked for if the question asks for some.
    wanted = bool(asks_result or asks_harm or lacking)
    cues = [cues_of(*text) if wanted else frozenset[str]() for text in texts]

    def showing(*names: str, unless: str = "") -> Scores:
        certain = np.array([not one.isdisjoint(names) for one in cues], dtype=np.float64)
        other = np.array([unless in one for one in cues], dtype=np.float64)
        likely = ((1 - other) * kinds[name] for name in names if kinds and name in kinds)
        shown: Scores = np.maximum.reduce([certain, *likely])
        return shown

    if asks_result:
        outcome = showing("outcome", *_OUTCOME, unless="plan")
        found += weight * asks_result * (outcome - showing("plan") * (1 - outcome))
    if asks_harm:
        harm = showing("harm", unless="like")
        found += weight * asks_harm * (harm - showing("like") * (1 - harm))
    if lacking:
        negated = np.maximum([_negated(*text) for text in texts], showing("lack"))
        found += weight * lacking * negated * (1 - showing("harm"))
    for place, (text, language) in enumerate(texts):
        if "q_when" in question.cues and _counts(text, language):
            found[place] += weight / 4
        if asks(text):
            found[place] -= weight / 2
    return found


def _counts(text: str, language: str | None) -> bool:
    """Return whether a text has digits, or names a month or a weekday."""
    if _DIGIT.search(text):
        return True
    names = None if language is None else calendar_names(language.partition("-")[0])
    return names is not None and any(pattern.search(text.casefold()) for pattern, _ in names)


def _negated(text: str, language: str | None) -> bool:
    pattern = None if language is None else negation_pattern(language)
    return pattern is not None and pattern.search(text.casefold()) is not None


def occasions(
    question: Question, scores: Sequence[float], texts: Sequence[tuple[str, str | None]], starts: Sequence[float]
) -> list[tuple[int, int]]:
    """Return pairs of records of which the first ranks before the second, if the question asks for the last time.

    Records of a repeated event are those that have most of their words in common. The event that is meant is that of
    the best record, or of a record that is nearly as good.

    Parameters
    ----------
    question
        The question; one about the first time reverses the order.
    scores
        ``n`` scores of the candidates, in descending order.
    texts
        Their texts with their languages.
    starts
        When each happened; NaN if unknown.

    Returns
    -------
    list of (int, int)
        Pairs of indices; empty if the question asks for no occasion, or there is no repeated event.
    """
    last, first = "q_last" in question.cues, "q_first" in question.cues
    if last == first or question.windows or not scores:
        return []
    asked = frozenset(stems_of(question.text, question.language))
    stems = [frozenset(stems_of(text, language)) for text, language in texts]
    for head, score in enumerate(scores):
        if score < scores[0] - _NEAR:
            return []
        series = [
            place
            for place in range(len(texts))
            if texts[place][1] == texts[head][1]
            and not np.isnan(starts[place])
            and scores[place] >= score - _SPREAD
            and _alike(stems[place], stems[head])
            and len(asked & stems[place]) >= len(asked & stems[head])
        ]
        if head in series and len(series) > 1:
            series.sort(key=lambda place: starts[place], reverse=last)
            chosen = series[0]
            return [(chosen, other) for other in dict.fromkeys([*series[1:], *range(head)]) if other != chosen]
    return []


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= _ALIKE * max(1, min(len(one), len(other)))


def before(
    question: Question, pairs: Sequence[tuple[int, int]], texts: dict[int, tuple[str, str | None]], ages: dict[int, int]
) -> list[tuple[int, int]]:
    """Return the pairs that order records that replace each other for a question about what was before.

    *Where did I live before I moved to Oslo* asks for the record before the one that mentions Oslo; *where did I live
    before* for the one before the last.

    Parameters
    ----------
    question
        A question with the cue ``q_before``.
    pairs
        Pairs of candidates of which the first replaces the second.
    texts
        The texts, with their languages, of the candidates in pairs.
    ages
        The start of validity of the candidates in pairs.
    """
    asked = frozenset(stems_of(question.text, question.language))
    found: list[tuple[int, int]] = []
    for group in groups_of(pairs):
        newest = sorted(group, key=lambda place: (ages[place], place), reverse=True)
        stems = [frozenset(stems_of(*texts[place])) for place in newest]
        named = [
            place
            for place, own in enumerate(stems[:-1])  # Nothing was before the oldest.
            if any(stem in own and sum(stem in other for other in stems) == 1 for stem in asked)
        ]
        turn = named[0] if len(named) == 1 else 0
        wanted = [*newest[turn + 1 :], *newest[: turn + 1]]
        found += pairwise(wanted)
    return found


def groups_of(pairs: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Return the connected components of pairs."""
    found: list[set[int]] = []
    for pair in pairs:
        joined = [group for group in found if not group.isdisjoint(pair)]
        found = [group for group in found if group.isdisjoint(pair)] + [set(pair).union(*joined)]
    return found
