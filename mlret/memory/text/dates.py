"""Read the explicit and relative dates in a query, for the languages in :data:`LANGUAGES`.

The words come from dateparser, which has them from CLDR. It parses explicit dates; its patterns for relative ones are
matched here, so that a window is as long as what was said: *last month* is a month. Dates only move records of that
time up and hide none, because a date may be misread, and a record may be about another time than its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray

from mlret.data.languages import cldr_code, normalise_language
from mlret.errors import InputError
from mlret.memory.text.calendar_names import MONTH_CASES, VAGUE_MONTHS, calendar_names
from mlret.memory.text.day_words import day_words
from mlret.memory.text.number_words import number_words

LANGUAGES = (
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt",
    "ro", "ru", "sv", "sw", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""Languages whose dates are read; a test holds ten expressions of each against the calendar."""
SLACK = timedelta(days=2)
"""How far beside a window a time still counts for something, as in LongMemEval's time-aware retrieval."""

_UNITS = ("minute", "hour", "day", "week", "month", "year")
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
    "sw": {"mwaka jana": "1 year ago", "wiki jana": "1 week ago", "juzi": "2 day ago"},
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
# Dates written as numbers with words between them.
_NUMBERED = regex.compile(
    r"(?P<year>\d{4})\s*[年년]\s*(?:(?P<month>\d{1,2})\s*[月월]\s*(?:(?P<day>\d{1,2})\s*[日号號일])?)?"
    r"|(?:ngày (?P<day>\d{1,2}) )?tháng (?P<month>\d{1,2}) năm (?P<year>\d{4})"
)
# The same without a year, or with one relative to now.
_IN_A_YEAR = regex.compile(
    r"(?:(?:(?P<last>去年|昨年|작년|지난해)|(?P<this>今年|올해|금년))\s*の?\s*|(?<!\d)(?<![年년]\s?))(?P<month>\d{1,2})\s*[月월]\s*(?P<day>\d{1,2})\s*[日号號일]"
    r"|(?:ngày|mùng|mồng) (?P<day>\d{1,2}) tháng (?P<month>\d{1,2})(?!\d| năm \d)"
    r"(?:(?P<last> năm (?:ngoái|trước))|(?P<this> năm nay))?"
)
_ZH_NUMERALS = str.maketrans("一二两三四五六七八九", "1223456789")
_UNSPACED = frozenset({"zh", "ja", "th"})
_TOKEN = regex.compile(r"\d+|[^\W\d]+|[^\w\s]")
_LONGEST_SPAN = 7  # Maximum number of tokens of an explicit date: `14 de julio de 2023`.
_DATE_SHAPE = regex.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}\s*[年년]")
_YEAR = regex.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A span of time that a text names.

    Attributes
    ----------
    start, end
        First instant, and the first one after the span; with time zones.
    text
        The words that name it.
    """

    start: datetime
    end: datetime
    text: str


# Start, end and meaning of an expression; the meaning is ``None`` if it is ambiguous.
_Read = tuple[int, int, TimeWindow | None]


def time_windows(text: str, language: str | None, now: datetime) -> list[TimeWindow]:
    """Return the dates that a text names.

    Relative dates (*yesterday*, *two weeks ago*, *last month*, *on Tuesday*) are counted from ``now``, in its time zone
    and by its calendar: a day lasts from midnight to midnight even if the clocks change, and a week begins on Monday. A
    weekday alone is the last one before today, a month without a year the last one that has begun.

    Parameters
    ----------
    text
        A query.
    language
        Its language; nothing is read unless it is one of :data:`LANGUAGES`.
    now
        The present, with a time zone.

    Returns
    -------
    list of TimeWindow
        In the order of the text, without overlaps; empty if nothing is found.

    Raises
    ------
    InputError
        If ``now`` has no time zone.
    """
    if now.utcoffset() is None:
        raise InputError(f"now is {now.isoformat()}, without a time zone; add one, e.g. tzinfo=timezone.utc")
    code = None if language is None else normalise_language(language).partition("-")[0]
    if code not in LANGUAGES:
        return []
    folded = text.replace("İ", "i").casefold()
    found: list[_Read] = [
        *_days(folded, code, now),
        *_relative(folded, code, now),
        *_explicit(folded, code, now),
        *_numbered(folded, now),
        *_in_a_year(folded, now),
        *_months(folded, code, now),
        *_weekdays(folded, code, now),
    ]
    # Longer expressions are more exact and take precedence: `14 July 2023` over `July 2023`.
    taken: list[_Read] = []
    for start, end, window in sorted(found, key=lambda one: (one[0] - one[1], one[0])):
        if all(end <= other_start or start >= other_end for other_start, other_end, _ in taken):
            taken.append((start, end, window))
    return [window for _, _, window in sorted(taken, key=lambda one: one[:2]) if window is not None]


def time_bonus(starts: ArrayLike, ends: ArrayLike, windows: Sequence[TimeWindow], weight: float) -> NDArray[np.float64]:
    """Return the bonus of records for their time: ``weight`` inside a window, 0 at a distance of :data:`SLACK` from it.

    Parameters
    ----------
    starts, ends
        ``(n,)``: time of each record in seconds since 1970; NaN if it has none, for which the bonus is 0.
    windows
        Windows of the query; the nearest one counts.
    weight
        Maximum bonus, in the unit of the scores.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64.
    """
    from_, until = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    best = np.zeros(len(from_))
    for window in windows:
        gap = np.maximum(np.maximum(window.start.timestamp() - until, from_ - window.end.timestamp()), 0)
        near = 1 - gap / SLACK.total_seconds()
        best = np.maximum(best, np.where(np.isnan(near), 0, near))
    return weight * best


def _days(text: str, language: str, now: datetime) -> list[_Read]:
    """Return the named single days; ambiguous ones have no window."""
    found: list[_Read] = []
    for start, end, days in day_words(text, language):
        window = None if days is None else _window(now, days, "day")
        found.append((start, end, None if window is None else TimeWindow(*window, text[start:end])))
    return found


def _relative(text: str, language: str, now: datetime) -> list[_Read]:
    # Number words become digits; ``places`` maps positions back to the original text.
    plain, places = _in_digits(text, language)
    found: list[_Read] = []
    for pattern, meaning in _relative_patterns(language):
        for match in pattern.finditer(plain):
            relative = _RELATIVE.fullmatch(meaning)
            assert relative is not None
            count = int(match[1]) if relative["count"] == "\\1" else int(relative["count"])
            window = _window(now, -count if relative["ago"] else count, relative["unit"])
            if window is not None:
                start, end = places[match.start()], places[match.end()]
                found.append((start, end, TimeWindow(*window, text[start:end])))
    return found


@lru_cache(maxsize=64)
def _relative_patterns(language: str) -> list[tuple[regex.Pattern[str], str]]:
    info = _info(language)
    phrases: dict[str, str] = {}
    for meaning, expressions in info.get("relative-type", {}).items():
        for expression in expressions:
            # Hindi `कल` means yesterday and tomorrow; queries to a memory are about the past.
            if meaning.endswith("ago") or expression.casefold() not in phrases:
                phrases[expression.casefold()] = meaning
    phrases |= _MORE.get(language, {})
    bounds = ("", "") if language in _UNSPACED else (r"(?<!\w)", r"(?!\w)")
    patterns = [
        (regex.compile(bounds[0] + regex.escape(phrase) + bounds[1]), meaning) for phrase, meaning in phrases.items()
    ]
    for meaning, expressions in info.get("relative-type-regex", {}).items():
        for expression in expressions:
            # Abbreviations of one letter are too short to be trusted in running text.
            whole = regex.sub(r"\(\\d\+\+\[\.,\]\?\\d\*\+\)", r"(\\d{1,4})", expression.casefold())
            if "\\d{1,4}" in whole and not regex.search(r"(?:\)|\*)\s*\p{L}$|\) \p{L}$", whole):
                patterns.append((regex.compile(bounds[0] + whole + bounds[1]), meaning))
    patterns += [
        (regex.compile(bounds[0] + expression + bounds[1]), f"\\1 {unit} ago")
        for expression, unit in [
            *_counted(info),
            *((one.casefold(), unit) for one, unit in _MORE_COUNTED.get(language, {}).items()),
        ]
    ]
    return [(pattern, meaning) for pattern, meaning in patterns if _has_window(meaning)]


def _counted(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Return patterns of `3 days ago` with every form of the unit: CLDR's have the plural of some numbers only."""
    return [
        (expression, unit)
        for unit in _UNITS
        for name in {name.casefold() for name in info.get(unit, []) if len(name) > 1}
        for ago in [*(info.get("ago") or []), *_MORE_AGO.get(info["name"], [])]
        for expression in (
            rf"(\d{{1,4}})\s*{regex.escape(name)}\s+{regex.escape(ago.casefold())}",
            rf"{regex.escape(ago.casefold())}\s+(\d{{1,4}})\s*{regex.escape(name)}",
        )
    ]


