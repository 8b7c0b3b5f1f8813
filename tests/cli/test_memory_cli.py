"""Test the output and the errors of `mlret memory` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlret.cli.main import app
from mlret.errors import InputError

ME = ["--scope", "user=u1"]


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "m"), *ME]


@pytest.fixture
def model(tiny_encoder_folder: Path) -> list[str]:
    return ["--model", str(tiny_encoder_folder)]


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, ["memory", *arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def refuse(*arguments: str) -> None:
    """Return the one-line error of a command, which must have exit code 2."""
    result = CliRunner().invoke(app, ["memory", *arguments])
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2, (arguments, result.output)


def refused(*arguments: str) -> str:
    """Return the error of a command that is refused."""
    result = CliRunner().invoke(app, ["memory", *arguments])
    assert isinstance(result.exception, InputError), (arguments, result.output)
    return str(result.exception)


def as_json(*arguments: str, stdin: str | None = None) -> Any:
    return json.loads(run(*arguments, "--json", stdin=stdin))


def test_a_memory_from_adding_to_erasing(store: list[str], model: list[str], tmp_path: Path) -> None:
    added = as_json("add", "the cat sat on a mat", *store, *model, "-t", "pet", "--metadata", '{"n": 1}')
    assert added["verdict"] == "added"
    id = added["id"]
    many = as_json("add", "-", *store, stdin="warm rain\n\nseven dogs\nthe cat sat on a mat\n")
    assert [one["verdict"] for one in many] == ["added", "added", "duplicate"]
    found = as_json("search", "the cat sat on a mat", *store, "-k", "2", "-w", "tags=pet")
    assert [hit["record"]["id"] for hit in found["hits"]] == [id] and found["hits"][0]["why"]
    assert "the cat sat" in run("search", "cat", *store, "--explain")
    done = as_json("update", id, "a cat ran home", *store)
    record = as_json("get", id, *store)
    assert (record["text"], record["version"], record["tags"]) == ("a cat ran home", 2, ["pet"])
    history = as_json("history", id, *store)
    assert [entry["verb"] for entry in history["history"]] == ["add", "add", "update"] and len(history["versions"]) == 2
    assert "a cat ran home" in run("history", id, *store)
    as_json("undo", str(done["operation"]), *store)
    assert as_json("get", id, *store)["text"] == "the cat sat on a mat"
    other = many[0]["id"]
    as_json("link", id, "about", other, *store)
    as_json("merge", id, other, *store)
    assert {one["id"] for one in as_json("list", *store, "--state", "merged")} == {other}
    as_json("restore", other, *store)
    as_json("delete", other, *store)
    assert len(as_json("list", *store)) == 2
    as_json("feedback", "cat", id, *store)
    assert as_json("forget", *store, "--unused-days", "9")["reasons"] == {}
    assert as_json("search", "cat", *store, "--budget", "50")["context"]
    proof = as_json("erase", id, *store, "--yes")
    assert proof["complete"] and not any(file["places"] for file in proof["files"].values())
    assert as_json("verify", "--store", store[1]) == []
    run("erase", "--everything", *store, "-y")
    assert as_json("list", *store) == []


def test_a_store_is_divided_when_it_is_made(model: list[str], tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "m")]
    acme, blue = ([*store, "--scope", "user=u1", "--scope", f"tenant={tenant}"] for tenant in ("acme", "blue"))
    shards = ["--shards", "3"]
    first = as_json("add", "the cat sat on a mat", *acme, *model, *shards)["id"]
    second = as_json("add", "seven dogs ran home", *blue, *shards)["id"]
    assert len(list((tmp_path / "m").glob("shard-*"))) == 3
    for mine, other, scope in ((first, second, acme), (second, first, blue)):
        assert as_json("get", mine, *scope)["id"] == mine
        found = as_json("search", "the cat sat on a mat", *scope)
        assert [hit["record"]["id"] for hit in found["hits"]] == [mine]
        assert [entry["verb"] for entry in as_json("history", mine, *scope)["history"]] == ["add"]
        assert "no record" in refused("get", other, *scope)
    exported = tmp_path / "acme.jsonl"
    run("export", *acme, "-o", str(exported))
    copy = ["--store", str(tmp_path / "copy"), "--scope", "user=u1", "--scope", "tenant=acme"]
    run("import", str(exported), *copy, *model, "--shards", "2")
    assert as_json("get", first, *copy)["text"] == "the cat sat on a mat"
    assert len(list((tmp_path / "copy").glob("shard-*"))) == 2
    assert "is divided into 3 shards: leave out --shards 2" in refused("add", "a text", *acme, "--shards", "2")
    run("add", "a text", "--store", str(tmp_path / "one"), "--scope", "user=u1", *model)
    one = ["--store", str(tmp_path / "one"), "--scope", "user=u1"]
    assert "is not divided: leave out --shards 2" in refused("add", "a text", *one, "--shards", "2")


def test_export_import_and_reembed(store: list[str], model: list[str], tmp_path: Path) -> None:
    run("add", "the cat sat on a mat", *store, *model)
    file = tmp_path / "out.jsonl"
    run("export", *store, "-o", str(file))
    assert len(file.read_text().splitlines()) == 1 == len(run("export", *store).splitlines())
    other = ["--store", str(tmp_path / "other"), *ME]
    assert as_json("import", str(file), *other, *model) == {"added": 1}
    assert as_json("import", str(file), *other, "--skip-existing") == {"added": 0}
    refuse("import", str(file), *other)
    run("reembed", "--store", store[1], "-o", str(tmp_path / "new"), *model)
    assert as_json("list", "--store", str(tmp_path / "new"), *ME) == as_json("list", *store)


def test_chat_export_is_read_and_cut_into_events(store: list[str], model: list[str], tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": f"cat {n}", "time": f"2026-03-01T08:0{n}:00"} for n in range(6)]
    file.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    refuse("import", "--chat", str(file), *store, *model)
    refuse("import", "--chat", str(file), *store, "--timezone", "Mars/Base")
    imported = as_json("import", "--chat", str(file), *store, *model, "--timezone", "Europe/Berlin")
    assert sum(imported.values()) == 6
    records = as_json("list", *store)
    assert {record["session"] for record in records} == {"chat"}
    assert records[0]["event_time"][0] == "2026-03-01T08:00:00+01:00"
    events = as_json("events", "chat", *store, "--keep")
    assert [id for event in events for id in event["ids"]] == [record["id"] for record in records]
    assert all(event["id"] for event in events)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "x"],
        ["get", "x"],
        ["list"],
        ["erase", "x", "-y"],
        ["verify"],
    ],
)
def test_only_adding_makes_a_store(arguments: list[str], tmp_path: Path) -> None:
    scope = [] if arguments[0] == "verify" else ME
    refuse(*arguments, "--store", str(tmp_path / "m"), *scope)
    assert not (tmp_path / "m").exists()


def test_bad_input_is_refused_with_exit_code_2(store: list[str], model: list[str]) -> None:
    run("add", "cat", *store, *model)
    for arguments in (
        ["add", "dog", "--event-time", "2026-03-01T08:00:00"],
        ["add", "dog", "--metadata", "[1]"],
        ["add", "dog", "--metadata", "{"],
        ["search", "cat", "--as-of", "yesterday"],
        ["search", "cat", "--mode", "magic"],
        ["get", "nothing"],
        ["undo", "999"],
        ["forget"],
        ["erase"],
        ["list", "--level", "page"],
    ):
        refuse(*arguments, *store)
    assert len(as_json("list", *store)) == 1
