"""Work that takes too long is cancelled, and what only arrives or is sent slowly is not work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.serve.serving import Served, answer, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("deadline"), deadline=0.5) as one:
        yield one


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_work_that_takes_too_long_is_cancelled(served: Served, method: str) -> None:
    before, began = served.app.state.cancelled, time.monotonic()
    response = served.client.request(method, "/v1/slow")
    assert response.status_code == 504
    assert time.monotonic() - began < 5
    assert served.app.state.cancelled == before + 1
    document = response.json()
    assert "0.5 seconds" in document["detail"]
    # A client that sent a change must know that it may have been made.
    assert ("the change may have been made" in document["detail"]) == (method == "POST")


def test_work_within_the_deadline_is_not(served: Served) -> None:
    assert served.client.get("/v1/slow?seconds=0.2").json() == {"seconds": 0.2}


def test_the_time_of_a_body_does_not_count(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", "Content-Length: 8"))
        for _ in range(8):
            time.sleep(0.1)
            connection.sendall(b"a")
        assert answer(connection)[2] == b'{"bytes":8}'


def test_a_body_that_nobody_reads_does_not_extend_the_deadline(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/slow", "Content-Length: 8") + b"a")
        assert answer(connection)[0] == 504


def test_an_answer_in_parts_may_take_longer(served: Served) -> None:
    received = 0
    with served.client.stream("GET", "/v1/large") as response:
        for number, part in enumerate(response.iter_raw(1 << 20)):
            received += len(part)
            if number < 8:
                time.sleep(0.1)
    assert received == 1000 << 16
