"""What programs give to mem0's interface, checked and translated: configuration, owners, filters, messages, dates."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.integrations.stored_metadata import from_stored, stored_name
from mlret.memory.storage.drafts import TAGS

_log = logging.getLogger("mlret.integrations.mem0")

# Names of owners in mem0 -> the names in a scope.
OWNERS = {"user_id": "user", "agent_id": "agent", "run_id": "run"}
# Metadata may not say whose a memory is, or who spoke.
IDENTITY = (*OWNERS, "actor_id")
EXPIRY = "expiration_date"
CREATED = "created_at"
_OPERATORS = {name: f"${name}" for name in ("eq", "in", "gt", "gte", "lt", "lte", "contains")}
_LOGIC = ("AND", "OR", "NOT")
_UNSTORED = (CREATED, "updated_at", "hash")
Event = Literal["ADD", "UPDATE", "DELETE", "NONE"]
Message = Mapping[str, Any]


class RequestError(InputError, ValueError):
    """A value that mem0's interface refuses, which programs may catch as a :class:`ValueError`."""


@dataclass(frozen=True)
class Settings:
    """Where memories are stored, and what encodes them.

    Attributes
    ----------
    path
        The folder.
    encoder
        The encoder, its folder or its hub id; ``None`` for that of the folder, or the bundled one for a new folder.
    """

    path: Path
    encoder: AnyEncoder | str | Path | None


def read_config(config: Any, path: str | Path | None, encoder: AnyEncoder | str | Path | None) -> Settings:
    """Read a configuration of mem0, and log what mlret does not use of it.

    Parameters
    ----------
    config
        A dict, a configuration of mem0, or ``None``.
    path, encoder
        What the caller gave besides; it takes precedence.

    Raises
    ------
    RequestError
        If the configuration is no dict.
    """
    given = config.model_dump() if hasattr(config, "model_dump") else config or {}
    if not isinstance(given, Mapping):
        raise RequestError(f"the configuration is {type(given).__name__}; give a dict, as to mem0")
    store, embedder = given.get("vector_store") or {}, given.get("embedder") or {}
    options = store.get("config") or {}
    if path is None and options.get("path"):
        path = Path(options["path"]) / str(options.get("collection_name") or "mem0")
    unused = [name for name in given if name not in ("vector_store", "embedder")]
    if embedder.get("provider") == "mlret":
        encoder = encoder or (embedder.get("config") or {}).get("model")
    elif embedder:
        unused.append(f"embedder ({embedder.get('provider')})")
    if store and not options.get("path"):
        unused.append(f"vector_store ({store.get('provider')})")
    settings = Settings(Path(path) if path is not None else _usual_folder(), encoder)
    if unused:
        _log.warning("not used of the configuration: %s; memories are in %s", ", ".join(unused), settings.path)
    return settings


def _usual_folder() -> Path:
    directory = os.environ.get("MEM0_DIR")
    return Path(directory) / "mlret" if directory else Path.home() / ".mlret" / "mem0"


def read_owner(value: object, name: str) -> str | None:
    """Return the id of an owner without surrounding blanks; ``None`` if there is none.

    Raises
    ------
    RequestError
        If it is blank or has blanks inside.
    """
    if value is None:
        return None
    text = str(value).strip()
    if not text:
        raise RequestError(f"Invalid {name}: cannot be empty or whitespace-only. Provide a valid identifier.")
    if any(character.isspace() for character in text):
        raise RequestError(f"Invalid {name}: cannot contain whitespace. Provide a valid identifier without spaces.")
    return text


def read_scope(owners: Mapping[str, object]) -> dict[str, str]:
    """Return the scope that owners name; empty if they name none.

    Parameters
    ----------
    owners
        Values of ``user_id``, ``agent_id`` and ``run_id``; ``None`` if they are not given.
    """
    found = {scope: read_owner(owners.get(name), name) for name, scope in OWNERS.items()}
    return {name: value for name, value in found.items() if value is not None}


def owned_scope(owners: Mapping[str, object]) -> dict[str, str]:
    """Return the scope that owners name.

    Raises
    ------
    RequestError
        If they name none.
    """
    scope = read_scope(owners)
    if not scope:
        raise RequestError("At least one of 'user_id', 'agent_id', or 'run_id' must be provided.")
    return scope


