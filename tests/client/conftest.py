"""A real server with indexes and a memory, and clients of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlret import Client
from mlret.client.client import ClientIndex
from tests.serve.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder, root=folder / "indexes", memory=folder / "memory") as one:
        yield one


@pytest.fixture(scope="module")
def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def client(server: Running, address: str) -> Iterator[Client]:
    with Client(address, server.token) as one:
        yield one


_NUMBERS = itertools.count(1)


@pytest.fixture
def made(client: Client) -> Callable[[], ClientIndex]:
    """Return a function that creates an empty index with a lexical channel."""

    def make() -> ClientIndex:
        from mlret import IndexSettings

        index = client.index(f"test-{next(_NUMBERS)}")
        index.create(IndexSettings(lexical=True))
        return index

    return make


@pytest.fixture
def scope() -> dict[str, str]:
    return {"user": f"user-{next(_NUMBERS)}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
