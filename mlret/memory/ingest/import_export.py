"""Import and export of memories: JSON lines of whole records, and chats as other programs export them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any, Literal

import numpy as np

from mlret.errors import AlreadyExists, InputError
from mlret.memory import times
from mlret.memory.ingest.inputs import prepare, read_item
from mlret.memory.records import Link, MemoryRecord, check_id, check_link_type
from mlret.memory.scope import Scope, check_scope, holds, place_of
from mlret.memory.storage.drafts import NEW, Draft, Step
from mlret.memory.storage.journal import Change, SetEnd, SetField, SetLink
from mlret.memory.storage.record_state import ACTIVE, DELETED
from mlret.memory.storage.store import MemoryStore
from mlret.memory.times import read_instant

FORMAT = 1
Existing = Literal["error", "skip"]
_BATCH = 64
# The fields that belong to a version; the others belong to the record.
_OF_VERSION = (
    "text",
    "language",
    "kind",
    "level",
    "session",
    "seq",
    "event_time",
    "expires_at",
    "source",
    "tags",
    "keys",
    "importance",
    "metadata",
)
_FIRST = {"state": "active", "strength": 1.0, "accesses": 0, "accessed_at": None, "merged_into": None}


def export_records(
    store: MemoryStore, ids: Iterable[str] | None = None, *, vectors: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield records of a scope with all their versions and links, in any state except deleted.

    Parameters
    ----------
    store
        The memory, as seen by the scope whose records are exported.
    ids
        The ids of the records; those that the scope does not hold are skipped. By default all records.
    vectors
        Whether to include the vector of each version, so that importing needs no encoder.

    Yields
    ------
    dict
        JSON values.
    """
    columns, scope = store.columns, store.scope
    if ids is None:
        with store.lock:
            positions = columns.in_scope(scope)
            ids = list(dict.fromkeys(columns.ids.by_number[one] for one in columns.record[positions].tolist()))
    for id in ids:
        with store.lock:
            _ = store.index.store  # Raises an error if the memory has been closed since the last record.
            there = columns.statuses.get(id)
            if there is None or there.state == DELETED or not store.in_scope(id, scope):
                continue
            versions = store.fetch(columns.versions[id])
            rows = [int(columns.row[position]) for position in columns.versions[id]]
            found = store.store.vectors_of(rows) if vectors else {}
            current = next(place for place, one in enumerate(columns.versions[id]) if one == there.position)
            links = [[link.type, link.target] for link in versions[0].links if store.in_scope(link.target, scope)]
        yield {
            "mlret_memory": FORMAT,
            "id": id,
            "scope": versions[0].scope,
            **{name: getattr(versions[current], name) for name in ("state", "strength", "accesses", "merged_into")},
            "accessed_at": _iso(versions[current].accessed_at),
            "links": links,
            "current": versions[current].version,
            "versions": [
                _version(one) | ({"vector": np.asarray(found[row]).tolist()} if row in found else {})
                for one, row in zip(versions, rows, strict=True)
            ],
        }


def _version(record: MemoryRecord) -> dict[str, Any]:
    values = record.as_json()
    known = {name: values[name] for name in _OF_VERSION if values[name] not in (None, [], {})}
    return known | {name: values[name] for name in ("version", "valid_from", "valid_to", "recorded_at")}


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


@dataclass(frozen=True, slots=True)
class _Arriving:
    id: str
    scope: dict[str, str]
    versions: list[tuple[Draft, dict[str, Any]]]  # The current version comes last.
    fields: dict[str, Any]
    links: tuple[Link, ...]


