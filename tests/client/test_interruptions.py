"""The client when connections are cut, the server is busy, killed or not there, and answers are odd."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret import Client, Corrupt, Forbidden, InputError, MlretError, NotFound, Unavailable
from mlret.client.calls import Answer, Call, Lost, Wait, attempts
from mlret.client.client import ClientIndex
from mlret.serve.problems import KINDS, Problem
from tests.client.cutting import cutting
from tests.serve.running import Running
from tests.serve.test_serve_command import started

ADDRESS = "http://127.0.0.1:8752"


def test_documents_whose_answer_was_lost_are_stored_once(server: Running, made: Callable[[], ClientIndex]) -> None:
    index = made()
    with cutting(server.port) as between, Client(f"http://127.0.0.1:{between.port}", server.token) as client:
        far = client.index(index.name)
        between.cut(2, "POST")
        assert far.add([{"id": "a", "text": "A text."}, {"id": "b", "text": "Another one."}]) == 2
        assert between.cuts == 2
        between.cut(1, "POST")
        assert far.search("a text", k=1)[0].id == "a"
        assert between.cuts == 1
    assert [one.id for one in index.documents()] == ["a", "b"]


def test_texts_whose_answer_was_lost_are_remembered_once(server: Running, client: Client, scope: Any) -> None:
    with cutting(server.port) as between, Client(f"http://127.0.0.1:{between.port}", server.token) as far:
        between.cut(1, "POST")
        added = far.memory(scope).add("The meeting was moved to Friday.")
        assert (added.verdict, between.cuts) == ("added", 1)
    [record] = client.memory(scope).list()
    assert (record.id, record.strength) == (added.id, 1.0)


def test_what_cannot_be_repeated_safely_is_not(server: Running, client: Client, scope: dict[str, str]) -> None:
    memory = client.memory(scope)
    record = memory.add("The meeting is on Thursday.").id
    with cutting(server.port) as between, Client(f"http://127.0.0.1:{between.port}", server.token) as far:
        between.cut(1, "PATCH")
        with pytest.raises(Unavailable, match="whether it was done is not known"):
            far.memory(scope).update(record, text="The meeting is on Friday.")
    assert len(memory.versions(record)) == 2


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=0) as client, pytest.raises(Unavailable, match=f":{port} cannot"):
        client.index("news").info()


def test_the_time_that_the_user_allows_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with Client(address, timeout=0.2) as client, pytest.raises(Unavailable, match="time that the client allows"):
            client.index("news").search("a train")
        assert time.monotonic() - begun < 5


def test_another_service_at_the_address_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot here!")

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with Client(address) as client, pytest.raises(NotFound, match="not as an mlret server does"):
            client.index("news").info()


@pytest.mark.thorough
def test_documents_are_stored_once_and_in_order_though_the_server_is_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ids = [f"d-{number}" for number in range(100)]
    serve = ("--root", str(tmp_path / "indexes"), "--port", port)
    address = f"http://127.0.0.1:{port}"
    with started(tmp_path, *serve) as server, Client(address, server.token, retries=8) as client:
        index = client.index("news")
        index.create()
        batches = index.add_batches(({"id": id, "text": f"Text {id}."} for id in ids), batch_size=5)
        acknowledged = sum(next(batches).added for _ in range(4))
        killer = threading.Timer(0.02, server.process.kill)
        killer.start()
        rest: list[int] = []
        adding = threading.Thread(target=lambda: rest.extend(done.added for done in batches))
        adding.start()
        server.process.wait(30)
        assert len(rest) < 16
        with started(tmp_path, *serve):
            adding.join(60)
            assert acknowledged + sum(rest) == len(ids)
            assert [one.id for one in index.documents()] == ids


def carried_out(outcomes: list[Answer | Lost], call: Call, retries: int = 3) -> tuple[Any, list[float]]:
    """Carry out a verb of one call without a network, and return its result and the waits."""

    def verb() -> Generator[Call, Answer, bytes]:
        return (yield call).body

    running = attempts(verb(), ADDRESS, retries)
    given, waits = iter(outcomes), []
    outcome = None
    try:
        while True:
            wanted = running.send(outcome)
            outcome = None
            if isinstance(wanted, Wait):
                waits.append(wanted.seconds)
            else:
                outcome = next(given)
    except StopIteration as end:
        return end.value, waits


def problem(kind: str, **more: Any) -> Answer:
    """Return the answer of the server in case of a problem."""
    response = Problem(kind, "what is wrong", field="/k", **more).response({"type": "http"})
    return Answer(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.body
    )


GOOD = Answer(200, {}, b"good")


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    busy = problem("too-many-requests", retry_after=7)
    ending = problem("unavailable", retry_after=1)
    assert carried_out([busy, ending, GOOD], Call("POST", "/", repeatable=False)) == (b"good", [7.0, 1.0])
    with pytest.raises(Unavailable) as caught:
        carried_out([busy] * 4, Call("GET", "/"))
    assert caught.value.field == "/k"
    in_use = problem("conflict", retry_after=2)
    assert carried_out([in_use, GOOD], Call("POST", "/"))[1] == [2.0]
    with pytest.raises(MlretError):  # Nobody waits for an hour.
        carried_out([problem("unavailable", retry_after=3600), GOOD], Call("GET", "/"))


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_lost_connection_is_tried_again_as_often_as_allowed_with_growing_pauses(losses: int, retries: int) -> None:
    outcomes: list[Answer | Lost] = [Lost("reset", sent=True)] * losses
    if losses > retries:
        with pytest.raises(Unavailable, match="reset"):
            carried_out([*outcomes, GOOD], Call("GET", "/"), retries)
        return
    result, waits = carried_out([*outcomes, GOOD], Call("GET", "/"), retries)
    assert (result, len(waits)) == (b"good", losses)
    for place, seconds in enumerate(waits):
        assert 0.125 * 2**place <= seconds <= 0.25 * 2**place


def test_a_request_that_did_not_leave_is_always_tried_again() -> None:
    never = Call("POST", "/", repeatable=False)
    assert carried_out([Lost("refused", sent=False), GOOD], never)[0] == b"good"
    with pytest.raises(Unavailable):
        carried_out([Lost("reset", sent=True), GOOD], never)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_problem_is_an_error_of_the_library_that_says_what_is_wrong(kind: str) -> None:
    with pytest.raises(MlretError, match="what is wrong") as caught:
        carried_out([problem(kind, fix="Do this.")], Call("GET", "/"), 0)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "/k"
    expected = {"forbidden": Forbidden, "not-found": NotFound, "damaged": Corrupt, "invalid": InputError}
    assert isinstance(caught.value, expected.get(kind, MlretError))
    if 400 <= KINDS[kind].status < 500 and kind != "too-many-requests":
        assert isinstance(caught.value, InputError | Forbidden)


@pytest.mark.parametrize("address", ["127.0.0.1:8752", "ftp://host", "http://", "http://a:b@host", "http://host?x=1",
                                     "http://host:99999"])  # fmt: skip
def test_a_bad_address_is_an_input_error(address: str) -> None:
    with pytest.raises(InputError):
        Client(address)


def test_bad_options_are_input_errors() -> None:
    for options in ({"timeout": 0}, {"retries": -1}, {"token": "with space"}, {"token": "Ä"}):
        with pytest.raises(InputError):
            Client(ADDRESS, **options)  # type: ignore[arg-type]
