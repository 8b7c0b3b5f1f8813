"""`mlret serve` as a process of its own: how it starts, what it prints, and what survives when it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mlret import Index, errors
from tests.serve.running import client

ROOT = Path(errors.__file__).parents[1]
# Packages that a server with the bundled encoder never needs.
HEAVY = {"torch", "transformers", "sentence_transformers", "datasets", "pandas", "matplotlib", "sklearn", "tokenizers"}


@dataclass
class Process:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    token: str | None


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder / "config")}


@contextlib.contextmanager
def started(folder: Path, *arguments: str, code: str = "") -> Iterator[Process]:
    """Start the command, and wait until it takes requests."""
    run = f"import sys; sys.argv = ['mlret', 'serve', '--port', '0', *{list(arguments)!r}]\n{code}\n"
    process = subprocess.Popen(
        [sys.executable, "-c", run + "from mlret.cli.main import main\nmain()"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"mlret serves http://127\.0\.0\.1:(\d+)\n", line)
        assert found, line
        token = None
        if not (folder / "seen").exists():
            shown = re.search(r"mlret_\w+$", process.stdout.readline().strip())
            assert shown
            token = shown[0]
            link = process.stdout.readline()
            assert link == f"web page, signed in: http://127.0.0.1:{found[1]}/#token={token}\n"
            (folder / "seen").touch()
        yield Process(process, int(found[1]), token)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        process.stdout.close()


def test_the_token_is_shown_at_the_first_start_alone_and_works_at_the_next(tmp_path: Path) -> None:
    Index.create(tmp_path / "news.index").close()
    with started(tmp_path, "news.index") as first:
        assert first.token
        with client(first.port, first.token) as one:
            assert one.get("/v1/indexes/news").status_code == 200
    kept = (tmp_path / "config" / "mlret" / "tokens.json").read_text()
    assert first.token not in kept and first.token.rsplit("_", 1)[1] not in kept
    with started(tmp_path, "other=news.index") as second, client(second.port, first.token) as one:
        assert one.get("/v1/indexes/other").status_code == 200
        assert httpx2.get(f"http://127.0.0.1:{second.port}/v1/indexes").status_code == 401
        second.process.send_signal(signal.SIGTERM)
        second.process.wait(30)
        assert second.process.stdout is not None
        assert second.process.stdout.read() == ""


def test_the_server_loads_nothing_heavy(tmp_path: Path) -> None:
    with Index.create(tmp_path / "news.index") as index:
        index.add(["The train to Berlin is an hour late."])
    report = (
        "import atexit, json, sys\n"
        "open_file = __builtins__.open\n"
        "atexit.register(lambda: json.dump(sorted(sys.modules), open_file('report', 'w')))"
    )
    with started(tmp_path, "news.index", code=report) as server:
        assert server.token
        with client(server.port, server.token) as one:
            hits = one.post("/v1/indexes/news:search", json={"query": "der Zug"}).json()["results"][0]["hits"]
            assert hits[0]["text"] == "The train to Berlin is an hour late."
            added = one.post("/v1/indexes/news/documents", json=[{"text": "Bei ya mahindi imepanda."}])
            assert added.json()["added"] == 1
        server.process.send_signal(signal.SIGINT)
        server.process.wait(30)
    modules = json.loads((tmp_path / "report").read_text())
    assert not HEAVY & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.index"], "none.index: no such index"),
        (["file"], "file is a file, not the folder of an index"),
        (["a b=news.index"], "'a b' cannot name an index"),
        (["news.index", "news=news.index"], "two folders are named 'news'"),
        (["--host", "0.0.0.0"], "there is no token yet"),
        (["--host", "256.0.0.1"], "there is no token yet"),
        (["--allow-origin", "app.example.org"], "is not an origin"),
        (["--root", "file"], "--root file cannot be used"),
        (["--memory", "news.index"], "is an index"),
    ],
)
def test_a_bad_start_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from mlret.cli.main import main

    Index.create(tmp_path / "news.index").close()
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "argv", ["mlret", "serve", "--port", "0", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_two_servers_cannot_take_one_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from mlret.cli.main import main

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with started(tmp_path) as server:
        monkeypatch.setattr(sys, "argv", ["mlret", "serve", "--port", str(server.port)])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 2 and "choose another --host or --port" in capsys.readouterr().err


LINES = 100


@pytest.mark.thorough
@pytest.mark.parametrize("key", ["", "one key"])
def test_every_acknowledged_line_survives_kill_9_and_the_stream_resumes(tmp_path: Path, key: str) -> None:
    """Kill the server in the middle of streams, at ever later lines; then send the rest, or all with the same key."""
    Index.create(tmp_path / "news.index").close()
    headers = {"content-type": "application/x-ndjson"} | ({"Idempotency-Key": key} if key else {})
    lines = [json.dumps({"id": f"d{n}", "text": f"habari {n}", "lang": "sw"}).encode() + b"\n" for n in range(LINES)]
    token, acknowledged = "", 0
    for stop in (1, 40):
        with started(tmp_path, "news.index") as server:
            token = server.token or token
            acknowledged = max(acknowledged, killed_after(server, token, headers, lines, stop, resumed=bool(key)))
        with Index.open(tmp_path / "news.index") as index:
            stored = [document.id for document in index.documents()]
            assert not index.store.records.outdated
        assert len(stored) >= acknowledged >= stop
        assert stored == [f"d{n}" for n in range(len(stored))]
    with started(tmp_path, "news.index") as server, client(server.port, token) as one:
        answer = one.post(
            "/v1/indexes/news/documents",
            content=b"".join(lines),
            headers=headers,
            params={} if key else {"on_conflict": "skip"},
        )
        verdicts = [json.loads(line)["verdict"] for line in answer.text.splitlines()[:-1]]
        assert len(verdicts) == LINES
        # With the key the answer is that of one request that was never interrupted.
        assert verdicts.count("added" if key else "skipped") >= (LINES if key else acknowledged)
        assert one.get("/v1/indexes/news").json()["documents"] == LINES


def killed_after(
    server: Process, token: str, headers: dict[str, str], lines: list[bytes], stop: int, *, resumed: bool
) -> int:
    """Send lines until some verdicts have come, kill the server, and return how many documents were acknowledged."""
    fields = {"Host": "localhost", "Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked", **headers}
    target = "/v1/indexes/news/documents" + ("" if resumed else "?on_conflict=skip")
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:

        def send() -> None:
            with contextlib.suppress(OSError):
                connection.sendall(head.encode())
                for line in lines:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
                    time.sleep(0.02)

        sender = threading.Thread(target=send)
        sender.start()
        while received.count(b'"}\n') < stop:
            part = connection.recv(65536)
            assert part, received
            received += part
        server.process.kill()
        server.process.wait(30)
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                received += part
        sender.join()
    assert b'"end"' not in received
    return received.count(b'"}\n')
