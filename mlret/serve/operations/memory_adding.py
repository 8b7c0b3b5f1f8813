"""Add texts to the memory: each becomes a new record, or strengthens the one that says it already."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import anyio.to_thread

from mlret.errors import AlreadyExists
from mlret.index.storage.receipts import Receipt, receipts_of, write_receipt
from mlret.memory.ingest.add import Adder
from mlret.memory.ingest.inputs import read_item
from mlret.memory.ingest.messages import read_fact, read_message
from mlret.memory.memory import Memory
from mlret.memory.results import Added
from mlret.memory.scope import Scope
from mlret.memory.storage.drafts import Draft
from mlret.memory.storage.store import MemoryStore
from mlret.serve.operations.idempotency import Digest, in_use, other_body, receipt_key
from mlret.serve.operations.invalid_values import about, invalid
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
        For each text a mapping of ``text`` and any parameter of :meth:`mlret.memory.memory.Memory.add`; or messages.
    scope
        What the request names of a scope.
    dedupe
        Whether to look for records that say the same already.
    key
        The idempotency key that the client sent; empty for none.
    field
        Where the texts are in the body: the name of the list, empty if the body is one text.
    about
        If the texts are messages, the fields that every turn gets.
    facts
        Facts found in the messages: mappings as for texts, with the positions of their messages under ``messages``.
    """

    texts: Sequence[Mapping[str, Any]]
    scope: Scope | None = None
    dedupe: bool = True
    key: str = ""
    field: str = "memories"
    about: Mapping[str, Any] | None = None
    facts: Sequence[Mapping[str, Any]] = ()


class Place(NamedTuple):
    """A text that is about to be stored, and where it is in the body."""

    location: tuple[str | int, ...]
    draft: Draft


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
        What became of each text, or of each message that has text and then of each fact, as
        :class:`mlret.memory.results.Added` says.

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
        places = await anyio.to_thread.run_sync(_conversation if wanted.about is not None else _texts, wanted)
        if not places:
            return []

        def write(memory: Memory) -> list[dict[str, Any]]:
            store = MemoryStore(memory.folder_of(scope), scope)

            def also(connection: sqlite3.Connection, added: list[Added]) -> None:
                if key:
                    answer = json.dumps([one.as_json() for one in added]).encode()
                    write_receipt(connection, key, Receipt(0, len(added), digest, last=True, answer=answer))

            with store.folder.writing():
                if key and receipts_of(store.records, key):
                    raise in_use()  # by another server on the same folder
                added = Adder(store, store.scope, memory.thresholds(), dedupe=wanted.dedupe).add(
                    [one.draft for one in places], also
                )
            return [one.as_json() for one in added]

        try:
            return await served.handle.write(write)
        except AlreadyExists as error:
            raise _taken(places, error) from error


def _texts(wanted: MemoryAdding) -> list[Place]:
    found = []
    for number, text in enumerate(wanted.texts):
        location: tuple[str | int, ...] = (wanted.field, number) if wanted.field else ()
        with about(*location):
            found.append(Place(location, read_item(text)))
    return found


def _conversation(wanted: MemoryAdding) -> list[Place]:
    """Return the turns of the messages that have text, then the facts."""
    found: list[Place] = []
    turn_of: dict[int, int] = {}
    for number, message in enumerate(wanted.texts):
        with about(wanted.field, number):
            draft = read_message(message, wanted.about or {})
        if draft is not None:
            turn_of[number] = len(found)
            found.append(Place((wanted.field, number), draft))
    turns = [one.draft for one in found]
    if wanted.facts and not turns:
        raise invalid("no message has text that facts could be from", [wanted.field])
    for number, fact in enumerate(wanted.facts):
        named = fact.get("messages")
        if wrong := [place for place in named or () if place not in turn_of]:
            detail = f"there is no message with text at the position {wrong[0]}"
            raise invalid(detail, ["facts", number, "messages"], "Name positions of messages with text, from 0.")
        own = fact if named is None else {**fact, "messages": [turn_of[place] for place in named]}
        with about("facts", number):
            found.append(Place(("facts", number), read_fact(own, turns)))
    return found


def _taken(places: Sequence[Place], error: AlreadyExists) -> Problem:
    """Return the problem of an id that is taken, which names the last text that has it."""
    location = next(one.location for one in reversed(places) if repr(one.draft.record) in str(error))
    field = pointer([*location, "id"])
    return Problem("conflict", str(error), field=field, place="body", fix="Leave the id out, or choose another one.")


def _receipts(memory: Memory, scope: Scope, key: str) -> list[Receipt]:
    return receipts_of(memory.folder_of(scope).records, key)


def _digest(wanted: MemoryAdding, scope: Scope) -> bytes:
    hashed = Digest(f"memories {wanted.dedupe} {json.dumps(dict(scope))}")
    parts = [*wanted.texts] if wanted.about is None else [*wanted.texts, wanted.about, *wanted.facts]
    for one in parts:
        hashed.add(json.dumps(one, sort_keys=True, default=str).encode())
    return hashed.value
