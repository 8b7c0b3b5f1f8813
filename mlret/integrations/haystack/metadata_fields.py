"""Summaries of the metadata of documents: which fields there are, and which values they have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_TYPES = {bool: "boolean", int: "int", float: "float"}


def field_name(field: str) -> str:
    """Return the name of a metadata field without the prefix ``meta.``."""
    return field.removeprefix("meta.")


def field_types(some: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the type of each field: ``keyword``, ``int``, ``float`` or ``boolean``.

    Parameters
    ----------
    some
        The metadata of documents. A field with integers and floats is ``float``, one with other mixtures ``keyword``.
    """
    found: dict[str, set[str]] = {}
    for metadata in some:
        for name, value in metadata.items():
            if value is not None:
                found.setdefault(name, set()).add(_TYPES.get(type(value), "keyword"))
    return {name: {"type": _one_type(types)} for name, types in found.items()}


def _one_type(types: set[str]) -> str:
    if len(types) == 1:
        return next(iter(types))
    return "float" if types == {"int", "float"} else "keyword"


def smallest_and_largest(some: Iterable[Mapping[str, Any]], field: str) -> dict[str, Any]:
    """Return the smallest and the largest value of a field under ``min`` and ``max``.

    Parameters
    ----------
    some
        The metadata of documents.
    field
        The name of the field. Both results are ``None`` if no document has a number or a string there, or some have
        numbers and others strings.
    """
    values = [value for value in _values(some, field) if isinstance(value, str | int | float)]
    if not values or len({isinstance(value, str) for value in values}) > 1:
        return {"min": None, "max": None}
    return {"min": min(values), "max": max(values)}


def distinct_values(some: Iterable[Mapping[str, Any]], field: str) -> list[Any]:
    """Return the values of a field without duplicates, ordered by how they are written and then by type.

    Parameters
    ----------
    some
        The metadata of documents.
    field
        The name of the field. Values of different types, such as ``1``, ``1.0``, ``True`` and ``"1"``, are different.
    """
    found = {json.dumps(value, sort_keys=True): value for value in _values(some, field)}
    return sorted(found.values(), key=lambda value: (str(value), type(value).__name__))


def _values(some: Iterable[Mapping[str, Any]], field: str) -> Iterator[Any]:
    name = field_name(field)
    for metadata in some:
        if (value := metadata.get(name)) is not None:
            yield value
