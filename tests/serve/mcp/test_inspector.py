"""The command line of the MCP inspector (npm ``@modelcontextprotocol/inspector``), over HTTP and standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlret import Index, errors
from tests.serve.mcp.node_tools import node_program
from tests.serve.running import Running

ROOT = Path(errors.__file__).parents[1]

pytestmark = pytest.mark.others


@pytest.fixture(scope="module")
def inspector() -> list[str]:
    return [*node_program("@modelcontextprotocol/inspector", "mcp-inspector"), "--cli"]


def inspected(command: list[str], folder: Path) -> Any:
    """Run the inspector, and return the JSON that it prints."""
    environment = {**os.environ, "HOME": str(folder)}
    # The servers that it starts get only the environment that its options name.
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_inspector_finds_the_schemas_of_all_tools_portable_over_http(
    inspector: list[str], server: Running, tmp_path: Path
) -> None:
    address = ["--server-url", f"http://127.0.0.1:{server.port}/mcp", "--transport", "http"]
    header = ["--header", f"Authorization: Bearer {server.token}"]
    listed = inspected([*inspector, *address, *header, "--method", "tools/list", "--strict"], tmp_path)
    assert len(listed["tools"]) == 10


def test_the_inspector_calls_a_tool_over_standard_input(inspector: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "news.index"
    with Index.create(folder) as made:
        made.add([{"id": "late", "text": "Treni imechelewa", "lang": "sw"}])
    command = [
        *inspector,
        "-e",
        f"PYTHONPATH={ROOT}",
        sys.executable,
        "-m",
        "mlret",
        "mcp",
        str(folder),
        "--method",
        "tools/call",
    ]
    asked = ["--tool-name", "index_search", "--tool-arg", "query=is the train late?"]
    found = inspected([*command, *asked], tmp_path)
    assert [hit["id"] for hit in found["structuredContent"]["hits"]] == ["late"]
