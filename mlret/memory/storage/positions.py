"""Data structures for columns: numbers for values, growing arrays of positions, and the turns of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
_T = TypeVar("_T")


class Names(Generic[_T]):
    """A mapping of values to numbers, from 0 in the order in which the values were added."""

    def __init__(self) -> None:
        self.values: list[_T] = []
        self._numbers: dict[_T, int] = {}

    def number(self, value: _T) -> int:
        """Return the number of a value, assigning one if it has none."""
        found = self._numbers.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found

    def numbers(self, values: Sequence[_T]) -> list[int]:
        """Return the numbers of many values, assigning them where needed."""
        if self.values:
            return [self.number(value) for value in values]
        self.values = list(dict.fromkeys(values))
        self._numbers = dict(zip(self.values, range(len(self.values)), strict=True))
        return list(map(self._numbers.__getitem__, values))

    def known(self, value: _T) -> int | None:
        """Return the number of a value, or ``None`` if it has none."""
        return self._numbers.get(value)


class Growing:
    """An ascending array of positions that can be appended to."""

    def __init__(self, positions: Positions | None = None) -> None:
        self._array = np.empty(4, dtype=np.int64) if positions is None else positions
        self._size = 0 if positions is None else len(positions)

    def append(self, position: int) -> None:
        """Append a position."""
        if self._size == len(self._array):
            self._array = np.resize(self._array, 2 * self._size)
        self._array[self._size] = position
        self._size += 1

    def all(self) -> Positions:
        """Return the positions; arrays that were returned earlier are unaffected by later appends."""
        return self._array[: self._size]


class Turns:
    """The positions of versions by session and position in it; a session is sorted when it is first needed.

    Parameters
    ----------
    sessions, places
        ``(n,)``: session and position in it of the versions ``0 … n - 1``.
    """

    def __init__(self, sessions: NDArray[np.int32], places: NDArray[np.int64]) -> None:
        self._order = np.argsort(sessions, kind="stable")
        self._sessions, self._places = sessions[self._order], places[self._order]
        self._fresh: dict[int, list[tuple[int, int]]] = {}  # Pairs that were added later.
        self._next: dict[int, int] = {}
        self._at: dict[int, dict[int, list[int]]] = {}

    def add(self, session: int, place: int, position: int) -> None:
        """Add a version.

        Parameters
        ----------
        session
            Number of the session.
        place
            Position in the session.
        position
            Position of the version.
        """
        self._next[session] = max(self.upcoming(session), place + 1)
        self._fresh.setdefault(session, []).append((place, position))
        if session in self._at:
            self._at[session].setdefault(place, []).append(position)

    def upcoming(self, session: int) -> int:
        """Return the position after the last one of a session."""
        if session not in self._next:
            places = self._places[self._held(session)]
            self._next[session] = int(places.max()) + 1 if len(places) else 0
        return self._next[session]

    def at(self, session: int, place: int) -> Sequence[int]:
        """Return the versions at a position of a session."""
        return self._in(session).get(place, ())

    def _in(self, session: int) -> dict[int, list[int]]:
        if session not in self._at:
            held = self._held(session)
            pairs = zip(self._places[held].tolist(), self._order[held].tolist(), strict=True)
            self._at[session] = {}
            for place, position in (*pairs, *self._fresh.get(session, ())):
                self._at[session].setdefault(place, []).append(position)
        return self._at[session]

    def _held(self, session: int) -> slice:
        first, last = np.searchsorted(self._sessions, [session, session + 1])
        return slice(int(first), int(last))
