"""The current state of records: their state, the position of their current version, and their counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlret.memory.storage.positions import Positions

ACTIVE, ARCHIVED, DELETED, MERGED = range(4)
STATES = {"active": ACTIVE, "archived": ARCHIVED, "deleted": DELETED, "merged": MERGED}


@dataclass
class RecordStatus:
    """The state of one record: the position of its current version, its state and its counters."""

    position: int
    state: int
    strength: float
    accesses: int
    accessed_at: int | None
    merged_into: str | None
    links: int = 0


# Returns strength, accesses, accessed_at, merged_into (an id) and the number of links for each of some records.
ReadUses = Callable[[Sequence[str]], Sequence[tuple[Any, ...]]]


class RecordStatuses(MutableMapping[str, RecordStatus]):
    """The states of all records by id; the counters of a record are read when they are first needed.

    Parameters
    ----------
    ids
        The ``n`` ids.
    positions
        ``(n,)`` int64: position of the current version of each.
    states
        Name of the state of each.
    read
        Function that reads the counters of records.
    """

    def __init__(self, ids: Sequence[str], positions: Positions, states: Sequence[str], read: ReadUses) -> None:
        self._positions, self._states, self._read = positions, states, read
        self._places: dict[str, int] = dict(zip(ids, range(len(ids)), strict=True))
        self._made: dict[str, RecordStatus] = {}

    def position(self, id: str) -> int:
        """Return the position of a record's current version, without reading its counters."""
        made = self._made.get(id)
        return int(self._positions[self._places[id]]) if made is None else made.position

    def of(self, ids: Sequence[str]) -> list[RecordStatus]:
        """Return the states of several records, reading the counters of all of them at once."""
        self._prepare(ids)
        return [self._made[id] for id in ids]

    def _prepare(self, ids: Sequence[str]) -> None:
        lacking = [id for id in dict.fromkeys(ids) if id not in self._made]
        for id, use in zip(lacking, self._read(lacking) if lacking else (), strict=True):
            place = self._places[id]
            self._made[id] = RecordStatus(int(self._positions[place]), STATES[self._states[place]], *use)

    def __getitem__(self, id: str) -> RecordStatus:
        if id not in self._made:
            if id not in self._places:
                raise KeyError(id)
            self._prepare([id])
        return self._made[id]

    def __setitem__(self, id: str, status: RecordStatus) -> None:
        self._made[id] = status
        self._places.setdefault(id, -1)

    def __delitem__(self, id: str) -> None:
        del self._places[id]
        self._made.pop(id, None)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def set_links(self, id: str, count: int) -> None:
        """Set how many links a record has, if its counters were read already; else they will be read as they are."""
        if id in self._made:
            self._made[id].links = count

    def left_by(self, id: str) -> None:
        """Clear ``merged_into`` of the records that were merged into a record that is being erased."""
        for status in self._made.values():
            if status.merged_into == id:
                status.merged_into = None
