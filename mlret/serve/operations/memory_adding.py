"""Add texts to the memory: each becomes a new record, or strengthens the one that says it already."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from mlret.errors import AlreadyExists
from mlret.index.storage.receipts import Receipt, receipts_of, write_receipt
from mlret.memory.ingest.add import Adder
from mlret.memory.ingest.inputs import read_item
from mlret.memory.memory import Memory
from mlret.memory.results import Added
from mlret.memory.scope import Scope
from mlret.memory.storage.drafts import Draft
from mlret.memory.storage.store import MemoryStore
from mlret.serve.operations.idempotency import Digest, in_use, other_body, receipt_key
from mlret.serve.operations.invalid_values import about
from mlret.serve.operations.service import Service
from mlret.serve.problems import Problem, pointer
from mlret.serve.security.principal import Principal

_PLACE = "memory"


@dataclass(frozen=True, slots=True)
class MemoryAdding:
    """Texts to store, and how.

    Attributes
    ----------
    texts
        For each text a mapping of ``text`` and any parameter of :meth:`mlret.memory.memory.Memory.add`.
    scope
        What the request names of a scope.
    dedupe
        Whether to look for records that say the same already.
    key
        The idempotency key that the client sent; empty for none.
    field
        Where the texts are in the body: the name of the list, empty if the body is one text.
    """

    texts: Sequence[Mapping[str, Any]]
    scope: Scope | None = None
    dedupe: bool = True
    key: str = ""
    field: str = "memories"

    def location(self, place: int) -> list[str | int]:
        """Return where a text is in the body."""
        return [self.field, place] if self.field else []


async def add_memories(service: Service, principal: Principal, wanted: MemoryAdding) -> list[dict[str, Any]]:
    """Store texts, all of them or none.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    wanted
        The texts.

    Returns
    -------
    list of dict
        What became of each text, as :class:`mlret.memory.results.Added` says.

    Raises
    ------
    Problem
        If a text or a field of it is not valid, or its id is taken. Nothing is stored then.
    """
    served, scope = service.memory(principal, "write", wanted.scope)
    key = receipt_key(principal.id, wanted.key) if wanted.key else ""
    with service.keys.reserved(_PLACE, key):
        digest = _digest(wanted, scope) if key else b""
        if key and (earlier := await served.handle.read(partial(_receipts, scope=scope, key=key))):
            if earlier[0].digest != digest:
                raise other_body()
            answered: list[dict[str, Any]] = json.loads(earlier[0].answer)
            return answered
        drafts = await anyio.to_thread.run_sync(_drafts, wanted)

        def write(memory: Memory) -> list[dict[str, Any]]:
            store = MemoryStore(memory.folder_of(scope), scope)

            def also(connection: sqlite3.Connection, added: list[Added]) -> None:
                if key:
                    answer = json.dumps([one.as_json() for one in added]).encode()
                    write_receipt(connection, key, Receipt(0, len(added), digest, last=True, answer=answer))

            with store.folder.writing():
                if key and receipts_of(store.records, key):
                    raise in_use()  # by another server on the same folder
                added = Adder(store, store.scope, memory.thresholds(), dedupe=wanted.dedupe).add(drafts, also)
            return [one.as_json() for one in added]

        try:
            return await served.handle.write(write)
        except AlreadyExists as error:
            raise _taken(wanted, drafts, error) from error


def _drafts(wanted: MemoryAdding) -> list[Draft]:
    found = []
    for place, text in enumerate(wanted.texts):
        with about(*wanted.location(place)):
            found.append(read_item(text))
    return found


def _taken(wanted: MemoryAdding, drafts: Sequence[Draft], error: AlreadyExists) -> Problem:
    """Return the problem of an id that is taken, which names the last text that has it."""
    place = max(place for place, draft in enumerate(drafts) if repr(draft.record) in str(error))
    field = pointer([*wanted.location(place), "id"])
    return Problem("conflict", str(error), field=field, place="body", fix="Leave the id out, or choose another one.")


def _receipts(memory: Memory, scope: Scope, key: str) -> list[Receipt]:
    return receipts_of(memory.folder_of(scope).records, key)


def _digest(wanted: MemoryAdding, scope: Scope) -> bytes:
    hashed = Digest(f"memories {wanted.dedupe} {json.dumps(dict(scope))}")
    for text in wanted.texts:
        hashed.add(json.dumps(text, sort_keys=True, default=str).encode())
    return hashed.value
