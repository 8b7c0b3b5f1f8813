"""Extract what a vector hardly represents: numbers, dates, negations, signs, small words, names and the wording.

Two texts may be near in meaning and differ in exactly these. :mod:`mlret.memory.text.merge_guards` compares them.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import regex

from mlret.data.languages import cldr_code, normalise_language
from mlret.memory.text.negation_words import negation_pattern
from mlret.memory.text.particles import particles_of
from mlret.memory.text.signs import asks, signs_of, units_of
from mlret.memory.text.wording import exact_wording

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
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
# Months that are also other words count only next to a day or a year; so do months of three letters.
VAGUE_MONTHS = frozenset({"march", "mars", "may", "august", "maj", "mai"})
_SHORTEST_MONTH = 4
_BESIDE = 8  # Maximum number of characters around a month that are searched for its day or year: `12 de mayo`.
# Months in a grammatical case that CLDR does not list, from January on.
MONTH_CASES = {
    "el": "ιανουάριο φεβρουάριο μάρτιο απρίλιο μάιο ιούνιο ιούλιο αύγουστο σεπτέμβριο οκτώβριο νοέμβριο δεκέμβριο",
    "pl": "styczniu lutym marcu kwietniu maju czerwcu lipcu sierpniu wrześniu październiku listopadzie grudniu",
    "ru": "январе феврале марте апреле мае июне июле августе сентябре октябре ноябре декабре",
    "uk": "січні лютому березні квітні травні червні липні серпні вересні жовтні листопаді грудні",
}
# Prefixes that are written together with the following word.
_PREFIXES = {"ar": "(?:[وف]?[بلك]?(?:ال)?)", "he": "[ובלהכמש]{0,2}"}
# Short forms of weekdays that are also common words: Ukrainian `серед` means *among*.
_NO_DAYS = frozenset({"серед"})
# Languages in which weekdays form their plural with s: `on Sundays`.
_PLURAL_DAYS = frozenset({"en", "de", "fr", "es", "pt"})
_UNSPACED = frozenset({"zh", "ja", "ko", "th", "lo", "km", "my"})


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
            months = Counter(_found_months(folded, names_of[0]))
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
    if facts.language in _UNSPACED - {"ko"}:
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


def _found_months(text: str, months: tuple[regex.Pattern[str], dict[str, int]]) -> list[int]:
    pattern, values = months
    found = []
    for match in pattern.finditer(text):
        name = match[0]
        if name in VAGUE_MONTHS or (len(name) < _SHORTEST_MONTH and unicodedata.category(name[0]) == "Ll"):
            around = text[max(0, match.start() - _BESIDE) : match.start()] + text[match.end() : match.end() + _BESIDE]
            if not any(character.isdigit() for character in around):
                continue
        found.append(values[name])
    return found


@lru_cache(maxsize=1)
def _spelled() -> dict[str, dict[str, int]]:
    """Return the lists written by ``scripts/number_words.py``: language -> one or more words -> number."""
    path = Path(__file__).with_name("number_words.json")
    found: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=4)
def _counted(language: str) -> dict[str, int]:
    """Return the words for 2 to 99 in languages that CLDR's rules do not cover; empty for other languages.

    Chinese and Japanese write numbers within a run of characters. For Korean and Vietnamese, words are excluded that
    mostly mean something else, such as Vietnamese `năm`, five or year, and Korean's syllables of Chinese origin.
    """
    if language in ("zh", "ja"):
        digits = "一二三四五六七八九"
        tens = ["", "十", *(f"{digit}十" for digit in digits[1:])]
        found = {tens[n // 10] + (digits[n % 10 - 1] if n % 10 else ""): n for n in range(2, 100)}
        return found | ({"两": 2, "兩": 2} if language == "zh" else {})
    if language == "ko":
        units = "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉".split()  # noqa: SIM905
        before = "한 두 세 네 다섯 여섯 일곱 여덟 아홉".split()  # noqa: SIM905
        tens = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
        found = {
            tens[n // 10] + (ones[n % 10 - 1] if n % 10 else ""): n for ones in (units, before) for n in range(2, 100)
        }
        chinese = "일 이 삼 사 오 육 칠 팔 구".split()  # noqa: SIM905
        found |= {f"{chinese[n // 10 - 1]}십" + (chinese[n % 10 - 1] if n % 10 else ""): n for n in range(20, 100)}
        return found | {"스무": 20}
    if language == "vi":
        words = dict(zip("hai ba bốn sáu bảy tám chín mười".split(), (2, 3, 4, 6, 7, 8, 9, 10), strict=True))  # noqa: SIM905
        found = words | {f"mười {word}": 10 + n for word, n in words.items() if n < 10}
        return found | {f"{word} mươi": 10 * n for word, n in words.items() if n < 10} | {"hai mươi": 20}
    return {}


@lru_cache(maxsize=128)
def number_words(language: str) -> tuple[regex.Pattern[str], dict[str, int]] | None:
    """Return the pattern of the words for 1 to 99 in case-folded text, and their values; ``None`` if there are none."""
    values = _spelled().get(language) or _counted(language)
    if language in ("zh", "ja"):  # The lookbehind excludes weekdays such as 星期六, Saturday.
        words = "|".join(sorted(values, key=len, reverse=True))
        return regex.compile(rf"(?<![期周拜])(?:{words})"), values
    return (_any_of(values, language), values) if values else None


@lru_cache(maxsize=128)
def calendar_names(
    language: str,
) -> tuple[tuple[regex.Pattern[str], dict[str, int]], tuple[regex.Pattern[str], dict[str, int]]] | None:
    """Return the names of months, from 1, and of weekdays, from 0, as dateparser has them from CLDR.

    Returns
    -------
    tuple or None
        For months and for weekdays a pattern and its values, name -> number; ``None`` if dateparser lacks the language.
    """
    from dateparser.languages.loader import default_loader

    try:
        info = default_loader.get_locale(cldr_code(language)).info
    except ValueError:
        return None
    numerals = _spelled().get(language, {})  # French `sept` is also seven, Hebrew `שני` also two.
    months = {name: n for name, n in _names_of(info, _MONTHS, 1, shortest=3).items() if name not in numerals}
    months |= {name: number for number, name in enumerate(MONTH_CASES.get(language, "").split(), start=1)}
    weekdays = {
        name: n for name, n in _names_of(info, _WEEKDAYS, 0, shortest=_SHORTEST_MONTH).items() if name not in numerals
    }
    if language in _PLURAL_DAYS:
        weekdays |= {f"{name}s": number for name, number in weekdays.items() if len(name) > _SHORTEST_MONTH}
    # Languages written without spaces have names inside a run of letters.
    bounded = language not in _UNSPACED
    return (_any_of(months, language, bounded=bounded), months), (
        _any_of(weekdays, language, bounded=bounded),
        weekdays,
    )


def _names_of(info: dict[str, list[str]], keys: list[str], first: int, *, shortest: int) -> dict[str, int]:
    """Return name -> number, except ambiguous names, short ones and those that contain a digit."""
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
        and name not in _NO_DAYS
        and not any(character.isdigit() or character == "." for character in name)
        and len(name) >= (2 if not name.isascii() and unicodedata.category(name[0]) == "Lo" else shortest)
    }


def _any_of(names: dict[str, int], language: str, *, bounded: bool = True) -> regex.Pattern[str]:
    alternatives = "|".join(map(regex.escape, sorted(names, key=len, reverse=True))) or r"(?!)"
    start = rf"(?<=(?<!\w){_PREFIXES[language]})" if language in _PREFIXES else r"(?<!\w)"
    return regex.compile(rf"{start}(?:{alternatives})(?!\w)" if bounded else f"(?:{alternatives})")
