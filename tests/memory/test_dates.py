"""Test that dates in queries are read in every declared language, in the caller's time zone, and hide no records."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.memory.text.dates import LANGUAGES, TimeWindow, time_bonus, time_windows

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)  # a Wednesday
EXPECTED = {
    "yesterday": (date(2026, 5, 19), date(2026, 5, 20)),
    "last week": (date(2026, 5, 11), date(2026, 5, 18)),
    "last month": (date(2026, 4, 1), date(2026, 5, 1)),
    "last year": (date(2025, 1, 1), date(2026, 1, 1)),
    "two weeks ago": (date(2026, 5, 4), date(2026, 5, 11)),
    "3 days ago": (date(2026, 5, 17), date(2026, 5, 18)),
    "14 July 2023": (date(2023, 7, 14), date(2023, 7, 15)),
    "March 2024": (date(2024, 3, 1), date(2024, 4, 1)),
    "Friday": (date(2026, 5, 15), date(2026, 5, 16)),
}
QUERIES: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("date_queries.json").read_text(encoding="utf-8")
)


def days(windows: list[TimeWindow]) -> list[tuple[date, date]]:
    assert all(one.start.time() == one.end.time() == datetime.min.time() for one in windows)
    return [(one.start.date(), one.end.date()) for one in windows]


@pytest.mark.parametrize("language", LANGUAGES)
def test_dates_are_read_in_every_declared_language(language: str) -> None:
    found = {what: days(time_windows(query, language, NOW)) for what, query in QUERIES[language].items()}
    assert found == {**{what: [window] for what, window in EXPECTED.items()}, "no date": []}


@pytest.mark.parametrize(
    ("query", "language", "expected"),
    [
        ("Between 2024-03-05 and 2024-03-07?", "en", [(2024, 3, 5, 6), (2024, 3, 7, 8)]),
        ("Was war am 5.3.2024?", "de", [(2024, 3, 5, 6)]),
        ("What happened on March 5, 2024, please?", "en", [(2024, 3, 5, 6)]),
        ("昨天和２０２４年３月５日", "zh", [(2026, 5, 19, 20), (2024, 3, 5, 6)]),
    ],
)
def test_several_dates_are_read_in_their_order(
    query: str, language: str, expected: list[tuple[int, int, int, int]]
) -> None:
    assert days(time_windows(query, language, NOW)) == [
        (date(year, month, first), date(year, month, last)) for year, month, first, last in expected
    ]


def test_a_year_alone_is_a_year_and_a_price_is_none() -> None:
    assert days(time_windows("Where did we live in 2019?", "en", NOW)) == [(date(2019, 1, 1), date(2020, 1, 1))]
    for query in ("It cost 12019 shillings", "Room 12", "We may meet", "the second sun", "for 3 days", "a", ""):
        assert time_windows(query, "en", NOW) == []


def test_without_a_declared_language_nothing_is_read() -> None:
    assert time_windows("yesterday", None, NOW) == []
    assert time_windows("isolo", "zu", NOW) == []


def test_a_day_is_from_midnight_to_midnight_where_the_clocks_change() -> None:
    zone = ZoneInfo("Europe/Zurich")
    (window,) = time_windows("yesterday", "en", datetime(2026, 3, 30, 1, 30, tzinfo=zone))
    assert (window.start.astimezone(UTC), window.end.astimezone(UTC)) == (
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    )  # 23 hours


def test_yesterday_depends_on_the_zone_of_who_asks() -> None:
    instant = datetime(2026, 5, 20, 23, tzinfo=UTC)
    assert days(time_windows("yesterday", "en", instant)) == [(date(2026, 5, 19), date(2026, 5, 20))]
    tokyo = instant.astimezone(ZoneInfo("Asia/Tokyo"))
    assert days(time_windows("昨日", "ja", tokyo)) == [(date(2026, 5, 20), date(2026, 5, 21))]
    with pytest.raises(InputError, match="time zone"):
        time_windows("yesterday", "en", datetime(2026, 5, 20))


@settings(deadline=None)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1)), st.integers(1, 400))
def test_relative_days_agree_with_the_calendar(now: datetime, count: int) -> None:
    (window,) = time_windows(f"what was {count} days ago?", "en", now.replace(tzinfo=UTC))
    day = now.date() - timedelta(days=count)
    assert days([window]) == [(day, day + timedelta(days=1))]


@settings(deadline=None)  # the first text of a language compiles its patterns
@given(st.text(max_size=60), st.sampled_from(LANGUAGES))
def test_any_text_can_be_asked(text: str, language: str) -> None:
    windows = time_windows(text, language, NOW)
    assert all(one.start < one.end and one.start.tzinfo is not None for one in windows)


def test_a_record_of_the_time_is_moved_up_and_none_is_hidden() -> None:
    (window,) = time_windows("yesterday", "en", NOW)
    hour, day = 3600.0, 86_400.0
    start = window.start.timestamp()
    starts = np.array([start + hour, start - day - hour, start - 5 * day, start + 2 * day, np.nan])
    bonus = time_bonus(starts, starts, [window], 0.5)
    np.testing.assert_allclose(bonus, [0.5, 0.5 * (1 - 25 / 48), 0, 0.25, 0], atol=1e-9)
    assert not time_bonus(starts, starts, [], 0.5).any()


# Language -> expression -> days from today; null if it names no day, or possibly two.
DAY_WORDS: dict[str, dict[str, int | None]] = json.loads(
    Path(__file__).with_name("day_words.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_day_that_is_named_by_another_is_not_taken_for_it(language: str) -> None:
    """The day before yesterday, the day after tomorrow, last night, this morning: read correctly, or not at all."""
    for text, offset in DAY_WORDS[language].items():
        day = NOW.date() + timedelta(days=offset or 0)
        expected = [] if offset is None else [(day, day + timedelta(days=1))]
        for asked in (text, f"{text}?", text[0].upper() + text[1:]):
            assert days(time_windows(asked, language, NOW)) == expected, asked


def test_hindi_has_one_word_for_both_and_the_verb_says_which() -> None:
    assert days(time_windows("कल मैं बाज़ार गया", "hi", NOW)) == [(date(2026, 5, 19), date(2026, 5, 20))]
    assert days(time_windows("कल मैं बाज़ार जाऊँगा", "hi", NOW)) == [(date(2026, 5, 21), date(2026, 5, 22))]
    assert days(time_windows("परसों बारिश होगी", "hi", NOW)) == [(date(2026, 5, 22), date(2026, 5, 23))]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "10月5日我做了什么？", date(2025, 10, 5)),
        ("zh", "5月20号", date(2026, 5, 20)),
        ("zh", "去年10月5日我做了什么？", date(2025, 10, 5)),
        ("zh", "去年3月5日", date(2025, 3, 5)),
        ("zh", "2月29日", date(2024, 2, 29)),
        ("zh", "2月30日", None),
        ("zh", "2024年2月29日", date(2024, 2, 29)),
        ("ja", "10月5日に何をしましたか？", date(2025, 10, 5)),
        ("ja", "今年の10月5日", date(2026, 10, 5)),
        ("ja", "昨年の3月5日", date(2025, 3, 5)),
        ("ko", "10월 5일에 무엇을 했나요?", date(2025, 10, 5)),
        ("ko", "작년 3월 5일", date(2025, 3, 5)),
        ("vi", "ngày 5 tháng 10 tôi đã làm gì?", date(2025, 10, 5)),
        ("vi", "ngày 5 tháng 3 năm ngoái", date(2025, 3, 5)),
        ("vi", "ngày 5 tháng 10 năm 2023", date(2023, 10, 5)),
    ],
)
def test_a_day_of_a_month_without_a_year_is_the_last_one(language: str, text: str, expected: date | None) -> None:
    found = days(time_windows(text, language, NOW))
    assert found == ([] if expected is None else [(expected, expected + timedelta(days=1))])
