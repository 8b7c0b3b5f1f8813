"""Data structures for columns: numbers for values, and the turns of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
_T = TypeVar("_T")


class Names(dict[_T, int]):
    """Numbers for values, from 0 in the order in which the values were first looked up.

    ``names[value]`` assigns a number to a value that has none; ``names.get(value)`` returns ``None`` for it.

    Attributes
    ----------
    by_number
        The values, in the order of their numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_number: list[_T] = []

    def __missing__(self, value: _T) -> int:
        number = self[value] = len(self.by_number)
        self.by_number.append(value)
        return number

    def fill(self, values: Sequence[_T]) -> list[int]:
        """Return the numbers of many values, assigning them at once; use it before any other value is looked up."""
        self.by_number = list(dict.fromkeys(values))
        self.update(zip(self.by_number, range(len(self.by_number)), strict=True))
        return list(map(self.__getitem__, values))


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
