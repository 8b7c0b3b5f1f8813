"""The deadline of a request: how long the work may take after the body has arrived."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlret.serve.problems import Problem
from mlret.serve.security.hosts import headers_named


class Deadline:
    """ASGI middleware that cancels the work on a request and answers 504 if the answer does not begin in time.

    The time counts from the last byte of the body, whose arrival has limits of its own, to the first of the answer. An
    answer that is sent in parts, such as an export, may take longer.

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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        started = False

        async def receive_noting_the_end() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False) and not started:
                timer.reschedule(loop.time() + self._seconds)
            return message

        async def send_noting_the_start(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                timer.reschedule(None)
            await send(message)

        timer = asyncio.timeout(None if _has_body(scope) else self._seconds)
        try:
            async with timer:
                await self._app(scope, receive_noting_the_end, send_noting_the_start)
        except TimeoutError:
            if not timer.expired() or started:
                raise
            detail = f"the work took longer than {self._seconds:g} seconds"
            if scope["method"] not in ("GET", "HEAD"):
                detail += "; a change may have been made, or may still be"
            await Problem("deadline", detail).response(scope)(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    lengths = headers_named(scope, b"content-length")
    return bool(headers_named(scope, b"transfer-encoding")) or any(length != "0" for length in lengths)
