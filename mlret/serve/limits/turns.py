"""Turns to work, shared fairly between tokens."""

from __future__ import annotations

import asyncio
from collections import Counter, deque


class Turns:
    """A number of turns that tokens take one after the other, so that one with many requests does not delay the others.

    A free turn goes to the token that has waited longest since it last got one, and a token leaves a quarter of the
    turns to the others. Within a token, requests have their turn in the order in which they came.

    Parameters
    ----------
    number
        How many requests have a turn at a time.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._most = number - number // 4
        self._at_work: Counter[str] = Counter()
        # Those that wait, by token; the token that got a turn last is the last one.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def take_at_once(self, token: str) -> bool:
        """Take a turn if one is free and nobody else of the token waits for it."""
        if not self._free or token in self._waiting or self._at_work[token] >= self._most:
            return False
        self._take(token)
        return True

    async def take(self, token: str) -> None:
        """Wait for a turn and take it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(token, deque()).append(turn)
        self._share()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(token)
            else:
                self._forget(token, turn)
            raise

    def give_back(self, token: str) -> None:
        """Give a turn back, to the next one who waits."""
        self._free += 1
        self._at_work[token] -= 1
        if not self._at_work[token]:
            del self._at_work[token]
        self._share()

    def _take(self, token: str) -> None:
        self._free -= 1
        self._at_work[token] += 1

    def _share(self) -> None:
        """Give free turns to those who wait."""
        while self._free:
            token = next((one for one in self._waiting if self._at_work[one] < self._most), None)
            if token is None:
                return
            waiting = self._waiting.pop(token)
            turn = waiting.popleft()
            if waiting:
                self._waiting[token] = waiting
            if not turn.done():
                self._take(token)
                turn.set_result(None)

    def _forget(self, token: str, turn: asyncio.Future[None]) -> None:
        """Remove one who waits no longer."""
        if (waiting := self._waiting.get(token)) and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[token]
