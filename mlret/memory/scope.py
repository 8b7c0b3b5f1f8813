"""Whose a memory is: the scope, which every verb names and the store enforces.

A scope is a point in four names: tenant, user, agent, run. It is kept in a table of its own, never among the metadata,
and a record is read only through the scopes that hold it: nothing that a user writes into text, tags or metadata can
move a record to another scope.

Tenants are apart: no scope holds records of two of them. A scope that names no tenant holds what was stored without
one, and nothing else. Within a tenant, a scope holds every record that agrees in the names that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from mlret.errors import InputError

ScopeName = Literal["tenant", "user", "agent", "run"]
SCOPE_NAMES: tuple[ScopeName, ...] = get_args(ScopeName)
Scope = Mapping[str, str]
# As the database has it: a value for each name, "" where the scope does not name it.
Place = tuple[str, str, str, str]


def check_scope(scope: Scope) -> dict[str, str]:
    """A scope, checked, its names in their order.

    Raises
    ------
    InputError
        If it is empty, has other names, or a value is no string or blank.
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


def place_of(scope: Scope) -> Place:
    """A checked scope as the database has it."""
    return scope.get("tenant", ""), scope.get("user", ""), scope.get("agent", ""), scope.get("run", "")


def scope_at(place: Place) -> dict[str, str]:
    """The scope that :func:`place_of` was given."""
    return {name: value for name, value in zip(SCOPE_NAMES, place, strict=True) if value}


def holds(scope: Scope, place: Place) -> bool:
    """Whether a checked scope holds what was stored at a place: of the same tenant, and it agrees in every name."""
    return all(place[SCOPE_NAMES.index(name)] == value for name, value in {"tenant": "", **scope}.items())


def mask_of(scope: Scope) -> int:
    """Which names a scope has, as bits: with the place of a record that it holds, they tell the scope."""
    return sum(1 << bit for bit, name in enumerate(SCOPE_NAMES) if scope.get(name))


def tenant_of(scope: Scope) -> str:
    """The tenant of a checked scope; ``""`` where it names none."""
    return scope.get("tenant", "")


def parse_scope(arguments: Sequence[str]) -> dict[str, str]:
    """Read a scope from the command line: ``["user=u1", "agent=a"]``.

    Raises
    ------
    InputError
        If an argument is not ``NAME=VALUE``, a name is given twice, or the scope is not valid.
    """
    scope: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no scope; write NAME=VALUE, e.g. user=u1")
        if key in scope:
            raise InputError(f"the scope names {key!r} twice; give it once")
        scope[key] = value
    return check_scope(scope)
