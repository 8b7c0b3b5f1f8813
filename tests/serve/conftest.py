"""One server for the tests of a module, on which each test makes an index of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.serve.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server that may create indexes."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, root=folder / "indexes") as one:
        yield one


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def made(server: Running) -> Callable[..., str]:
    """Make an empty index and return its address, ``/v1/indexes/NAME``."""

    def make(**settings: Any) -> str:
        address = f"/v1/indexes/test-{next(_NUMBERS)}"
        answer = server.client.put(address, json={"settings": settings})
        assert answer.status_code == 201, answer.text
        return address

    return make
