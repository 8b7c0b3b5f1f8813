"""How records stand: their state, their current version, and what they count."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlret.memory.numbering import Positions

ACTIVE, ARCHIVED, DELETED, MERGED = range(4)
STATES = {"active": ACTIVE, "archived": ARCHIVED, "deleted": DELETED, "merged": MERGED}


@dataclass
class Standing:
    """A record as search knows it: the position of its current version and what it counts."""

    position: int
    state: int
    strength: float
    accesses: int
    accessed_at: int | None
    merged_into: str | None


class Standings(MutableMapping[str, Standing]):
    """How records stand, by id; each is made of its row in the table when it is first asked for.

    Parameters
    ----------
    ids
        ``n`` of them.
    positions
        ``(n,)``: of the current version of each.
    fields
        The columns state (by name), strength, accesses, accessed_at and merged_into (an id), ``n`` values each.
    """

    def __init__(self, ids: Sequence[str], positions: Positions, *fields: Sequence[Any]) -> None:
        self._positions, self._fields = positions, fields
        self._places: dict[str, int] = dict(zip(ids, range(len(ids)), strict=True))
        self._made: dict[str, Standing] = {}

    def __getitem__(self, id: str) -> Standing:
        found = self._made.get(id)
        if found is None:
            place = self._places[id]
            states, strengths, accesses, accessed, merged = self._fields
            found = self._made[id] = Standing(
                int(self._positions[place]),
                STATES[states[place]],
                strengths[place],
                accesses[place],
                accessed[place],
                merged[place],
            )
        return found

    def merged_into(self, id: str) -> list[str]:
        """The records that are merged into one."""
        column = self._fields[-1]
        stored = [one for one, place in self._places.items() if place >= 0 and column[place] == id]
        made = [one for one, standing in self._made.items() if standing.merged_into == id]
        return [one for one in dict.fromkeys([*stored, *made]) if self[one].merged_into == id]

    def __setitem__(self, id: str, standing: Standing) -> None:
        self._made[id] = standing
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
