"""A body that is too large, too slow or compressed ends its request, and nothing else."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator

import pytest

from mlret.serve.limits.body import BodyLimits
from tests.serve.serving import Served, answer, closed, faster, serving

LIMIT = 100_000
LINES = "Content-Type: application/x-ndjson"
STREAM = "/v1/indexes/docs/documents"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = BodyLimits(size=LIMIT, grace=0.5, rate=10_000, idle=0.5, together=2 * LIMIT)
    with serving(tmp_path_factory.mktemp("body"), body=limits, limits=faster(unread_bytes=300_000)) as one:
        yield one


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_a_body_within_the_limit_arrives(served: Served, size: int) -> None:
    assert served.client.post("/v1/size", content=bytes(size)).json() == {"bytes": size}
    assert served.client.post("/v1/size", content=iter([bytes(size)])).json() == {"bytes": size}


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
def test_a_larger_one_is_refused_with_and_without_its_length(served: Served, size: int) -> None:
    for content in (bytes(size), iter([bytes(size)]), (bytes(1000) for _ in range(size // 1000 + 1))):
        response = served.client.post("/v1/size", content=content)
        assert response.status_code == 413
        assert response.json()["type"] == "/problems/too-large"
        assert "100,000 bytes" in response.json()["detail"]
    # Also where the framework reads the body, which turns errors of reading into others.
    response = served.client.post("/v1/queries", content=iter([b'{"text": "' + bytes(size)]))
    assert response.status_code == 413
    assert served.client.post("/v1/size", content=b"abc").json() == {"bytes": 3}


def test_an_announced_body_is_refused_before_it_is_sent(served: Served) -> None:
    for length in (str(LIMIT + 1), "9" * 15):
        with served.connect() as connection:
            connection.sendall(served.head("POST", "/v1/size", f"Content-Length: {length}", "Expect: 100-continue"))
            assert answer(connection)[0] == 413
            # What follows would be taken for the body, so the connection ends.
            assert closed(connection)


def test_a_refused_body_is_read_for_a_while_so_that_the_answer_arrives(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", f"Content-Length: {2 * LIMIT}"))
        for _ in range(20):
            connection.sendall(bytes(LIMIT // 10))
        assert answer(connection)[0] == 413
        # The connection is in order again.
        connection.sendall(served.head("POST", "/v1/size", "Content-Length: 3") + b"abc")
        assert answer(connection)[2] == b'{"bytes":3}'


def test_a_refused_body_is_not_read_for_ever(served: Served) -> None:
    for token in (True, False):
        with served.connect() as connection:
            connection.sendall(served.head("POST", "/v1/size", "Transfer-Encoding: chunked", token=token))
            with pytest.raises(OSError):
                for _ in range(10_000):
                    connection.sendall(chunk(bytes(10_000)))


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"])
def test_a_compressed_body_is_refused(served: Served, encoding: str) -> None:
    body = gzip.compress(bytes(10 * LIMIT))
    for path in ("/v1/size", STREAM, "/v1/queries"):
        response = served.client.post(path, content=body, headers={"content-encoding": encoding})
        assert response.status_code == 415
        assert response.headers["accept-encoding"] == "identity"
        assert response.json()["field"] == "Content-Encoding"
    plain = served.client.post("/v1/size", content=body, headers={"content-encoding": "identity"})
    assert plain.json() == {"bytes": len(body)}


def test_a_body_that_arrives_too_slowly_is_refused(served: Served) -> None:
    # Many bytes at the beginning do not buy time for the rest.
    for first in (b"", b"a", bytes(LIMIT - 1)):
        with served.connect() as connection:
            began = time.monotonic()
            connection.sendall(served.head("POST", "/v1/size", f"Content-Length: {LIMIT}") + first)
            assert answer(connection)[0] == 408
            assert time.monotonic() - began < 5
            assert closed(connection)


def test_bytes_now_and_then_do_not_hold_a_request(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", "Content-Length: 1000"))
        connection.settimeout(0.1)
        answered = b""
        for _ in range(100):
            try:
                connection.sendall(b"a")
                if answered := connection.recv(65536):
                    break
            except TimeoutError:
                continue
        assert answered.startswith(b"HTTP/1.1 408")


def test_a_body_that_keeps_the_pace_may_take_long(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", f"Content-Length: {LIMIT}"))
        for _ in range(8):
            connection.sendall(bytes(LIMIT // 8))
            time.sleep(0.1)
        assert answer(connection)[0] == 200


def test_a_client_that_leaves_ends_its_request_alone(served: Served) -> None:
    for head in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
        with served.connect() as connection:
            connection.sendall(served.head("POST", "/v1/size", head))
    with served.connect() as connection:
        connection.sendall(served.head("POST", "/v1/size", "Content-Length: 1000") + b"abc")
        connection.shutdown(socket.SHUT_WR)
        assert closed(connection)
    assert served.client.get("/v1/things/a").status_code == 200


def test_a_client_that_sends_no_more_gets_the_answer_to_a_complete_request(served: Served) -> None:
    for request in (
        served.head("POST", "/v1/size", "Content-Length: 3") + b"abc",
        served.head("POST", "/v1/size", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
    ):
        with served.connect() as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert answer(connection)[2] == b'{"bytes":3}'
            assert closed(connection)
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/slow?seconds=0.5"))
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection)[2] == b'{"seconds":0.5}'


def test_a_stream_of_lines_may_be_longer_than_the_limit(served: Served) -> None:
    parts = (b'{"text": "a"}\n' * 1000 for _ in range(20))
    response = served.client.post(
        STREAM, content=parts, headers={"content-type": "application/x-ndjson; charset=utf-8"}
    )
    assert response.status_code == 200
    assert sum(map(int, response.text.split())) == 20 * 14_000


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/size", "application/x-ndjson"), (STREAM, "application/json"), (STREAM + "/x", "")]
)
def test_what_is_no_stream_is_not_taken_for_one(served: Served, path: str, kind: str) -> None:
    response = served.client.post(path, content=bytes(LIMIT + 1), headers={"content-type": kind})
    assert response.status_code == 413


def test_a_stream_that_stops_is_ended(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("POST", STREAM, LINES, "Transfer-Encoding: chunked"))
        connection.sendall(chunk(b'{"text": "a"}\n'))
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 200")
        # The verdicts end without the chunk that completes them, so that the client notices.
        rest = b""
        while part := connection.recv(65536):
            rest += part
        assert not (head + rest).endswith(b"0\r\n\r\n")


def test_large_bodies_together_are_limited(served: Served) -> None:
    held = []
    for _ in range(2):
        connection = served.connect()
        connection.sendall(served.head("POST", "/v1/size", f"Content-Length: {LIMIT}") + bytes(LIMIT - 1))
        held.append(connection)
    time.sleep(0.2)
    response = served.client.post("/v1/size", content=bytes(1000))
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    for connection in held:
        connection.sendall(b"a")
        assert answer(connection)[0] == 200
        connection.close()
    assert served.client.post("/v1/size", content=bytes(LIMIT)).json() == {"bytes": LIMIT}
