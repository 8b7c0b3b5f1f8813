"""Metadata in the form of the table of fields: one row for each value that a filter can name.

A value within an object is named by a path with dots: ``{"author": {"born": 1980}}`` has the value 1980 under
``author.born``. The elements of a list are found under the name of the list: those of ``{"tags": ["a", "b"]}`` under
``tags``, and the values in ``{"authors": [{"born": 1980}]}`` under ``authors.born``. Lists within lists cannot be
named. A key that contains a dot itself is found under the same name as the path that it looks like: a filter on that
name matches if either value does.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Scalar = str | int | float | bool | None
Kind = Literal["number", "string", "boolean", "null", "list", "object"]
# Longer strings are cut and get a hash as suffix, so that the table of fields stays small.
LONGEST_VALUE = 200
CUT_LENGTH = LONGEST_VALUE + 1 + hashlib.sha256().digest_size * 2
# SQLite has 64-bit integers. Larger ones are stored as floats, and compared exactly with the metadata itself.
EXACT_INTEGERS = 2**63
_BATCH = 500


class Value(NamedTuple):
    """A metadata value as the table of fields stores it. Numbers, strings, booleans and nulls never equal each other.

    Lists and objects have a row of their own, with value 0, besides those of the values in them.
    """

    kind: Kind
    value: str | int | float


_LIST, _OBJECT = Value("list", 0), Value("object", 0)


class Entry(NamedTuple):
    """A scalar under a path, or the fact that a list or an object is there (``value`` is then the type)."""

    path: str
    value: Any
    in_list: bool  # Whether the value is an element of a list under this path.
    empty: bool = False  # Whether it is a list without elements.


def stored_value(value: Scalar) -> Value:
    """Return a metadata value in the form in which it is stored and compared; ``1`` and ``1.0`` are equal."""
    if isinstance(value, str):
        if len(value) > LONGEST_VALUE:
            value = value[:LONGEST_VALUE] + "#" + hashlib.sha256(value.encode("utf-8")).hexdigest()
        return Value("string", value)
    if value is None:
        return Value("null", 0)
    if isinstance(value, bool):
        return Value("boolean", int(value))
    return Value("number", value if isinstance(value, float) or abs(value) < EXACT_INTEGERS else float(value))


def entries(metadata: Mapping[str, Any]) -> Iterator[Entry]:
    """Iterate over the values in metadata that a filter can name.

    The traversal does not recurse, because metadata stored before nesting was limited may be deeper than the stack.
    """
    pending: list[tuple[str, Mapping[str, Any]]] = [("", metadata)]
    while pending:
        prefix, some = pending.pop()
        for key, value in some.items():
            path = prefix + key
            if isinstance(value, dict):
                yield Entry(path, dict, False)
                pending.append((path + ".", value))
            elif isinstance(value, list):
                yield Entry(path, list, False, not value)
                for one in value:
                    if isinstance(one, dict):
                        pending.append((path + ".", one))
                    elif not isinstance(one, list):
                        yield Entry(path, one, True)
            else:
                yield Entry(path, value, False)


def value_at(metadata: Mapping[str, Any], path: str) -> Any:
    """Return the value under a path through objects alone, not through lists; ``None`` if there is none.

    Parameters
    ----------
    metadata
        The metadata of a record.
    path
        A path with dots. A key that equals what is left of the path comes before what the path leads to.
    """
    value: Any = metadata
    while isinstance(value, Mapping):
        if path in value:
            return value[path]
        first, _, path = path.partition(".")
        value = value.get(first) if path else None
    return None


def fields_of(metadata: Mapping[str, Any]) -> list[tuple[str, Value]]:
    """Return the rows of metadata in the table of fields, as pairs of name and value without duplicates."""
    found: dict[tuple[str, Value], None] = {}
    nested = False
    for key, value in metadata.items():
        # Most metadata is flat and needs no traversal.
        if isinstance(value, dict | list):
            nested = True
            break
        found[key, stored_value(value)] = None
    if not nested:
        return list(found)
    found.clear()
    for path, value, *_ in entries(metadata):
        found[path, _LIST if value is list else _OBJECT if value is dict else stored_value(value)] = None
    return list(found)


def add_nested_fields(connection: sqlite3.Connection) -> None:
    """Add the rows that the table of fields lacks in a database of format 2, within the caller's transaction.

    Format 2 had no rows for values in objects, nor for lists and objects themselves. Only records whose metadata holds
    a list or an object are read.
    """
    last = 0
    query = (
        "SELECT row, metadata FROM records WHERE row > ? "
        "AND (instr(metadata, '[') OR instr(substr(metadata, 2), '{')) ORDER BY row LIMIT ?"
    )
    while found := connection.execute(query, (last, _BATCH)).fetchall():
        connection.executemany(
            "INSERT OR IGNORE INTO fields VALUES (?, ?, ?, ?)",
            [(key, *value, row) for row, text in found for key, value in _readable(text)],
        )
        last = found[-1][0]


def _readable(text: object) -> Sequence[tuple[str, Value]]:
    """Return the rows of stored metadata. Damaged metadata has none; ``mlret index verify`` reports it."""
    try:
        metadata = json.loads(text) if isinstance(text, str) else None
        return fields_of(metadata) if isinstance(metadata, dict) else []
    except (ValueError, RecursionError, OverflowError):
        return []
