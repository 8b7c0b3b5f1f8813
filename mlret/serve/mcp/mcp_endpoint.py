"""``POST /mcp``: the MCP server over HTTP, behind the same guards as every other route."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from mlret.serve.limits.strict_json import read_json
from mlret.serve.problems import Problem
from mlret.serve.security.authentication import principal_of
from mlret.serve.security.principal import Principal


class McpEndpoint:
    """An ASGI application that answers each request by itself: it keeps no session, and pushes nothing.

    It takes requests of the specification of 2026-07-28, and those of clients of earlier ones since 2024-11-05, which
    begin with ``initialize``.

    Attributes
    ----------
    route
        The route of the endpoint. It takes ``POST`` alone: there is no stream to listen to, and no session to end.
    """

    def __init__(self) -> None:
        self.route = Route("/mcp", self, methods=["POST"], include_in_schema=False)
        self._manager: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def serving(self, server: Server[Any], body_limit: int) -> AsyncIterator[None]:
        """Answer requests until the end of the block.

        Parameters
        ----------
        server
            The MCP server.
        body_limit
            The longest body, in bytes.
        """
        manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=body_limit
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["route"] = self.route  # The log and the measurements name the route, as FastAPI's own routes do.
        if self._manager is None:
            raise Problem("unavailable", "the server is not ready", retry_after=1)
        body = await Request(scope, receive).body()
        try:
            read_json(body)
        except Problem as problem:
            await _not_json(problem)(scope, receive, send)
            return
        await self._manager.handle_request(scope, _replayed(body, receive), send)


def caller_of(request: Request | None) -> Principal:
    """Return who sends a request: the guards have checked its token."""
    assert request is not None
    return principal_of(request.scope)


def _not_json(problem: Problem) -> Response:
    """Return the answer to a body that is not JSON as the standard has it, which Python's own reader may accept."""
    error = {"code": types.PARSE_ERROR, "message": problem.detail}
    text = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(text, 400, media_type="application/json")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a function that yields a body that was received already, and then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
