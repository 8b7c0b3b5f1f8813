"""Watch what changes in a scope: events of the journal, in order, also those of other processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mlret.errors import InputError
from mlret.memory.base import OpenMemory
from mlret.memory.page_cursors import cursor_after, number_of
from mlret.memory.scope import Scope
from mlret.memory.storage.cells import held_by
from mlret.memory.storage.journal import GONE, Entry, NewVersion, SetField, read_entries
from mlret.memory.storage.store import MemoryStore
from mlret.memory.times import from_micros

EventKind = Literal["added", "updated", "forgotten", "deleted", "merged", "restored", "erased"]
_STATES: dict[str, EventKind] = {
    "archived": "forgotten",
    "deleted": "deleted",
    "merged": "merged",
    "active": "restored",
}
POLL = 0.5


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """A change of a record.

    Attributes
    ----------
    kind
        ``added``; ``updated`` for a new version, or an earlier one that is current again; ``forgotten`` for a record
        that a policy archived; ``deleted``; ``merged`` into another; ``restored``; ``erased``.
    id
        Id of the record; ``None`` for one that was erased before it was watched, whose id no longer exists anywhere.
    operation
        Number of the operation, as :meth:`~mlret.memory.memory.Memory.history` counts it.
    at
        When it was done.
    cursor
        Give it as ``after``, to continue behind this event.
    """

    kind: EventKind
    id: str | None
    operation: int
    at: datetime
    cursor: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a scope, in order.

    Attributes
    ----------
    events
        The changes.
    next
        The cursor behind them, which continues also where there were none.
    more
        Whether there are later changes already.
    """

    events: tuple[MemoryEvent, ...]
    next: str
    more: bool


def changes(
    memory: OpenMemory,
    scope: dict[str, str],
    after: str | None,
    most: int | None = None,
    known: Mapping[int, str] | None = None,
) -> Changes:
    """Return what changed in a scope behind a cursor.

    Parameters
    ----------
    memory
        The memory, as far as it was refreshed.
    scope
        A checked scope.
    after
        A cursor, ``""`` for the beginning, or ``None`` for now, where there are no changes yet.
    most
        Maximum number of changes.
    known
        Key -> id of the records that are in the scope as far as the caller knows. Only of them it is told that they
        were erased, because the journal does not keep in which scope an erased record was.

    Raises
    ------
    InputError
        If the cursor is not one of this memory.
    """
    store = MemoryStore(memory.folder_of(scope), scope)
    identity = store.store.manifest.identity
    with store.lock:
        columns = store.columns
        newest = store.folder.seen
        entry = newest if after is None else number_of(after, identity) if after else 0
        condition, parameters = held_by(scope)
        held = f"scope IN (SELECT scope FROM memory_scopes WHERE {condition})"
        if known is not None:
            held += " OR verb = 'erase'"
        events: list[MemoryEvent] = []
        more = entry < newest
        while more and not events:
            between = [entry, newest, *parameters]
            read = list(read_entries(store.records, f"entry > ? AND entry <= ? AND ({held})", between, most))
            more = most is not None and len(read) == most
            entry = read[-1].number if more else newest
            for one in read:
                assert isinstance(one.record, int)
                mine = known is not None and one.record in known
                if kind := _kind(one, mine=mine):
                    id = columns.name_of(one.record)
                    name = None if id == GONE else id
                    name = known.get(one.record) if name is None and known is not None else name
                    cursor = cursor_after(one.number, identity)
                    events.append(MemoryEvent(kind, name, one.counted, from_micros(one.at), cursor))
    return Changes(tuple(events), cursor_after(max(entry, 0), identity), more)


def _kind(entry: Entry, *, mine: bool) -> EventKind | None:
    """Return what an entry did to its record; ``None`` if that is no event."""
    if entry.verb == "erase":
        return "erased" if mine else None
    kinds: list[EventKind] = []
    for change in entry.changes or ():
        if isinstance(change, NewVersion):
            kinds.append("added" if change.version == 1 else "updated")
        elif isinstance(change, SetField) and change.field == "state":
            kinds.append(_STATES[change.after])
        elif isinstance(change, SetField) and change.field == "row" and change.before is not None:
            kinds.append("updated")
    return "added" if "added" in kinds else next(iter(kinds), None)


