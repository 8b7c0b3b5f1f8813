"""Principals: who sends a request, and what that token allows.

Roles contain one another: *write* may do what *read* may, *admin* what *write* may.

=======  ==============================================================================================
role     allows
=======  ==============================================================================================
read     search and read: indexes, documents, memories, their history, exports, metrics, embeddings
write    add, change, delete and merge documents and memories, undo, import; erase what belongs to the
         user that the token is bound to
admin    create and delete indexes; erase anything within the token's scope
=======  ==============================================================================================

A token is bound to indexes, and to a scope of the memory. A request can only narrow what the token allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from mlret.errors import Forbidden, InputError, NotFound
from mlret.memory.scope import SCOPE_NAMES, Scope, check_scope

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Principal:
    """Who sends a request, and what it may do.

    Parameters
    ----------
    id
        The public part of the token; it is written to the log.
    name
        The name that the token was made with.
    role
        What it may do.
    indexes
        The indexes that it may use; ``None`` for all of them.
    memory
        Whether it may use the memory.
    scope
        The part of the memory that it is bound to. The tenant is always fixed: a token without one reaches only what
        is stored without a tenant.

    Examples
    --------
    >>> anna = Principal("k3x9", "anna's agent", "write", scope={"tenant": "acme", "user": "anna"})
    >>> anna.scope_within({"agent": "mail"})
    {'tenant': 'acme', 'user': 'anna', 'agent': 'mail'}
    >>> anna.scope_within({"user": "bob"})
    Traceback (most recent call last):
    ...
    mlret.errors.Forbidden: the token is bound to the user 'anna'; leave the user out
    """

    id: str
    name: str
    role: Role
    indexes: frozenset[str] | None = None
    memory: bool = True
    scope: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def may(self, role: Role) -> bool:
        """Return whether the principal may do what a role allows."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: Role) -> None:
        """Check that the principal may do what a role allows.

        Raises
        ------
        Forbidden
            If it may not.
        """
        if not self.may(role):
            raise Forbidden(f"this needs a token of the role {role!r}; this token has the role {self.role!r}")

    def may_use(self, index: str) -> bool:
        """Return whether the principal may use an index; lists of indexes hold only those that it may use."""
        return self.indexes is None or index in self.indexes

    def require_index(self, index: str, role: Role) -> None:
        """Check that the principal may do in an index what a role allows.

        Raises
        ------
        NotFound
            If it may not use the index: the answer does not tell whether the index exists.
        Forbidden
            If it may use the index, but not do this.
        """
        if not self.may_use(index):
            raise no_index(index)
        self.require(role)

    def require_memory(self, role: Role) -> None:
        """Check that the principal may do in the memory what a role allows.

        Raises
        ------
        Forbidden
            If it may not.
        """
        if not self.memory:
            raise Forbidden("this token is for indexes; use one that is bound to a scope of the memory")
        self.require(role)

    def scope_within(self, narrower: Scope | None = None) -> dict[str, str]:
        """Return the scope of a request: that of the token, narrowed by what the request names.

        Parameters
        ----------
        narrower
            Names and values of the request. A name that the token is bound to must have the same value.

        Raises
        ------
        Forbidden
            If the request names a tenant, or another value than the token is bound to.
        InputError
            If neither the token nor the request gives a scope, or the scope is not valid.
        """
        asked = check_scope(narrower) if narrower else {}
        for name, value in asked.items():
            bound = self.scope.get(name)
            if bound is None and name == "tenant":
                raise Forbidden("the tenant comes from the token, and this token has none; leave the tenant out")
            if bound is not None and bound != value:
                raise Forbidden(f"the token is bound to the {name} {bound!r}; leave the {name} out")
        if not (scope := {**self.scope, **asked}):
            raise InputError(
                'a scope is needed, e.g. {"user": "u1"}: this token is not bound to one; '
                f"its names are {', '.join(SCOPE_NAMES[1:])}"
            )
        return check_scope(scope)

    @property
    def may_erase(self) -> bool:
        """Whether it may erase: as a writer what belongs to its own user, as an admin all in its scope."""
        return self.memory and self.may("write" if "user" in self.scope else "admin")

    def require_erase(self) -> None:
        """Check that the principal may erase: as a writer what belongs to its own user, as an admin all in its scope.

        Raises
        ------
        Forbidden
            If it may not.
        """
        self.require_memory("write")
        if not self.may_erase:
            self.require("admin")


def no_index(name: str) -> NotFound:
    """Return the error that states that an index does not exist, or that the token may not know of it."""
    return NotFound(f"there is no index {name!r}; GET /v1/indexes lists those that this token may use")


LOCAL = Principal("local", "the user who started the process", "admin")
"""The principal of a process that serves only the one who started it: ``mlret mcp`` over standard input and output."""
