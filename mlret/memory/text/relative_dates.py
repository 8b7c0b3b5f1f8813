"""Read relative dates: the phrases and counted expressions of CLDR, as dateparser has them, and those that it lacks.

They are matched here, so that a span is as long as what was said: *last month* is a month.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import regex

from mlret.data.lazy_pattern import LazyPattern
from mlret.memory.text.locale_data import locale_data
from mlret.memory.text.number_words import number_words
from mlret.memory.text.time_window import UNITS, Read, span_of
from mlret.memory.text.word_lists import Names, needed_letters

_RELATIVE = regex.compile(r"(?:in )?(?P<count>\d+|\\1) (?P<unit>[a-z]+)(?P<ago> ago)?")
# Expressions that dateparser lacks or reads differently, with their meaning in dateparser's notation.
_MORE = {
    "ar": {"العام الماضي": "1 year ago", "السنة الماضية": "1 year ago"},
    "bg": {"миналия месец": "1 month ago", "миналата година": "1 year ago"},
    "el": {"τον προηγούμενο μήνα": "1 month ago", "πέρυσι": "1 year ago", "πέρσι": "1 year ago"},
    "fr": {"la semaine passée": "1 week ago", "l'an dernier": "1 year ago"},
    "he": {
        "בשבוע שעבר": "1 week ago",
        "בחודש שעבר": "1 month ago",
        "בשנה שעברה": "1 year ago",
        "לפני שבועיים": "2 week ago",
        "לפני יומיים": "2 day ago",
        "לפני חודשיים": "2 month ago",
        "לפני שנתיים": "2 year ago",
    },
    "hi": {"पिछले हफ्ते": "1 week ago", "पिछले हफ़्ते": "1 week ago", "पिछले सप्ताह": "1 week ago", "पिछले महीने": "1 month ago"},
    "de": {"letzten jahres": "1 year ago", "vorigen jahres": "1 year ago", "vergangenen jahres": "1 year ago"},
    "sw": {"mwaka jana": "1 year ago", "wiki jana": "1 week ago", "juzi": "2 day ago"},
    "vi": {"năm trước": "1 year ago"},
    "zh": {"上星期": "1 week ago", "上礼拜": "1 week ago", "上月": "1 month ago"},
}
_MORE_AGO = {"ro": ["acum", "în urmă cu"]}
# Counted expressions in grammatical cases that CLDR does not list.
_MORE_COUNTED = {
    "cs": {
        r"před (\d{1,4}) (?:dny|dni|dnem)": "day",
        r"před (\d{1,4}) (?:týdny|týdnem)": "week",
        r"před (\d{1,4}) (?:měsíci|měsícem)": "month",
        r"před (\d{1,4}) (?:lety|roky|rokem)": "year",
    },
    "el": {
        r"πριν(?: από)? (\d{1,4}) (?:η?μέρες|η?μέρα|ημερών)": "day",
        r"πριν(?: από)? (\d{1,4}) (?:εβδομάδες|εβδομάδα|βδομάδες)": "week",
        r"πριν(?: από)? (\d{1,4}) (?:μήνες|μήνα)": "month",
        r"πριν(?: από)? (\d{1,4}) (?:χρόνια|έτη|χρόνο)": "year",
    },
    "ko": {r"(\d{1,4})\s?일\s?전": "day"},
}
# Number words in such cases, and Korean words for spans of days.
_MORE_NUMBERS: dict[str, dict[str, Any]] = {
    "cs": {
        "dvěma": 2, "třemi": 3, "čtyřmi": 4, "pěti": 5, "šesti": 6, "sedmi": 7, "osmi": 8, "devíti": 9, "deseti": 10,
    },
    "ko": {
        "하루": "1일", "이틀": "2일", "사흘": "3일", "나흘": "4일", "닷새": "5일", "엿새": "6일", "열흘": "10일",
        "이일": "2일", "삼일": "3일", "사일": "4일", "오일": "5일", "육일": "6일", "칠일": "7일",
    },
}  # fmt: skip
_JA_NUMERALS = regex.compile(
    r"(?:[二三四五六七八九]?十[一二三四五六七八九]?|[一二三四五六七八九])(?=日前|週間前|[かヶヵケカ]月前|年前|時間前)"
)
_ZH_NUMERALS = str.maketrans("一二两三四五六七八九", "1223456789")
_UNSPACED = frozenset({"zh", "ja", "th"})


def relative_dates(text: str, language: str, now: datetime) -> list[Read]:
    """Return the spans that a text names from the present, such as *two weeks ago* and *last month*.

    Parameters
    ----------
    text
        Case-folded text with ASCII digits.
    language
        Language code without script and country.
    now
        The present, with a time zone.
    """
    patterns = _relative_patterns(language)
    if not any(letters in text for letters, _, _ in patterns) and not any(
        word in text for word in _MORE_NUMBERS.get(language, {})
    ):
        return []
    # Number words become digits; ``places`` maps positions back to the original text.
    plain, places = _in_digits(text, language)
    found: list[Read] = []
    has_digits = any(map(str.isdigit, plain))
    for letters, pattern, meaning in patterns:
        if letters not in plain or (not has_digits and "\\1" in meaning):
            continue
        for match in pattern.finditer(plain):
            relative = _RELATIVE.fullmatch(meaning)
            assert relative is not None
            count = int(match[1]) if relative["count"] == "\\1" else int(relative["count"])
            span = span_of(now, -count if relative["ago"] else count, relative["unit"])
            if span is not None:
                start, end = places[match.start()], places[match.end()]
                found.append((start, end, span))
    return found


@lru_cache(maxsize=64)
def year_phrases(language: str) -> dict[str, int]:
    """Return the phrases for this year and last year, case-folded, and how many years ago each is."""
    given = locale_data(language).get("relative-type", {})
    phrases = {name.casefold(): ago for ago in (0, 1) for name in given.get(f"{ago} year ago", [])}
    phrases |= {name.casefold(): 1 for name, meaning in _MORE.get(language, {}).items() if meaning == "1 year ago"}
    return {name: ago for name, ago in phrases.items() if len(name) > 2}


@lru_cache(maxsize=64)
def _relative_patterns(language: str) -> list[tuple[str, LazyPattern, str]]:
    """Return for each expression the letters that it needs, its pattern, and its meaning in dateparser's notation."""
    info = locale_data(language)
    phrases: dict[str, str] = {}
    for meaning, expressions in info.get("relative-type", {}).items():
        for expression in expressions:
            # Hindi `कल` means yesterday and tomorrow; queries to a memory are about the past.
            if meaning.endswith("ago") or expression.casefold() not in phrases:
                phrases[expression.casefold()] = meaning
    phrases |= _MORE.get(language, {})
    before, after = ("", "") if language in _UNSPACED else (r"(?<!\w)", r"(?!\w)")
    sources = [(regex.escape(phrase), meaning) for phrase, meaning in phrases.items()]
    for meaning, expressions in info.get("relative-type-regex", {}).items():
        for expression in expressions:
            # Abbreviations of one letter are too short to be trusted in running text.
            whole = regex.sub(r"\(\\d\+\+\[\.,\]\?\\d\*\+\)", r"(\\d{1,4})", expression.casefold())
            if "\\d{1,4}" in whole and not regex.search(r"(?:\)|\*)\s*\p{L}$|\) \p{L}$", whole):
                sources.append((whole, meaning))
    sources += [
        (expression, f"\\1 {unit} ago")
        for expression, unit in [
            *_counted(info),
            *((one.casefold(), unit) for one, unit in _MORE_COUNTED.get(language, {}).items()),
        ]
    ]
    return [
        (needed_letters(source), LazyPattern(before + source + after), meaning)
        for source, meaning in sources
        if _has_span(meaning)
    ]


