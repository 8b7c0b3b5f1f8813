"""Read the explicit and relative dates in a query, for the languages in :data:`LANGUAGES`.

The words come from dateparser, which has them from CLDR. Dates only move records of that time up and hide none, because
a date may be misread, and a record may be about another time than its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.memory.text.calendar_dates import calendar_dates, is_beside, iso_dates
from mlret.memory.text.calendar_names import calendar_names
from mlret.memory.text.day_words import day_words
from mlret.memory.text.numbered_dates import numbered_dates
from mlret.memory.text.other_calendars import other_dates
from mlret.memory.text.relative_dates import relative_dates
from mlret.memory.text.time_window import Read, TimeWindow, span_of

LANGUAGES = (
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt",
    "ro", "ru", "sv", "sw", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""Languages whose dates are read; a test holds ten expressions of each against the calendar."""
EXPLICIT_LANGUAGES = (*LANGUAGES, "bn", "fa", "th", "ur")
"""Languages whose explicit dates are read, but not necessarily relative ones such as *yesterday*."""
SLACK = timedelta(days=2)
"""How far beside a window a time still counts for something, as in LongMemEval's time-aware retrieval."""


def time_windows(text: str, language: str | None, now: datetime) -> list[TimeWindow]:
    """Return the dates that a text names.

    Relative dates (*yesterday*, *two weeks ago*, *last month*, *on Tuesday*) are counted from ``now``, in its time zone
    and by its calendar: a day lasts from midnight to midnight even if the clocks change, and a week begins on Monday. A
    weekday alone is the last one before today, a month without a year the last one that has begun. Dates in ISO 8601
    are read in every language.

    Parameters
    ----------
    text
        A query.
    language
        Its language; only dates in ISO 8601 are read unless it is one of :data:`LANGUAGES` or, for explicit dates, of
        :data:`EXPLICIT_LANGUAGES`.
    now
        The present, with a time zone.

    Returns
    -------
    list of TimeWindow
        In the order of the text, without overlaps; empty if nothing is found. A date that can be read in two ways, as
        ``3/5/2024`` in English, is returned in both.

    Raises
    ------
    InputError
        If ``now`` has no time zone.
    """
    if now.utcoffset() is None:
        raise InputError(f"now is {now.isoformat()}, without a time zone; add one, e.g. tzinfo=timezone.utc")
    code = None if language is None else normalise_language(language).partition("-")[0]
    folded = text.replace("İ", "i").casefold()
    if not folded.isascii():
        folded = "".join(map(_in_ascii, folded))
    if code is None or code not in EXPLICIT_LANGUAGES:
        return [TimeWindow(*span, folded[start:end]) for start, end, span in iso_dates(folded, now) if span is not None]
    dates = [*calendar_dates(folded, code, now), *numbered_dates(folded, code, now), *other_dates(folded, code, now)]
    found: list[Read] = []
    if code in LANGUAGES:
        found += _days(folded, code, now)
        found += relative_dates(folded, code, now)
        found += [read for read in _weekdays(folded, code, now) if not _is_part(read, dates, folded)]
    # Longer expressions are more exact and take precedence: `14 July 2023` over `July 2023`. What can be read as two
    # dates is both of them.
    taken: list[Read] = []
    for read in sorted([*found, *dates], key=lambda one: (one[0] - one[1], one[0])):
        if all(read[1] <= other[0] or read[0] >= other[1] for other in taken):
            taken += [other for other in dates if other[:2] == read[:2]] if read in dates else [read]
    return list(
        dict.fromkeys(
            TimeWindow(*span, folded[start:end])
            for start, end, span in sorted(taken, key=_by_place)
            if span is not None
        )
    )


def _by_place(read: Read) -> tuple[int, int]:
    return read[:2]


def _is_part(weekday: Read, dates: list[Read], text: str) -> bool:
    """Return whether a weekday is part of a date next to it, which is then the only one."""
    return any(
        (end <= weekday[0] and is_beside(text[end : weekday[0]]))
        or (weekday[1] <= start and is_beside(text[weekday[1] : start]))
        for start, end, _ in dates
    )


def _in_ascii(character: str) -> str:
    """Return the ASCII digit for a digit of any script, such as Devanagari; any other character as it is."""
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


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


def _days(text: str, language: str, now: datetime) -> list[Read]:
    """Return the named single days; ambiguous ones have no span."""
    return [
        (start, end, None if days is None else span_of(now, days, "day"))
        for start, end, days in day_words(text, language)
    ]


def _weekdays(text: str, language: str, now: datetime) -> list[Read]:
    names = calendar_names(language)
    if names is None:
        return []
    pattern, values = names[1]
    found: list[Read] = []
    for match in pattern.finditer(text):
        back = (now.weekday() - values[match[0]] - 1) % 7 + 1
        found.append((match.start(), match.end(), span_of(now, -back, "day")))
    return found
