"""`mlret serve`: serve indexes and a memory over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mlret.cli.options import Option, SettingsOptions, takes_settings
from mlret.serve.settings import ServeSettings, named_folders

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI
    from uvicorn import Server

    from mlret.serve.catalogue import Reading


@takes_settings(
    settings=SettingsOptions(
        ServeSettings,
        {
            "model": Option("-m"),
            "root": Option(metavar="FOLDER"),
            "memory": Option(metavar="FOLDER"),
            "ray": Option(metavar="ADDRESS"),
        },
        omit={"indexes"},
    )
)
def serve(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=FOLDER]...", help="Indexes, and the names that clients know them by."),
    ] = None,
    *,
    settings: ServeSettings,
) -> None:
    """Serve indexes and a memory over HTTP: as JSON, to MCP clients, and as a web page."""
    _compute_in_one_thread()
    from mlret.errors import require

    for package in ("fastapi", "uvicorn", "mcp", "prometheus_client"):
        require(package, extra="serve", feature="the server")
    from mlret.serve.app import create_app
    from mlret.serve.limits.access_log import AccessLog, write_warnings
    from mlret.serve.limits.connections import guarded_server
    from mlret.serve.security.hosts import check_listening, is_loopback
    from mlret.serve.security.tokens import TokenStore, default_path, first_token

    settings = settings.model_copy(update={"indexes": named_folders(folders or [])})
    tokens = TokenStore(settings.tokens or default_path())
    check_listening(settings.host, len(tokens), where=tokens.path)
    listening = _bound(settings.host, settings.port)
    log = AccessLog(texts=settings.log_texts)
    write_warnings(log)

    async def run(app: FastAPI, server: Server) -> None:
        async with app.router.lifespan_context(app):
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            port = listening.getsockname()[1]
            typer.echo(f"mlret serves http://{host}:{port}")
            # The token is made once all else has succeeded, so that one that is made is also shown.
            if is_loopback(settings.host) and (token := first_token(tokens)):
                typer.echo(f"token (admin; shown only now, {tokens.path} keeps its hash): {token}")
                typer.echo(f"web page, signed in: http://{host}:{port}/#token={token}")
            await server.serve([listening])

    try:
        with _reading(settings) as reading:
            app = create_app(settings, tokens=tokens, log=log, reading=reading)
            server = guarded_server(app, host=settings.host, port=settings.port, log=log)
            # It is run here instead, so that an error at the start is reported as any other.
            server.config.lifespan = "off"
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(run(app, server))
    finally:
        listening.close()
        log.close()


@contextmanager
def _reading(settings: ServeSettings) -> Iterator[Reading]:
    """Yield how folders are read that replicas on a cluster read for the server."""
    if settings.ray is None:
        yield {}
        return
    from mlret.cluster.serving import served_on_ray

    folders = list(settings.indexes.values())
    with served_on_ray(folders, address=settings.ray, replicas=settings.replicas) as reading:
        yield reading


def _compute_in_one_thread() -> None:
    """Let NumPy multiply in the thread that asks for it, unless the environment says otherwise.

    The server uses all processors by searching and encoding in several threads. Threads of NumPy's that wait for the
    next product of a small matrix would take these processors from them. NumPy reads this when it is first imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address."""
    import socket

    from mlret.errors import InputError

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"the server cannot listen on {host}:{port} ({reason}); choose another --host or --port"
        ) from (error)
