"""Check the metadata of a text and convert it to the JSON values that reading it back from disk gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlret.data.unicode_text import is_unicode
from mlret.data.values import as_json
from mlret.errors import InputError

# Maximum nesting of lists and objects, the metadata itself included. Python's JSON reader supports about a thousand
# levels minus the stack depth already in use, so deeper values could not be read back within a web framework.
DEEPEST = 32
# Integers are sometimes compared as floats, so they must be finite as floats.
_LARGEST = 10**308


def checked_metadata(metadata: object, name: str = "") -> dict[str, Any]:
    """Return a copy of metadata as it comes back from disk.

    Parameters
    ----------
    metadata
        A dict whose keys are strings. Tuples become lists; NumPy scalars and arrays, dates, decimal numbers and UUIDs
        become JSON values, see :func:`mlret.data.values.as_json`; pandas' ``NA`` and ``NaT`` become ``None``.
    name
        Start of error messages: the name of the record that the metadata belongs to.

    Returns
    -------
    dict
        Equal to ``json.loads(json.dumps(metadata))`` if that is defined; shares no list or dict with the input.

    Raises
    ------
    InputError
        At the first value that is not JSON (including NaN and infinities), key that is not a string, string that is not
        valid Unicode, or integer beyond 1e308, or if lists and dicts are nested more than :data:`DEEPEST` levels deep.
        The message names the keys that lead to the value.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"{name}metadata must be a dict whose keys are strings, not {type(metadata).__name__}")
    return _object(metadata, name, (), 1)


def _object(value: Mapping[Any, Any], name: str, path: tuple[str | int, ...], depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise _too_deep(name, path)
    found: dict[str, Any] = {}
    for key, one in value.items():
        if not isinstance(key, str) or not (key.isascii() or is_unicode(key)):
            wrong = "not a string" if not isinstance(key, str) else "not valid Unicode"
            raise InputError(f"{name}metadata{_at(path)} has the key {key!r}, which is {wrong}, so it is not JSON")
        kind = type(one)
        # The common cases are handled without a function call.
        if one is None or kind is bool or (kind is str and one.isascii()):
            found[key] = one
        else:
            found[key] = _value(one, name, (*path, key), depth)
    return found


def _value(value: Any, name: str, path: tuple[str | int, ...], depth: int) -> Any:
    if isinstance(value, str):
        if not is_unicode(value):
            raise InputError(
                f"{name}metadata{_at(path)} is not valid Unicode (half of a surrogate pair), so it is not JSON"
            )
        return value if type(value) is str else str.__str__(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_LARGEST < value < _LARGEST:
            raise InputError(f"{name}metadata{_at(path)} is an integer beyond 1e308; write it as a string")
        return value if type(value) is int else int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name}metadata{_at(path)} is {value!r}, which is not JSON; leave it out, or write null")
        return value if type(value) is float else float(value)
    if isinstance(value, Mapping):
        return _object(value, name, path, depth + 1)
    if isinstance(value, list | tuple):
        if depth >= DEEPEST:
            raise _too_deep(name, path)
        return [_value(one, name, (*path, place), depth + 1) for place, one in enumerate(value)]
    if (found := as_json(value)) is not value:
        return _value(found, name, path, depth)
    raise InputError(
        f"{name}metadata{_at(path)} is {type(value).__name__}, which is not JSON; keep to strings, numbers, booleans, "
        "None, lists and dicts"
    )


def _at(path: tuple[str | int, ...]) -> str:
    """Format where a value is: ``['a'][0]``; long paths are shortened to their beginning."""
    shown = "".join(f"[{key!r}]" for key in path[:4])
    return shown + "…" * (len(path) > 4)


def _too_deep(name: str, path: tuple[str | int, ...]) -> InputError:
    return InputError(
        f"{name}metadata{_at(path)} is nested more than {DEEPEST} levels deep; make it flatter, or keep it as a string"
    )
