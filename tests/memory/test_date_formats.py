"""Test that dates are read as CLDR formats them in each language and calendar, and that other numbers are not.

ICU, an independent implementation of CLDR's formats and of the calendars, writes the dates.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.memory.text.dates import EXPLICIT_LANGUAGES, LANGUAGES, time_windows
from mlret.memory.text.other_calendars import islamic_span, persian_span
from tests.conftest import examples

MessageFormat = pytest.importorskip("icu4py.messageformat", reason="the extra dev installs it").MessageFormat

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAYS = st.dates(date(1960, 1, 1), date(2026, 5, 20))
FULL = ("full", "long", "medium", "short", "::yMMMEd", "::yMMMd", "::yMd", "::yMEd")
MONTHS = ("::yMMMM", "::yMMM", "::yM")
NO_YEAR = ("::MMMMd", "::MMMd", "::MMMMEd", "::MMMEd", "::MEd")
# Numerals that are read in both orders of day and month.
EITHER = {("en", style) for style in ("short", "::yMd", "::yMEd")}
# Without a year or a weekday, these are decimals, versions or fractions, or the short name is another word (Italian
# `7 set`, seven sets; Turkish `3 kas`, three muscles). A weekday behind the numerals is not read in Turkish.
UNREAD = {
    *((language, "::MMMd") for language in ("bg", "cs", "fi", "es", "it", "pl", "pt", "ro", "tr", "hi")),
    ("tr", "::MMMEd"),
    ("tr", "::MEd"),
    ("he", "::MEd"),
}


def formatted(day: date, style: str, locale: str) -> str:
    at = datetime(day.year, day.month, day.day, 12)
    return str(MessageFormat(f"{{day, date, {style}}}", locale).format({"day": at}))


def read(text: str, language: str) -> list[tuple[date, date]]:
    return [(one.start.date(), one.end.date()) for one in time_windows(text, language, NOW)]


def one_day(day: date) -> tuple[date, date]:
    return day, day + timedelta(days=1)


def last_such_day(day: date) -> date:
    years = range(NOW.year, NOW.year - 9, -1)
    possible = [date(year, day.month, day.day) for year in years if (day.month, day.day) != (2, 29) or year % 4 == 0]
    return next(one for one in possible if one <= NOW.date())


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None, max_examples=examples(40))
@given(day=DAYS, style=st.sampled_from(FULL))
def test_a_date_is_read_as_its_language_formats_it(language: str, day: date, style: str) -> None:
    found = read(formatted(day, style, language), language)
    if (language, style) in EITHER and day.day <= 12:
        assert set(found) == {one_day(day), one_day(date(day.year, day.day, day.month))}
    else:
        assert found == [one_day(day)]


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None, max_examples=examples(20))
@given(day=DAYS, style=st.sampled_from(MONTHS))
def test_a_month_of_a_year_is_read_as_its_language_formats_it(language: str, day: date, style: str) -> None:
    first = day.replace(day=1)
    text = formatted(day, style, language)
    if re.fullmatch(r"\d{4}[-/.]\s?\d+\.?", text) and day.month > day.year % 100:
        return  # 2010-12 can be the years from 2010 to 2012.
    assert read(text, language) == [(first, (first + timedelta(days=32)).replace(day=1))]


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None, max_examples=examples(20))
@given(day=DAYS, style=st.sampled_from(NO_YEAR))
def test_a_date_without_a_year_is_the_last_one(language: str, day: date, style: str) -> None:
    if (language, style) in UNREAD:
        return
    found = read(formatted(day, style, language), language)
    assert found == [one_day(last_such_day(day))]


@pytest.mark.parametrize(
    ("locale", "styles"),
    [
        ("fa", ("long", "medium", "short")),
        ("th", ("full", "long", "medium")),
        ("bn", ("full", "long", "medium", "short")),
        ("ur", ("full", "long", "medium", "short")),
        ("ar-u-nu-arab", FULL),
        ("hi-u-nu-deva", FULL),
        ("ja-u-ca-japanese", ("long", "medium", "short")),
        ("zh-Hant-u-ca-roc", ("full", "long", "medium", "short")),
        ("zh-Hant", FULL[:4]),
        ("zh-HK", ("full", "long", "medium")),
        ("th-u-nu-thai", ("full", "long", "medium")),
    ],
)
@settings(deadline=None, max_examples=examples(40))
@given(data=st.data(), day=st.dates(date(2001, 1, 1), date(2026, 5, 20)))
def test_native_digits_and_calendars_are_read(
    locale: str, styles: tuple[str, ...], data: st.DataObject, day: date
) -> None:
    text = formatted(day, data.draw(st.sampled_from(styles)), locale)
    assert read(text, locale[:2]) == [one_day(day)]


ZEROS = [chr(code) for code in range(128, 0x20000) if unicodedata.decimal(chr(code), None) == 0]


@pytest.mark.parametrize("zero", ZEROS)
def test_digits_of_every_script_have_their_values(zero: str) -> None:
    text = "".join(chr(ord(zero) + int(one)) if one.isdigit() else one for one in "2013-04-29 5678")
    assert read(text, "hi") == [one_day(date(2013, 4, 29))]


@settings(deadline=None, max_examples=examples(300))
@given(day=st.dates(date(1925, 1, 1), date(2076, 1, 1)))
def test_the_persian_calendar_agrees_with_icu(day: date) -> None:
    month, number, year = map(int, re.findall(r"\d+", formatted(day, "::yMMdd", "en-u-ca-persian")))
    span = persian_span(year, month, number, NOW)
    assert span is not None
    assert span[0].date() == day
    assert persian_span(year, 12, 31, NOW) is None


@settings(deadline=None, max_examples=examples(300))
@given(day=st.dates(date(1925, 1, 1), date(2076, 1, 1)))
def test_the_islamic_calendar_agrees_with_icu(day: date) -> None:
    """Exactly from 2000 to 2024; before and after that the tables of ICU and of hijridate differ by up to two days."""
    month, number, year = map(int, re.findall(r"\d+", formatted(day, "::yMMdd", "en-u-ca-islamic-umalqura"))[:3])
    span = islamic_span(year, month, min(number, 29), NOW)
    assert span is not None
    off = abs((span[0].date() - day).days + max(number - 29, 0))
    assert off <= (0 if 2000 <= day.year < 2025 else 2)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("ja", "令和6年", (date(2024, 1, 1), date(2025, 1, 1))),
        ("ja", "平成元年", (date(1989, 1, 8), date(1990, 1, 1))),
        ("ja", "平成31年", (date(2019, 1, 1), date(2019, 5, 1))),
        ("ja", "令和元年", (date(2019, 5, 1), date(2020, 1, 1))),
        ("ja", "R6.10.5", one_day(date(2024, 10, 5))),
        ("ja", "R6年度", (date(2024, 4, 1), date(2025, 4, 1))),
        ("ja", "2024年度の予算", (date(2024, 4, 1), date(2025, 4, 1))),
        ("ja", "2010年代", (date(2010, 1, 1), date(2020, 1, 1))),
        ("ja", "平成31年5月1日", None),  # Heisei ended the day before.
        ("ja", "2000年間", None),
        ("ja", "キヤノンEOS R6", None),
        ("zh", "二〇一〇年", (date(2010, 1, 1), date(2011, 1, 1))),
        ("zh", "一九九九年十二月三十一日", one_day(date(1999, 12, 31))),
        ("zh", "民国113年10月", (date(2024, 10, 1), date(2024, 11, 1))),
        ("zh", "113年10月5日", one_day(date(2024, 10, 5))),
        ("zh", "10月5日至7日", (date(2025, 10, 5), date(2025, 10, 8))),
        ("zh", "去年十月", (date(2025, 10, 1), date(2025, 11, 1))),
        ("zh", "10个月", None),
        ("ko", "10월에", (date(2025, 10, 1), date(2025, 11, 1))),
        ("ko", "10개월", None),
        ("vi", "tháng mười hai", (date(2025, 12, 1), date(2026, 1, 1))),
        ("vi", "3 tháng 10 ngày", None),
        ("ar", "١٥ رمضان ١٤٤٦ هـ", one_day(date(2025, 3, 15))),
        ("ar", "عام 1446 هـ", (date(2024, 7, 7), date(2025, 6, 26))),
        ("ar", "في رمضان 1446", (date(2025, 3, 1), date(2025, 3, 30))),
        ("ar", "الخامس من أكتوبر 2024", one_day(date(2024, 10, 5))),
        ("ar", "15 تشرين الأول/أكتوبر 2024", one_day(date(2024, 10, 15))),
        ("fa", "سال ۱۴۰۳", (date(2024, 3, 20), date(2025, 3, 21))),
        ("th", "พ.ศ. 2567", (date(2024, 1, 1), date(2025, 1, 1))),
        ("th", "ราคา 2567 บาท", None),
        ("hi", "विक्रम संवत 2081", None),
        ("en", "5-7 October 2024", (date(2024, 10, 5), date(2024, 10, 8))),
        ("en", "Oktober", None),
        ("en", "October last year", (date(2025, 10, 1), date(2025, 11, 1))),
        ("en", "in the 1990s", (date(1990, 1, 1), date(2000, 1, 1))),
        ("en", "2019-2021", (date(2019, 1, 1), date(2022, 1, 1))),
        ("en", "season 2019/20", (date(2019, 1, 1), date(2021, 1, 1))),
        ("en", "14/7/2023", one_day(date(2023, 7, 14))),
        ("sv", "den 14 juli", one_day(date(2025, 7, 14))),
        ("es", "mar, 19 may", one_day(date(2026, 5, 19))),
        ("de", "am 5.10.", one_day(date(2025, 10, 5))),
        ("fi", "lokakuun 5. päivänä 2024", one_day(date(2024, 10, 5))),
    ],
)
def test_what_people_write(language: str, text: str, expected: tuple[date, date] | None) -> None:
    assert read(text, language) == ([] if expected is None else [expected])


def test_an_iso_date_is_read_in_any_language_and_without_one() -> None:
    for language in (None, "zu", "en"):
        found = [one.start.date() for one in time_windows("2024-10-05T10:00", language, NOW)]
        assert found == [date(2024, 10, 5)]


# Numbers that are no dates, in every language, with the signs that are the same in all.
NO_DATES = [
    "12,50 €", "€ 1.999", "$2019", "2019 €", "2019 km", "1,2019", "2019.5", "3:16", "24/7", "1/2", "50/50", "3-1",
    "9/11", "16:9", "v5.3.24", "python 3.11.24", "192.168.1.1", "10.0.0.1", "+49 30 1234567",
    "030-12-2024-5", "#2019",
    "978-3-16-148410-0", "80%", "2000%", "5.10", "31.12", "37.5", "99/13/2024", "2024-13-45", "1.2.3.4",
    "room 12", "A4", "B2B", "4x4", "100m",
    "2019/20/21x", "ABC2019", "2019abc", "1:2019", "2019:1",
]  # fmt: skip


@pytest.mark.parametrize("language", EXPLICIT_LANGUAGES)
def test_numbers_that_are_no_dates_are_not_read(language: str) -> None:
    for text in NO_DATES:
        assert read(text, language) == [], text


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "date_table.py"
    spec = importlib.util.spec_from_file_location("date_table", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_states_what_is_read(script: ModuleType) -> None:
    text = script.README.read_text(encoding="utf-8")
    assert text.partition(script.BEGIN)[2].partition(script.END)[0].strip() == script.table()
