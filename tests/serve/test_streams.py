"""Streams of documents: lines in and verdicts out, for fast, slow and odd clients, and across interruptions."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlret.serve.limits.connections import ConnectionLimits
from mlret.serve.operations import lines as reading
from mlret.serve.problems import ProblemDocument
from mlret.serve.schemas.document_models import LineVerdict, StreamEnd
from tests.serve.running import Running, running

Made = Callable[..., str]
NDJSON = {"content-type": "application/x-ndjson"}


def body_of(ids: list[str]) -> bytes:
    return b"".join(line_of(id) for id in ids)


def line_of(id: str) -> bytes:
    return json.dumps({"id": id, "text": f"habari {id}", "lang": "sw"}).encode() + b"\n"


def stream(server: Running, index: str, body: Any, key: str = "", **parameters: Any) -> list[dict[str, Any]]:
    """Send a body, and return the lines of the answer after checking their form."""
    headers = NDJSON | ({"Idempotency-Key": key} if key else {})
    answer = server.client.post(f"{index}/documents", content=body, headers=headers, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in answer.text.splitlines()]
    for one in found[:-1]:
        LineVerdict.model_validate(one)
    StreamEnd.model_validate(found[-1])
    return found


def ids_in(server: Running, index: str) -> list[str]:
    return [one["id"] for one in server.client.get(f"{index}/documents", params={"limit": 1000}).json()["documents"]]


def test_each_line_gets_a_verdict_and_the_last_line_counts_them(server: Running, made: Made) -> None:
    index = made()
    ids = [f"d{number}" for number in range(600)]
    found = stream(server, index, body_of(ids))
    assert found[:-1] == [{"line": n, "id": id, "verdict": "added"} for n, id in enumerate(ids, start=1)]
    counts = {"added": 600, "replaced": 0, "unchanged": 0, "skipped": 0, "failed": 0}
    assert found[-1] == {"end": True, "lines": 600, **counts}
    assert ids_in(server, index) == ids


def test_a_line_that_fails_keeps_no_other_from_being_stored(server: Running, made: Made) -> None:
    index = made()
    body = (
        "\ufeff" + '{"id": "a", "text": "habari"}\r\n\n  \n{"id": "a", "text": "habari"}\nnonsense\n[1]\n{"id": "b"}\n'
        '{"id": "c", "text": "habari", "lang": "nonsense"}\n{"id": "d", "id": "e", "text": "x"}\n'
    ).encode() + b'{"id": "f", "text": "\xff"}\n{"id": "z", "text": "mwisho"}'
    found = stream(server, index, body)
    assert [(one["line"], one["id"], one["verdict"]) for one in found[:-1]] == [
        (1, "a", "added"),
        (4, "a", "failed"),
        (5, None, "failed"),
        (6, None, "failed"),
        (7, None, "failed"),
        (8, None, "failed"),
        (9, None, "failed"),
        (10, None, "failed"),
        (11, "z", "added"),
    ]
    problems = [one["problem"] for one in found[:-1] if one["verdict"] == "failed"]
    assert [(one["status"], one.get("field")) for one in problems] == [
        (409, "/id"),
        (400, None),
        (422, ""),
        (422, ""),
        (422, "/lang"),
        (422, ""),
        (400, None),
    ]
    assert all(one["fix"] and one["detail"] for one in problems)
    assert found[-1]["added"] == 2 and found[-1]["failed"] == 7
    assert ids_in(server, index) == ["a", "z"]


def test_an_empty_stream_is_answered(server: Running, made: Made) -> None:
    assert stream(server, made(), b"\n \n")[0]["lines"] == 0


@pytest.mark.parametrize("on_conflict", ["skip", "replace"])
def test_the_order_of_lines_decides_whatever_the_batches_are(server: Running, made: Made, on_conflict: str) -> None:
    index = made()
    lines = [{"id": f"d{n % 100}", "text": f"habari {n}", "lang": "sw"} for n in range(700)]
    found = stream(server, index, b"".join(json.dumps(one).encode() + b"\n" for one in lines), on_conflict=on_conflict)
    later = "skipped" if on_conflict == "skip" else "replaced"
    assert [one["verdict"] for one in found[:-1]] == ["added"] * 100 + [later] * 600
    text = server.client.get(f"{index}/documents/d7").json()["text"]
    assert text == ("habari 7" if on_conflict == "skip" else "habari 607")


def test_a_verdict_arrives_before_the_body_ends(server: Running, made: Made) -> None:
    index = made()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head(server, index))
        sent = b""
        for number in range(3):
            chunk = line_of(f"d{number}")
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            while f'"line": {number + 1}, "id": "d{number}", "verdict": "added"'.encode() not in sent:
                part = connection.recv(65536)
                assert part
                sent += part
            assert ids_in(server, index)[-1] == f"d{number}"
        connection.sendall(b"0\r\n\r\n")
        while b'"end": true' not in sent:
            sent += connection.recv(65536)
    assert sent.startswith(b"HTTP/1.1 200")


def head(server: Running, index: str, *more: str) -> bytes:
    lines = [
        f"POST {index}/documents HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {server.token}",
        "Content-Type: application/x-ndjson",
        "Transfer-Encoding: chunked",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_client_that_reads_nothing_until_it_has_sent_everything_is_served(tmp_path: Path) -> None:
    """The verdicts are larger than all buffers of the sockets: a server that waited for the client would never end.

    The client takes longer than one may leave an answer unread that sends nothing meanwhile.
    """
    limits = ConnectionLimits(stalled_seconds=1.0)
    with running(tmp_path, root=tmp_path / "indexes", limits=limits) as server, socket.socket() as connection:
        index, blocks, same = "/v1/indexes/unread", 40, "same" * 250
        assert server.client.put(index).status_code == 201
        stream(server, index, line_of(same))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head(server, index).replace(b"/documents ", b"/documents?on_conflict=skip "))
        chunk = line_of(same) * 300
        for _ in range(blocks):
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            time.sleep(0.1)
        connection.sendall(b"0\r\n\r\n")
        received = bytearray()
        while b'"end": ' not in received[-400:]:
            part = connection.recv(1 << 20)
            assert part, "the connection was closed"
            received += part
    assert len(received) > 12_000_000
    assert f'"skipped": {blocks * 300}'.encode() in received[-400:]


def test_a_stream_that_is_cut_in_the_middle_of_a_line_stores_the_complete_lines_alone(
    server: Running, made: Made
) -> None:
    index = made()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head(server, index))
        chunk = body_of(["a", "b"])
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        sent = b""
        while sent.count(b"added") < 2:
            sent += connection.recv(65536)
        connection.sendall(b"%x\r\n%s\r\n" % (10, b'{"id": "c"'))
    assert stream(server, index, line_of("d"))[0]["verdict"] == "added"
    assert ids_in(server, index) == ["a", "b", "d"]


def test_a_line_that_is_too_long_ends_the_stream_after_those_before_it(server: Running, made: Made) -> None:
    index = made()
    limit = server.app.state.service.settings.body_limit
    found = stream(server, index, [line_of("a"), b'{"id": "b", "text": "', b"x" * limit, b'"}\n', line_of("c")])
    assert found[0] == {"line": 1, "id": "a", "verdict": "added"}
    assert found[1]["end"] is False
    problem = ProblemDocument.model_validate(found[1]["problem"])
    assert problem.status == 413 and "line 2" in problem.detail
    assert ids_in(server, index) == ["a"]


def test_an_error_before_the_first_verdict_has_its_own_status(server: Running, made: Made) -> None:
    answer = server.client.post("/v1/indexes/none/documents", content=line_of("a"), headers=NDJSON)
    assert answer.status_code == 404
    reader = server.client_of("reader", "read")
    assert reader.post(f"{made()}/documents", content=line_of("a"), headers=NDJSON).status_code == 403


def test_a_repeated_request_gets_the_same_answer_and_stores_nothing_twice(server: Running, made: Made) -> None:
    index = made()
    body = body_of([f"d{number}" for number in range(300)]) + b"nonsense\n" + b'{"text": "habari yako"}\n'
    first = stream(server, index, body, "key 1")
    assert first[-1]["added"] == 301 and first[-1]["failed"] == 1
    before = ids_in(server, index)
    assert stream(server, index, body, "key 1") == first
    assert ids_in(server, index) == before
    # Without the key it is another request.
    assert {one["verdict"] for one in stream(server, index, body)[:-2]} == {"failed"}


@pytest.mark.parametrize("change", ["other", "shorter", "longer", "parameter"])
def test_a_key_is_refused_for_another_request(server: Running, made: Made, change: str) -> None:
    index, ids = made(), [f"d{number}" for number in range(300)]
    stream(server, index, body_of(ids), "key")
    bodies = {"other": ["x", *ids[1:]], "shorter": ids[:-1], "longer": [*ids, "x"], "parameter": ids}
    answer = server.client.post(
        f"{index}/documents",
        content=body_of(bodies[change]),
        headers=NDJSON | {"Idempotency-Key": "key"},
        params={"on_conflict": "skip"} if change == "parameter" else {},
    )
    # Parts of the body that are the same are answered before the difference is seen.
    last = json.loads(answer.text.splitlines()[-1])
    problem = last if answer.status_code == 422 else last["problem"]
    assert (problem["status"], problem["field"]) == (422, "Idempotency-Key")
    assert ids_in(server, index) == ids


def test_the_keys_of_two_clients_never_meet(server: Running, made: Made) -> None:
    index = made()
    stream(server, index, line_of("a"), "key")
    other = server.client_of("other writer", "write")
    answer = other.post(f"{index}/documents", content=line_of("b"), headers=NDJSON | {"Idempotency-Key": "key"})
    assert answer.status_code == 200 and json.loads(answer.text.splitlines()[0])["verdict"] == "added"


def test_an_interrupted_stream_resumes_with_the_same_key(server: Running, made: Made) -> None:
    index, ids = made(), [f"d{number}" for number in range(700)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head(server, index, "Idempotency-Key: resumed"))
        chunk = body_of(ids[:500])
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        sent = b""
        while b'"id": "d499"' not in sent:
            sent += connection.recv(65536)
    before = ids_in(server, index)
    assert before == ids[:500]
    found = until(lambda: stream(server, index, body_of(ids), "resumed"))
    assert [(one["id"], one["verdict"]) for one in found[:-1]] == [(id, "added") for id in ids]
    assert ids_in(server, index) == ids
    assert stream(server, index, body_of(ids), "resumed") == found


def until(call: Callable[[], Any]) -> Any:
    """Repeat a call while it fails: the server may not have noticed yet that the first client has left."""
    for _ in range(100):
        try:
            return call()
        except AssertionError:
            time.sleep(0.05)
    return call()


def test_two_requests_with_one_key_are_not_worked_on_at_once(server: Running, made: Made) -> None:
    index = made()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield line_of("a")
        begun.set()
        go_on.wait(20)
        yield line_of("b")

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(stream(server, index, slow(), "slow")))
    thread.start()
    assert begun.wait(20)
    while ids_in(server, index) != ["a"]:
        time.sleep(0.01)
    headers = NDJSON | {"Idempotency-Key": "slow"}
    answer = server.client.post(f"{index}/documents", content=body_of(["a", "b"]), headers=headers)
    assert (answer.status_code, answer.headers.get("retry-after")) == (409, "2")
    go_on.set()
    thread.join(20)
    assert [one["verdict"] for one in found[:-1]] == ["added", "added"]


def test_an_array_is_answered_from_its_receipt(server: Running, made: Made) -> None:
    index = made()
    documents = [{"id": "a", "text": "habari"}, {"text": "habari yako"}]
    headers = {"Idempotency-Key": "array"}
    first = server.client.post(f"{index}/documents", json=documents, headers=headers)
    assert first.json()["added"] == 2
    assert server.client.post(f"{index}/documents", json=documents, headers=headers).json() == first.json()
    other = server.client.post(f"{index}/documents", json=documents[:1], headers=headers)
    assert other.status_code == 422 and other.json()["field"] == "Idempotency-Key"
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in documents)
    answer = server.client.post(f"{index}/documents", content=lines, headers=NDJSON | headers)
    assert answer.status_code == 422
    assert len(ids_in(server, index)) == 2


def test_an_array_that_was_refused_may_be_sent_again_with_its_key(server: Running, made: Made) -> None:
    index = made()
    headers = {"Idempotency-Key": "array"}
    stream(server, index, line_of("a"))
    documents = [{"id": "a", "text": "habari"}]
    assert server.client.post(f"{index}/documents", json=documents, headers=headers).status_code == 409
    assert server.client.delete(f"{index}/documents/a").status_code == 200
    assert server.client.post(f"{index}/documents", json=documents, headers=headers).json()["added"] == 1


def test_memory_stays_bounded_by_batches(server: Running, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more lines are held than one batch and what one block of the connection brings."""
    index, most = made(), 0
    store = reading.LineReader._batch

    def watched(reader: reading.LineReader) -> reading.LineBatch:
        nonlocal most
        most = max(most, len(reader._lines))
        return store(reader)

    monkeypatch.setattr(reading.LineReader, "_batch", watched)
    stream(server, index, body_of([f"d{number}" for number in range(2000)]))
    assert 0 < most <= reading.MOST_LINES
