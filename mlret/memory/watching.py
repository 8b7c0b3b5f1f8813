"""Watch what changes in a scope: events of the journal, in order, also those of other processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
    _entry: int | None = None
    _known: dict[int, str] = field(default_factory=dict)

    def take(self, memory: OpenMemory) -> list[MemoryEvent]:
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
        store = MemoryStore(memory.folder, self.scope)
        identity = store.store.manifest.identity
        with store.lock:
            columns = store.columns
            newest = store.folder.seen
            if self._entry is None:
                start = newest if self.after is None else number_of(self.after, identity) if self.after else 0
                self._entry = start
            if newest <= self._entry:
                self._remember(store)
                return []
            condition, parameters = held_by(self.scope)
            held = f"scope IN (SELECT scope FROM memory_scopes WHERE {condition}) OR verb = 'erase'"
            between = [self._entry, newest, *parameters]
            found = []
            for entry in read_entries(store.records, f"entry > ? AND entry <= ? AND ({held})", between):
                assert isinstance(entry.record, int)
                id = columns.name_of(entry.record)
                name = self._known.get(entry.record) if id == GONE else id
                for kind in self._kinds(entry, mine=entry.record in self._known):
                    cursor = cursor_after(entry.number, identity)
                    found.append(MemoryEvent(kind, name, entry.counted, from_micros(entry.at), cursor))
            self._entry = newest
            self._remember(store)
        return found

    def _kinds(self, entry: Entry, *, mine: bool) -> list[EventKind]:
        if entry.verb == "erase":
            return ["erased"] if mine else []
        kinds: list[EventKind] = []
        for change in entry.changes or ():
            if isinstance(change, NewVersion):
                kinds.append("added" if change.version == 1 else "updated")
            elif isinstance(change, SetField) and change.field == "state":
                kinds.append(_STATES[change.after])
            elif isinstance(change, SetField) and change.field == "row" and change.before is not None:
                kinds.append("updated")
        return list(dict.fromkeys(kinds))[:1] if "added" not in kinds else ["added"]

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
    if poll <= 0 or (timeout is not None and timeout < 0):
        raise InputError(f"poll is {poll} and timeout {timeout}; give seconds: poll above 0, and no timeout below 0")
    return Watcher(dict(scope), after)


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
            time.sleep(poll if timeout is None else min(poll, max(timeout, 0.001)))
