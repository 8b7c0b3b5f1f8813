"""Scopes: the owner of a record, which every method names and the store enforces.

A scope gives values for up to four names: tenant, user, agent and run. Scopes are stored in a table of their own, never
in the metadata, and a record is read only through the scopes that hold it: nothing that a user writes into text, tags
or metadata can move a record to another scope.

Tenants are isolated: no scope holds records of two tenants, and a scope that names no tenant holds only what was stored
without one. Within a tenant, a scope holds every record that agrees with it in all the names that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from mlret.errors import InputError

ScopeName = Literal["tenant", "user", "agent", "run"]
SCOPE_NAMES: tuple[ScopeName, ...] = get_args(ScopeName)
Scope = Mapping[str, str]
# A scope as stored in the database: a value for each name, "" for names that the scope does not give.
Place = tuple[str, str, str, str]


def check_scope(scope: Scope) -> dict[str, str]:
    """Return a checked copy of a scope, with its names in the order of ``SCOPE_NAMES``.

    Raises
    ------
    InputError
        If the scope is empty, has unknown names, or a value is blank, not a string or not valid Unicode.
    """
    names = ", ".join(SCOPE_NAMES)
    if not isinstance(scope, Mapping) or not scope:
        raise InputError(f'a scope is needed, e.g. {{"user": "u1"}}; its names are {names}')
    for key, value in scope.items():
        if key not in SCOPE_NAMES:
            raise InputError(f"unknown scope {key!r}; the names are {names}")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"the scope {key!r} is {value!r}; give a string that is not empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"the scope {key!r} holds half a surrogate pair; give valid Unicode") from error
    return {name: scope[name] for name in SCOPE_NAMES if name in scope}


def scope_with(scope: Scope | None, names: Mapping[str, str | None]) -> Scope:
    """Return a scope with the names that are given beside it, which :func:`check_scope` has not checked yet.

    Raises
    ------
    InputError
        If the scope gives another value to one of the names, or is not a mapping.
    """
    given = {name: value for name, value in names.items() if value is not None}
    if scope is None or not given:
        return given if scope is None else scope
    if not isinstance(scope, Mapping):
        raise InputError(f'the scope is {type(scope).__name__}; give a dict such as {{"user": "u1"}}')
    for name, value in given.items():
        if scope.get(name, value) != value:
            raise InputError(f"the scope names the {name} {scope[name]!r}, and {name}={value!r} another; give one")
    return {**scope, **given}


def place_of(scope: Scope) -> Place:
    """Return a checked scope as it is stored in the database."""
    return scope.get("tenant", ""), scope.get("user", ""), scope.get("agent", ""), scope.get("run", "")


def scope_at(place: Place) -> dict[str, str]:
    """Return the scope that :func:`place_of` was called with."""
    return {name: value for name, value in zip(SCOPE_NAMES, place, strict=True) if value}


def holds(scope: Scope, place: Place) -> bool:
    """Return whether a checked scope holds a record stored at a place.

    Parameters
    ----------
    scope
        A checked scope.
    place
        Place of the record: it is held if the tenants are equal and every name of the scope has the same value.
    """
    return all(place[SCOPE_NAMES.index(name)] == value for name, value in {"tenant": "", **scope}.items())


def mask_of(scope: Scope) -> int:
    """Return the names that a scope gives, as a bit mask.

    Together with the place of a record that the scope holds, the mask determines the scope.
    """
    return sum(1 << bit for bit, name in enumerate(SCOPE_NAMES) if scope.get(name))


def parse_scope(arguments: Sequence[str]) -> dict[str, str]:
    """Read a scope from command-line arguments such as ``["user=u1", "agent=a"]``.

    Raises
    ------
    InputError
        If an argument is not ``NAME=VALUE``, a name is given twice, or the scope is not valid.
    """
    scope: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is not a scope; write NAME=VALUE, e.g. user=u1")
        if key in scope:
            raise InputError(f"the scope names {key!r} twice; give it once")
        scope[key] = value
    return check_scope(scope)
