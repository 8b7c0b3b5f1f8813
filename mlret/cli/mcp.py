"""`mlret mcp`: serve indexes and a memory to the agent that starts the process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from mlret.errors import InputError, require
from mlret.serve.settings import ServeSettings, named_folders


def mcp(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=FOLDER]...", help="Indexes, and the names that the agent knows them by."),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option("--memory", metavar="FOLDER", help="A memory store, which is created if it does not exist."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "-s",
            metavar="NAME=VALUE",
            help="The part of the memory that the agent may use: tenant=, user=, agent= or run=. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Encoder of a new memory: a folder or a hub id. Default: the bundled one."),
    ] = None,
) -> None:
    """Serve indexes and a memory to the agent that starts the command, as tools of MCP.

    The tools follow the Model Context Protocol, over standard input and output. The command is not used by hand: name
    it in the settings of the agent's program, for instance

    `{"mcpServers": {"mlret": {"command": "mlret", "args": ["mcp", "docs=/data/docs.index", "--memory", "/data/memory",
    "--scope", "user=anna"]}}}`

    The log goes to standard error. For several agents, or over a network, use `mlret serve`.
    """
    from mlret.memory.scope import parse_scope

    for package in ("mcp", "starlette", "prometheus_client"):
        require(package, extra="serve", feature="the server for agents")
    if not folders and memory is None:
        raise InputError("there is nothing to serve: name an index (NAME=FOLDER) or a memory (--memory FOLDER)")
    if memory is not None and not scope:
        raise InputError("--memory needs --scope, the part of it that the agent may use, e.g. --scope user=anna")
    if scope and memory is None:
        raise InputError("--scope is a part of the memory: name it with --memory FOLDER")
    from mlret.serve.limits.access_log import AccessLog, write_warnings
    from mlret.serve.mcp.standard_streams import serve_standard_streams

    settings = ServeSettings(indexes=named_folders(folders or []), memory=memory, model=model)
    log = AccessLog()
    write_warnings(log)
    try:
        asyncio.run(serve_standard_streams(settings, parse_scope(scope) if scope else {}, log))
    finally:
        log.close()