def _counted(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Return patterns of `3 days ago` with every form of the unit: CLDR's have the plural of some numbers only."""
    return [
        (expression, unit)
        for unit in UNITS
        for name in {name.casefold() for name in info.get(unit, []) if len(name) > 1}
        for ago in [*(info.get("ago") or []), *_MORE_AGO.get(info["name"], [])]
        for expression in (
            rf"(\d{{1,4}})\s*{regex.escape(name)}\s+{regex.escape(ago.casefold())}",
            rf"{regex.escape(ago.casefold())}\s+(\d{{1,4}})\s*{regex.escape(name)}",
        )
    ]


def _has_span(meaning: str) -> bool:
    relative = _RELATIVE.fullmatch(meaning)
    return relative is not None and relative["unit"] in UNITS and (bool(relative["ago"]) != meaning.startswith("in "))


def _in_digits(text: str, language: str) -> tuple[str, list[int]]:
    """Return the text with number words as digits, and for each position in it (and its end) the original position."""
    if language == "zh":
        return text.translate(_ZH_NUMERALS), list(range(len(text) + 1))
    pattern, values = _number_pattern(language)
    parts, places, last = [], [], 0
    for match in pattern.finditer(text):
        parts += [text[last : match.start()], str(values.get(match[0], 1))]
        places += [*range(last, match.start()), *[match.start()] * len(parts[-1])]
        last = match.end()
    return "".join([*parts, text[last:]]), [*places, *range(last, len(text) + 1)]


@lru_cache(maxsize=64)
def _number_pattern(language: str) -> tuple[regex.Pattern[str] | Names, dict[str, Any]]:
    """Return the number words of a language as they are found in text, and what each stands for."""
    spelled = number_words(language)
    values: dict[str, Any] = {
        **(spelled[1] if spelled else {}),
        **_small_words(language),
        **_MORE_NUMBERS.get(language, {}),
    }
    return _JA_NUMERALS if language == "ja" else Names(values, r"(?<!\w)", r"(?!\w)", whole=True), values


@lru_cache(maxsize=64)
def _small_words(language: str) -> dict[str, int]:
    """Return articles and similar words that stand for a number: `a week ago`."""
    return {
        word.casefold(): int(number)
        for one in locale_data(language).get("simplifications", [])
        for word, number in one.items()
        if word.isalpha() and str(number).isdecimal()
    }
