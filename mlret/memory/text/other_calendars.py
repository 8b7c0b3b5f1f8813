"""Read dates of the Islamic, the Persian and the Buddhist calendar that name their year: `15 رمضان 1446 هـ`.

Islamic dates are those of Umm al-Qura, the calendar of Saudi Arabia, which no formula gives: hijridate has its table of
the years 1343 to 1500. Where months begin when the moon is seen, they may be a day off. The months of the Persian
calendar follow from the leap years of its cycle of 33 years, which is right for the years from 1178 to 1633.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import regex

from mlret.data.lazy_pattern import LazyPattern
from mlret.memory.text.time_window import Read, span_between, span_of_date

SpanOf = Callable[[int, int | None, int | None, datetime], tuple[datetime, datetime] | None]
_DAY = r"(?<![\w.,:/+-])(?P<day>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th|\.)?"
_AH = r"(?:هـ(?:\.?\s?ق\.?)?|ه\.?\s?ق\.?|هجر(?:ية|ي|ی)|ہجری|ھ|قمری|ah|h(?:ijriah|icri)?|a\.\s?h\.?|هـ?)"
_AP = r"(?:هـ\.?\s?ش\.?|ه\.?\s?ش\.?|(?:هجری\s)?شمسی|خورشیدی|ap|a\.\s?p\.?|sh)"
_END = r"(?![\p{L}\p{M}\d]|[-./:]\d)"
_ISLAMIC_YEAR = r"(?P<year>1(?:3[4-9]|4\d)\d|1500)"
_PERSIAN_YEAR = r"(?P<year>1[2-4]\d\d)"
_FILTER = LazyPattern(r"1[2-5]\d\d|2[4-6]\d\d|[۱١]|مهر|فروردین")


def other_dates(text: str, language: str, now: datetime) -> list[Read]:
    """Return the dates of other calendars that a text names.

    A year alone needs the mark of its era (`1446 هـ`, `1446 AH`, `พ.ศ. 2567`, `سال ۱۴۰۳`); a date without a year is
    read only in Persian, for the Persian calendar.

    Parameters
    ----------
    text
        Case-folded text with ASCII digits.
    language
        Language code without script and country.
    now
        The present, with a time zone.

    Returns
    -------
    list of Read
        They may overlap; the longest one is right.
    """
    found: list[Read] = []
    if language == "fa":
        found += _persian_days(text, now)
    if not _FILTER.search(text):
        return found
    plain = text.replace("ʻ", "'").replace("’", "'").replace("‘", "'").replace("`", "'")
    found += _with_months(plain, now)
    found += _in_numerals(plain, language, now)
    return found


def islamic_span(year: int, month: int | None, day: int | None, now: datetime) -> tuple[datetime, datetime] | None:
    """Return the year, month or day of an Islamic date; ``None`` if there is none, or it is outside the table."""
    from hijridate import Hijri

    try:
        first = Hijri(year, month or 1, day or 1).to_gregorian()
        if day is not None:
            return span_between(first, first + timedelta(days=1), now)
        after = Hijri(year + (month is None or month == 12), 1 if month is None else month % 12 + 1, 1).to_gregorian()
    except (OverflowError, ValueError):
        return None
    return span_between(first, after, now)


def persian_span(year: int, month: int | None, day: int | None, now: datetime) -> tuple[datetime, datetime] | None:
    """Return the year, month or day of a date of the Persian calendar; ``None`` if there is none."""
    if not 1178 <= year <= 1577:
        return None
    if day is not None:
        assert month is not None
        first = _persian(year, month, day)
        next_month = _persian(year + month // 12, month % 12 + 1, 1)
        return span_between(first, first + timedelta(days=1), now) if first < next_month else None
    after = _persian(year + 1, 1, 1) if month is None else _persian(year + month // 12, month % 12 + 1, 1)
    return span_between(_persian(year, month or 1, 1), after, now)


def _persian(year: int, month: int, day: int) -> date:
    """Return the Gregorian date: the calendar of :class:`datetime.date` is counted 226,894 days longer."""
    days = 226_894 + 365 * (year - 1) + (8 * year + 21) // 33
    return date.fromordinal(days + 31 * (month - 1) - max(month - 7, 0) + day)


def _with_months(text: str, now: datetime) -> Iterator[Read]:
    for pattern, months, span_of in _patterns():
        for match in pattern.finditer(text):
            day = match.groupdict().get("day")
            month = months[" ".join(match["month"].split())]
            span = span_of(int(match["year"]), month, int(day) if day else None, now)
            if span is not None:
                yield match.start(), match.end(), span


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[regex.Pattern[str], dict[str, int], SpanOf]]:
    found: list[tuple[regex.Pattern[str], dict[str, int], SpanOf]] = []
    for calendar, year, mark, span_of in (
        ("islamic", _ISLAMIC_YEAR, _AH, islamic_span),
        ("persian", _PERSIAN_YEAR, _AP, persian_span),
    ):
        months = _months(calendar)
        name = rf"(?<![\p{{L}}\p{{M}}\d])[وبلف]?(?:(?:شهر|ماه|bulan)\s)?(?P<month>{_any(months)})(?![\p{{L}}\p{{M}}])"
        to_year = r"\s*[,،]?\s*(?:(?:من )?(?:عام|سنة|لعام|سال|سنہ|tahun|of)\s*)?"
        ending = rf"{year}(?:\s?{mark})?{_END}"
        found += [
            (regex.compile(rf"{_DAY}\s*(?:من\s+|of\s+)?{name}{to_year}{ending}"), months, span_of),
            (regex.compile(rf"{name}{to_year}{ending}"), months, span_of),
            (regex.compile(rf"{name}\s+{_DAY},?\s+{ending}"), months, span_of),
        ]
    return found


def _in_numerals(text: str, language: str, now: datetime) -> Iterator[Read]:
    for pattern, span_of, languages in _numerals():
        if languages is not None and language not in languages:
            continue
        for match in pattern.finditer(text):
            month, day = (int(part) if (part := match.groupdict().get(name)) else None for name in ("month", "day"))
            if (month is None or 1 <= month <= 12) and (span := span_of(int(match["year"]), month, day, now)):
                yield match.start(), match.end(), span


@lru_cache(maxsize=1)
def _numerals() -> list[tuple[regex.Pattern[str], SpanOf, frozenset[str] | None]]:
    mark = r"[\u200e\u200f\u061c]?"
    numbers = rf"(?<![\w.,:/+-])(?P<day>\d\d?){mark}(?P<mark>[-/.]){mark}(?P<month>\d\d?){mark}(?P=mark){mark}"
    reversed_ = rf"{mark}(?P<mark>[-/.]){mark}(?P<month>\d\d?){mark}(?P=mark){mark}(?P<day>\d\d?)"
    arabic, persian, thai = frozenset({"ar", "ur"}), frozenset({"fa"}), frozenset({"th"})
    return [
        (regex.compile(rf"{numbers}{_ISLAMIC_YEAR}\s?{_AH}{_END}"), islamic_span, None),
        (regex.compile(rf"(?<![\w.,:/+-]){_ISLAMIC_YEAR}{reversed_}\s?{_AH}{_END}"), islamic_span, None),
        (regex.compile(rf"{numbers}{_ISLAMIC_YEAR}{_END}"), islamic_span, arabic),
        (regex.compile(rf"(?<![\w.,:/+-]){_PERSIAN_YEAR}{reversed_}{_END}"), persian_span, persian),
        (regex.compile(rf"(?<![\w.,:/+#-]){_ISLAMIC_YEAR}\s?{_AH}{_END}"), islamic_span, None),
        (regex.compile(rf"(?<!\w)(?:a\.?h\.?|hicri)\s{_ISLAMIC_YEAR}{_END}"), islamic_span, None),
        (regex.compile(rf"(?<![\w.,:/+#-]){_PERSIAN_YEAR}\s?{_AP}{_END}"), persian_span, persian),
        (regex.compile(rf"(?<!\w)سال(?:\sهای)?\s{_PERSIAN_YEAR}{_END}"), persian_span, persian),
        (regex.compile(r"(?:พ\.?\s?ศ\.?|ปี)\s*(?P<year>2[4-6]\d\d)(?!\d|[-./:]\d)"), _buddhist_span, thai),
        (
            regex.compile(r"(?<!\w)(?:b\.?\s?e\.?\s(?P<year>2[4-6]\d\d)|(?P<year>2[4-6]\d\d)\sb\.?\s?e\.?)(?!\w)"),
            _buddhist_span,
            None,
        ),
    ]


def _buddhist_span(year: int, month: int | None, day: int | None, now: datetime) -> tuple[datetime, datetime] | None:
    return span_of_date(year - 543, month, day, now)


def _persian_days(text: str, now: datetime) -> Iterator[Read]:
    """Return days of the Persian calendar without a year: the last one that has begun."""
    months = _months("persian")
    for match in _persian_day_pattern().finditer(text):
        month, day = months[match["month"]], int(match["day"])
        for year in range(now.year - 621, now.year - 627, -1):
            span = persian_span(year, month, day, now)
            if span is not None and span[0] <= now:
                yield match.start(), match.end(), span
                break


@lru_cache(maxsize=1)
def _persian_day_pattern() -> regex.Pattern[str]:
    # Without a year the first name of each month is read, not the names of Afghanistan, which are words as well.
    first = {number: name for name, number in reversed(_months("persian").items())}
    names = _any({name: number for number, name in first.items()})
    return regex.compile(rf"{_DAY}\s*(?P<month>{names})(?:\s?ماه)?(?![\p{{L}}\p{{M}}])")


@lru_cache(maxsize=2)
def _months(calendar: str) -> dict[str, int]:
    """Return the names of the months of a calendar, in the spellings of several languages, and their numbers."""
    path = Path(__file__).with_name("other_months.json")
    table: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))[calendar]
    return {" ".join(name.casefold().split()): n for n, names in enumerate(table, start=1) for name in names}


def _any(names: dict[str, int]) -> str:
    return "|".join(regex.escape(name).replace(r"\ ", r"\s+") for name in sorted(names, key=len, reverse=True))
