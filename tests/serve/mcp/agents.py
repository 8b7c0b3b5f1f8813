"""Agents: clients of the MCP server that send single requests, or that use the SDK."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

# How the client of the SDK begins -> the version of the specification that it and the server agree on.
MODES = {"legacy": "2025-11-25", "auto": "2026-07-28"}
_NUMBERS = itertools.count(1)


@dataclass
class Agent:
    """Sends requests of the older specification one by one, without a handshake."""

    client: httpx2.Client
    headers: dict[str, str] = field(
        default_factory=lambda: {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    )

    def post(self, method: str, **params: Any) -> httpx2.Response:
        """Send a request, and return the answer as it is."""
        message = {"jsonrpc": "2.0", "id": next(_NUMBERS), "method": method, "params": params}
        return self.client.post("/mcp", json=message, headers=self.headers)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request, and return its result."""
        answer = self.post(method, **params)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed, and return its structured result."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result["content"][0]["text"]
        found: dict[str, Any] = result["structuredContent"]
        json.dumps(found)
        return found

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return the text of the error."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert result["isError"], result
        assert "structuredContent" not in result
        text: str = result["content"][0]["text"]
        return text


@asynccontextmanager
async def connected(port: int, token: str, mode: str) -> AsyncIterator[Client]:
    """Connect the SDK's client to a server over HTTP."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client
