"""Test the commands that work on a cluster, and what they say where there is none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import CHECKOUT
from tests.cluster.test_building_on_ray import write_documents

MLRET = [sys.executable, "-m", "mlret"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*MLRET, *map(str, arguments)]
    return subprocess.run(
        command, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=200, check=False
    )


def test_an_address_where_nothing_answers_is_reported_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra ray: make test-cluster")
    paths = write_documents(tmp_path / "texts", 10, files=1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    start = time.monotonic()
    done = run("index", "build", tmp_path / "a.index", *paths, "--shards", 2, "--ray", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"error: --ray 127.0.0.1:{port}: nothing answers there" in done.stderr
    assert time.monotonic() - start < 60
    assert not (tmp_path / ".a.index.building").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray", "local"], "give --shards"),
        (["--ray", "nowhere", "--shards", "2"], "--ray 'nowhere' is not an address: give local, auto, or HOST:PORT"),
    ],
)
def test_bad_options_are_reported(arguments: list[str], message: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra ray: make test-cluster")
    paths = write_documents(tmp_path / "texts", 10, files=1)
    done = run("index", "build", tmp_path / "a.index", *paths, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_ray_that_is_not_installed_is_named_with_its_extra(tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "texts", 10, files=1)
    # A finder that knows no Ray, as in an environment without it.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['ray'] = None\n"
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'ray' else find(name, package)\n",
        encoding="utf-8",
    )
    path = f"{tmp_path}{os.pathsep}{CHECKOUT}"
    done = run("index", "build", tmp_path / "a.index", *paths, "--shards", 2, "--ray", "local", PYTHONPATH=path)
    assert done.returncode == 1
    assert "building an index by Ray needs the package 'ray': pip install \"mlret[ray]\"" in done.stderr


@pytest.mark.cluster
def test_a_build_that_ctrl_c_stops_resumes_and_its_index_is_served(tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "texts", 1500)
    place = tmp_path / "ray.index"
    command = ["index", "build", place, *paths, "--shards", 4, "--ray", "local", "--batch-size", 32]
    started = subprocess.Popen(
        [*MLRET, *map(str, command)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (tmp_path / ".ray.index.building" / "shard-00000").exists():
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert "give the same command again" in errors
    done = run(*command, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["index"]["documents"] == 1500
    assert report["index"]["shards"] == 4

    serving = subprocess.Popen(
        [*MLRET, "serve", f"docs={place}", "--ray", "local", "--port", "0", "--tokens", str(tmp_path / "tokens.json")],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().split()[-1]
        token = serving.stdout.readline().split()[-1]
        found = run("search", f"{address}/docs", "a train on the bridge", "--json", MLRET_TOKEN=token)
        plain = run("search", place, "a train on the bridge", "--json")
        assert found.returncode == 0, found.stderr
        hits = [[hit["id"] for hit in json.loads(one.stdout)["hits"]] for one in (found, plain)]
        assert hits[0] == hits[1] and len(hits[0]) == 5
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
