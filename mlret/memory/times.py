"""Instants, which always have a time zone.

In the database an instant is stored as microseconds since 1970 in UTC; as text it keeps the zone that it was given in.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlret.errors import InputError

Instant = datetime | str
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Later than any instant; stands for an open end.
FOREVER = 2**62
# Stands for the event time of a version that has none.
UNTIMED = -(2**62)


def read_instant(value: Instant, what: str) -> datetime:
    """Return an instant from a ``datetime`` or an ISO 8601 string.

    Parameters
    ----------
    value
        The instant, with its offset from UTC.
    what
        Name of the value, for the error message.

    Raises
    ------
    InputError
        If it is not an instant, or has no time zone: a local time alone does not determine an instant.
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
    """Return an instant as microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """Return the instant of :func:`micros`, in UTC."""
    return _EPOCH + value * _MICROSECOND


def iso(value: int) -> str:
    """Return an instant of :func:`micros` in ISO 8601, in UTC."""
    return from_micros(value).isoformat(timespec="microseconds")


def now() -> int:
    """Return the present as :func:`micros`."""
    return micros(datetime.now(UTC))
