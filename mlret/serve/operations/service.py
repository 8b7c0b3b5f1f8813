"""What the operations work on: the open indexes, and the requests that are being worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mlret.memory.scope import Scope
from mlret.serve.catalogue import Catalogue, ServedIndex, ServedMemory
from mlret.serve.operations.idempotency import in_use
from mlret.serve.security.principal import Principal, Role
from mlret.serve.settings import ServeSettings


class KeysInUse:
    """The idempotency keys of requests that are being worked on: of two requests with one key, one has to wait."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def reserved(self, place: str, key: str) -> Iterator[None]:
        """Hold a key while a request is worked on.

        Parameters
        ----------
        place
            What the request works on, such as the name of an index.
        key
            The key; empty if the request has none.

        Raises
        ------
        Problem
            If another request holds it.
        """
        if not key:
            yield
            return
        if (place, key) in self._keys:
            raise in_use()
        self._keys.add((place, key))
        try:
            yield
        finally:
            self._keys.discard((place, key))


class Service:
    """The server behind its interfaces.

    Parameters
    ----------
    settings
        How the server was started.
    catalogue
        The open folders.
    """

    def __init__(self, settings: ServeSettings, catalogue: Catalogue) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.keys = KeysInUse()
        self.state: Literal["starting", "ready", "ending"] = "starting"

    def index(self, principal: Principal, name: str, role: Role) -> ServedIndex:
        """Return an index, if a client may use it in a role.

        Parameters
        ----------
        principal
            The client.
        name
            The name of the index.
        role
            What the client needs to be.

        Raises
        ------
        NotFound
            If there is no such index, or the client may not know of it.
        Forbidden
            If the client may not do this.
        """
        principal.require_index(name, role)
        return self.catalogue.index(name)

    def memory(
        self, principal: Principal, role: Role, narrower: Scope | None = None
    ) -> tuple[ServedMemory, dict[str, str]]:
        """Return the memory, if a client may use it in a role, and the scope that it may use.

        Parameters
        ----------
        principal
            The client.
        role
            What the client needs to be.
        narrower
            What the request names of a scope; it can only narrow what the token is bound to.

        Raises
        ------
        NotFound
            If the server has no memory.
        Forbidden
            If the client may not do this, or names a scope outside its own.
        InputError
            If neither the token nor the request names a scope, or it is not valid.
        """
        principal.require_memory(role)
        return self.catalogue.memory, principal.scope_within(narrower)