def _has_window(meaning: str) -> bool:
    relative = _RELATIVE.fullmatch(meaning)
    return relative is not None and relative["unit"] in _UNITS and (bool(relative["ago"]) != meaning.startswith("in "))


def _in_digits(text: str, language: str) -> tuple[str, list[int]]:
    """Return the text with number words as digits, and for each position in it (and its end) the original position."""
    if language == "zh":
        return text.translate(_ZH_NUMERALS), list(range(len(text) + 1))
    spelled = number_words(language)
    values: dict[str, Any] = {
        **(spelled[1] if spelled else {}),
        **_small_words(language),
        **_MORE_NUMBERS.get(language, {}),
    }
    if not values:
        return text, list(range(len(text) + 1))
    words = "|".join(regex.escape(word) for word in sorted(values, key=len, reverse=True))
    pattern = _JA_NUMERALS if language == "ja" else regex.compile(rf"(?<!\w)(?:{words})(?!\w)")
    parts, places, last = [], [], 0
    for match in pattern.finditer(text):
        parts += [text[last : match.start()], str(values.get(match[0], 1))]
        places += [*range(last, match.start()), *[match.start()] * len(parts[-1])]
        last = match.end()
    return "".join([*parts, text[last:]]), [*places, *range(last, len(text) + 1)]


