"""Metadata: the JSON values that come with a text, checked once and brought to the form that the disk gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlret.data.unicode_text import is_unicode
from mlret.errors import InputError

# Lists and objects within each other, the metadata itself counted. What is deeper cannot be read back where the stack
# is partly used, as in a web framework: Python's JSON reader takes about a thousand levels less what is used.
DEEPEST = 32
# Where integers are compared as floats, they must be finite as such.
_LARGEST = 10**308


def checked_metadata(metadata: object, name: str = "") -> dict[str, Any]:
    """A copy of metadata as it comes back from disk.

    Parameters
    ----------
    metadata
        A dict of JSON values whose keys are strings. Tuples become lists.
    name
        Of what it is the metadata, for messages: they begin with it.

    Returns
    -------
    dict
        Equal to ``json.loads(json.dumps(metadata))``; shares no list and no dict with what was given.

    Raises
    ------
    InputError
        At the first value that JSON cannot say (NaN and infinities among them), key that is no string, string that is
        no valid Unicode, integer beyond 1e308, or where lists and dicts are nested more than :data:`DEEPEST` deep. The
        message says under which keys.
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
            wrong = "no string" if not isinstance(key, str) else "no valid Unicode"
            raise InputError(
                f"{name}metadata{_at(path)} has the key {key!r}, which is {wrong}; metadata is not JSON then"
            )
        kind = type(one)
        # The usual cases without a call.
        if one is None or kind is bool or (kind is str and one.isascii()):
            found[key] = one
        else:
            found[key] = _value(one, name, (*path, key), depth)
    return found


def _value(value: Any, name: str, path: tuple[str | int, ...], depth: int) -> Any:
    if isinstance(value, str):
        if not is_unicode(value):
            raise InputError(
                f"{name}metadata{_at(path)} is no valid Unicode (half a surrogate pair), so it is not JSON"
            )
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_LARGEST < value < _LARGEST:
            raise InputError(f"{name}metadata{_at(path)} is an integer beyond 1e308; write it as a string")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name}metadata{_at(path)} is {value!r}, which is not JSON; leave it out, or write null")
        return value
    if isinstance(value, Mapping):
        return _object(value, name, path, depth + 1)
    if isinstance(value, list | tuple):
        if depth >= DEEPEST:
            raise _too_deep(name, path)
        return [_value(one, name, (*path, place), depth + 1) for place, one in enumerate(value)]
    raise InputError(
        f"{name}metadata{_at(path)} is {type(value).__name__}, which is not JSON; keep to strings, numbers, booleans, "
        "None, lists and dicts"
    )


def _at(path: tuple[str | int, ...]) -> str:
    """Where a value is: ``['a'][0]``; of a long path, its beginning."""
    shown = "".join(f"[{key!r}]" for key in path[:4])
    return shown + "…" * (len(path) > 4)


def _too_deep(name: str, path: tuple[str | int, ...]) -> InputError:
    return InputError(
        f"{name}metadata{_at(path)} is nested more than {DEEPEST} levels deep; make it flatter, or keep it as a string"
    )
