"""Change what the memory holds: update, link, merge, delete, restore, undo, forget, feedback; and erase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlret.memory.ingest.forget import Policy
from mlret.memory.memory import Memory
from mlret.memory.records import MemoryRecord
from mlret.memory.results import Done, ErasureProof, Forgotten
from mlret.memory.scope import Scope
from mlret.serve.operations.service import Service
from mlret.serve.security.principal import Principal


async def update_memory(
    service: Service, principal: Principal, id: str, changes: Mapping[str, Any], scope: Scope | None = None
) -> tuple[MemoryRecord, int]:
    """Store a new version of a record.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    id
        Id of the record.
    changes
        ``text`` and the other parameters of :meth:`mlret.memory.memory.Memory.update`.
    scope
        What the request names of a scope.

    Returns
    -------
    (record, operation)
        The record as it is now, and the number of the operation, which undo takes.

    Raises
    ------
    NotFound
        If the scope holds no such record.
    InputError
        If the record is not active, or a value is not valid.
    """
    served, bound = service.memory(principal, "write", scope)

    def write(memory: Memory) -> tuple[MemoryRecord, int]:
        done = memory.update(id, bound, **changes)
        record = memory.versions(id, bound)[-1]
        return record, done.operation

    return await served.handle.write(write)


async def link_memories(
    service: Service, principal: Principal, id: str, type: str, target: str, scope: Scope | None = None, *, on: bool
) -> Done:
    """Link a record to another, or remove the link; see :meth:`mlret.memory.memory.Memory.link`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: (memory.link if on else memory.unlink)(id, type, target, bound))


async def merge_memories(
    service: Service, principal: Principal, survivor: str, others: Sequence[str], scope: Scope | None = None
) -> Done:
    """Merge records into a survivor; see :meth:`mlret.memory.memory.Memory.merge`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.merge(survivor, others, bound))


async def delete_memories(
    service: Service, principal: Principal, ids: Sequence[str], scope: Scope | None = None, *, cascade: bool = True
) -> Done:
    """Delete records, which can be undone; see :meth:`mlret.memory.memory.Memory.delete`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.delete(ids, bound, cascade=cascade))


async def restore_memories(
    service: Service, principal: Principal, ids: Sequence[str], scope: Scope | None = None
) -> Done:
    """Make records active again; see :meth:`mlret.memory.memory.Memory.restore`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.restore(ids, bound))


async def undo_operation(service: Service, principal: Principal, operation: int, scope: Scope | None = None) -> Done:
    """Undo an operation; see :meth:`mlret.memory.memory.Memory.undo`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.undo(operation, bound))


async def forget_memories(
    service: Service, principal: Principal, policy: Policy, scope: Scope | None = None, *, dry_run: bool = True
) -> Forgotten:
    """Archive the records that meet a policy; see :meth:`mlret.memory.memory.Memory.forget`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.forget(policy, bound, dry_run=dry_run))


async def report_use(
    service: Service, principal: Principal, query: str, ids: Sequence[str], scope: Scope | None = None
) -> Done:
    """Note which records were useful for a query; see :meth:`mlret.memory.memory.Memory.feedback`."""
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.feedback(query, ids, bound))


async def erase_memories(
    service: Service, principal: Principal, ids: Sequence[str], scope: Scope | None = None, *, cascade: bool = True
) -> ErasureProof:
    """Erase records for good, and return the proof; see :meth:`mlret.memory.memory.Memory.erase`.

    Nobody reads meanwhile: the last traces leave the disk only when no snapshot shows the records.
    """
    principal.require_erase()
    served, bound = service.memory(principal, "write", scope)
    return await served.handle.write(lambda memory: memory.erase(ids, bound, cascade=cascade), alone=True)
