"""How many requests are worked on at once, how many wait, and who is sent away with 429."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from mlret.serve.limits.turns import Turns
from mlret.serve.problems import Problem

# Weight of the newest request in the mean of how long requests take.
_NEWEST = 0.1


@dataclass(frozen=True)
class CapacityLimits:
    """Limits of the number of requests.

    Attributes
    ----------
    working
        Requests that are worked on at once. One token has three quarters of them at most.
    waiting
        Requests that wait for their turn.
    per_token
        Requests of one token, worked on and waiting, so that one client leaves room for the others.
    patience
        Seconds that a request waits for its turn at most.
    """

    working: int = 128
    waiting: int = 512
    per_token: int = 512
    patience: float = 10.0


class Capacity:
    """ASGI middleware that admits a bounded number of requests, and shares the turns fairly between tokens.

    Requests without a token are public, cost nothing and pass, so that a check of health is answered under load.

    Parameters
    ----------
    app
        The application behind it.
    limits
        The limits.
    """

    def __init__(self, app: ASGIApp, limits: CapacityLimits) -> None:
        self._app = app
        self._limits = limits
        self._turns = Turns(limits.working)
        self._of_token: Counter[str] = Counter()
        self._admitted = 0
        self._seconds = 0.05

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope.get("state", {}).get("principal") if scope["type"] == "http" else None
        if principal is None:
            await self._app(scope, receive, send)
            return
        if self._admitted >= self._limits.working + self._limits.waiting:
            await self._refuse("the server is busy", scope, receive, send)
            return
        if self._of_token[principal.id] >= self._limits.per_token:
            await self._refuse("this token has too many requests at work", scope, receive, send)
            return
        self._admitted += 1
        self._of_token[principal.id] += 1
        try:
            await self._take_turn(principal.id, scope, receive, send)
        finally:
            self._admitted -= 1
            self._of_token[principal.id] -= 1
            if not self._of_token[principal.id]:
                del self._of_token[principal.id]

    async def _take_turn(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for a turn and work, or refuse if the turn does not come."""
        try:
            if not self._turns.take_at_once(token):
                async with asyncio.timeout(self._limits.patience):
                    await self._turns.take(token)
        except TimeoutError:
            await self._refuse("the server is busy", scope, receive, send)
            return
        began = time.monotonic()
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.give_back(token)
            self._seconds += _NEWEST * (time.monotonic() - began - self._seconds)

    async def _refuse(self, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429, with the time after which those that wait now should be done."""
        seconds = min(30, max(1, math.ceil(self._admitted * self._seconds / self._limits.working)))
        await Problem("too-many-requests", detail, retry_after=seconds).response(scope)(scope, receive, send)
