"""Commands of `mlret` on an address do what they do on a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlret.cli.main import app
from mlret.client.addresses import index_address, memory_address
from mlret.client.client import ClientIndex
from mlret.errors import InputError
from tests.serve.running import Running

LINES = [
    {"id": "train", "text": "Der Zug hat zehn Minuten Verspätung.", "lang": "de", "year": 2021},
    {"id": "museum", "text": "The museum is closed on Mondays.", "lang": "en", "year": 2019},
    {"id": "dog", "text": "犬が公園を走っている。", "lang": "ja", "year": 2022},
]


@pytest.fixture
def run(server: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("MLRET_TOKEN", server.token)

    def call(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*map(str, arguments)])
        if code:
            assert isinstance(result.exception, InputError) and result.exception.exit_code == code
            return str(result.exception)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return call


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES), encoding="utf-8")
    return file


def test_an_index_on_a_server_is_used_as_one_in_a_folder(
    run: Callable[..., Any], made: Callable[[], ClientIndex], lines: Path, address: str, tmp_path: Path
) -> None:
    name = made().name
    there, here = f"{address}/v1/indexes/{name}", tmp_path / "local.index"
    run("index", "build", here, lines, "--lexical")
    added = run("index", "add", there, lines, "--json")
    assert (added["documents"]["added"], added["index"]["documents"]) == (3, 3)
    assert "3 documents stored" in run("index", "add", f"{address}/{made().name}", lines)
    for place in (there, here):
        assert run("index", "update", place, lines, "--json")["documents"]["skipped"] == 3
        assert "'train'" in run("index", "add", place, lines, code=2)
        found = run("search", place, "the train is late", "-k", 2, "-w", "year>=2020", "--json")
        assert [hit["id"] for hit in found["hits"]] == ["train", "dog"]
        assert "Der Zug" in run("search", place, "the train is late")
        assert run("index", "info", place, "--json")["languages"] == {"de": 1, "en": 1, "ja": 1}
        assert "German" in run("index", "info", place)
        assert run("index", "delete", place, "dog", "--json") == {"deleted": 1, "documents": 2}
    assert "--model" in run("search", there, "a train", "--model", "x", code=2)
    assert "names no index" in run("search", address, "a train", code=2)


def test_a_memory_on_a_server_is_used_as_one_in_a_folder(
    run: Callable[..., Any], scope: dict[str, str], address: str, tmp_path: Path
) -> None:
    user = f"user={scope['user']}"
    for place in (address, tmp_path / "local"):
        id = run("memory", "add", "Paka wangu anaitwa Simba.", "--store", place, "-s", user, "-t", "pet").strip()
        found = run("memory", "search", "What is the cat's name?", "--store", place, "-s", user, "--json")
        assert [(hit["record"]["id"], hit["record"]["tags"]) for hit in found["hits"]] == [(id, ["pet"])]
        packed = run("memory", "search", "the cat's name", "--store", place, "-s", user, "--budget", 50)
        assert packed == "Paka wangu anaitwa Simba.\n"
        run("memory", "update", "--store", place, "-s", user, id, "Paka wangu anaitwa Pili.")
        assert "Pili" in run("memory", "get", "--store", place, "-s", user, id)
        assert len(run("memory", "history", "--store", place, "-s", user, id, "--json")["versions"]) == 2
        assert [one["id"] for one in run("memory", "list", "--store", place, "-s", user, "--json")] == [id]
        assert run("memory", "profile", "--store", place, "-s", user).startswith("## pet\n- ")
        assert run("memory", "profile", "--store", place, "-s", user, "--json")["left"] == 0
        watched = run("memory", "watch", "--store", place, "-s", user, "--all", "--timeout", 0)
        assert [line.split()[2] for line in watched.splitlines()] == ["added", "updated"]
        run("memory", "delete", "--store", place, "-s", user, id)
        assert run("memory", "list", "--store", place, "-s", user, "--json") == []
        assert "no record" in run("memory", "get", "--store", place, "-s", user, "none", code=2)
    assert "on a folder" in run("memory", "search", "a", "--store", address, "-s", user, "--sessions", code=2)
    assert "on a folder" in run("memory", "verify", "--store", address, code=2)


def test_addresses_are_read() -> None:
    assert index_address("http://h:1/v1/indexes/a%2Fb") == ("http://h:1", "a/b")
    assert index_address("https://h/below/v1/indexes/news/") == ("https://h/below", "news")
    assert index_address("https://h/news") == ("https://h", "news")
    assert memory_address("https://h/below/v1/memories") == "https://h/below"
    for bad in ("http://h:1", "http://h:1/", "http://", "http://h/v1/indexes/a/documents"):
        with pytest.raises(InputError):
            index_address(bad)