def import_records(
    store: MemoryStore, lines: Iterable[Mapping[str, Any]], scope: Scope, existing: Existing
) -> Iterator[list[str]]:
    """Store records that :func:`export_records` produced, batch by batch; use it within ``writing``.

    Links and merges are added when all records are stored. An import that was interrupted resumes with
    ``existing="skip"``.

    Parameters
    ----------
    store
        The memory.
    lines
        The exported records.
    scope
        A scope that holds the scope of every record.
    existing
        ``error`` to fail at an id that is taken, ``skip`` to skip the line.

    Yields
    ------
    list of str
        The ids of a batch, which survives a crash from then on.

    Raises
    ------
    InputError
        At the first line that is not a record, whose scope the given one does not hold, or whose id is taken.
    """
    source = enumerate(lines, start=1)
    arrived: list[_Arriving] = []
    while batch := list(islice(source, _BATCH)):
        arriving = [_arriving(values, f"line {number}", scope) for number, values in batch]
        fresh = [one for one in arriving if not _is_there(store, one, existing)]
        if twice := [one.id for place, one in enumerate(fresh) if one.id in {o.id for o in fresh[:place]}]:
            raise InputError(f"the id {twice[0]!r} occurs twice; keep one of its lines")
        arrived += arriving
        if fresh:
            store.commit("import", [step for one in fresh for step in _steps(store, one)])
            yield [one.id for one in fresh]
    joining = [step for one in arrived if (step := _joined(store, one, scope)) is not None]
    if joining:
        store.commit("import", joining)