@lru_cache(maxsize=64)
def _small_words(language: str) -> dict[str, int]:
    """Return articles and similar words that stand for a number: `a week ago`."""
    return {
        word.casefold(): int(number)
        for one in _info(language).get("simplifications", [])
        for word, number in one.items()
        if word.isalpha() and str(number).isdecimal()
    }


def _weekdays(text: str, language: str, now: datetime) -> list[_Read]:
    names = calendar_names(language)
    if names is None:
        return []
    pattern, values = names[1]
    found: list[_Read] = []
    for match in pattern.finditer(text):
        back = (now.weekday() - values[match[0]] - 1) % 7 + 1
        window = _window(now, -back, "day")
        assert window is not None
        found.append((match.start(), match.end(), TimeWindow(*window, match[0])))
    return found


def _numbered(text: str, now: datetime) -> list[_Read]:
    found: list[_Read] = []
    for match in _NUMBERED.finditer(text):
        unit = "day" if match["day"] else "month" if match["month"] else "year"
        try:
            at = now.replace(year=int(match["year"]), month=int(match["month"] or 1), day=int(match["day"] or 1))
        except ValueError:
            continue
        if (window := _window(at, 0, unit)) is not None:
            found.append((match.start(), match.end(), TimeWindow(*window, match[0])))
    return found


def _in_a_year(text: str, now: datetime) -> list[_Read]:
    """Return dates of a numeric day and month: in the named year, else in the last year that has reached that day."""
    found: list[_Read] = []
    for match in _IN_A_YEAR.finditer(text):
        years = [now.year - 1] if match["last"] else [now.year] if match["this"] else range(now.year, now.year - 9, -1)
        for year in years:
            try:
                at = now.replace(year=year, month=int(match["month"]), day=int(match["day"]))
            except ValueError:  # 29 February in a common year, or an invalid date.
                continue
            if at > now and not match["this"]:
                continue
            window = _window(at, 0, "day")
            if window is not None:
                found.append((match.start(), match.end(), TimeWindow(*window, match[0].strip())))
            break
    return found