def read_filters(filters: Mapping[str, Any] | None, owners: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the scope and the filter on metadata that mem0's filters mean.

    Parameters
    ----------
    filters
        Owners, and conditions on metadata.
    owners
        Owners that were given besides, as to mem0 before version 2.

    Returns
    -------
    (scope, where)
        A scope that is not empty, and a filter as :meth:`mlret.memory.memory.Memory.search` takes it.

    Raises
    ------
    RequestError
        If no owner is named, two are named for one name, or a condition cannot be used.
    """
    if filters is not None and not isinstance(filters, Mapping):
        raise RequestError(f"filters is {type(filters).__name__}; give a dict such as {{'user_id': 'u1'}}")
    given = dict(filters or {})
    for name in OWNERS:
        if owners.get(name) is not None and given.setdefault(name, owners[name]) != owners[name]:
            raise RequestError(f"{name} is {owners[name]!r}, but {given[name]!r} in the filters; give it once")
    if any(given.get(name) == "*" for name in OWNERS):
        raise RequestError("'*' names no owner; name the user_id, agent_id or run_id whose memories are searched")
    scope = read_scope({name: given.pop(name, None) for name in OWNERS})
    if not scope:
        raise RequestError(
            "filters must contain at least one of: user_id, agent_id, run_id. Example: filters={'user_id': 'u1'}"
        )
    return scope, _where(given)


def _where(conditions: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for name, wanted in conditions.items():
        if name in _LOGIC:
            if not isinstance(wanted, list) or not wanted or not all(isinstance(one, Mapping) for one in wanted):
                raise RequestError(f"{name} operator requires a non-empty list of conditions")
            some = [_where(one) for one in wanted]
            combined: dict[str, Any] = {"$and": some} if name == "AND" else {"$or": some}
            parts.append({"$not": combined} if name == "NOT" else combined)
        else:
            parts += _conditions(name, wanted)
    return parts[0] if len(parts) == 1 else {"$and": parts} if parts else {}


def _conditions(name: str, wanted: Any) -> list[dict[str, Any]]:
    """Return the filters that a condition of mem0 on one name means; all must hold."""
    if name in OWNERS:
        raise RequestError(f"{name} is in AND, OR or NOT; an owner is named at the top of the filters")
    if name in _UNSTORED:
        raise RequestError(f"{name} cannot be filtered by; put a date of your own into the metadata")
    field = stored(name)
    if wanted == "*":
        return [{field: {"$exists": True}}]
    if not isinstance(wanted, Mapping):
        return [{field: list(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else wanted}]
    found: list[dict[str, Any]] = []
    for operator, value in wanted.items():
        if operator in ("ne", "nin"):  # In mem0 a memory without the field does not pass.
            found += [{field: {"$exists": True}}, {field: {f"${operator}": value}}]
        elif operator == "icontains":
            raise RequestError(f"icontains on {name!r} is not supported, since text is compared exactly; use contains")
        elif operator in _OPERATORS:
            found.append({field: {_OPERATORS[operator]: value}})
        else:
            raise RequestError(f"Unsupported metadata filter operator: {operator}")
    return found


def stored(name: str) -> str:
    """Return the name under which a memory stores a metadata value, so that it is none of mlret's own."""
    return f"~{name}" if name.split(".", 1)[0] == TAGS else stored_name(name)


def stored_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata under the names of :func:`stored`; the input is not changed."""
    return {stored(name) if isinstance(name, str) else name: value for name, value in metadata.items()}


def own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored metadata under the names that the program gave."""
    return from_stored(metadata)


def read_metadata(metadata: Mapping[str, Any] | None, call: str) -> dict[str, Any]:
    """Return a copy of metadata without names that say whose a memory is, which are logged.

    Raises
    ------
    RequestError
        If it is no dict.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise RequestError(f"metadata is {type(metadata).__name__}; give a dict")
    given = dict(metadata or {})
    for name in IDENTITY:
        if given.pop(name, None) is not None:
            _log.warning("%s: metadata[%r] is not used: metadata cannot say whose a memory is", call, name)
    return given


def read_expiry(value: object) -> str | None:
    """Return a date as ``YYYY-MM-DD``; ``None`` if there is none.

    Raises
    ------
    RequestError
        If it is no date.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    try:
        return date.fromisoformat(cast(str, value)).isoformat()
    except (TypeError, ValueError) as error:
        raise RequestError("expiration_date must be a valid date in YYYY-MM-DD format.") from error


def read_messages(messages: Any) -> list[dict[str, Any]]:
    """Return messages as dicts with ``role``, ``content`` and perhaps ``name``, without those that hold no text.

    Messages of the system, and those without a role or text, are skipped.

    Parameters
    ----------
    messages
        A text, a message, or a list of messages. The content of a message is a text, or a list of parts of which those
        of type ``text`` are joined.

    Raises
    ------
    RequestError
        If it is something else.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    elif isinstance(messages, Mapping):
        messages = [messages]
    elif not isinstance(messages, list):
        raise RequestError("messages must be str, dict, or list[dict]")
    found = []
    for message in messages:
        role, text = (message.get("role"), _text_of(message)) if isinstance(message, Mapping) else (None, None)
        if role is None or text is None:
            _log.warning("skipped a message without a role or text: %.80r", message)
        elif role != "system":
            name = {"name": message["name"]} if message.get("name") else {}
            found.append({"role": str(role), "content": text, **name})
    return found


def _text_of(message: Message) -> str | None:
    """Return the text of a message; ``None`` if it has none."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [one.get("text") for one in content if isinstance(one, Mapping) and one.get("type") == "text"]
        content = " ".join(one for one in parts if isinstance(one, str))
    return content if isinstance(content, str) and content.strip() else None


@dataclass(frozen=True)
class Operation:
    """What is done with one memory.

    Attributes
    ----------
    event
        ``ADD``, ``UPDATE``, ``DELETE`` or ``NONE``.
    text
        The new text.
    id
        The memory that is changed.
    metadata
        Metadata of this memory besides that of the call.
    """

    event: Event
    text: str | None = None
    id: str | None = None
    metadata: Mapping[str, Any] | None = None


Extract = Callable[[list[dict[str, Any]]], Iterable[str | Mapping[str, Any]]]


def verbatim(messages: Iterable[Message]) -> list[Operation]:
    """Return the operations that store messages as they are, with their roles and the names of their speakers."""
    found = []
    for message in messages:
        actor = {"actor_id": message["name"]} if "name" in message else {}
        found.append(Operation("ADD", message["content"], metadata={"role": message["role"], **actor}))
    return found


def read_operations(extracted: Iterable[str | Mapping[str, Any]]) -> list[Operation]:
    """Return what a callable extracted from messages, checked.

    Parameters
    ----------
    extracted
        Texts to add, or dicts with ``event`` (``ADD`` by default), ``text`` or ``memory``, ``id`` and ``metadata``.

    Raises
    ------
    RequestError
        If a value cannot be used.
    """
    if isinstance(extracted, str | Mapping) or not isinstance(extracted, Iterable):
        raise RequestError(f"extract returned {type(extracted).__name__}; return a list of texts or of dicts")
    return [_operation(one) for one in extracted]


def _operation(given: str | Mapping[str, Any]) -> Operation:
    if isinstance(given, str):
        given = {"text": given}
    if not isinstance(given, Mapping):
        raise RequestError(f"extract returned {given!r:.80}; return texts, or dicts with 'event', 'text' and 'id'")
    named = given.get("event") or "ADD"
    if named not in get_args(Event):
        raise RequestError(f"extract returned the event {named!r}; there are {', '.join(get_args(Event))}")
    event = cast(Event, named)
    text, id = given.get("text") or given.get("memory"), given.get("id")
    if event in ("ADD", "UPDATE") and (not isinstance(text, str) or not text.strip()):
        raise RequestError(f"extract returned {event} without a text: {dict(given)!r:.80}")
    if event in ("UPDATE", "DELETE") and not isinstance(id, str):
        raise RequestError(f"extract returned {event} without the id of a memory: {dict(given)!r:.80}")
    metadata = read_metadata(given.get("metadata"), "extract")
    return Operation(event, text if isinstance(text, str) else None, id if isinstance(id, str) else None, metadata)
