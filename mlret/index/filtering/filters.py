"""Filters on records in the manner of MongoDB: ``{"lang": ["sw", "en"], "year": {"$gte": 2020}}``."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from mlret.data.json_text import RepeatedKeyError, read_json
from mlret.data.languages import narrowed_language
from mlret.data.unicode_text import check_unicode
from mlret.errors import InputError
from mlret.index.filtering.fields import Kind, Scalar, stored_value

Where = Mapping[str, Any]
Comparison = Literal["<", "<=", ">", ">="]

LANGUAGE = ("lang", "language")
_RANGES: dict[str, Comparison] = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_OPERATORS = ("$eq", "$ne", "$in", "$nin", *_RANGES, "$contains", "$icontains", "$exists", "$empty", "$type")
_COMBINERS = ("$and", "$or", "$not")
# Limits on nesting ($and, $or, $not) and on the total of names and values, both far above what is written by hand.
DEEPEST_FILTER = 64
MOST_PARTS = 1_000_000
_ARGUMENT = re.compile(r"(?P<key>[^=<>!~]+)(?P<operator>!=|!~|<=|>=|=|<|>|~)(?P<value>.*)", re.DOTALL)
_IN_WORDS = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


@dataclass(frozen=True, slots=True)
class Among:
    """The record has under ``key`` one of these values, which all have this kind. Numbers may be beyond 64 bits."""

    key: str
    kind: Kind
    values: tuple[str | int | float | bool | None, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The record has under ``key`` a value of the same type, string or number, for which the comparison holds."""

    key: str
    comparison: Comparison
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Contains:
    """The record has under ``key`` this very value, a list with this element, or a string that contains this string.

    The kind distinguishes ``1`` from ``True``, which are equal in Python. With ``folded``, strings are compared without
    regard to case, and ``value`` is case-folded.
    """

    key: str
    kind: Kind
    value: Scalar
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """The record has under ``key`` an ISO 8601 date or time, as a string, for which the comparison holds.

    ``value`` is such a string, too. Only strings that begin with a whole calendar date (``2024-05-31``) count. Two
    times that both have an offset from UTC are compared as points in time; otherwise what the clock shows is compared.
    """

    key: str
    comparison: Comparison | Literal["="]
    value: str


@dataclass(frozen=True, slots=True)
class Same:
    """The record has under ``key`` the list or object that ``json`` describes, and not only an element of it.

    Numbers and booleans are compared as Python compares them.
    """

    key: str
    json: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The record has one of these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextContains:
    """The text of the record contains this string; with ``folded`` without regard to case, as in :class:`Contains`."""

    text: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class TextIs:
    """The text of the record is this string."""

    text: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The record has a value under ``key``."""

    key: str


@dataclass(frozen=True, slots=True)
class Filled:
    """The record has under ``key`` a value that is not null, an empty string or an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class OfKind:
    """The record has under ``key`` a value of this kind, or a list with an element of this kind."""

    key: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class HasLanguage:
    """The record has this language; ``None`` stands for an unknown language."""

    code: str | None


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds. With no parts it always holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds. With no parts it never holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


# Moment, Same, HasId and TextIs have no operator in :func:`read_filter`; the filters of frameworks need them.
Leaf = Among | Range | Moment | Contains | OfKind | Same | HasId | TextContains | TextIs | Exists | Filled | HasLanguage
Condition = Leaf | All | Some | Not


def read_filter(where: Where | None) -> Condition | None:
    """Read a filter, and return it as a condition.

    Parameters
    ----------
    where
        For each name what a record must have: a value, a list of values of which one must match, or operators. All
        names must match. ``$and`` and ``$or`` take a list of filters, ``$not`` takes one.

        A name is ``lang`` or ``language``, ``text`` (with ``$contains`` and ``$icontains`` only), or the name of a
        metadata value. A value within an object is named by a path with dots, ``{"author.born": 1980}``; see
        :mod:`mlret.index.filtering.fields`. A key that contains a dot itself is found under the same name.

        The operators are ``$eq``, ``$ne``, ``$in``, ``$nin``; ``$lt``, ``$lte``, ``$gt``, ``$gte`` (numbers are
        compared with numbers, and strings with strings by code point, which orders ISO 8601 dates); ``$contains`` (a
        list with this element, or a string that contains this string exactly, including case and accents);
        ``$icontains`` (the same for strings without regard to case, by Unicode's case folding); ``$exists`` (true or
        false: whether the name is present, even if its value is null or an empty list); ``$empty`` (true or false:
        whether the name is missing, or its value is null, an empty string or an empty list); and ``$type`` (``number``,
        ``string``, ``boolean``, ``null``, ``list`` or ``object``: whether a value of this type is there).

        A record whose value is a list passes if one of its elements does. If a name is missing from a record, every
        condition on it fails; ``$ne``, ``$nin`` and ``$not`` are the exact opposite of what they negate, and so hold
        there.

    Returns
    -------
    Condition or None
        ``None`` if every record passes.

    Raises
    ------
    InputError
        If a name, an operator or a value cannot be used, a language code is unknown, or the filter is nested more than
        :data:`DEEPEST_FILTER` deep or has more than :data:`MOST_PARTS` parts.
    """
    if where is None or (isinstance(where, Mapping) and not where):
        return None
    return _Reader().read(where, 1)


