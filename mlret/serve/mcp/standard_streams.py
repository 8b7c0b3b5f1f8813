"""The MCP server over standard input and output, for the agent that starts the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace

from mcp.server.stdio import stdio_server
from starlette.requests import Request

from mlret.memory.scope import Scope
from mlret.serve.catalogue import Catalogue
from mlret.serve.limits.access_log import AccessLog
from mlret.serve.mcp.mcp_server import mcp_server
from mlret.serve.operations.service import Service
from mlret.serve.security.principal import LOCAL, Principal
from mlret.serve.settings import ServeSettings


async def serve_standard_streams(settings: ServeSettings, scope: Scope, log: AccessLog) -> None:
    """Answer the messages on standard input until it ends.

    While it runs, what else the process prints goes to standard error.

    Parameters
    ----------
    settings
        What is served.
    scope
        The part of the memory that the agent is bound to.
    log
        The log.

    Raises
    ------
    MlretError
        If a folder cannot be opened.
    """
    catalogue = Catalogue(settings, {})
    service = Service(settings, catalogue)
    local = replace(LOCAL, scope=dict(scope))

    def caller(request: Request | None) -> Principal:
        return local

    server = mcp_server(service, caller, log)
    warming = None
    try:
        await catalogue.open()
        _end_on_signals(catalogue, log)
        # An encoder that fails to load fails the calls that need it, with an error that says why.
        warming = asyncio.ensure_future(catalogue.warm())
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        if warming is not None:
            warming.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await warming
        await catalogue.close()


def _end_on_signals(catalogue: Catalogue, log: AccessLog) -> None:
    """Let signals end the process after the writes that wait.

    The thread that waits for the next line of standard input cannot be woken, so that nothing would wait for its end.
    """
    loop = asyncio.get_running_loop()
    endings: set[asyncio.Task[None]] = set()

    async def end(number: int) -> None:
        await catalogue.close()
        log.close()
        os._exit(128 + number)

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, lambda one=one: endings.add(loop.create_task(end(one))))  # type: ignore[misc]
