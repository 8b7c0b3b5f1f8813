"""One server with a memory and an index for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.mcp.agents import Agent
from tests.serve.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server with a memory and the indexes ``news`` and ``laws``."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, root=folder / "indexes", memory=folder / "memory") as one:
        for name in ("news", "laws"):
            assert one.client.put(f"/v1/indexes/{name}", json={}).status_code == 201
        yield one


@pytest.fixture(scope="module")
def anna(server: Running) -> Iterator[Agent]:
    """Return an agent whose token is bound to one user."""
    scope = {"tenant": "acme", "user": "anna"}
    with server.client_of("anna", "write", scope=scope) as client:
        yield Agent(client)
