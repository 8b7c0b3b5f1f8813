"""``POST /mcp``: the MCP server over HTTP, behind the same guards as every other route."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import mcp_types as types
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.strict_json import read_json
from mlret.serve.mcp.mcp_server import mcp_server
from mlret.serve.operations.service import Service
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
    async def serving(self, service: Service, log: AccessLog) -> AsyncIterator[None]:
        """Answer requests until the end of the block.

        Parameters
        ----------
        service
            The server behind all interfaces.
        log
            The log.
        """
        server = mcp_server(service, _caller, log)
        manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=service.settings.body_limit
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


def _caller(request: Request | None) -> Principal:
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
