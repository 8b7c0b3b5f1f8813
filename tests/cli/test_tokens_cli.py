"""`mlret tokens`: what it prints, and what the token that it makes allows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlret.cli.main import app, main
from mlret.serve.security.principal import Principal
from mlret.serve.security.tokens import TokenStore


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["tokens", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def principal(tmp_path: Path, token: str) -> Principal:
    found = TokenStore(tmp_path / "mlret" / "tokens.json").principal(token.strip())
    assert found is not None
    return found


def test_a_token_alone_is_printed_so_that_a_script_can_keep_it(tmp_path: Path) -> None:
    printed = run("add", "laptop")
    assert printed.count("\n") == 1
    who = principal(tmp_path, printed)
    assert (who.name, who.role, who.indexes, who.memory, who.scope) == ("laptop", "read", None, True, {})


@pytest.mark.parametrize(
    ("options", "indexes", "memory", "scope"),
    [
        (["-i", "docs", "-i", "news"], {"docs", "news"}, False, {}),
        (["-i", "*"], None, False, {}),
        (["-s", "tenant=acme", "-s", "user=anna"], set(), True, {"tenant": "acme", "user": "anna"}),
        (["-s", "user=anna", "-i", "docs"], {"docs"}, True, {"user": "anna"}),
        (["-s", "user=anna", "-i", "*"], None, True, {"user": "anna"}),
    ],
)
def test_indexes_and_a_scope_are_all_that_a_token_is_for(
    tmp_path: Path, options: list[str], indexes: set[str] | None, memory: bool, scope: dict[str, str]
) -> None:
    who = principal(tmp_path, run("add", "x", "--role", "write", *options))
    assert (who.role, who.indexes, who.memory, who.scope) == ("write", indexes, memory, scope)


def test_tokens_are_listed_and_revoked(tmp_path: Path) -> None:
    token = json.loads(run("add", "[bold]laptop", "--days", "30", "--json"))["token"]
    run("add", "phone", "-s", "user=annemarie-elisabeth")
    first, second = json.loads(run("list", "--json"))
    assert (first["name"], first["ended"], second["expires"]) == ("[bold]laptop", False, None)
    assert token not in run("list", "--json")
    table = run("list")
    assert "[bold]laptop" in table
    assert first["id"] in table and first["expires"][:10] in table
    assert run("revoke", "phone", first["id"]).splitlines() == [
        f"revoked {second['id']} (phone)",
        f"revoked {first['id']} ([bold]laptop)",
    ]
    assert json.loads(run("list", "--json")) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("add x --role owner", "--role is 'owner'; choose one of read, write, admin"),
        ("add x -s group=y", "unknown scope 'group'"),
        ("add x --days 0", "is past"),
        ("add x --days 1e12", "too long"),
        ("revoke x", "there is no token 'x'"),
        ("list --tokens folder", "folder"),
        ("add x --tokens file/tokens.json", "file/tokens.json: cannot be read (Not a directory)"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(
    command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["mlret", "tokens", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "mlret" / "tokens.json").exists()


def test_the_help_teaches_what_a_token_is_for() -> None:
    text = " ".join(run("add", "--help").split())
    for part in ("Authorization: Bearer TOKEN", "mlret tokens add website --index docs", "Only a hash of it is kept"):
        assert part in text
