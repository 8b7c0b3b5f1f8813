"""Records of a memory in the form in which mem0 returns them."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from mlret.integrations.mem0_requests import CREATED, EXPIRY, OWNERS, own_metadata
from mlret.memory.memory import Memory
from mlret.memory.records import MemoryRecord
from mlret.memory.storage.journal import NewVersion, SetField
from mlret.memory.storage.store import MemoryStore
from mlret.memory.times import from_micros

# Metadata that is returned next to the text rather than under ``metadata``.
_PROMOTED = ("actor_id", "role", "attributed_to", EXPIRY)


def created_at(record: MemoryRecord) -> str:
    """Return when a memory was created, in ISO 8601: what its metadata say, else when it was stored."""
    stated = record.metadata.get(CREATED)
    return stated if isinstance(stated, str) else record.recorded_at.isoformat()


def item_of(record: MemoryRecord, **more: Any) -> dict[str, Any]:
    """Return a record as mem0 returns a memory.

    Parameters
    ----------
    record
        A version of a record.
    **more
        Further values, such as the score.
    """
    metadata = own_metadata(record.metadata)
    metadata.pop(CREATED, None)
    created = created_at(record)
    promoted = {name: metadata.pop(name) for name in _PROMOTED if name in metadata}
    owners = {name: record.scope[part] for name, part in OWNERS.items() if part in record.scope}
    return {
        "id": record.id,
        "memory": record.text,
        "hash": hashlib.md5(record.text.encode(), usedforsecurity=False).hexdigest(),
        "metadata": metadata or None,
        **more,
        "created_at": created,
        "updated_at": created if record.version == 1 else record.recorded_at.isoformat(),
        **owners,
        **promoted,
    }


def history_of(memory: Memory, id: str, scope: dict[str, str]) -> list[dict[str, Any]]:
    """Return the history of a record as mem0 returns it: an entry for each time that the text came, changed or went.

    Parameters
    ----------
    memory
        The open memory.
    id
        Id of the record.
    scope
        A scope that holds it.
    """
    versions = memory.versions(id, scope)
    store = MemoryStore(memory.folder, scope)
    with store.lock:
        entries = store.entries(id)
    first = created_at(versions[0])
    rows: dict[int, MemoryRecord] = {}
    current: MemoryRecord | None = None
    hidden = False
    found = []
    for entry in entries:
        before = None if hidden else current
        for change in entry.changes or ():
            if isinstance(change, NewVersion):
                rows[change.row] = versions[len(rows)]
            elif isinstance(change, SetField) and change.field == "row":
                current = rows.get(change.after)
            elif isinstance(change, SetField) and change.field == "state":
                hidden = change.after == "deleted"
        after = None if hidden else current
        if before is not after:
            at = first if before is None and after is versions[0] else from_micros(entry.at).isoformat()
            found.append({**_event(before, after), "memory_id": id, "created_at": first, "updated_at": at})
    return [{"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{id} {place}")), **one} for place, one in enumerate(found)]


def _event(before: MemoryRecord | None, after: MemoryRecord | None) -> dict[str, Any]:
    of = after or before
    metadata = {} if of is None else own_metadata(of.metadata)
    return {
        "old_memory": None if before is None else before.text,
        "new_memory": None if after is None else after.text,
        "event": "DELETE" if after is None else "ADD" if before is None else "UPDATE",
        "is_deleted": after is None,
        "actor_id": metadata.get("actor_id"),
        "role": metadata.get("role"),
    }
