"""What the token of a request allows, so that a client can show its user what is possible."""

from __future__ import annotations

from typing import Any

from mlret.serve.operations.service import Service
from mlret.serve.security.principal import Principal


async def describe_permissions(service: Service, principal: Principal) -> dict[str, Any]:
    """Return what a token allows on this server; nothing of it is secret to the one who holds the token.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.

    Returns
    -------
    dict
        ``id`` and ``name`` of the token; ``role``; ``indexes``, ``None`` for all; ``memory``, whether it may use the
        memory and the server has one; ``scope``, the part of the memory that it is bound to; ``erase``, whether it may
        erase memories; ``creates``, whether it may create indexes.
    """
    memory = principal.memory and service.catalogue.has_memory
    return {
        "id": principal.id,
        "name": principal.name,
        "role": principal.role,
        "indexes": None if principal.indexes is None else sorted(principal.indexes),
        "memory": memory,
        "scope": dict(principal.scope),
        "erase": memory and principal.may_erase,
        "creates": principal.may("admin") and service.catalogue.root is not None,
    }
