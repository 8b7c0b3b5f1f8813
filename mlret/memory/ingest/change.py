"""Operations that change stored records: update, link, merge, delete, restore and undo. None of them loses data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from mlret.errors import AlreadyExists, InputError, NotFound
from mlret.memory.ingest.inputs import prepare, read_item
from mlret.memory.records import DERIVED_FROM, Content, State, check_link_type
from mlret.memory.results import Done
from mlret.memory.scope import Scope
from mlret.memory.storage.drafts import Step
from mlret.memory.storage.journal import GONE, Change, NewVersion, SetEnd, SetField, SetLink, Verb, inverse
from mlret.memory.storage.record_state import ACTIVE, ARCHIVED, DELETED, MERGED
from mlret.memory.storage.store import MemoryStore
from mlret.memory.times import FOREVER

_NAMES = ("active", "archived", "deleted", "merged")
# The fields that a new version with a new text inherits. Keys expand a text, and times belong to its content, so they
# are not inherited.
_INHERITED = ("kind", "level", "session", "tags", "importance", "metadata")


def update(store: MemoryStore, id: str, scope: Scope, changes: Mapping[str, Any]) -> Done:
    """Store a new version of a record and end the validity of the earlier ones; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    id, scope
        Id of the record, and a scope that it belongs to.
    changes
        Field -> new value.

    Raises
    ------
    InputError
        If the scope holds no such record, the record is not active, or a value cannot be used.
    """
    position = store.position(id, scope)
    columns = store.columns
    _in_state(store, id, (ACTIVE,), "update")
    [old] = store.fetch([position])
    given = {"text": old.text, **{name: getattr(old, name) for name in _INHERITED}, **changes, "id": id}
    if "text" not in changes:
        given = {**{one.name: getattr(old, one.name) for one in fields(Content)}, "language": old.language, **given}
        given = {**given, **changes}
    draft = read_item(given)
    draft.version = len(columns.versions[id]) + 1
    draft.seq = old.seq if draft.content.seq is None else draft.content.seq
    for link in draft.links:
        store.position(link.target, scope)
    prepare(store, [draft], old.scope)
    ends: list[Change] = []
    for one in columns.versions[id]:
        end, start = int(columns.valid_to[one]), int(columns.valid_from[one])
        cut = max(draft.valid_from, start)
        if cut < end:
            ends.append(SetEnd(int(columns.row[one]), None if end == FOREVER else end, cut))
    links = [SetLink(link.type, link.target, True) for link in draft.links if link not in old.links]
    operation = store.commit("update", [Step(id, draft, int(columns.row[position]), [*ends, *links])])
    return Done((id,), operation)


def link(store: MemoryStore, id: str, type: str, target: str, scope: Scope, *, on: bool = True) -> Done:
    """Add a link, or remove it; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    id, type, target
        The link: from which record, of which type, to which record.
    scope
        A scope that holds both records.
    on
        Whether to add or to remove it.

    Raises
    ------
    InputError
        If the scope lacks one of the records, they are the same, or the link already is as requested.
    """
    check_link_type(type)
    store.position(id, scope)
    store.position(target, scope)
    if id == target:
        raise InputError(f"the record {id!r} cannot be linked to itself")
    there = (id, type, target) in store.columns.links.get(id, ())
    if on and there:
        raise AlreadyExists(f"{id!r} has link {type!r} to {target!r} already")
    if not on and not there:
        raise NotFound(f"{id!r} has no link {type!r} to {target!r}")
    return Done((id,), store.commit("link", [Step(id, changes=[SetLink(type, target, on)])]))


def merge(store: MemoryStore, survivor: str, others: Sequence[str], scope: Scope) -> Done:
    """Merge records into a survivor; the others are stored unchanged but no longer found. Use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    survivor, others
        Id of the record that remains, and ids of those that are merged into it.
    scope
        A scope that holds all of them.

    Raises
    ------
    InputError
        If there are no others, one is the survivor, is not active, or was stored in another scope than the survivor.
    """
    others = list(dict.fromkeys(others))
    if not others or survivor in others:
        raise InputError("merge takes the record that stays, and one other or more")
    columns = store.columns
    place = columns.scope[store.position(survivor, scope)]
    strength = before = columns.statuses[survivor].strength
    steps = []
    for id in (survivor, *others):
        if columns.scope[store.position(id, scope)] != place:
            raise InputError(f"{id!r} is in another scope than {survivor!r}: only records of one scope are merged")
        _in_state(store, id, (ACTIVE,), "merge")
    for id in others:
        strength += columns.statuses[id].strength
        steps.append(Step(id, changes=[SetField("state", "active", "merged"), SetField("merged_into", None, survivor)]))
    steps.insert(0, Step(survivor, changes=[SetField("strength", before, strength)], note={"merged": others}))
    return Done((survivor, *others), store.commit("merge", steps))


def set_state(store: MemoryStore, verb: Verb, reasons: Mapping[str, str], after: State) -> Done:
    """Set the state of records; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    verb
        Name of the operation in the journal.
    reasons
        Id of each record -> the reason, which may be empty.
    after
        The new state.
    """
    steps = []
    for id, reason in reasons.items():
        before = _NAMES[store.columns.statuses[id].state]
        note = {"reason": reason} if reason else {}
        steps.append(Step(id, changes=[SetField("state", before, after)], note=note))
    return Done(tuple(reasons), store.commit(verb, steps))


def delete(store: MemoryStore, ids: Iterable[str], scope: Scope, *, cascade: bool = True) -> Done:
    """Hide records and, with ``cascade``, what was derived from them in the scope; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    ids, scope
        Ids of the records, and a scope that holds them.
    cascade
        Whether to include derived records.

    Raises
    ------
    InputError
        If the scope lacks one of the records, or one is already deleted.
    """
    named = _ids(ids)
    for id in named:
        store.position(id, scope)
        _in_state(store, id, (ACTIVE, ARCHIVED, MERGED), "delete")
    below = [id for id in descendants(store, named) if cascade and store.in_scope(id, scope)]
    derived = [id for id in below if store.columns.statuses[id].state != DELETED]
    reasons = dict.fromkeys(named, "") | {id: "derived from what was deleted" for id in derived if id not in named}
    return set_state(store, "delete", reasons, "deleted")


def restore(store: MemoryStore, ids: Iterable[str], scope: Scope) -> Done:
    """Make records active again that were deleted, archived or merged; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    ids, scope
        Ids of the records, and a scope that holds them.

    Raises
    ------
    InputError
        If the scope lacks one of the records, or one is already active.
    """
    steps: list[Step] = []
    weaker: dict[str, float] = {}
    named = _ids(ids)
    for id in named:
        store.position(id, scope)
        _in_state(store, id, (DELETED, ARCHIVED, MERGED), "restore")
        there = store.columns.statuses[id]
        changes: list[Change] = [SetField("state", _NAMES[there.state], "active")]
        if there.merged_into is not None:
            changes.append(SetField("merged_into", there.merged_into, None))
            weaker[there.merged_into] = weaker.get(there.merged_into, 0.0) + there.strength
        steps.append(Step(id, changes=changes))
    for id, less in weaker.items():
        survivor = store.columns.statuses.get(id)
        if survivor is not None:
            after = max(1.0, survivor.strength - less)
            steps.append(Step(id, changes=[SetField("strength", survivor.strength, after)]))
    return Done(tuple(named), store.commit("restore", steps))


def undo(store: MemoryStore, operation: int) -> Done:
    """Reverse an operation of the scope; use it within ``writing``.

    Parameters
    ----------
    store
        The memory, as seen by the scope.
    operation
        Number of the operation within the scope.

    Raises
    ------
    InputError
        If there is no such operation, or what it changed has been changed again since.
    """
    if type(operation) is not int:
        raise InputError(f"the operation is {operation!r}; give its number, which history and every change name")
    entries = store.operation(operation)
    links = {link for entry in entries for link in store.columns.links.get(str(entry.record), ())}
    state = _Checked(store, links)
    steps = []
    for entry in reversed(entries):
        record, changes = str(entry.record), inverse(entry.changes or ())
        for change in changes:
            state.apply(record, change, operation)
        steps.append(Step(record, changes=changes, note={"undoes": entry.operation}))
    return Done(tuple(dict.fromkeys(str(entry.record) for entry in entries)), store.commit("undo", steps))


class _Checked:
    """Checks whether changes can be made: the value that each replaces must be the current one."""

    def __init__(self, store: MemoryStore, links: set[tuple[str, str, str]]) -> None:
        self._store = store
        self._links = links
        self._values: dict[tuple[Any, ...], Any] = {}

    def apply(self, record: str, change: Change, operation: int) -> None:
        """Check a change, and remember its effect for the following ones.

        Raises
        ------
        InputError
            If the value that it replaces has changed since.
        """
        match change:
            case SetField("merged_into", before, after) if GONE in (before, after):
                raise self._store.no_operation(operation)
            case SetField(name, before, after):
                key: tuple[Any, ...] = (record, name)
                now = self._values.get(key, self._field(record, name))
            case SetEnd(row, before, after):
                key = (row,)
                now = self._values.get(key, self._end(row))
            case SetLink(_, target, _) if target == GONE:
                raise self._store.no_operation(operation)
            case SetLink(type, target, on):
                key, before, after = (record, type, target), not on, on
                now = self._values.get(key, key in self._links)
            case NewVersion():
                raise AssertionError("no version is made by undoing")
        if now != before:
            raise InputError(f"{record!r} has changed since operation {operation}: undo what came after it first")
        self._values[key] = after

    def _field(self, record: str, name: str) -> Any:
        columns = self._store.columns
        there = columns.statuses[record]
        if name == "row":
            return int(columns.row[there.position])
        return _NAMES[there.state] if name == "state" else getattr(there, name)

    def _end(self, row: int) -> int | None:
        columns = self._store.columns
        [position] = columns.positions([row]).tolist()  # type: ignore[arg-type]
        end = int(columns.valid_to[position])
        return None if end == FOREVER else end


def descendants(store: MemoryStore, ids: Iterable[str], *, merged: bool = False) -> list[str]:
    """Return the ids of all records derived from some records, directly or indirectly.

    Parameters
    ----------
    store
        The memory.
    ids
        Ids of the records.
    merged
        Whether to include the records that were merged into them.
    """
    found: dict[str, None] = {}
    pending = list(ids)
    into: dict[str, list[str]] = {}
    for record, survivor in store.merged() if merged else ():
        into.setdefault(survivor, []).append(record)
    while pending:
        id = pending.pop()
        links = sorted(store.columns.links.get(id, ()))
        derived = [record for record, type, target in links if type == DERIVED_FROM and target == id]
        for one in [*derived, *into.get(id, ())]:
            if one not in found:
                found[one] = None
                pending.append(one)
    return list(found)


def derived_outside(store: MemoryStore, ids: str | Iterable[str]) -> bool:
    """Return whether anything was derived from some records that the store, which need not have the tenant, lacks.

    Parameters
    ----------
    store
        The memory as its scope sees it.
    ids
        Ids of records; those that are not in the scope are ignored.
    """
    mine = [id for id in _ids(ids) if id in store.columns.keys]
    keys = [store.columns.keys[id] for id in dict.fromkeys([*mine, *descendants(store, mine)])]
    query = f"SELECT record FROM memory_links WHERE type = '{DERIVED_FROM}' AND target IN ({{}})"
    return any(store.columns.id_of(key) is None for (key,) in store.records.read_among(query, keys))


def _in_state(store: MemoryStore, id: str, states: Sequence[int], verb: str) -> None:
    state = store.columns.statuses[id].state
    if state not in states:
        raise InputError(
            f"the record {id!r} is {_NAMES[state]}; {verb} takes records that are "
            f"{' or '.join(_NAMES[one] for one in states)}"
        )


def _ids(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        return [ids]
    found = list(dict.fromkeys(ids))
    if not found:
        raise InputError("name one record or more")
    return found
