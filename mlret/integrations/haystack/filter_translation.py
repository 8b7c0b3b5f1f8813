"""Filters of Haystack as conditions of an index, so that the database evaluates them.

The meaning is that of Haystack's ``DocumentStore`` protocol and of ``haystack.utils.filters``: a comparison is with the
whole value of a field, so a list equals a list and not its elements; a missing field is ``None``; strings that are
ISO 8601 dates are compared as dates; numbers and booleans are compared as Python compares them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from haystack.errors import FilterError

from mlret.data.unicode_text import is_unicode
from mlret.index.filtering.filters import (
    DEEPEST_FILTER,
    All,
    Among,
    Comparison,
    Condition,
    Exists,
    HasId,
    Moment,
    Not,
    OfKind,
    Range,
    Same,
    Some,
    TextIs,
)
from mlret.index.filtering.moments import moment_of
from mlret.integrations.haystack.stored_documents import BLOB, CONTENT, EMBEDDING, SCORE, SPARSE
from mlret.integrations.stored_metadata import stored_name

_LOGIC = ("AND", "NOT", "OR")
_ORDER: dict[str, Comparison] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OPERATORS = ("==", "!=", "in", "not in", *_ORDER)
_PRESENT_OR_NOT = {"embedding": EMBEDDING, "blob": BLOB, "sparse_embedding": SPARSE}
_ALWAYS, _NEVER = All(()), Some(())


def to_condition(filters: Mapping[str, Any] | None) -> Condition | None:
    """Translate filters of Haystack.

    Parameters
    ----------
    filters
        Filters as ``DocumentStore.filter_documents`` takes them. Fields are ``id``, ``content``, ``score``,
        ``meta.NAME`` with a path of dots into objects (``meta.`` may be left out), and ``embedding``, ``blob`` and
        ``sparse_embedding``, which can only be compared with ``None``.

    Returns
    -------
    Condition or None
        ``None`` if every document passes.

    Raises
    ------
    haystack.errors.FilterError
        If the filters are malformed, or compare what cannot be compared.
    """
    if filters is None or (isinstance(filters, Mapping) and not filters):
        return None
    return _condition(filters, 1)


def _condition(filters: Any, depth: int) -> Condition:
    if not isinstance(filters, Mapping):
        raise FilterError(f"a filter is a dict, not {type(filters).__name__}")
    if depth > DEEPEST_FILTER:
        raise FilterError(f"the filter is nested more than {DEEPEST_FILTER} deep")
    wanted = ("field", "operator", "value") if "field" in filters else ("operator", "conditions")
    for key in wanted:
        if key not in filters:
            raise FilterError(f"the key {key!r} is missing in the filter {dict(filters)!r:.200}")
    operator = filters["operator"]
    if "field" in filters:
        return _comparison(filters["field"], operator, filters["value"])
    if operator not in _LOGIC:
        raise FilterError(f"there is no logical operator {operator!r}; there are {', '.join(_LOGIC)}")
    if not isinstance(filters["conditions"], list | tuple):
        raise FilterError(f"the conditions of {operator} are a list, not {type(filters['conditions']).__name__}")
    some = tuple(_condition(one, depth + 1) for one in filters["conditions"])
    return Some(some) if operator == "OR" else All(some) if operator == "AND" else Not(All(some))


def _comparison(field: Any, operator: Any, value: Any) -> Condition:
    if not isinstance(field, str):
        raise FilterError(f"the field {field!r} is no string")
    if operator not in _OPERATORS:
        raise FilterError(f"there is no comparison operator {operator!r}; there are {', '.join(_OPERATORS)}")
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} takes a list, not {type(value).__name__}")
        found: Condition = Some(tuple(_equal(field, one) for one in value))
    elif operator in _ORDER:
        return _ordered(field, _ORDER[operator], value)
    else:
        found = _equal(field, value)
    return Not(found) if operator in ("!=", "not in") else found


def _equal(field: str, value: Any) -> Condition:
    """Return the condition that the value of a field, ``None`` if it is missing, equals a value."""
    if field == "id":
        return HasId((value,)) if isinstance(value, str) and is_unicode(value) else _NEVER
    if field == "content":
        return _content(value)
    if field in _PRESENT_OR_NOT:
        if value is not None:
            raise FilterError(f"{field!r} can be compared with None alone")
        return Not(Exists(_PRESENT_OR_NOT[field]))
    name = _stored(field)
    if value is None:
        null = All((OfKind(name, "null"), Not(OfKind(name, "list"))))
        return Not(_reached(name, All((Exists(name), Not(null)))))
    if isinstance(value, list | tuple | dict):
        return _reached(name, Same(name, _json(field, value)))
    return _of_scalar(name, _same_scalar(field, name, value))


def _content(value: Any) -> Condition:
    if value is None:
        return Among(CONTENT, "null", (None,))
    if not isinstance(value, str) or not is_unicode(value):
        return _NEVER
    return All((TextIs(value), Not(Exists(CONTENT)))) if value.strip() else Among(CONTENT, "string", (value,))


def _same_scalar(field: str, name: str, value: Any) -> Condition:
    if isinstance(value, datetime):
        return Moment(name, "=", value.isoformat())
    if isinstance(value, str):
        if not is_unicode(value):
            return _NEVER
        moment = moment_of(value)
        same = Among(name, "string", (value,))
        return same if moment is None else Some((same, Moment(name, "=", moment.isoformat())))
    number = _number(field, value)
    if not math.isfinite(number):
        return _NEVER
    same = Among(name, "number", (number,))
    return Some((same, Among(name, "boolean", (bool(number),)))) if number in (0, 1) else same


def _ordered(field: str, comparison: Comparison, value: Any) -> Condition:
    if field in ("id", "content", *_PRESENT_OR_NOT):
        raise FilterError(f"{field!r} has no order; compare it with ==, !=, in or not in")
    name = _stored(field)
    if value is None:
        return _NEVER
    if isinstance(value, str | datetime):
        return _of_scalar(name, Moment(name, comparison, _date(field, comparison, value).isoformat()))
    if isinstance(value, list | tuple | dict):
        raise FilterError(f"{comparison!r} on {field!r} compares numbers and dates, not {type(value).__name__}")
    number = _number(field, value)
    if math.isnan(number):
        return _NEVER
    booleans = tuple(one for one in (False, True) if _holds(one, comparison, number))
    numbers: Condition
    if math.isfinite(number):
        numbers = Range(name, comparison, number)
    else:
        numbers = OfKind(name, "number") if _holds(0, comparison, number) else _NEVER
    return _of_scalar(name, Some((numbers, Among(name, "boolean", booleans))) if booleans else numbers)


def _holds(one: float, comparison: Comparison, other: float) -> bool:
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[comparison]


def _date(field: str, comparison: str, value: str | datetime) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise FilterError(
            f"{comparison!r} on {field!r} compares numbers and ISO 8601 dates; {value!r} is no such date"
        ) from error


def _number(field: str, value: Any) -> float:
    """Return a number for comparisons: a boolean as 0 or 1, an integer beyond all floats as infinite."""
    if not isinstance(value, int | float):
        raise FilterError(f"the field {field!r} cannot be compared with {type(value).__name__}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return math.inf if value > 0 else -math.inf
    return int(value) if isinstance(value, bool) else value


def _json(field: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FilterError(f"the field {field!r} is compared with what is not JSON: {error}") from error


def _stored(field: str) -> str:
    """Return the path of a field in the stored metadata."""
    if field == "score":
        return SCORE
    root, _, _ = field.partition(".")
    if field == "meta" or root in ("id", "content", "score", *_PRESENT_OR_NOT):
        raise FilterError(f"there is no filter on {field!r}; name a value of the metadata: 'meta.NAME'")
    return stored_name(field.removeprefix("meta."))


def _reached(name: str, condition: Condition) -> Condition:
    """Restrict a condition to documents in which the path leads through objects, not through lists."""
    steps = name.split(".")
    prefixes = [".".join(steps[:count]) for count in range(1, len(steps))]
    return All((condition, *(Not(OfKind(prefix, "list")) for prefix in prefixes))) if prefixes else condition


def _of_scalar(name: str, condition: Condition) -> Condition:
    """Restrict a condition to documents that have the value itself under the path, not in a list."""
    return _reached(name, All((condition, Not(OfKind(name, "list")))))
