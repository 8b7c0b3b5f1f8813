"""Limits of a request's body: how large it is, and how fast it arrives."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlret.serve.problems import Problem
from mlret.serve.security.hosts import headers_named

_STREAMS = re.compile(r"/v1/(indexes/[^/]+/documents|memories:import)")
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@dataclass(frozen=True)
class BodyLimits:
    """Limits of a body.

    Attributes
    ----------
    size
        Largest number of bytes. Streams of lines may be longer, because they are handled line by line; the route
        limits the line.
    grace
        Seconds to wait for the next bytes, and for all of them in addition to those that the size allows.
    rate
        Bytes per second that a body must arrive with, after the grace.
    idle
        Seconds to wait for the next bytes of a stream of lines.
    together
        Largest number of bytes of the bodies of all requests at one time, except for streams.
    """

    size: int = 32 << 20
    grace: float = 20.0
    rate: float = 1024.0
    idle: float = 60.0
    together: int = 256 << 20


class Body:
    """ASGI middleware that answers with a problem if a body is compressed, too large or too slow.

    While the application does not read, for instance because it stores what has arrived, no time counts.

    Parameters
    ----------
    app
        The application behind it.
    limits
        The limits.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits
        self._held = _Held()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif problem := _refused_at_once(scope, self._limits):
            await problem.response(scope)(scope, receive, send)
        else:
            await _Reading(self._limits, self._held, scope, receive, send).run(self._app)


@dataclass
class _Held:
    """Bytes of the bodies of all requests that are worked on."""

    size: int = 0


class _Reading:
    """The body of one request while it is read."""

    def __init__(self, limits: BodyLimits, held: _Held, scope: Scope, receive: Receive, send: Send) -> None:
        self._limits, self._scope, self._receive, self._send = limits, scope, receive, send
        self._held = held
        self._stream = is_stream(scope)
        self._size, self._waited = 0, 0.0
        self._complete = self._started = False
        self._problem: Problem | None = None

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            if self._problem is None or self._started:
                raise
        finally:
            if not self._stream:
                self._held.size -= self._size
        if self._problem is not None and not self._started:
            await self._problem.response(self._scope)(self._scope, self._receive, self._send)

    async def receive(self) -> Message:
        """Return the next message, or raise the problem; a stream that has been answered in part can catch it."""
        if self._complete:
            return await self._receive()
        if self._problem is not None:
            raise self._problem
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience()):
                message = await self._receive()
        except TimeoutError:
            self._problem = Problem("request-timeout", "the body of the request arrives too slowly")
            raise self._problem from None
        self._waited += time.monotonic() - began
        if message["type"] == "http.request":
            arrived = len(message.get("body", b""))
            self._size += arrived
            self._complete = not message.get("more_body", False)
            if not self._stream:
                self._check_size(arrived)
        return message

    def _check_size(self, arrived: int) -> None:
        """Raise the problem if the body, or the bodies of all requests together, are too large."""
        self._held.size += arrived
        if self._size > self._limits.size:
            self._problem = _too_large(self._limits.size)
        elif self._held.size > self._limits.together:
            self._problem = Problem("too-many-requests", "the server holds too many large bodies", retry_after=1)
        if self._problem is not None:
            raise self._problem

    async def send(self, message: Message) -> None:
        """Pass on the answer, unless the application answers a body that was refused: the problem replaces it."""
        if self._problem is not None and not self._started:
            return
        self._started = True
        await self._send(message)

    def _patience(self) -> float:
        """Return the seconds that the next message may take."""
        if self._stream:
            return self._limits.idle
        left = self._limits.grace + self._size / self._limits.rate - self._waited
        return min(max(0.0, left), self._limits.grace)


def is_stream(scope: Scope) -> bool:
    """Return whether the body is a stream of lines that the route handles one by one."""
    types = headers_named(scope, b"content-type")
    return (
        scope["method"] == "POST"
        and len(types) == 1
        and types[0].partition(";")[0].strip().lower() in _LINES
        and _STREAMS.fullmatch(scope["path"]) is not None
    )


def _refused_at_once(scope: Scope, limits: BodyLimits) -> Problem | None:
    """Return why a body is refused before it is read, or ``None``."""
    encodings = headers_named(scope, b"content-encoding")
    if any(encoding.lower() not in ("", "identity") for encoding in encodings):
        # A small compressed body can stand for one that fills the memory.
        return Problem(
            "unsupported-media-type",
            "the body is compressed; send it as it is",
            field="Content-Encoding",
            place="header",
            headers={"Accept-Encoding": "identity"},
        )
    lengths = headers_named(scope, b"content-length")
    if any(length.isdigit() and int(length[:20]) > limits.size for length in lengths) and not is_stream(scope):
        return _too_large(limits.size)
    return None


def _too_large(limit: int) -> Problem:
    return Problem(
        "too-large",
        f"the body is larger than {limit:,} bytes",
        fix="Divide it into several requests, or send documents as lines of JSON (application/x-ndjson).",
    )
