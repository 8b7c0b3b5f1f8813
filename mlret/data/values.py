"""Convert values of NumPy, pandas, Arrow and the standard library to JSON values; find missing ones.

Each kind of value means the same wherever it comes from. None of these packages is imported: their values are
recognised by their attributes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

_NAMES_OF_MISSING = frozenset({"NAType", "NaTType"})


def as_json(value: Any) -> Any:
    """Return the JSON value that a value of another kind stands for, or the value itself if there is none.

    Parameters
    ----------
    value
        Any value.

    Returns
    -------
    object
        For a NumPy scalar, the Python value; for an array, a list; for a date, time or date with time, ISO 8601 to the
        microsecond; for a Decimal, an integer if it is written without decimal places, otherwise a float; for a UUID,
        its 36 characters; for pandas' ``NA`` and ``NaT`` and NumPy's ``NaT``, ``None``. What is nested in a list is not
        converted.
    """
    if is_marker(value):
        return None
    if isinstance(value, datetime.datetime):
        # The method of the class itself: that of pandas' subclass writes nanoseconds, if there are any.
        return datetime.datetime.isoformat(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, UUID):
        return str(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return value if kind is None else _from_numpy(value, kind)


def is_marker(value: object) -> bool:
    """Whether a value is pandas' ``NA`` or ``NaT``."""
    kind = type(value)
    return kind.__name__ in _NAMES_OF_MISSING and kind.__module__.partition(".")[0] == "pandas"


def _number(value: Decimal) -> int | float:
    if value.is_nan():  # A signalling one cannot be converted.
        return math.nan
    exponent = value.as_tuple().exponent
    # An exponent that is a string marks an infinity; a large one would need that many digits.
    return int(value) if isinstance(exponent, int) and 0 <= exponent <= 308 else float(value)


def _from_numpy(value: Any, kind: str) -> Any:
    if getattr(value, "ndim", None):
        return value.tolist() if kind in "biufOU" else list(value)
    if not hasattr(value, "item"):
        return value
    if kind == "f":
        return float(value)
    if kind == "M":
        found = value.item()
        # Nanoseconds do not fit a datetime: NumPy then gives their number.
        return as_json(value.astype("datetime64[us]").item() if isinstance(found, int) else found)
    return value.item() if kind in "biuU" else value


def cells_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells of a table's row that hold a value, as JSON values.

    Missing values are left out: ``None``, NaN, ``NaT`` and ``NA``; within a list or an object they are null. Bytes and
    durations, which JSON cannot represent, are left out, too.

    Parameters
    ----------
    row
        Values by column.
    """
    found: dict[str, Any] = {}
    for column, value in row.items():
        if type(value) is not str:
            value = _cell(value)
            if value is None or isinstance(value, bytes | bytearray | memoryview | datetime.timedelta):
                continue
        found[column] = value
    return found


def _cell(value: Any) -> Any:
    """Return a cell as a JSON value, with ``None`` for what is missing."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if not isinstance(value, float):
        value = as_json(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, list | tuple):
        return [_cell(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _cell(one) for key, one in value.items()}
    return value
