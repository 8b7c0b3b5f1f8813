"""The outermost middleware: ids of requests, the log, measurements, headers of security, and unexpected errors."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlret.serve.limits.access_log import AccessLog, error_fields
from mlret.serve.limits.measurements import Measurements
from mlret.serve.problems import problem_of
from mlret.serve.security.headers import with_security_headers

# Bytes of a body that the log holds if texts are requested.
_LOGGED = 2000


def _new_id() -> str:
    """Return an id. It need not be hard to guess, so that the operating system is not asked for random bits."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


class BrokenAnswer(Exception):  # noqa: N818 - never raised to a caller who would name it
    """An answer failed after its beginning was sent. The server closes the connection, so that the client notices."""


class ClientLeft(OSError):  # noqa: N818 - never raised to a caller who would name it
    """The client closed the connection before it had the answer."""


class Requests:
    """ASGI middleware that gives each request an id and writes down how it ended.

    ``HEAD`` is answered as ``GET`` is, without the body.

    Parameters
    ----------
    app
        The application behind it.
    log
        The log.
    measurements
        The measurements.
    """

    def __init__(self, app: ASGIApp, log: AccessLog, measurements: Measurements) -> None:
        self._app = app
        self._log = log
        self._measurements = measurements

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(self._log, self._measurements, scope, receive, send).run(self._app)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        # There are no WebSockets: to return without accepting one refuses it.


class _Exchange:
    """One request and its answer."""

    def __init__(self, log: AccessLog, measurements: Measurements, scope: Scope, receive: Receive, send: Send) -> None:
        self._log, self._measurements, self._receive, self._send = log, measurements, receive, send
        self._method = scope["method"]
        self._scope = {**scope, "method": "GET"} if self._method == "HEAD" else scope
        self._state = self._scope.setdefault("state", {})
        self._id = self._state["request_id"] = _new_id()
        # The connection sets this, because the server behind it drops what is sent to a client that has left.
        self._left: Callable[[], bool] = self._state.pop("client_left", lambda: False)
        self._status = self._received = self._sent = 0
        self._body = bytearray()

    async def run(self, app: ASGIApp) -> None:
        began = time.perf_counter()
        self._measurements.begin()
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as error:
            if self._left():
                return
            self._state["error"] = error
            if self._status:
                raise BrokenAnswer(f"the answer to request {self._id} failed after it had begun") from None
            await problem_of(error).response(self._scope)(self._scope, self._receive, self.send)
        finally:
            self._write_down(time.perf_counter() - began)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._received += len(body)
            if self._log.texts and len(self._body) < _LOGGED:
                self._body += body[: _LOGGED - len(self._body)]
        return message

    async def send(self, message: Message) -> None:
        if self._left():
            raise ClientLeft("the client has left")
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self._id.encode())]
            message = {**message, "headers": with_security_headers(headers)}
        elif message["type"] == "http.response.body":
            if self._method == "HEAD":
                message = {**message, "body": b""}
            self._sent += len(message.get("body", b""))
        await self._send(message)

    def _write_down(self, seconds: float) -> None:
        route = getattr(self._scope.get("route"), "path_format", "unmatched")
        self._measurements.end(self._method, route, self._status, seconds, self._received, self._sent)
        principal = self._state.get("principal")
        client = self._scope.get("client")
        fields: dict[str, object] = {
            "request": self._id,
            "client": client and client[0],
            "token": principal and principal.id,
            "method": self._method,
            "route": route,
            "status": self._status,
            "seconds": round(seconds, 6),
            "received": self._received,
            "sent": self._sent,
        }
        if self._left():
            fields["left"] = True
        if self._log.texts:
            fields["path"] = self._scope["path"]
            fields["query"] = self._scope.get("query_string", b"").decode("latin-1")
            fields["body"] = self._body.decode("utf-8", "replace")
        if (error := self._state.get("error")) is not None and (self._status >= 500 or not self._status):
            fields.update(error_fields(error, texts=self._log.texts))
        self._log.write("request", **fields)
