"""Extract what a vector hardly represents: numbers, dates, negations, signs, small words, names and the wording.

Two texts may be near in meaning and differ in exactly these. :mod:`mlret.memory.text.merge_guards` compares them.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

from mlret.data.languages import normalise_language
from mlret.memory.text.calendar_names import UNSPACED, calendar_names, months_in
from mlret.memory.text.negation_words import negation_pattern
from mlret.memory.text.number_words import number_words
from mlret.memory.text.particles import particles_of
from mlret.memory.text.signs import asks, signs_of, units_of
from mlret.memory.text.wording import exact_wording

# A number with its group and decimal separators. Spaces separate groups of three digits after the first one to three.
_NUMBER = regex.compile(
    r"(?:(?<=\s)-|(?<=[(])-|^-)?"
    r"(?:\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)(?:[.,\u066b]\d+)?|\d+(?:[.,'’\u066b\u066c]\d+)*)"
)
# Words that multiply a number, with the power of ten: `11 million`, `1100만`. Longer words come first.
_SCALES: list[tuple[str, int]] = [
    (r"mil millones|milliards?|milliarden?|mrd|miliardy?|miliardów|миллиард\w*|млрд|мільярд\w*|مليارات?|milyar|tỷ"
     r"|bilioni|billions?|अरब|बिलियन", 9),
    (r"millionen|millions?|millones|millón|milhões|milhão|milioni|milione|miliony?|milionów|miljoen|miljoner|mio|mln"
     r"|milyon|миллион\w*|млн|мільйон\w*|مليون\w*|ملايين|मिलियन|triệu|juta|百万|백만", 6),
    (r"tausend|thousand|mille|mila|mil|тыс\w*|тис\w*|ألف|آلاف|हज़ार|हजार|nghìn|ngàn|bin|elfu|duizend|tusen|tysięcy|tys"
     r"|ribu|千|천", 3),
    (r"万|萬|만", 4),
    (r"亿|億|억", 8),
    (r"लाख", 5),
    (r"करोड़", 7),
]  # fmt: skip
_SCALED = [
    (regex.compile(rf"[\s\u00a0]?(?:{words})" + (r"(?!\w)" if words[0].isascii() or len(words) > 9 else "")), power)
    for words, power in _SCALES
]
_GROUPED = regex.compile(r"\d{1,3}(?:([,.'’\u066c ])\d{2,3})*?(?:[,.'’\u066c ]\d{3})")
_WORD = regex.compile(r"\w+")
_CAPITALISED = regex.compile(r"(?<!\w)\p{Lu}[\p{L}\p{M}'-]+")
_SMALL_WORDS = (
    "the an my he she we it his her they you our this that in on at is are do does if when der die das den ein "
    "eine er sie es wir ich mein meine ihr im am wenn le la les un une il elle je nous mon ma en los las el yo "
    "mi ella él uno una di io lui lei noi os as um uma eu ele ela de het een ik hij wij mijn он она мы мой моя "
    "на по вы ты це він вона мені ми ja on ona moja mój bir ben bu ni na ya yeye mimi tôi anh em cô ông bà"
)
_BEGINNINGS = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True)
class Facts:
    """The facts that a text states.

    Attributes
    ----------
    language
        Language of the text, in mlret's form without the script; ``None`` if unknown.
    numbers
        Numbers in digits, normalised: ``"1000"`` for ``1,000``, ``"3.5"`` for ``٣٫٥``, ``"2000000"`` for ``2 million``.
    words
        Numbers in words, likewise; ``None`` if the language has no list.
    months, weekdays
        Months numbered from 1, weekdays from 0; ``None`` if the language has no list.
    negations
        Number of negations; ``None`` if the language has no list.
    particles
        Small words of quantity, obligation, time and degree, see :func:`mlret.memory.text.particles.particles_of`;
        ``None`` if the language has no list.
    signs, units
        The results of :mod:`mlret.memory.text.signs`, in any language.
    question
        Whether the text asks something.
    names
        Capitalised words in order, case-folded, each once.
    words_count
        Number of words, for languages written with spaces.
    wording
        The text without differences of form; see :func:`mlret.memory.text.wording.exact_wording`.
    """

    language: str | None
    numbers: Counter[str]
    words: Counter[str] | None
    months: Counter[int] | None
    weekdays: Counter[int] | None
    negations: int | None
    particles: frozenset[str] | None
    signs: frozenset[str]
    units: frozenset[str]
    question: bool
    names: tuple[str, ...]
    words_count: int
    wording: str


@lru_cache(maxsize=4096)  # A candidate is compared with many texts.
def facts_of(text: str, language: str | None = None) -> Facts:
    """Extract the facts of a text.

    Parameters
    ----------
    text
        Any text.
    language
        Its language, in any spelling; if unknown, facts that depend on a language's lists are not extracted.

    Raises
    ------
    InputError
        If there is no such language.
    """
    code = None if language is None else normalise_language(language).partition("-")[0]
    plain = _plain(text)
    folded = plain.casefold()
    numbers = Counter(_scaled(_canonical(match[0]), folded, match.end()) for match in _NUMBER.finditer(plain))
    words = months = weekdays = None
    negations = particles = None
    exact = exact_wording(text, code)
    if code is not None:
        particles = particles_of(folded, code)
        lower = " ".join(folded.replace("-", " ").split())
        if (spelled := number_words(code)) is not None:
            pattern, values = spelled
            words = Counter(str(values[match[0]]) for match in pattern.finditer(lower))
        if (names_of := calendar_names(code)) is not None:
            months = Counter(months_in(folded, names_of[0]))
            weekdays = Counter(names_of[1][1][match[0]] for match in names_of[1][0].finditer(folded))
        if (negation := negation_pattern(code)) is not None:
            negations = sum(1 for _ in negation.finditer(folded))
    return Facts(
        code,
        numbers,
        words,
        months,
        weekdays,
        negations,
        particles,
        signs_of(exact),
        units_of(exact),
        asks(exact),
        _names(exact, code),
        len(_WORD.findall(exact)),
        exact,
    )


def words_of(facts: Facts) -> Counter[str]:
    """Return the words of a text, case-folded; for languages written without spaces, the pairs of characters."""
    text = facts.wording.casefold()
    if facts.language in UNSPACED - {"ko"}:
        letters = "".join(filter(str.isalnum, text))
        return Counter(map("".join, pairwise(letters))) or Counter([letters])
    return Counter(_WORD.findall(text))


def _names(text: str, language: str | None) -> tuple[str, ...]:
    """Return the capitalised words, except small words that begin sentences, months and weekdays."""
    calendar = None if language is None else calendar_names(language)
    others = {} if calendar is None else calendar[0][1] | calendar[1][1]
    found = (match[0].casefold() for match in _CAPITALISED.finditer(text))
    return tuple(dict.fromkeys(name for name in found if name not in _BEGINNINGS and name not in others))


def _plain(text: str) -> str:
    """Return a text composed, with ASCII digits, a single form of the minus sign and no invisible format characters."""
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
    """Return a number without group separators, with a point before decimals and without superfluous zeros.

    A single separator before three digits is taken for a group separator: ``1.234`` is 1234, which is right in German
    and wrong in English.
    """
    sign = "-" if number.startswith("-") else ""
    number = number.removeprefix("-").replace("\u00a0", " ").replace("\u2009", " ").replace("\u202f", " ")
    whole, decimals = number, ""
    separators = regex.findall(r"\D", number)
    if separators and not _GROUPED.fullmatch(number):
        last = separators[-1]
        if last in ".,\u066b" and separators.count(last) == 1:
            whole, _, decimals = number.rpartition(last)
        elif len(set(separators)) == 1:  # A version or a date such as 1.2.3.
            return sign + ".".join(part.lstrip("0") or "0" for part in regex.split(r"\D", number))
    whole = regex.sub(r"\D", "", whole).lstrip("0") or "0"
    decimals = decimals.rstrip("0")
    return sign + whole + (f".{decimals}" if decimals else "")


def _scaled(number: str, text: str, end: int) -> str:
    """Return a number multiplied by the thousand, million, … that follows it in the text."""
    for pattern, power in _SCALED:
        if pattern.match(text, end):
            whole, _, decimals = number.partition(".")
            if "." in decimals:  # A version, not a decimal number.
                return number
            moved = (whole + decimals.ljust(power, "0")[:power]).lstrip("0") or "0"
            rest = decimals[power:].rstrip("0")
            return moved + (f".{rest}" if rest else "")
    return number
