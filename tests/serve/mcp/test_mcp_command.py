"""`mlret mcp` as a process of its own, which the SDK's client starts and talks to over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from mlret import Index, errors
from mlret.memory.memory import Memory
from tests.serve.mcp.agents import MODES

ROOT = Path(errors.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
COMMAND = [sys.executable, "-m", "mlret", "mcp"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing on its standard input."""
    return subprocess.run(
        [*COMMAND, *arguments], input="", env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stdio") / "news.index"
    with Index.create(folder) as made:
        made.add([{"id": "late", "text": "Treni imechelewa", "lang": "sw"}])
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_the_client_of_the_sdk_uses_an_index_and_a_memory(index: Path, tmp_path: Path, mode: str) -> None:
    memory = tmp_path / "memory"
    arguments = ["mcp", f"news={index}", "--memory", str(memory), "--scope", "user=anna"]
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "mlret", *arguments], env=ENVIRONMENT)

    async def talk() -> str:
        with (tmp_path / "log").open("w") as log:
            async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
                assert client.protocol_version == MODES[mode]
                assert len((await client.list_tools()).tools) == 10

                async def call(tool: str, **given: Any) -> dict[str, Any]:
                    result = await client.call_tool(tool, given)
                    assert not result.is_error, result.content
                    found: dict[str, Any] = result.structured_content
                    return found

                found = await call("index_search", query="is the train late?")
                assert [hit["id"] for hit in found["hits"]] == ["late"]
                added = await call("memory_add", memories=[{"text": "Anna lives in Nairobi"}])
                refused = await client.call_tool("memory_search", {"query": "x", "scope": {"user": "bob"}})
                assert refused.is_error
                id: str = added["results"][0]["id"]
                await call(
                    "memory_erase", ids=[(await call("memory_add", memories=[{"text": "x"}]))["results"][0]["id"]]
                )
                return id

    id = asyncio.run(talk())
    with Memory.open(memory) as opened:
        assert [record.id for record in opened.list({"user": "anna"})] == [id]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["tool"] for line in lines if line["event"] == "tool"][:2] == ["index_search", "memory_add"]


def test_only_messages_are_written_to_standard_output_and_the_process_ends_with_its_input(index: Path) -> None:
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    process = subprocess.Popen(
        [*COMMAND, str(index)], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(json.dumps(one) + "\n" for one in messages))
        process.stdin.flush()
        # A request that is worked on when the input ends is not answered any more.
        lines = [process.stdout.readline() for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
    answers = {one["id"]: one["result"] for one in map(json.loads, lines)}
    assert answers[1]["serverInfo"]["name"] == "mlret"
    assert [tool["name"] for tool in answers[2]["tools"]] == ["index_search", "index_add"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is nothing to serve"),
        (("--memory", "memory"), "--scope user=anna"),
        (("docs=docs.index", "--scope", "user=anna"), "--memory FOLDER"),
        (("--memory", "memory", "--scope", "anna"), "write NAME=VALUE"),
        (("docs=/nowhere/docs.index",), "/nowhere/docs.index"),
    ],
)
def test_a_command_that_serves_nothing_says_what_is_missing(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert words in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_while_it_waits_for_a_message(index: Path, number: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(index)], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": OPENING}) + "\n")
        process.stdin.flush()
        assert "serverInfo" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
