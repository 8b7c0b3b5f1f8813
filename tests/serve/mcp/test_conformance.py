"""The conformance suite of the Model Context Protocol (npm ``@modelcontextprotocol/conformance``).

Its scenarios for what mlret offers run against the whole server. Those for other kinds of content run against the same
endpoint and guards with a server of fixtures. The rest needs what a server that holds nothing between two requests does
not have: sessions, streams, and requests to the client.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from mlret.serve.app import create_app
from mlret.serve.guards import Guards
from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.connections import guarded_server
from mlret.serve.security.tokens import TokenStore
from mlret.serve.settings import ServeSettings
from tests.serve.mcp.conformance_fixtures import fixture_application
from tests.serve.mcp.node_tools import node_program

pytestmark = pytest.mark.others

OWN = ("server-initialize", "ping", "tools-list", "dns-rebinding-protection")
WITH_FIXTURES = (
    "completion-complete",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "json-schema-2020-12",
    "resources-list",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "prompts-list",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
)
# These need a stream, a session, or an answer of the client within a call; logging is deprecated since 2026-07-28.
NOT_OFFERED = {
    "logging-set-level",
    "tools-call-with-logging",
    "tools-call-with-progress",
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "server-sse-polling",
    "server-sse-multiple-streams",
    "resources-subscribe",
    "resources-unsubscribe",
}


class WithToken:
    """Adds a token to each request, because the suite sends none."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._header = app, (b"authorization", f"Bearer {token}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], self._header]}
        await self._app(scope, receive, send)


@contextlib.contextmanager
def at_address(app: ASGIApp, log: AccessLog) -> Iterator[str]:
    """Run an application until the end of the block, and yield the address of its endpoint."""
    server = guarded_server(app, host="127.0.0.1", port=0, log=log)  # type: ignore[arg-type] # any ASGI application
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join(30)
        log.close()


@pytest.fixture(scope="module")
def suite() -> list[str]:
    return node_program("@modelcontextprotocol/conformance", "conformance")


@pytest.fixture(scope="module")
def own(suite: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the whole server."""
    folder = tmp_path_factory.mktemp("conformance")
    tokens, log = TokenStore(folder / "tokens.json"), AccessLog(io.StringIO())
    token = tokens.add("suite", "admin", scope={"user": "suite"})
    settings = ServeSettings(port=0, root=folder / "indexes", memory=folder / "memory")
    with at_address(WithToken(create_app(settings, tokens=tokens, log=log), token), log) as address:
        yield address


@pytest.fixture(scope="module")
def with_fixtures(suite: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the server of fixtures."""
    tokens = TokenStore(tmp_path_factory.mktemp("fixtures") / "tokens.json")
    token, log = tokens.add("suite", "read"), AccessLog(io.StringIO())
    with at_address(WithToken(fixture_application(Guards(tokens, log=log)), token), log) as address:
        yield address


def test_every_scenario_of_the_suite_is_known(suite: list[str]) -> None:
    done = subprocess.run([*suite, "list", "--server"], capture_output=True, text=True, check=True, timeout=120)
    assert set(re.findall(r"^ *- (\S+)", done.stdout, re.MULTILINE)) == {*OWN, *WITH_FIXTURES} | NOT_OFFERED


@pytest.mark.parametrize("scenario", OWN)
def test_the_server_passes(suite: list[str], own: str, tmp_path: Path, scenario: str) -> None:
    passes(suite, own, tmp_path, scenario)


@pytest.mark.parametrize("scenario", WITH_FIXTURES)
def test_the_endpoint_passes(suite: list[str], with_fixtures: str, tmp_path: Path, scenario: str) -> None:
    passes(suite, with_fixtures, tmp_path, scenario)


def passes(suite: list[str], address: str, folder: Path, scenario: str) -> None:
    """Run a scenario; the suite writes its results into the working folder."""
    command = [*suite, "server", "--url", address, "--scenario", scenario]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Passed: ([1-9]\d*)/\1\b", done.stdout), done.stdout