def parse_filter(arguments: Iterable[str]) -> dict[str, Any]:
    """Read filters from the command line, and return one filter for :func:`read_filter`.

    Parameters
    ----------
    arguments
        ``NAME=VALUE``, ``NAME!=VALUE``, ``NAME<VALUE``, ``<=``, ``>``, ``>=``, ``NAME~VALUE`` (``$contains``),
        ``NAME!~VALUE``; or a JSON object as for :func:`read_filter`. All must match, except that of several
        ``NAME=VALUE`` with the same name one must match. A value that reads as a number, a boolean or null matches both
        that and the string, because a shell cannot distinguish them. Names with ``=``, ``<``, ``>``, ``!`` or ``~``
        need the JSON form.

    Returns
    -------
    dict
        The filter; empty if there are no arguments.

    Raises
    ------
    InputError
        If an argument has none of these forms.
    """
    parts: list[dict[str, Any]] = []
    equal: dict[str, list[Scalar]] = {}
    for argument in arguments:
        if argument.lstrip().startswith("{"):
            parts.append(_parse_json(argument))
            continue
        found = _ARGUMENT.fullmatch(argument)
        if found is None:
            raise InputError(f"{argument!r} is not a filter; write NAME=VALUE, NAME>=VALUE, NAME~VALUE …, e.g. lang=sw")
        key, symbol, value = found["key"].strip(), found["operator"], found["value"]
        readings: list[Scalar] = [value, *([] if key in (*LANGUAGE, "text") else _other_readings(value))]
        if symbol == "=":
            equal.setdefault(key, []).extend(readings)
        elif symbol == "!=":
            parts.append({key: {"$nin": readings}})
        elif symbol in ("~", "!~"):
            contains = [{key: {"$contains": reading}} for reading in readings]
            either = contains[0] if len(contains) == 1 else {"$or": contains}
            parts.append(either if symbol == "~" else {"$not": either})
        else:
            numbers = [one for one in readings[1:] if isinstance(one, int | float) and not isinstance(one, bool)]
            parts.append({key: {_IN_WORDS[symbol]: numbers[0] if numbers else value}})
    parts += [{key: {"$in": values}} for key, values in equal.items()]
    return {"$and": parts} if len(parts) > 1 else (parts[0] if parts else {})


def _parse_json(argument: str) -> dict[str, Any]:
    shown = _shown(argument)
    try:
        read = read_json(argument)
    except RepeatedKeyError as error:
        raise InputError(f"the filter {shown}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the filter {shown} is not JSON ({error})") from error
    if not isinstance(read, dict):
        raise InputError(f"the filter {shown} is not a JSON object")
    return read


