"""Dates and times that metadata holds as strings of ISO 8601, compared by what they mean and not by their spelling."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

Ordering = Literal["<", "<=", ">", ">=", "="]
_COMPARE: dict[Ordering, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
# A date as ISO 8601 writes it in full. All such strings are in the order of their dates.
_DATED = "value GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
# Those among them that SQLite reads as Python does: a day that exists, and a time without blanks, with minutes, before
# 24:00; its functions see a string as far as the first NUL. Python alone decides about the others.
_READ = (
    "instr(value, char(0)) = 0 AND julianday(value) IS NOT NULL AND "
    "date(julianday(substr(value, 1, 10))) IS substr(value, 1, 10) AND "
    "(length(value) = 10 OR (value GLOB '??????????[T ][0-2][0-9]:[0-5][0-9]*' AND "
    "substr(value, 12, 2) <> '24' AND NOT substr(value, 12) GLOB '*[^0-9:.+Z-]*'))"
)
# Two offsets from UTC differ by less than two days.
_OFFSETS = 2


class Clause(NamedTuple):
    """A condition on ``value`` in SQL, with its parameters."""

    clause: str
    parameters: tuple[str, ...]


def moment_of(text: str) -> datetime | None:
    """Return the date or time that a string of ISO 8601 states; ``None`` if it does not begin with a whole date.

    Parameters
    ----------
    text
        A string such as ``"2024-05-31"`` or ``"2024-05-31T08:30:00+02:00"``.

    Examples
    --------
    >>> moment_of("2024-05-31 08:30")
    datetime.datetime(2024, 5, 31, 8, 30)
    >>> moment_of("May 2024") is None
    True
    """
    if len(text) < 10 or text[4] != "-" or text[7] != "-" or text[10:11] not in ("", "T", "t", " "):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def compared_moments(found: str, comparison: Ordering, wanted: datetime) -> bool:
    """Return whether a comparison holds between a string and a time; it does not if the string states no date.

    Parameters
    ----------
    found
        The string in the metadata.
    comparison
        The comparison.
    wanted
        The time that it is compared with.
    """
    one, other = moment_of(found), wanted
    if one is None:
        return False
    if one.tzinfo is None or other.tzinfo is None:
        one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
    return _COMPARE[comparison](one, other)


def sure_moments(comparison: Ordering, wanted: datetime) -> tuple[Clause | None, Clause]:
    """Return which strings surely satisfy a comparison, and which must be compared one by one.

    Strings whose dates are far enough apart are compared by the database, those around the wanted date by
    :func:`compared_moments`.

    Parameters
    ----------
    comparison
        The comparison.
    wanted
        The time that the strings are compared with.

    Returns
    -------
    (sure, likely)
        The conditions. ``sure`` is ``None`` if no string is sure.
    """
    days = 0 if wanted.tzinfo is None else _OFFSETS
    low, high = _shifted(wanted.date(), -days), _shifted(wanted.date(), days + 1)
    near = f"value >= ? AND value < ? AND {_DATED}"
    if comparison == "=":
        return None, Clause(near, (low, high))
    beyond, bound = ("value < ?", low) if comparison in ("<", "<=") else ("value >= ?", high)
    return (
        Clause(f"{beyond} AND {_DATED} AND {_READ}", (bound,)),
        Clause(f"{_DATED} AND ((value >= ? AND value < ?) OR ({beyond} AND NOT ({_READ})))", (low, high, bound)),
    )


def _shifted(day: date, days: int) -> str:
    """Return the day some days later as ISO 8601; the end of the calendar stands for days beyond it."""
    try:
        return (day + timedelta(days=days)).isoformat()
    except OverflowError:
        return "0000" if days < 0 else ":"  # The character after "9" comes after every year.
