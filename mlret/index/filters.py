"""Conditions on records: ``{"lang": ["sw", "en"], "year": {"$gte": 2020}}``, in the manner of MongoDB."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlret.data.languages import narrowed_language
from mlret.errors import InputError

Where = Mapping[str, Any]
Scalar = str | int | float | bool | None
Comparison = Literal["=", "<", "<=", ">", ">="]

LANGUAGE = ("lang", "language")
_RANGES: dict[str, Comparison] = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_OPERATORS = ("$eq", "$ne", "$in", "$nin", *_RANGES, "$exists")
_COMBINERS = ("$and", "$or", "$not")
# Longer strings are cut and told apart by a hash, so that the table of fields stays small.
_LONGEST_VALUE = 200
_EXACT_INTEGERS = 2**63
_ARGUMENT = re.compile(r"(?P<key>[^=<>!]+)(?P<operator>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_IN_WORDS = {"=": "$in", "!=": "$nin", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


@dataclass(frozen=True, slots=True)
class Value:
    """A metadata value as the table of fields has it: numbers, strings, booleans and nulls never equal each other."""

    kind: Literal["number", "string", "boolean", "null"]
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Compare:
    """A record has, under ``key``, a value of the kind of ``value`` that compares with it as said."""

    key: str
    comparison: Comparison
    value: Value


@dataclass(frozen=True, slots=True)
class Exists:
    """A record has a value under ``key``."""

    key: str


@dataclass(frozen=True, slots=True)
class HasLanguage:
    """The language of a record is this one; ``None``: unknown."""

    code: str | None


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; of no parts, always."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One part holds at least; of no parts, never."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition = Compare | Exists | HasLanguage | All | Some | Not


def stored_value(value: Scalar) -> Value:
    """A metadata value in the form in which it is stored and compared; ``1`` and ``1.0`` are equal."""
    if value is None:
        return Value("null", 0)
    if isinstance(value, bool):
        return Value("boolean", int(value))
    if isinstance(value, int | float):
        # SQLite has integers of 64 bits; larger ones are compared as floats.
        return Value("number", value if isinstance(value, float) or abs(value) < _EXACT_INTEGERS else float(value))
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "#" + hashlib.sha256(value.encode("utf-8")).hexdigest()
    return Value("string", value)


def fields_of(metadata: Mapping[str, Any]) -> list[tuple[str, Value]]:
    """What of metadata can be filtered on: scalars, and the scalars of lists."""
    found: dict[tuple[str, Value], None] = {}
    for key, value in metadata.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str | int | float | bool | None):
                found[key, _in_range(key, one)] = None
    return list(found)


def read_filter(where: Where | None) -> Condition | None:
    """Read a filter.

    Parameters
    ----------
    where
        By name (``lang`` or ``language``, else the name of a metadata value) what a record must have: a value, a list
        of values of which one will do, or operators: ``$eq``, ``$ne``, ``$in``, ``$nin``, ``$lt``, ``$lte``, ``$gt``,
        ``$gte`` (numbers among numbers, strings among strings by code point, which orders ISO 8601 dates), ``$exists``
        (true or false). All names must hold. ``$and`` and ``$or`` take a list of filters, ``$not`` one. A record
        whose value is a list passes if one of its elements does; ``$ne``, ``$nin`` and ``$not`` are the exact
        opposite of what they negate, and so hold of records that lack the name.

    Returns
    -------
    Condition or None
        ``None`` if every record passes.

    Raises
    ------
    InputError
        If a name, an operator or a value cannot be used, or a language code is unknown.
    """
    if where is None or (isinstance(where, Mapping) and not where):
        return None
    return _read(where)


def parse_filter(arguments: Iterable[str]) -> dict[str, Any]:
    """Read filters from the command line.

    Parameters
    ----------
    arguments
        ``NAME=VALUE``, ``NAME!=VALUE``, ``NAME<VALUE``, ``<=``, ``>``, ``>=``; or a JSON object as in
        :func:`read_filter`. All must hold; but of several ``NAME=VALUE`` with one name, one will do. A value that reads
        as a number or a boolean equals both that and the string, because a shell cannot tell them apart.

    Raises
    ------
    InputError
        If an argument is none of these.
    """
    parts: list[dict[str, Any]] = []
    equal: dict[str, list[Scalar]] = {}
    for argument in arguments:
        if argument.lstrip().startswith("{"):
            parts.append(_parse_json(argument))
            continue
        found = _ARGUMENT.fullmatch(argument)
        if found is None:
            raise InputError(f"{argument!r} is no filter; write NAME=VALUE, NAME>=VALUE, …, e.g. lang=sw")
        key, operator, value = found["key"].strip(), found["operator"], found["value"]
        readings: list[Scalar] = [value, *([] if key in LANGUAGE else _other_readings(value))]
        if operator == "=":
            equal.setdefault(key, []).extend(readings)
        elif operator == "!=":
            parts.append({key: {"$nin": readings}})
        else:
            parts.append({key: {_IN_WORDS[operator]: readings[-1]}})
    parts += [{key: {"$in": values}} for key, values in equal.items()]
    return {"$and": parts} if len(parts) > 1 else (parts[0] if parts else {})


def _parse_json(argument: str) -> dict[str, Any]:
    try:
        read = json.loads(argument)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the filter {argument!r} is not JSON ({error})") from error
    if not isinstance(read, dict):
        raise InputError(f"the filter {argument!r} is no JSON object")
    return read


def _read(where: object) -> Condition:
    if not isinstance(where, Mapping):
        raise InputError(f'the filter {where!r} is {type(where).__name__}; give a dict such as {{"lang": "sw"}}')
    return _all([_read_name(key, wanted) for key, wanted in where.items()])


def _read_name(key: object, wanted: object) -> Condition:
    if not isinstance(key, str):
        raise InputError(f"the filter has the name {key!r}; names are strings")
    if key in ("$and", "$or"):
        if not isinstance(wanted, list | tuple) or not wanted:
            raise InputError(f"{key} takes a list of filters, not {wanted!r}")
        parts = [_read(part) for part in wanted]
        return _all(parts) if key == "$and" else Some(tuple(parts))
    if key == "$not":
        return Not(_read(wanted))
    if key.startswith("$"):
        raise InputError(f"unknown operator {key!r} in a filter; there are {', '.join(_COMBINERS)}")
    if isinstance(wanted, Mapping):
        if not wanted:
            raise InputError(f"the filter on {key!r} is empty; give a value, a list, or operators such as $gte")
        return _all([_read_operator(key, operator, value) for operator, value in wanted.items()])
    return _one_of(key, wanted)


def _read_operator(key: str, operator: object, value: object) -> Condition:
    if operator in ("$eq", "$in"):
        return _one_of(key, value)
    if operator in ("$ne", "$nin"):
        return Not(_one_of(key, value))
    if operator == "$exists":
        if not isinstance(value, bool):
            raise InputError(f"$exists on {key!r} takes true or false, not {value!r}")
        here: Condition = Not(HasLanguage(None)) if key in LANGUAGE else Exists(key)
        return here if value else Not(here)
    if not isinstance(operator, str) or operator not in _RANGES:
        raise InputError(f"unknown operator {operator!r} on {key!r}; there are {', '.join(_OPERATORS)}")
    if key in LANGUAGE or isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{operator} on {key!r} compares numbers or strings, not {value!r}")
    return Compare(key, _RANGES[operator], _in_range(key, value))


def _one_of(key: str, value: object) -> Condition:
    values: list[Any] = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    for one in values:
        if not isinstance(one, str | int | float | bool | None):
            raise InputError(
                f"the filter on {key!r} holds {type(one).__name__}; give a string, a number, or a list of them"
            )
    if key in LANGUAGE:
        return Some(tuple(HasLanguage(None if one is None else narrowed_language(str(one))) for one in values))
    return Some(tuple(Compare(key, "=", _in_range(key, one)) for one in values))


def _in_range(key: str, value: Scalar) -> Value:
    try:
        stored = stored_value(value)
    except OverflowError as error:
        raise InputError(f"the value under {key!r} is an integer beyond 1e308; write it as a string") from error
    if isinstance(stored.value, float) and not math.isfinite(stored.value):
        raise InputError(f"the value under {key!r} is {value!r}; numbers must be finite")
    return stored


def _all(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _other_readings(value: str) -> list[Scalar]:
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return [read] if isinstance(read, int | float | bool | None) else []