class _Reader:
    """Reads one filter and counts its parts."""

    def __init__(self) -> None:
        self._parts = 0

    def read(self, where: object, depth: int) -> Condition:
        if not isinstance(where, Mapping):
            raise InputError(
                f'the filter {_shown(where)} is {type(where).__name__}; give a dict such as {{"lang": "sw"}}'
            )
        if depth > DEEPEST_FILTER:
            raise InputError(
                f"the filter is nested more than {DEEPEST_FILTER} deep; write it with fewer $and, $or, $not"
            )
        self._count(len(where))
        return _all([self._name(key, wanted, depth) for key, wanted in where.items()])

    def _count(self, more: int) -> None:
        self._parts += more
        if self._parts > MOST_PARTS:
            raise InputError(f"the filter has more than {MOST_PARTS:,} parts; search or delete in several calls")

    def _name(self, key: object, wanted: object, depth: int) -> Condition:
        if not isinstance(key, str):
            raise InputError(f"the filter has the name {_shown(key)}; names are strings")
        check_unicode(key, f"the name {key!r} in the filter")
        if key in ("$and", "$or"):
            if not isinstance(wanted, list | tuple) or not wanted:
                raise InputError(f"{key} takes a list of filters, not {_shown(wanted)}")
            parts = [self.read(part, depth + 1) for part in wanted]
            return _all(parts) if key == "$and" else _some(parts)
        if key == "$not":
            return Not(self.read(wanted, depth + 1))
        if key.startswith("$"):
            raise InputError(f"unknown operator {key!r} in a filter; there are {', '.join(_COMBINERS)}")
        if key == "id":
            raise InputError(
                "a filter cannot name 'id'; name documents by ids=[...] instead, or exclude them afterwards"
            )
        if isinstance(wanted, Mapping):
            if not wanted:
                raise InputError(f"the filter on {key!r} is empty; give a value, a list, or operators such as $gte")
            return _all([self._operator(key, operator, value) for operator, value in wanted.items()])
        return self._one_of(key, wanted)

    def _operator(self, key: str, operator: object, value: object) -> Condition:
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise InputError(
                f"unknown operator {_shown(operator)} on {key!r}; there are {', '.join(_OPERATORS)} "
                f'(a value within an object has a path for a name: {{"{key}.NAME": …}})'
            )
        if operator in ("$eq", "$in"):
            return self._one_of(key, value)
        if operator in ("$ne", "$nin"):
            return Not(self._one_of(key, value))
        if operator in ("$contains", "$icontains"):
            return self._contains(key, value, folded=operator == "$icontains")
        if operator in ("$exists", "$empty"):
            if not isinstance(value, bool):
                raise InputError(f"{operator} on {key!r} takes true or false, not {_shown(value)}")
            metadata = Exists(key) if operator == "$exists" else Filled(key)
            here: Condition = Not(HasLanguage(None)) if key in LANGUAGE else _always() if key == "text" else metadata
            return here if value == (operator == "$exists") else Not(here)
        if operator == "$type":
            if key in (*LANGUAGE, "text") or not isinstance(value, str) or value not in get_args(Kind):
                raise InputError(f"$type on {key!r} cannot be {_shown(value)}; there are {', '.join(get_args(Kind))}")
            return OfKind(key, cast("Kind", value))
        if key in (*LANGUAGE, "text") or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{operator} on {key!r} compares numbers or strings, not {_shown(value)}")
        return Range(key, _RANGES[operator], _checked(key, value))

    def _contains(self, key: str, value: object, *, folded: bool) -> Condition:
        name = "$icontains" if folded else "$contains"
        if folded or key == "text":
            if key in LANGUAGE or not isinstance(value, str):
                raise InputError(f"{name} on {key!r} takes a string, not {_shown(value)}")
            wanted = str(_checked(key, value.casefold() if folded else value))
            return TextContains(wanted, folded) if key == "text" else Contains(key, "string", wanted, folded)
        if key in LANGUAGE or not isinstance(value, str | int | float | bool | None):
            raise InputError(f"{name} on {key!r} cannot look for {_shown(value)}; it takes one string or number")
        return Contains(key, _kind(value), _checked(key, value))

    def _one_of(self, key: str, value: object) -> Condition:
        if key == "text":
            raise InputError('a filter on \'text\' takes {"$contains": "some words"} or $icontains alone')
        values: list[Any] = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        self._count(len(values))
        found: dict[Kind, dict[Any, None]] = {}
        codes: dict[str | None, None] = {}
        for one in values:
            if not isinstance(one, str | int | float | bool | None):
                raise InputError(
                    f"the filter on {key!r} holds {type(one).__name__}; give a string, a number, or a list of them"
                )
            if key in LANGUAGE:
                codes[None if one is None else narrowed_language(str(one))] = None
            else:
                one = _checked(key, one)
                found.setdefault(_kind(one), {})[one] = None
        if key in LANGUAGE:
            return Some(tuple(map(HasLanguage, codes)))
        return _some([Among(key, kind, tuple(some)) for kind, some in found.items()])


def _checked(key: str, value: Any) -> Any:
    """Return a value unchanged after checking that it can be compared, and raise InputError if not."""
    if isinstance(value, str):
        check_unicode(value, f"the value under {key!r} in the filter")
        return value
    try:
        stored = stored_value(value)
    except OverflowError as error:
        raise InputError(f"the value under {key!r} is an integer beyond 1e308; write it as a string") from error
    if isinstance(stored.value, float) and not math.isfinite(stored.value):
        raise InputError(f"the value under {key!r} is {value!r}; numbers must be finite")
    return value


def _kind(value: Scalar) -> Kind:
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "boolean" if isinstance(value, bool) else "number"


def _all(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _always() -> Condition:
    return All(())


def _some(parts: Sequence[Condition]) -> Condition:
    """Return a condition that holds if one part does.

    Equalities on the same name are merged into one, so that thousands of them need a single look-up.
    """
    equal: dict[tuple[str, Kind], dict[Any, None]] = {}
    others: list[Condition] = []
    for part in parts:
        if isinstance(part, Among):
            equal.setdefault((part.key, part.kind), {}).update(dict.fromkeys(part.values))
        else:
            others.append(part)
    found = [*(Among(key, kind, tuple(values)) for (key, kind), values in equal.items()), *others]
    return found[0] if len(found) == 1 else Some(tuple(found))


def _other_readings(value: str) -> list[Scalar]:
    """Return what an argument of a shell may mean besides a string: a number, a boolean, null, or nothing."""
    try:
        read = json.loads(value)
        if isinstance(read, int | float) and not math.isfinite(read):
            return []
    except (ValueError, RecursionError, OverflowError):
        return []
    return [read] if isinstance(read, int | float | bool | None) else []


def _shown(value: object) -> str:
    """Format a value for an error message: the text is short, however large or deeply nested the value is."""
    return reprlib.repr(value)