def _months(text: str, language: str, now: datetime) -> list[_Read]:
    """Return months with their year, in grammatical cases that dateparser does not know."""
    found: list[_Read] = []
    for number, name in enumerate(MONTH_CASES.get(language, "").split(), start=1):
        for match in regex.finditer(rf"(?<!\w){name}\s+({_YEAR.pattern})(?!\d)", text):
            window = _window(now.replace(year=int(match[1]), month=number, day=1), 0, "month")
            assert window is not None
            found.append((match.start(), match.end(), TimeWindow(*window, match[0])))
    return found


def _explicit(text: str, language: str, now: datetime) -> list[_Read]:
    """Return the spans that dateparser reads as a date; each has the name of a month, the shape of a date or a year."""
    names = calendar_names(language)
    month = names[0][0] if names else regex.compile(r"(?!)")
    if not any(pattern.search(text) for pattern in (month, _DATE_SHAPE, _YEAR)):
        return []
    tokens = [(match.start(), match.end()) for match in _TOKEN.finditer(text)]
    found: list[_Read] = []
    first = 0
    while first < len(tokens):
        for last in reversed(range(first, min(len(tokens), first + _LONGEST_SPAN))):
            start, end = tokens[first][0], tokens[last][1]
            span = text[start:end]
            if not _may_be_date(span, month) or (window := _parsed(span, language, now)) is None:
                continue
            found.append((start, end, TimeWindow(*window, span)))
            first = last
            break
        first += 1
    return found


def _may_be_date(span: str, month: regex.Pattern[str]) -> bool:
    """Return whether a span begins and ends with parts of a date, so that it includes no words around it."""
    if _YEAR.fullmatch(span) or _DATE_SHAPE.match(span):
        return span[-1].isalnum()
    found = month.search(span)
    if found is not None and span in VAGUE_MONTHS:
        return False
    if found is None or not (span[0].isdecimal() or found.start() == 0):
        return False
    name_ends = found.end() == len(span) and (len(span) > len(found[0]) or len(found[0]) > 4)
    return name_ends or (span[-1].isdecimal() and len(span) > len(found[0]))


def _parsed(span: str, language: str, now: datetime) -> tuple[datetime, datetime] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _parser(language, now.replace(tzinfo=None)).get_date_data(span)
    if found.date_obj is None or not 1900 <= found.date_obj.year <= 2200:
        return None
    unit = found.period if found.period in ("day", "month", "year") else "day"
    return _window(found.date_obj.replace(tzinfo=now.tzinfo), 0, unit)


@lru_cache(maxsize=16)
def _parser(language: str, now: datetime) -> Any:
    from dateparser.date import DateDataParser

    settings = {"RELATIVE_BASE": now, "PREFER_DATES_FROM": "past", "RETURN_TIME_AS_PERIOD": True}
    return DateDataParser(languages=[cldr_code(language)], settings=settings)


@lru_cache(maxsize=64)
def _info(language: str) -> dict[str, Any]:
    from dateparser.languages.loader import default_loader

    found: dict[str, Any] = default_loader.get_locale(cldr_code(language)).info
    return found


def _window(now: datetime, count: int, unit: str) -> tuple[datetime, datetime] | None:
    """Return the unit of time ``count`` units from the one that contains ``now``; ``None`` outside the calendar."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    try:
        if unit in ("minute", "hour"):
            moment = now + count * timedelta(**{f"{unit}s": 1})
            return moment - timedelta(**{f"{unit}s": 1}), moment + timedelta(**{f"{unit}s": 1})
        if unit == "day":
            return day + timedelta(days=count), day + timedelta(days=count + 1)
        if unit == "week":
            monday = day - timedelta(days=day.weekday())
            return monday + timedelta(weeks=count), monday + timedelta(weeks=count + 1)
        if unit == "month":
            return _month(day, count), _month(day, count + 1)
        return day.replace(year=day.year + count, month=1, day=1), day.replace(
            year=day.year + count + 1, month=1, day=1
        )
    except (OverflowError, ValueError):
        return None


def _month(day: datetime, count: int) -> datetime:
    years, month = divmod(day.month - 1 + count, 12)
    return day.replace(year=day.year + years, month=month + 1, day=1)
