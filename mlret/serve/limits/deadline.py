"""The deadline of a request: how long the work on it may take."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlret.serve.problems import Problem


class Deadline:
    """ASGI middleware that cancels the work on a request and answers 504 if the answer does not begin in time.

    While the work waits for the body, whose arrival has limits of its own, no time counts, and it counts from zero when
    the body has arrived. It counts until the answer begins: one that is sent in parts, such as an export, may take
    longer.

    Parameters
    ----------
    app
        The application behind it.
    seconds
        The deadline.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Work(self._seconds, scope, receive, send).run(self._app)
        else:
            await self._app(scope, receive, send)


class _Work:
    """The work on one request."""

    def __init__(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        self._seconds, self._scope, self._receive, self._send = seconds, scope, receive, send
        self._timer = asyncio.timeout(seconds)
        self._complete = self._started = False

    async def run(self, app: ASGIApp) -> None:
        try:
            async with self._timer:
                await app(self._scope, self.receive, self.send)
        except TimeoutError:
            if not self._timer.expired() or self._started:
                raise
            detail = f"the work took longer than {self._seconds:g} seconds"
            if self._scope["method"] not in ("GET", "HEAD"):
                detail += "; if it changes something, the change may have been made, or may still be"
            await Problem("deadline", detail).response(self._scope)(self._scope, self._receive, self._send)

    async def receive(self) -> Message:
        if self._complete or self._started or self._timer.expired():
            return await self._receive()
        clock = asyncio.get_running_loop().time
        left = (self._timer.when() or clock()) - clock()
        self._timer.reschedule(None)
        message = await self._receive()
        self._complete = not message.get("more_body", False)
        if not self._started and not self._timer.expired():
            self._timer.reschedule(clock() + (self._seconds if self._complete else left))
        return message

    async def send(self, message: Message) -> None:
        if not self._started and not self._timer.expired():
            self._started = True
            self._timer.reschedule(None)
        await self._send(message)
