"""A small application behind all guards, on a real uvicorn server in a thread, for tests that send real requests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel

from mlret.errors import AlreadyExists, Corrupt, InputError, Locked, NotFound
from mlret.serve.guards import Guards
from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.connections import ConnectionLimits, guarded_server
from mlret.serve.limits.strict_json import StrictRoute
from mlret.serve.problems import explanations
from mlret.serve.security.authentication import Caller
from mlret.serve.security.tokens import TokenStore

SECRET = "a text that only its owner may see"
ERRORS = {
    "input": InputError("k is 0; give at least 1"),
    "not-found": NotFound("/srv/private/news.index: there is no document 'x'"),
    "exists": AlreadyExists("the id 'x' is taken"),
    "locked": Locked(f"/srv/private is in use: {SECRET}"),
    "corrupt": Corrupt(f"/srv/private/vectors.npy: {SECRET}"),
    "unexpected": ValueError(SECRET),
}


class Query(BaseModel):
    text: str
    k: int


def application() -> FastAPI:
    """Return an application with routes that read, are slow, fail, and stream."""
    app = FastAPI(docs_url=None, redoc_url=None)
    app.router.route_class = StrictRoute
    app.include_router(explanations())
    app.state.cancelled = 0

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>mlret</title>")

    @app.get("/metrics")
    async def metrics(caller: Caller) -> Response:
        body, media_type = app.state.guards.measurements.exposition()
        return Response(body, media_type=media_type)

    @app.get("/v1/things/{name}")
    async def read(name: str, caller: Caller) -> dict[str, str]:
        return {"name": name, "caller": caller.name}

    @app.put("/v1/things/{name}")
    async def write(name: str, caller: Caller) -> dict[str, str]:
        caller.require("admin")
        return {"name": name}

    @app.post("/v1/queries")
    async def ask(query: Query, caller: Caller) -> dict[str, int]:
        return {"characters": len(query.text)}

    @app.post("/v1/size")
    async def size(request: Request, caller: Caller) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.post("/v1/indexes/{name}/documents")
    async def stream(name: str, request: Request, caller: Caller) -> StreamingResponse:
        async def verdicts() -> AsyncIterator[bytes]:
            async for part in request.stream():
                yield f"{len(part)}\n".encode()

        return StreamingResponse(verdicts(), media_type="application/x-ndjson")

    @app.post("/v1/slow")
    @app.get("/v1/slow")
    async def slow(caller: Caller, seconds: float = 10.0) -> dict[str, float]:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            app.state.cancelled += 1
            raise
        return {"seconds": seconds}

    @app.get("/v1/large")
    async def large(caller: Caller) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield bytes(1 << 16)

        return StreamingResponse(parts(), media_type="application/octet-stream")

    @app.get("/v1/errors/{name}")
    async def fail(name: str, caller: Caller) -> None:
        raise ERRORS[name]

    @app.get("/v1/broken")
    async def broken(caller: Caller) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"the beginning"
            raise ValueError(SECRET)

        return StreamingResponse(parts(), media_type="text/plain")

    return app


@dataclass
class Served:
    """A server that runs, and a client with a token for it."""

    app: FastAPI
    port: int
    token: str
    guards: Guards
    client: httpx2.Client
    log: io.StringIO

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """Return a connection to send bytes over."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def head(self, method: str = "POST", path: str = "/v1/size", *more: str, token: bool = True) -> bytes:
        """Return the headers of a request as bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{self.port}", *more]
        if token:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "", ""]).encode()

    def lines(self, count: int) -> list[dict[str, Any]]:
        """Return the lines of the log, once there are at least this many."""
        deadline = time.monotonic() + 10
        while len(found := self.log.getvalue().splitlines()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return [json.loads(line) for line in found]


@contextlib.contextmanager
def serving(
    folder: Path, *, limits: ConnectionLimits | None = None, texts: bool = False, **settings: Any
) -> Iterator[Served]:
    """Run the application behind the guards, with these settings, until the end of the block."""
    tokens = TokenStore(folder / "tokens.json")
    token = tokens.add("tests", "write")
    written = io.StringIO()
    log = AccessLog(written, texts=texts)
    guards = Guards(tokens, log=log, folders={"/srv/private/news.index": "news"}, **settings)
    app = application()
    app.state.guards = guards
    guards.protect(app)
    server = guarded_server(app, host="127.0.0.1", port=0, log=log, limits=limits, drain=2)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx2.Client(base_url=f"http://localhost:{port}", headers=headers, timeout=20) as client:
            yield Served(app, port, token, guards, client, written)
    finally:
        server.should_exit = True
        thread.join(20)
        log.close()
        assert not thread.is_alive(), "the server did not stop"


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer on a connection, read until it is closed or complete."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            raise ConnectionError(f"closed after {data!r}")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


def closed(connection: socket.socket) -> bool:
    """Return whether the other side closes the connection within its timeout, whatever it sends before."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def faster(**changes: Any) -> ConnectionLimits:
    """Return limits of connections whose times are short."""
    return replace(ConnectionLimits(header_seconds=0.5, unread_seconds=0.5, stalled_seconds=0.5), **changes)
