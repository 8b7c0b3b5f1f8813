"""The real server in a thread, on a free port, over real folders."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from mlret.serve.app import create_app
from mlret.serve.catalogue import Reading
from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.connections import ConnectionLimits, guarded_server
from mlret.serve.security.tokens import TokenStore
from mlret.serve.settings import ServeSettings


@dataclass
class Running:
    """A server that runs, its tokens, and a client with a token of the role admin."""

    app: FastAPI
    port: int
    tokens: TokenStore
    token: str
    client: httpx2.Client
    log: io.StringIO

    def client_of(self, name: str, role: Any, **bound: Any) -> httpx2.Client:
        """Return a client with a new token."""
        return client(self.port, self.tokens.add(name, role, **bound))


def client(port: int, token: str, **options: Any) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, **options)


@contextlib.contextmanager
def running(
    folder: Path, *, limits: ConnectionLimits | None = None, reading: Reading | None = None, **settings: Any
) -> Iterator[Running]:
    """Run a server with these settings until the end of the block.

    Parameters
    ----------
    folder
        Where its tokens are kept.
    limits
        Limits of connections.
    reading
        As for :func:`mlret.serve.app.create_app`.
    settings
        As for :class:`mlret.serve.settings.ServeSettings`.
    """
    tokens = TokenStore(folder / "tokens.json")
    token = tokens.add(f"tests {len(tokens)}", "admin")
    written = io.StringIO()
    log = AccessLog(written)
    app = create_app(ServeSettings(port=0, **settings), tokens=tokens, log=log, reading=reading)
    server = guarded_server(app, host="127.0.0.1", port=0, log=log, limits=limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with client(port, token) as one:
            yield Running(app, port, tokens, token, one, written)
    finally:
        server.should_exit = True
        thread.join(30)
        log.close()
        assert not thread.is_alive(), "the server did not stop"