def _arriving(values: Mapping[str, Any], where: str, scope: Scope) -> _Arriving:
    if not isinstance(values, Mapping) or values.get("mlret_memory") != FORMAT:
        raise InputError(f"{where}: no record of a memory of format {FORMAT} (`mlret memory export` writes them)")
    try:
        own_scope = check_scope(values["scope"])
        versions = []
        for one in values["versions"]:
            item = {name: one[name] for name in _OF_VERSION if name in one} | {"id": values["id"]}
            item |= {"vector": one["vector"]} if "vector" in one else {}
            versions.append((read_item(item), {"current": one["version"] == values["current"], **one}))
        fields = {name: values[name] for name in _FIRST}
        links = tuple(Link(check_link_type(type), check_id(target)) for type, target in values["links"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: the record is incomplete ({error!r}); export it again") from error
    if not holds(scope, place_of(own_scope)):
        raise InputError(f"{where}: the record belongs to the scope {own_scope}, which is not within {dict(scope)}")
    if not versions or not any(about["current"] for _, about in versions):
        raise InputError(f"{where}: the record has no current version; export it again")
    versions.sort(key=lambda one: one[1]["current"])
    return _Arriving(versions[0][0].record, own_scope, versions, fields, links)


def _is_there(store: MemoryStore, one: _Arriving, existing: Existing) -> bool:
    if one.id not in store.columns.keys:
        return False
    if existing == "error":
        raise AlreadyExists(f'the id {one.id!r} is already stored; skip stored records (`existing="skip"`)')
    if store.place_of_record(one.id) != place_of(one.scope):  # Skipping the line would lose its record.
        raise AlreadyExists(f"the id {one.id!r} is taken, and not by the record of this line; give it another")
    return True


def _steps(store: MemoryStore, one: _Arriving) -> list[Step]:
    for draft, about in one.versions:
        draft.version, draft.seq = int(about["version"]), int(about["seq"])
    prepare(store, [draft for draft, _ in one.versions], one.scope)
    steps = []
    for draft, about in one.versions:
        start, end, recorded = (
            None if about[name] is None else times.micros(read_instant(about[name], name))
            for name in ("valid_from", "valid_to", "recorded_at")
        )
        assert start is not None and recorded is not None
        changes: list[Change] = [] if end is None else [SetEnd(NEW, None, end)]
        draft.valid_from, draft.recorded_at = start, recorded
        steps.append(Step(one.id, draft, None, changes))
    last = steps[-1]
    fields = dict(one.fields)
    if fields["accessed_at"] is not None:
        fields["accessed_at"] = times.micros(read_instant(fields["accessed_at"], "accessed_at"))
    # Merges are applied once the survivor is stored.
    late = {"merged_into", *(["state"] if fields["state"] == "merged" else [])}
    sets = [
        SetField(name, first, fields[name])
        for name, first in _FIRST.items()
        if name not in late and fields[name] != first
    ]
    steps[-1] = Step(last.record, last.draft, None, [*last.changes, *sets])
    return steps


def _joined(store: MemoryStore, one: _Arriving, scope: Scope) -> Step | None:
    """Return the step that adds the missing links of a record and its merge; ``None`` if nothing is missing."""
    there = store.columns.statuses[one.id]
    held = {(type, target) for record, type, target in store.columns.links.get(one.id, ()) if record == one.id}
    changes: list[Change] = []
    for link in one.links:
        if (link.type, link.target) not in held:
            store.position(link.target, scope)
            changes.append(SetLink(link.type, link.target, True))
    survivor = one.fields["merged_into"]
    # A record that was stored before the import, and has been deleted or archived since, stays as it is.
    unchanged = there.merged_into is None and (there.state == ACTIVE or one.fields["state"] != "merged")
    if survivor is not None and unchanged and store.in_scope(survivor, scope):
        changes.append(SetField("merged_into", None, survivor))
        if one.fields["state"] == "merged":
            changes.append(SetField("state", "active", "merged"))
    return Step(one.id, changes=changes) if changes else None


ZONE_HINT = " (`zone=…` names the zone of times that lack one)"
"""The end of an error about a time that :func:`read_chat` was given no zone for."""


def read_chat(
    lines: Iterable[Mapping[str, Any]], *, session: str | None = None, zone: tzinfo | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the turns of a chat export as items for :meth:`mlret.memory.memory.Memory.add_batch`.

    Parameters
    ----------
    lines
        Dicts with ``role``, ``content`` (a string, or a list of parts of which those with ``text`` count) and
        optionally ``time`` (ISO 8601, or seconds since 1970; also ``timestamp``, ``created_at``, ``create_time``),
        ``session`` (also ``session_id``, ``conversation_id``) and ``language`` (also ``lang``). Turns without text are
        skipped.
    session
        Conversation of the turns that name none.
    zone
        Time zone of the times that name none. Without it they are refused, because a local time alone does not
        determine an instant.

    Yields
    ------
    dict
        An item with ``text``, ``source``, ``session``, ``language`` and, if the turn has a time, ``event_time``.

    Raises
    ------
    InputError
        At the first line that is not a turn.
    """
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        if not isinstance(line, Mapping) or not isinstance(line.get("role"), str) or "content" not in line:
            raise InputError(f"{where}: no turn of a chat; it needs the keys 'role' and 'content'")
        text = _content(line["content"], where)
        if not text.strip():
            continue
        item: dict[str, Any] = {"text": text, "source": {"role": line["role"]}}
        conversation = _first(line, ("session", "session_id", "conversation_id"))
        item["session"] = session if conversation is None else str(conversation)
        item["language"] = _code(_first(line, ("language", "lang")), where)
        when = _first(line, ("time", "timestamp", "created_at", "create_time"))
        if when is not None:
            item["event_time"] = _when(when, zone, where)
        yield item


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        found = [one if isinstance(one, str) else one.get("text") for one in content if isinstance(one, str | Mapping)]
        return "\n".join(one for one in found if isinstance(one, str))
    if content is None:
        return ""
    raise InputError(f"{where}: the content is {type(content).__name__}; it must be a text or a list of parts")


def _when(value: object, zone: tzinfo | None, where: str) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError) as error:  # Which of them, depends on how far off it is.
            raise InputError(
                f"{where}: time is {value}; give ISO 8601, or seconds since 1970, not milliseconds"
            ) from error
    try:
        if isinstance(value, str) and zone is not None:
            read = datetime.fromisoformat(value)
            return read if read.utcoffset() is not None else read.replace(tzinfo=zone)
        return read_instant(value, "time")  # type: ignore[arg-type]
    except (ValueError, InputError) as error:
        raise InputError(f"{where}: {error}{ZONE_HINT}") from error


def _code(value: object, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{where}: the language is {type(value).__name__}; give a code such as 'sw'")


def _first(line: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((line[name] for name in names if line.get(name) is not None), None)
