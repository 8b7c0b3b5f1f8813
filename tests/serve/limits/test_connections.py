"""Connections that are slow, greedy or not HTTP are closed, and others go on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.serve.serving import Served, answer, closed, faster, serving

LIMITS = faster(connections=40, headers=50, header_bytes=10_000, address_bytes=2_000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("connections"), limits=LIMITS) as one:
        yield one


@pytest.fixture(autouse=True)
def the_server_answers_afterwards(served: Served) -> Iterator[None]:
    yield
    assert served.client.get("/v1/things/a").status_code == 200


def check_problem(served: Served, data: bytes, status: int) -> None:
    with served.connect() as connection:
        connection.sendall(data)
        got, headers, body = answer(connection)
        assert got == status
        assert headers["content-type"] == "application/problem+json"
        document = json.loads(body)
        assert document["status"] == status
        assert document["instance"] == f"urn:uuid:{headers['x-request-id']}"
        assert headers["connection"] == "close"
        assert closed(connection)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_answered_with_a_problem(served: Served, data: bytes) -> None:
    check_problem(served, data, 400)


def test_large_headers_are_refused(served: Served) -> None:
    many = [f"X-{number}: a" for number in range(60)]
    check_problem(served, served.head("GET", "/", *many), 431)
    check_problem(served, served.head("GET", "/", *(f"X-{number}: {'a' * 1000}" for number in range(11))), 431)
    check_problem(served, served.head("GET", f"/?q={'a' * 2000}"), 414)
    with served.connect() as connection:
        connection.sendall(served.head("GET", f"/?q={'a' * 1000}", *many[:40]))
        assert answer(connection)[0] == 200


def test_a_header_that_never_ends_is_refused(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(OSError):
            for _ in range(10_000):
                connection.sendall(b"a" * 10_000)


def test_headers_after_a_body_do_not_fill_the_memory(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nX-Long: ")
        with pytest.raises(OSError):
            for _ in range(10_000):
                connection.sendall(b"a" * 10_000)


def test_chunks_of_one_byte_are_a_body_like_others(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", "Transfer-Encoding: chunked"))
        connection.sendall(b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
        assert answer(connection)[2] == b'{"bytes":50000}'


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_that_sends_no_complete_headers_is_closed(served: Served, data: bytes) -> None:
    with served.connect(timeout=5) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
        assert received.startswith(b"HTTP/1.1 408" if data else b"")
        assert bool(received) == bool(data)


def test_headers_that_arrive_slowly_are_not_waited_for(served: Served) -> None:
    with served.connect() as connection:
        connection.settimeout(0.1)
        began = time.monotonic()
        for letter in served.head("GET", "/v1/things/a"):
            try:
                connection.sendall(bytes([letter]))
                if received := connection.recv(65536):
                    break
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 5


def test_the_second_request_of_a_connection_has_the_same_limits(served: Served) -> None:
    with served.connect(timeout=5) as connection:
        for _ in range(2):
            connection.sendall(served.head("GET", "/v1/things/a"))
            assert answer(connection)[0] == 200
        connection.sendall(b"GET / HTTP")
        assert answer(connection)[0] == 408
        assert closed(connection)


def test_a_client_that_does_not_read_its_answer_is_closed(served: Served) -> None:
    with served.connect(timeout=5) as connection:
        connection.sendall(served.head("GET", "/v1/large"))
        time.sleep(1.5)
        received = 0
        try:
            while part := connection.recv(1 << 20):
                received += len(part)
        except OSError:
            pass
        assert received < 1000 << 16


def test_more_connections_than_the_limit_are_answered_with_503(served: Served) -> None:
    idle = [served.connect() for _ in range(LIMITS.connections)]
    try:
        with served.connect() as one_more:
            status, headers, _ = answer(one_more)
            assert (status, headers["retry-after"]) == (503, "1")
    finally:
        for connection in idle:
            connection.close()
    time.sleep(0.1)


def test_requests_on_one_connection_are_answered_in_their_order(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"".join(served.head("GET", f"/v1/things/{number}") for number in range(5)))
        received = b""
        while received.count(b'"caller"') < 5:
            received += connection.recv(65536)
        assert [received.index(b'{"name":"%d"' % number) for number in range(5)] == sorted(
            received.index(b'{"name":"%d"' % number) for number in range(5)
        )


def test_many_requests_at_once_on_one_connection_are_refused(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/slow?seconds=0.3") + served.head("GET", "/healthz") * 50)
        assert closed(connection)


def test_another_protocol_is_not_spoken(served: Served) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/things/a", *upgrade))
        assert answer(connection)[0] == 200


@settings(max_examples=examples(100))
@given(data=st.binary(max_size=200), seed=st.integers(0, 2**32))
def test_any_bytes_leave_the_server_in_order(served: Served, data: bytes, seed: int) -> None:
    request = bytearray(served.head("POST", "/v1/size", "Content-Length: 3") + b"abc")
    chance = random.Random(seed)
    place = chance.randrange(len(request))
    request[place : place + chance.randrange(4)] = data
    with served.connect() as connection:
        connection.sendall(request)
        connection.shutdown(1)
        assert closed(connection)
