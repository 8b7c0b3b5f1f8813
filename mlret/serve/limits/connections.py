"""Limits of connections: what uvicorn itself does not limit, and the uvicorn server with all of them.

uvicorn reads headers of any size, waits for them for any time, and waits for a client that does not read its answer.
:class:`GuardedConnection` closes such connections, so that slow or greedy clients do not take the place of others.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlret.serve.limits.access_log import AccessLog, error_fields
from mlret.serve.problems import Problem


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of a connection.

    Attributes
    ----------
    connections
        Connections at one time. At most half of the files that the process may open are used for them.
    headers
        Headers of a request.
    header_bytes
        Bytes of the address and the headers of a request.
    address_bytes
        Bytes of the address, which includes the query string.
    header_seconds
        Seconds until the headers have arrived.
    stalled_seconds
        Seconds that a client may leave an answer unread.
    kept_alive_seconds
        Seconds that a connection stays open after an answer.
    unread_bytes, unread_seconds
        How much of a body is read, and for how long, after the request was refused: many clients send the whole body
        before they read the answer.
    """

    connections: int = 1000
    headers: int = 100
    header_bytes: int = 32 << 10
    address_bytes: int = 8 << 10
    header_seconds: float = 10.0
    stalled_seconds: float = 30.0
    kept_alive_seconds: int = 20
    unread_bytes: int = 4 << 20
    unread_seconds: float = 5.0


# Requests that may be sent on a connection before the first of them is answered. Hardly any client sends two.
_MOST_PIPELINED = 8
# Bytes that a client may send for each byte of a body: a chunk of one byte takes six.
_MOST_FRAMING = 16


class GuardedConnection(HttpToolsProtocol):
    """A connection of uvicorn, with limits of size and time."""

    limits: ClassVar[ConnectionLimits]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_headers, self._complete = False, True
        self._header_bytes = self._unread = self._framing = 0
        self._refusal: Problem | None = None
        self._headers_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(Problem("unavailable", "the server has too many connections", retry_after=1))
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
        elif not self._complete:
            self._framing += len(data)
        super().data_received(data)
        if self._stall_timer is not None:
            # Many clients read nothing until they have sent everything, so the answer to a stream has to wait.
            self._watch_for_stall()
        if self._framing > self.limits.header_bytes + len(data):
            # Only chunks of hardly any bytes have so much around them, or headers after the body that never end.
            self._refuse(Problem("malformed", "the body has more framing than content"))
        elif self._in_headers and not self.transport.is_closing():
            # The parser keeps an unfinished header for itself, so that its size is only seen here.
            if self._header_bytes > self.limits.header_bytes:
                self._refuse(_large_headers(self.limits))
            elif self._headers_timer is None:
                self._wait_for_headers()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open if the client, which sends no more, still waits for the answer to a request."""
        if self.cycle is None or self.cycle.response_complete or not self._complete:
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall_timer)
        self._stall_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._headers_timer, self._end_timer):
            _cancel(timer)
        super().connection_lost(exc)
        _cancel(self._stall_timer)

    # What the parser calls. An exception ends in `send_400_response`.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # From this version on, `send` raises OSError once the client has left, which `Requests` does. Before it, an
        # answer in parts would find out by reading from the request, and take the body away from the route.
        self.scope["asgi"]["spec_version"] = "2.4"
        self.scope["state"]["client_left"] = self.transport.is_closing
        self._in_headers, self._complete = True, False
        self._header_bytes = self._unread = self._framing = 0
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise ValueError("too many requests at once on one connection")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.address_bytes:
            self._refusal = Problem("address-too-long", f"the address has over {self.limits.address_bytes:,} bytes")
            raise ValueError(self._refusal.detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > self.limits.headers:
            self._refusal = _large_headers(self.limits)
            raise ValueError(self._refusal.detail)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        _cancel(self._headers_timer)
        self._headers_timer = None
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.header_bytes:
            self._refusal = _large_headers(self.limits)
            raise ValueError(self._refusal.detail)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing = max(0, self._framing - _MOST_FRAMING * len(body))
        super().on_body(body)
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > self.limits.unread_bytes:
                self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete = True
        _cancel(self._end_timer)
        self._end_timer = None

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        complete = self._complete
        super().on_response_complete()
        if not complete and self.expect_100_continue:
            # Whether the client will send the body that it asked about is unknown, so the next bytes cannot be read.
            self.transport.close()
        if not complete or self.transport.is_closing():
            self._end_timer = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_timer = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Problem("malformed", "the request is not valid HTTP"))

    def _unsupported_upgrade_warning(self) -> None:
        """Handle the request as if it did not ask for another protocol, and write nothing."""

    def _watch_for_stall(self) -> None:
        """Close the connection unless the client reads or sends something within the limit."""
        _cancel(self._stall_timer)
        self._stall_timer = self.loop.call_later(self.limits.stalled_seconds, self.transport.abort)

    def _wait_for_headers(self) -> None:
        self._headers_timer = self.loop.call_later(self.limits.header_seconds, self._headers_are_late)

    def _headers_are_late(self) -> None:
        if self._in_headers:
            self._refuse(Problem("request-timeout", "the headers arrive too slowly"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem and close, or only close in the middle of the answer to an earlier request."""
        self._in_headers = False
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_written(problem))
            self.transport.close()
            self._end_timer = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)
        else:
            self.transport.abort()


def guarded_server(
    app: ASGIApp, *, host: str, port: int, log: AccessLog, limits: ConnectionLimits | None = None, drain: int = 30
) -> uvicorn.Server:
    """Return a uvicorn server with all limits, not yet started.

    Parameters
    ----------
    app
        The application, with the guards before it.
    host, port
        Where to listen; the port 0 stands for any that is free.
    log
        Where uvicorn's warnings go.
    limits
        Limits of connections.
    drain
        Seconds that requests under way have to end when the server is stopped.

    Returns
    -------
    uvicorn.Server
        Call its ``run`` or await its ``serve``.
    """
    limits = limits or ConnectionLimits()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = limits.connections if files == resource.RLIM_INFINITY else min(limits.connections, files // 2)
    bounded = ConnectionLimits(**{**vars(limits), "connections": most})
    connection = type("LimitedConnection", (GuardedConnection,), {"limits": bounded})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # A header such as X-Forwarded-For is never trusted: the log states the address that the connection comes from.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.kept_alive_seconds,
        timeout_graceful_shutdown=drain,
        workers=1,
    )
    _write_warnings_to(log)
    return uvicorn.Server(config)


class _Warnings(logging.Handler):
    """Writes uvicorn's warnings as lines of the log, without the texts of exceptions."""

    def __init__(self, log: AccessLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = error_fields(error, texts=self._log.texts) if error else {}
        self._log.write("server", message=record.getMessage().strip(), **fields)


def _write_warnings_to(log: AccessLog) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [_Warnings(log)]
    logger.propagate = False


def _large_headers(limits: ConnectionLimits) -> Problem:
    return Problem(
        "headers-too-large", f"a request may have {limits.headers} headers and {limits.header_bytes:,} bytes of them"
    )


def _written(problem: Problem) -> bytes:
    """Return a problem as the bytes of an answer, for a request that no application has seen."""
    request = str(uuid.uuid4())
    answer = problem.response({"state": {"request_id": request}})
    headers = [*answer.raw_headers, (b"x-request-id", request.encode()), (b"connection", b"close")]
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
