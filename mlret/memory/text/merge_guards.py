"""Reasons why two texts that are near in meaning must not be merged.

An encoder puts *I owe you 30 francs* next to *I owe you 40 francs*, and *I eat nuts* next to *I do not eat nuts*. A
guard compares what they state (:mod:`mlret.memory.text.features`) and blocks the merge. In doubt it blocks: keeping two
records that say the same costs a little space, but merging two different ones loses what one of them said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mlret.data.scripts import scripts_of
from mlret.memory.text.features import Facts, words_of
from mlret.memory.text.particles import CLASSES, opposed
from mlret.memory.text.wording import same_words

GUARDS = (
    "numbers", "number words", "months", "weekdays", "negation", "signs", "units", "question", *CLASSES, "roles",
    "wording",
)  # fmt: skip
# In sentences of up to this many words, the order of two names alone tells who does what to whom.
_FEW_WORDS = 8
# For texts of up to this many words, half of the words suffice to take both for texts of one language.
_TOO_FEW = 3


@dataclass(frozen=True, slots=True)
class Conflict:
    """One reason against a merge: the guard, and what each text states."""

    guard: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.guard}: {self.first or 'none'} / {self.second or 'none'}"


def conflicts(first: Facts, second: Facts) -> list[Conflict]:
    """Return the reasons why two texts must not be merged; empty if nothing speaks against it.

    Within a language, and if a language is unknown, the **wording** must be the same except for what
    :mod:`mlret.memory.text.wording` treats as form: no encoder distinguishes *my door is red* from *my door is blue*
    and also recognises a paraphrase. The other guards then say what the difference is. Between languages:

    - **numbers**: the numbers in digits must be the same, equally often. A month counts as its number, so that the
      parts of a date agree however it is written, and a number may be in words in the other text. If the numbers are
      the same, they must come in the same order.
    - **number words**: each except *one*, which is an article in many languages, must be in the other text in words or
      digits.
    - **months**: they conflict if both texts name some, and they differ; **weekdays** must be the same.
    - **negation**: in both texts or in neither.
    - **signs, units, question**: the same currencies, operators and units; both ask, or neither does.
    - **quantity, modality, time words, degree**: as :func:`mlret.memory.text.particles.opposed` compares them.
    - **wording**: texts that share more than half of their words must not be merged, because the language of one of
      them may have been misdetected, as happens with short texts.
    - **roles**: names that occur in both texts must come in the same order. If the text with more names is short and
      has at least two, and the other is in another script, they cannot be compared and conflict.

    What a language has no list for is not compared; :func:`unchecked` returns what that was. The order of the two texts
    does not matter.

    Parameters
    ----------
    first, second
        The results of :func:`~mlret.memory.text.features.facts_of` for each text.

    Returns
    -------
    list of Conflict
        One for each guard that blocks the merge.
    """
    same = _one_language(first, second)
    if same_wording(first, second):
        return []
    against: list[str] = []
    if not same and first.particles is not None and second.particles is not None:
        against = opposed(first.particles, second.particles)
    blocked = {
        "numbers": _numbers(first, second, same),
        "number words": _words(first, second, same),
        "months": not same and _named(first.months, second.months),
        "weekdays": first.weekdays is not None and second.weekdays is not None and first.weekdays != second.weekdays,
        "negation": _negation(first, second, same),
        "signs": first.signs != second.signs,
        "units": first.units != second.units,
        "question": first.question != second.question,
        **{name: name in against for name in CLASSES},
        "roles": not same and _roles(first, second),
        "wording": same or _mostly_shared(first, second),
    }
    return [Conflict(guard, *_shown(guard, first, second)) for guard, differs in blocked.items() if differs]


def unchecked(first: Facts, second: Facts) -> list[str]:
    """Return the guards that one of the languages has no list for; if there are any, the texts must not be merged.

    Nothing is left to check between texts of one language whose wording is the same.

    Parameters
    ----------
    first, second
        The results of :func:`~mlret.memory.text.features.facts_of` for each text.
    """
    if same_wording(first, second):
        return []
    missing = {
        "number words": first.words is None or second.words is None,
        "months": first.months is None or second.months is None,
        "weekdays": first.weekdays is None or second.weekdays is None,
        "negation": first.negations is None or second.negations is None,
        **dict.fromkeys(CLASSES, first.particles is None or second.particles is None),
    }
    return [guard for guard, absent in missing.items() if absent]


def same_wording(first: Facts, second: Facts) -> bool:
    """Return whether two texts have the same words in one language; an unknown language matches any other.

    Parameters
    ----------
    first, second
        The results of :func:`~mlret.memory.text.features.facts_of` for each text.
    """
    return _one_language(first, second) and same_words(first.wording, second.wording, first.language or second.language)


def _one_language(first: Facts, second: Facts) -> bool:
    """Return whether the texts are in one language as far as known, so that their wording must be compared."""
    return first.language is None or second.language is None or first.language == second.language


def _mostly_shared(first: Facts, second: Facts) -> bool:
    """Return whether two texts of different languages look like texts of one language."""
    one, other = (
        Counter({word: n for word, n in words_of(facts).items() if not word.isdecimal()}) for facts in (first, second)
    )
    fewer = min(one.total(), other.total())
    shared = (one & other).total()
    return 2 * shared > fewer or (2 * shared == fewer and 0 < fewer <= _TOO_FEW)


def _numbers(first: Facts, second: Facts, same: bool) -> bool:
    if same:
        return _digits(first) != _digits(second)
    # Zeros are ignored, so that 4:00 equals 4 o'clock.
    one, other = (Counter({n: c for n, c in facts.numbers.items() if n != "0"}) for facts in (first, second))
    if one - _all_numbers(second) or other - _all_numbers(first):
        return True
    # A counter keeps its keys in the order of insertion, which distinguishes `from 5 to 10` from `from 10 to 5`.
    return not first.months and not second.months and one == other and list(one) != list(other)


def _words(first: Facts, second: Facts, same: bool) -> bool:
    if first.words is None or second.words is None:
        return False
    if same:
        return first.words != second.words
    one, other = ({n for n in facts.words or () if n != "1"} for facts in (first, second))
    return bool(one - set(_all_numbers(second)) or other - set(_all_numbers(first)))


def _roles(first: Facts, second: Facts) -> bool:
    """Return whether who does what to whom differs, or cannot be determined from the names."""
    shared = set(first.names) & set(second.names)
    if [name for name in first.names if name in shared] != [name for name in second.names if name in shared]:
        return True
    named = max((first, second), key=lambda facts: len(facts.names))
    if len(named.names) < 2 or named.words_count > _FEW_WORDS:
        return False
    return not scripts_of(first.wording) & scripts_of(second.wording)


def _digits(facts: Facts) -> Counter[str]:
    """Return the numbers in digits, and the months by number."""
    return facts.numbers + Counter({str(month): count for month, count in (facts.months or {}).items()})


def _all_numbers(facts: Facts) -> Counter[str]:
    return _digits(facts) + (facts.words or Counter())


def _named(one: Counter[int] | None, other: Counter[int] | None) -> bool:
    return bool(one) and bool(other) and set(one or ()) != set(other or ())


def _negation(first: Facts, second: Facts, same: bool) -> bool:
    one, other = first.negations, second.negations
    if one is None or other is None:
        return False
    return one != other if same else bool(one) != bool(other)


def _shown(guard: str, first: Facts, second: Facts) -> list[str]:
    """Return what each text states, in readable form."""
    if guard == "wording":
        return _different(first.wording.split(), second.wording.split())
    if guard == "negation":
        return [str(first.negations), str(second.negations)]
    if guard == "question":
        return ["a question" if facts.question else "a statement" for facts in (first, second)]
    if guard == "numbers":
        return [_list(_digits(first)), _list(_digits(second))]
    if guard == "roles":
        return [", ".join(first.names), ", ".join(second.names)]
    if guard in ("signs", "units"):
        return [", ".join(sorted(getattr(facts, guard))) for facts in (first, second)]
    if guard in CLASSES:
        return [
            ", ".join(sorted((facts.particles or frozenset()).intersection(CLASSES[guard])))
            for facts in (first, second)
        ]
    field = guard.replace("number ", "")
    return [_list(getattr(first, field)), _list(getattr(second, field))]


def _list(found: Counter[str] | Counter[int] | None) -> str:
    return ", ".join(str(value) for value in sorted((found or Counter()).elements(), key=str))


def _different(first: list[str], second: list[str]) -> list[str]:
    """Return the words that each text has beyond the other; all words if only their order differs."""
    one, other = Counter(first), Counter(second)
    if one == other:
        return [" ".join(first), " ".join(second)]
    return [" ".join((one - other).elements()), " ".join((other - one).elements())]
