"""Conditions on records: ``{"lang": ["sw", "en"], "year": 2024}``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlret.data.languages import normalise_language
from mlret.errors import InputError

Where = Mapping[str, Any]
Scalar = str | int | float | bool | None

# Longer values are compared by hash, so that the table of metadata stays small.
_LONGEST_VALUE = 200


@dataclass(frozen=True, slots=True)
class Condition:
    """A record passes if its language, or its metadata value under ``key``, is one of ``values``.

    ``key`` is ``None`` for the language. Metadata values are in the form of :func:`comparable`.
    """

    key: str | None
    values: tuple[str | None, ...]


def comparable(value: Scalar) -> str:
    """A text that two metadata values share exactly if they are equal; ``1`` and ``1.0`` are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_VALUE:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def conditions(where: Where | None) -> list[Condition]:
    """Read a filter.

    Parameters
    ----------
    where
        By name (``lang`` or ``language``, else the name of a metadata value) the value that a record must
        have, or a list of values of which it must have one. All names must hold.

    Raises
    ------
    InputError
        If a value is neither a scalar nor a list of scalars, or a language code is unknown.
    """
    found = []
    for key, value in (where or {}).items():
        if not isinstance(key, str):
            raise InputError(f"the filter has the name {key!r}; names are strings")
        values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        for one in values:
            if not isinstance(one, str | int | float | bool | None):
                raise InputError(
                    f"the filter on {key!r} holds {type(one).__name__}; give a string, a number, or a list of them"
                )
        if key in ("lang", "language"):
            found.append(
                Condition(None, tuple(None if one is None else normalise_language(str(one)) for one in values))
            )
        else:
            found.append(Condition(key, tuple(map(comparable, values))))
    return found


def parse_conditions(arguments: Iterable[str]) -> dict[str, list[Scalar]]:
    """Read filters from the command line.

    Parameters
    ----------
    arguments
        ``NAME=VALUE``; a name given twice accepts either value. A value that reads as a number or a boolean
        matches both that and the string, because a shell cannot tell them apart.

    Raises
    ------
    InputError
        If an argument has no ``=`` or no name.
    """
    where: dict[str, list[Scalar]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise InputError(f"{argument!r} is no filter; write NAME=VALUE, e.g. lang=sw")
        where.setdefault(key, []).append(value)
        if key not in ("lang", "language"):
            where[key] += _other_readings(value)
    return where


def scalar_values(metadata: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The ``(name, comparable value)`` pairs of metadata that can be filtered on: those that are scalars."""
    return [
        (key, comparable(value))
        for key, value in metadata.items()
        if isinstance(value, str | int | float | bool | None)
    ]


def _other_readings(value: str) -> list[Scalar]:
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return [read] if isinstance(read, int | float | bool | None) else []
