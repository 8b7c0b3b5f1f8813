"""Reasons why two texts that are near in meaning must not be taken for one.

An encoder puts *I owe you 30 francs* beside *I owe you 40 francs*, and *I eat nuts* beside *I do not eat nuts*: a
guard compares what they state (:mod:`mlret.memory.facts`) and blocks the merge. In doubt it blocks: two records that
say the same cost a little space; two different ones merged cost what one of them said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mlret.memory.facts import Facts, facts_of

GUARDS = ("numbers", "number words", "months", "weekdays", "negation", "wording")


@dataclass(frozen=True, slots=True)
class Conflict:
    """One reason: which guard, and what each text states."""

    guard: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.guard}: {self.first or 'none'} / {self.second or 'none'}"


def conflicts(first: Facts, second: Facts) -> list[Conflict]:
    """Why two texts must not be merged; empty where nothing speaks against it.

    - **numbers**: the numbers in digits must be the same, each as often, where a month counts as its number, so that
      the parts of a date agree however it is written; between languages one may be in words in the other text.
    - **number words**: likewise within a language. Between languages they conflict if each text has one that the other
      lacks: words inflect, and lists are not complete.
    - **months, weekdays**: the same within a language; between languages they conflict if both texts name some, and
      others.
    - **negation**: as many within a language; between languages, in both texts or in neither.
    - **wording**: within a language all words must be the same, but for capitals and punctuation: no encoder tells
      *my door is red* from *my door is blue* and also knows a paraphrase. Names are compared by this alone.

    What a language has no list for is not compared; :func:`unchecked` says what that was. The order of the two texts
    does not matter.

    Parameters
    ----------
    first, second
        What :func:`~mlret.memory.facts.facts_of` read in each text.
    """
    same = first.language is not None and first.language == second.language
    blocked = {
        "numbers": _numbers(first, second, same),
        "number words": _words(first, second, same),
        "months": not same and _named(first.months, second.months, same),
        "weekdays": _named(first.weekdays, second.weekdays, same),
        "negation": _negation(first, second, same),
        "wording": same and first.wording != second.wording,
    }
    return [Conflict(guard, *_shown(guard, first, second)) for guard, against in blocked.items() if against]


def unchecked(first: Facts, second: Facts) -> list[str]:
    """The guards that could not be applied, for want of a list in one of the languages."""
    missing = {
        "number words": first.words is None or second.words is None,
        "months": first.months is None or second.months is None,
        "weekdays": first.weekdays is None or second.weekdays is None,
        "negation": first.negations is None or second.negations is None,
        "wording": first.language is None or first.language != second.language,
    }
    return [guard for guard, absent in missing.items() if absent]


def may_merge(first: str, second: str, language: str | None = None, other: str | None = None) -> bool:
    """Whether no guard speaks against merging two texts of these languages."""
    return not conflicts(facts_of(first, language), facts_of(second, other))


def _numbers(first: Facts, second: Facts, same: bool) -> bool:
    if same:
        return _digits(first) != _digits(second)
    # 4:00 and 4 o'clock.
    one, other = (Counter({n: c for n, c in facts.numbers.items() if n != "0"}) for facts in (first, second))
    return bool(one - _all_numbers(second)) or bool(other - _all_numbers(first))


def _words(first: Facts, second: Facts, same: bool) -> bool:
    if first.words is None or second.words is None:
        return False
    if same:
        return first.words != second.words
    # One is an article in many languages.
    one, other = (Counter({n: c for n, c in _all_numbers(facts).items() if n != "1"}) for facts in (first, second))
    both = any(n != "1" for n in first.words) and any(n != "1" for n in second.words)
    return both and bool(one - other) and bool(other - one)


def _digits(facts: Facts) -> Counter[str]:
    """Numbers in digits, and months by their number."""
    return facts.numbers + Counter({str(month): count for month, count in (facts.months or {}).items()})


def _all_numbers(facts: Facts) -> Counter[str]:
    return _digits(facts) + (facts.words or Counter())


def _named(one: Counter[int] | None, other: Counter[int] | None, same: bool) -> bool:
    if one is None or other is None:
        return False
    return one != other if same else bool(one) and bool(other) and set(one) != set(other)


def _negation(first: Facts, second: Facts, same: bool) -> bool:
    one, other = first.negations, second.negations
    if one is None or other is None:
        return False
    return one != other if same else bool(one) != bool(other)


def _shown(guard: str, first: Facts, second: Facts) -> list[str]:
    """What each text states, for people."""
    if guard == "wording":
        return _different(first.wording.split(), second.wording.split())
    if guard == "negation":
        return [str(first.negations), str(second.negations)]
    if guard == "numbers":
        return [_list(_digits(first)), _list(_digits(second))]
    field = guard.replace("number ", "")
    return [_list(getattr(first, field)), _list(getattr(second, field))]


def _list(found: Counter[str] | Counter[int] | None) -> str:
    return ", ".join(str(value) for value in sorted((found or Counter()).elements(), key=str))


def _different(first: list[str], second: list[str]) -> list[str]:
    """The words that each has beyond the other; all, where only their order differs."""
    one, other = Counter(first), Counter(second)
    if one == other:
        return [" ".join(first), " ".join(second)]
    return [" ".join((one - other).elements()), " ".join((other - one).elements())]
