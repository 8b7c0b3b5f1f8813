"""Instants: time-zone aware, and nothing else.

In the database an instant is microseconds since 1970 in UTC; as text it keeps the zone that it was given in.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlret.errors import InputError

Instant = datetime | str
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Later than any instant: an open end.
FOREVER = 2**62
# Of a version without an event time.
UNTIMED = -(2**62)


def read_instant(value: Instant, what: str) -> datetime:
    """An instant from a ``datetime`` or from ISO 8601.

    Parameters
    ----------
    value
        Must name its offset from UTC.
    what
        What it is, for the message.

    Raises
    ------
    InputError
        If it is no instant, or has no time zone: a wall clock's reading alone is not a point in time.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise InputError(f"{what} is {value!r}; write ISO 8601 such as 2026-03-01T09:00:00+01:00") from error
    if not isinstance(value, datetime):
        raise InputError(f"{what} is {type(value).__name__}; give a datetime or ISO 8601 with an offset from UTC")
    if value.utcoffset() is None:
        raise InputError(
            f"{what} is {value.isoformat()}, without a time zone; add one, e.g. {value.isoformat()}+00:00 for UTC"
        )
    return value


def micros(instant: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """The instant of :func:`micros`, in UTC."""
    return _EPOCH + value * _MICROSECOND


def iso(value: int) -> str:
    """An instant of :func:`micros` in ISO 8601, in UTC."""
    return from_micros(value).isoformat(timespec="microseconds")


def now() -> int:
    """The present in :func:`micros`."""
    return micros(datetime.now(UTC))