@dataclass
class Watcher:
    """Reads the events of a scope, those since the last call each time.

    Attributes
    ----------
    scope
        A checked scope.
    after
        A cursor, ``""`` for all events, or ``None`` for those from the first call on.
    """

    scope: dict[str, str]
    after: str | None
    _known: dict[int, str] = field(default_factory=dict)

    def take(self, memory: OpenMemory) -> tuple[MemoryEvent, ...]:
        """Return the events that were not returned before.

        Parameters
        ----------
        memory
            The memory.

        Raises
        ------
        InputError
            If the cursor is not one of this memory.
        """
        memory.refresh()
        store = MemoryStore(memory.folder_of(self.scope), self.scope)
        with store.lock:
            found = changes(memory, self.scope, self.after, known=self._known)
            self.after = found.next
            self._remember(store)
        return found.events

    def _remember(self, store: MemoryStore) -> None:
        """Remember the ids of the records of the scope, for when they are erased."""
        columns = store.columns
        numbers = columns.record[columns.in_scope(self.scope)]
        ids = [columns.ids.by_number[number] for number in dict.fromkeys(numbers.tolist())]
        self._known = {columns.keys[id]: id for id in ids}


class MemoryWatching(OpenMemory):
    """Mixin with the method of :class:`mlret.memory.memory.Memory` that waits for changes."""

    def watch(
        self,
        scope: Scope | None = None,
        *,
        after: str | None = None,
        timeout: float | None = None,
        poll: float = POLL,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Iterator[MemoryEvent]:
        """Yield what changes in a scope, in order, also what other processes change.

        Accesses, links and repetitions of a text that is already stored are no events.

        Parameters
        ----------
        scope
            A scope; events of records outside it are not shown.
        after
            The ``cursor`` of the last event that was seen, by this process or another; ``""`` for all events. By
            default the events from the first call of ``next`` on.
        timeout
            Seconds without an event after which the iterator ends; 0 to return only what there is. By default it waits
            forever.
        poll
            Seconds between two looks at the journal.
        user, agent, run
            Names of the scope, instead of ``scope`` or in addition to it.

        Yields
        ------
        MemoryEvent
            The events.

        Raises
        ------
        InputError
            If the scope or the cursor cannot be used, or a number of seconds is negative.

        Examples
        --------
        >>> [(event.kind, event.id) for event in memory.watch(anna, after="", timeout=0)]
        [('added', 'nuts'), ('added', 'home')]
        """
        checked = self._memory(scope, user=user, agent=agent, run=run).scope
        return _waiting(self, watcher_of(checked, after, timeout, poll), timeout, poll)


def watcher_of(scope: dict[str, str], after: str | None, timeout: float | None, poll: float) -> Watcher:
    """Return a watcher, after checking the numbers of seconds.

    Parameters
    ----------
    scope
        A checked scope.
    after, timeout, poll
        As for :meth:`MemoryWatching.watch`.

    Raises
    ------
    InputError
        If a number of seconds is negative, or ``poll`` is 0.
    """
    check_seconds(timeout, poll)
    return Watcher(dict(scope), after)


def check_seconds(timeout: float | None, poll: float) -> None:
    """Check how long to wait for changes.

    Parameters
    ----------
    timeout, poll
        As for :meth:`MemoryWatching.watch`.

    Raises
    ------
    InputError
        If a number of seconds is negative, or ``poll`` is 0.
    """
    if poll <= 0 or (timeout is not None and timeout < 0):
        raise InputError(f"poll is {poll} and timeout {timeout}; give seconds: poll above 0, and no timeout below 0")


def pause(timeout: float | None, poll: float) -> float:
    """Return the seconds until the next look; see :meth:`MemoryWatching.watch`."""
    return poll if timeout is None else min(poll, max(timeout, 0.001))


def _waiting(memory: OpenMemory, watcher: Watcher, timeout: float | None, poll: float) -> Iterator[MemoryEvent]:
    last = time.monotonic()
    while True:
        events = watcher.take(memory)
        if events:
            yield from events
            last = time.monotonic()
        elif timeout is not None and time.monotonic() - last >= timeout:
            return
        else:
            time.sleep(pause(timeout, poll))
