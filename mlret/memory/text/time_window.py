"""A span of time that a text names, and how spans are counted on the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

UNITS = ("minute", "hour", "day", "week", "month", "year")
_FIRST_YEAR, _LAST_YEAR = 1500, 2200
_YEARS_BACK = 8  # 29 February occurs again after eight years at the latest.


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


# Start and end of an expression in the text, and its span of time; ``None`` for an ambiguous one, which hides others.
Read = tuple[int, int, tuple[datetime, datetime] | None]


def span_of(now: datetime, count: int, unit: str) -> tuple[datetime, datetime] | None:
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


def span_between(first: date, after: date, now: datetime) -> tuple[datetime, datetime]:
    """Return the span from the midnight that begins a day to the one that begins another, in the zone of ``now``."""
    zone = now.tzinfo
    return datetime(first.year, first.month, first.day, tzinfo=zone), datetime(
        after.year, after.month, after.day, tzinfo=zone
    )


def span_of_date(
    year: int, month: int | None, day: int | None, now: datetime, last_day: int | None = None
) -> tuple[datetime, datetime] | None:
    """Return the year, month or day of a Gregorian date; ``None`` if there is no such date.

    Parameters
    ----------
    year, month, day
        The date; ``None`` for a month or day that is not named.
    now
        The present; its time zone is that of the span.
    last_day
        The last day, of a date such as *5-7 October*.
    """
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        first = date(year, month or 1, day or 1)
        if day is not None:
            last = date(year, month or 1, last_day or day)
            return span_between(first, last + timedelta(days=1), now) if last >= first else None
    except ValueError:
        return None
    after = date(year + (month is None or month == 12), 1 if month is None else month % 12 + 1, 1)
    return span_between(first, after, now)


def last_span(
    month: int, day: int | None, now: datetime, last_day: int | None = None
) -> tuple[datetime, datetime] | None:
    """Return the last such month or day that has begun; ``None`` if there is no such date."""
    for year in range(now.year, now.year - _YEARS_BACK - 1, -1):
        if (span := span_of_date(year, month, day, now, last_day)) is not None and span[0] <= now:
            return span
    return None


def full_year(digits: str, now: datetime) -> int:
    """Return the year of two or four digits: of two, the one from 89 years ago to ten years ahead."""
    year = int(digits)
    if len(digits) > 2:
        return year
    latest = now.year + 10
    return latest - (latest - year) % 100


def _month(day: datetime, count: int) -> datetime:
    years, month = divmod(day.month - 1 + count, 12)
    return day.replace(year=day.year + years, month=month + 1, day=1)
