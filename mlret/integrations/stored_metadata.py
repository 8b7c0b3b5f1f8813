"""Metadata of documents of other frameworks as an index stores it, under names that are free there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlret.data.documents import RESERVED_KEYS
from mlret.data.languages import normalise_language
from mlret.errors import InputError

_MARK = "~"


def stored_name(name: str) -> str:
    """Return the name under which an index stores a metadata value of a framework.

    Parameters
    ----------
    name
        The name in the framework. In a path with dots, only the first part is changed.

    Returns
    -------
    str
        The same name, unless it is one that an index reserves (``id``, ``text``, ``lang``, ``language``) or begins with
        a tilde: those get a tilde in front.

    Examples
    --------
    >>> stored_name("year"), stored_name("id"), stored_name("id.part")
    ('year', '~id', '~id.part')
    """
    first = name.split(".", 1)[0]
    return _MARK + name if first in RESERVED_KEYS or name.startswith(_MARK) else name


def to_stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata of a framework under the names of :func:`stored_name`; the input is not changed."""
    return {stored_name(name) if isinstance(name, str) else name: value for name, value in metadata.items()}


def from_stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored metadata under the names that it has in the framework: the inverse of :func:`to_stored`."""
    return {name.removeprefix(_MARK): value for name, value in metadata.items()}


def language_in(metadata: Mapping[str, Any]) -> str | None:
    """Return the language that a framework's metadata names, normalised.

    Parameters
    ----------
    metadata
        Metadata of a framework, in which ``lang`` or ``language`` may be a language code.

    Returns
    -------
    str or None
        ``None`` if there is no such value or it is no language code; an index then detects the language.
    """
    for name in ("lang", "language"):
        if isinstance(value := metadata.get(name), str):
            try:
                return normalise_language(value)
            except InputError:
                continue
    return None
