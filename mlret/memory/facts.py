"""What a text states that a vector hardly shows: its numbers, dates and negations, and its wording.

Two texts may be near in meaning and differ in just these. :mod:`mlret.memory.guards` compares them.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import regex

from mlret.data.languages import normalise_language
from mlret.memory.negation import negation_pattern

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
# A number with its group and decimal separators. Spaces separate groups of three digits after one to three.
_NUMBER = regex.compile(
    r"(?:(?<=\s)-|(?<=[(])-|^-)?"
    r"(?:\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)(?:[.,\u066b]\d+)?|\d+(?:[.,'’\u066b\u066c]\d+)*)"
)
_GROUPED = regex.compile(r"\d{1,3}(?:([,.'’\u066c ])\d{2,3})*?(?:[,.'’\u066c ]\d{3})")
_WORD = regex.compile(r"\w+")
# Months that are also other words count beside a day or a year alone; so does a month of three letters.
VAGUE_MONTHS = frozenset({"march", "mars", "may", "august", "maj", "mai"})
_SHORTEST_MONTH = 4
_BESIDE = 8  # characters between a month and its day or year: `12 de mayo`
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})


@dataclass(frozen=True)
class Facts:
    """What a text states.

    Attributes
    ----------
    language
        Of the text, in mlret's form without the script; ``None`` where it is not known.
    numbers
        Numbers in digits, in one spelling: ``"1000"`` for ``1,000``, ``"3.5"`` for ``٣٫٥``.
    words
        Numbers in words, likewise; ``None`` where the language has no list.
    months, weekdays
        By number, from 1 and from 0; ``None`` where the language has no list.
    negations
        How often something is negated; ``None`` where the language has no list.
    wording
        All words in their order, case-folded, without punctuation.
    """

    language: str | None
    numbers: Counter[str]
    words: Counter[str] | None
    months: Counter[int] | None
    weekdays: Counter[int] | None
    negations: int | None
    wording: str


def facts_of(text: str, language: str | None = None) -> Facts:
    """Read the facts of a text.

    Parameters
    ----------
    text
        Any text.
    language
        Its language, in any spelling; without it numbers in digits and the wording alone are read.

    Raises
    ------
    InputError
        If there is no such language.
    """
    code = None if language is None else normalise_language(language).partition("-")[0]
    plain = _plain(text)
    folded = plain.casefold()
    numbers = Counter(_canonical(match[0]) for match in _NUMBER.finditer(plain))
    words = months = weekdays = None
    negations = None
    if code is not None:
        lower = " ".join(folded.replace("-", " ").split())
        if (spelled := number_words(code)) is not None:
            pattern, values = spelled
            words = Counter(str(values[match[0]]) for match in pattern.finditer(lower))
        if (names_of := calendar_names(code)) is not None:
            months = Counter(_found_months(folded, names_of[0]))
            weekdays = Counter(names_of[1][1][match[0]] for match in names_of[1][0].finditer(folded))
        if (negation := negation_pattern(code)) is not None:
            negations = sum(1 for _ in negation.finditer(folded))
    return Facts(code, numbers, words, months, weekdays, negations, " ".join(_WORD.findall(folded)))


def _plain(text: str) -> str:
    """Composed, with ASCII digits, one sign for minus and no marks that only break words."""
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return text
    kept = []
    for character in text:
        if unicodedata.category(character) == "Cf":
            continue
        digit = unicodedata.decimal(character, None)
        kept.append(str(digit) if digit is not None else "-" if character == "\u2212" else character)
    return "".join(kept)


def _canonical(number: str) -> str:
    """One spelling of a number: without group separators, a point before decimals, no idle zeros.

    A single separator before three digits is taken to group them: ``1.234`` is 1234 in German and, wrongly, in English.
    """
    sign = "-" if number.startswith("-") else ""
    number = number.removeprefix("-").replace("\u00a0", " ").replace("\u2009", " ").replace("\u202f", " ")
    whole, decimals = number, ""
    separators = regex.findall(r"\D", number)
    if separators and not _GROUPED.fullmatch(number):
        last = separators[-1]
        if last in ".,\u066b" and separators.count(last) == 1:
            whole, _, decimals = number.rpartition(last)
        elif len(set(separators)) == 1:  # 1.2.3: a version or a date, whose parts are numbers of their own
            return sign + ".".join(part.lstrip("0") or "0" for part in regex.split(r"\D", number))
    whole = regex.sub(r"\D", "", whole).lstrip("0") or "0"
    decimals = decimals.rstrip("0")
    return sign + whole + (f".{decimals}" if decimals else "")


def _found_months(text: str, months: tuple[regex.Pattern[str], dict[str, int]]) -> list[int]:
    pattern, values = months
    found = []
    for match in pattern.finditer(text):
        name = match[0]
        if name in VAGUE_MONTHS or (len(name) < _SHORTEST_MONTH and name.isascii()):
            around = text[max(0, match.start() - _BESIDE) : match.start()] + text[match.end() : match.end() + _BESIDE]
            if not any(character.isdigit() for character in around):
                continue
        found.append(values[name])
    return found


@lru_cache(maxsize=1)
def _spelled() -> dict[str, dict[str, int]]:
    """Language -> word or words -> number; ``scripts/number_words.py`` wrote them."""
    path = Path(__file__).with_name("number_words.json")
    found: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=128)
def number_words(language: str) -> tuple[regex.Pattern[str], dict[str, int]] | None:
    """What matches the numbers from 1 to 99 in words, in case-folded text, and their values; ``None`` without any."""
    values = _spelled().get(language)
    return None if values is None else (_any_of(values), values)


@lru_cache(maxsize=128)
def calendar_names(
    language: str,
) -> tuple[tuple[regex.Pattern[str], dict[str, int]], tuple[regex.Pattern[str], dict[str, int]]] | None:
    """The names of months, from 1, and of weekdays, from 0, as dateparser has them from CLDR; ``None`` without any."""
    from dateparser.languages.loader import default_loader

    try:
        info = default_loader.get_locale(language).info
    except ValueError:
        return None
    numerals = _spelled().get(language, {})  # French `sept` is seven, Hebrew `שני` is two
    months = {name: n for name, n in _names_of(info, _MONTHS, 1, shortest=3).items() if name not in numerals}
    weekdays = {
        name: n for name, n in _names_of(info, _WEEKDAYS, 0, shortest=_SHORTEST_MONTH).items() if name not in numerals
    }
    # Written without spaces, a name is found inside a run of letters.
    bounded = language not in _UNSPACED
    return (_any_of(months, bounded=bounded), months), (_any_of(weekdays, bounded=bounded), weekdays)


def _names_of(info: dict[str, list[str]], keys: list[str], first: int, *, shortest: int) -> dict[str, int]:
    """Name -> number, without names of two months or days, short ones, and those with a digit, which is a number."""
    found: dict[str, int] = {}
    shared = set()
    for number, key in enumerate(keys, start=first):
        for name in map(str.casefold, info.get(key, [])):
            if found.setdefault(name, number) != number:
                shared.add(name)
    return {
        name: number
        for name, number in found.items()
        if name not in shared
        and not any(character.isdigit() or character == "." for character in name)
        and len(name) >= (2 if not name.isascii() and unicodedata.category(name[0]) == "Lo" else shortest)
    }


def _any_of(names: dict[str, int], *, bounded: bool = True) -> regex.Pattern[str]:
    alternatives = "|".join(map(regex.escape, sorted(names, key=len, reverse=True))) or r"(?!)"
    return regex.compile(rf"(?<!\w)(?:{alternatives})(?!\w)" if bounded else f"(?:{alternatives})")
