"""Each request has an id, a line in the log without texts, and a place in the measurements."""

from __future__ import annotations

import io
import json
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlret.errors import FilterWarning
from mlret.serve.limits.access_log import AccessLog, error_fields, write_warnings
from tests.serve.serving import SECRET, Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as one:
        yield one


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, texts=True) as one:
        yield one


def ask(served: Served) -> str:
    """Send requests whose every part holds a text, and return what the log says of them."""
    query = {"text": f"body {SECRET}", "k": 1}
    responses = [
        served.client.post("/v1/queries", json=query, params={"q": f"query {SECRET}"}),
        served.client.post("/v1/queries", json={"text": f"invalid {SECRET}"}),
        served.client.get(f"/v1/things/path {SECRET}"),
        served.client.get(f"/nothing/{SECRET}", headers={"user-agent": SECRET, "referer": SECRET}),
        served.client.get("/v1/errors/unexpected"),
        served.client.get("/v1/errors/corrupt"),
    ]
    assert [response.status_code for response in responses] == [200, 422, 200, 404, 500, 500]
    served.lines(len(responses))
    return served.log.getvalue()


def test_the_log_has_a_line_for_each_request_and_no_text(served: Served) -> None:
    written = ask(served)
    assert SECRET not in written
    assert served.token not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["status"] for line in lines] == [200, 422, 200, 404, 500, 500]
    assert [line["route"] for line in lines[:4]] == ["/v1/queries", "/v1/queries", "/v1/things/{name}", "unmatched"]
    assert {line["token"] for line in lines} == {served.token.split("_")[1]}
    assert lines[4]["errors"][0]["class"] == "builtins.ValueError"
    assert any("serving.py" in frame and frame.endswith(" fail") for frame in lines[4]["errors"][0]["frames"])
    assert lines[5]["errors"][0]["class"] == "mlret.errors.Corrupt"
    assert len({line["request"] for line in lines}) == len(lines)


def test_the_log_has_texts_if_requested_but_never_a_token(talkative: Served) -> None:
    written = ask(talkative)
    lines = [json.loads(line) for line in written.splitlines()]
    assert f"body {SECRET}" in lines[0]["body"]
    assert "q=query" in lines[0]["query"]
    assert f"path {SECRET}" in lines[2]["path"]
    assert lines[4]["errors"][0]["text"] == SECRET
    assert talkative.token not in written


def test_the_answer_names_the_request_that_the_log_names(served: Served) -> None:
    response = served.client.get("/v1/errors/unexpected")
    request = response.headers["x-request-id"]
    assert UUID(request).version == 4
    assert response.json()["instance"] == f"urn:uuid:{request}"
    assert served.lines(1)[0]["request"] == request
    assert SECRET not in response.text


def test_an_answer_that_fails_in_the_middle_is_cut_off_and_logged_without_text(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/broken"))
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 200") and b"the beginning" in received
    assert not received.endswith(b"0\r\n\r\n")
    line = next(line for line in served.lines(2) if line["event"] == "server")
    assert line["errors"][0]["class"].endswith("BrokenAnswer")
    assert SECRET not in served.log.getvalue()


def test_a_client_that_leaves_is_noted_and_no_error(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/large"))
        connection.recv(1000)
    line = served.lines(1)[0]
    assert line["left"] is True
    assert "errors" not in line


def test_head_is_answered_as_get_without_a_body(served: Served) -> None:
    for path in ("/v1/things/a", "/", "/healthz", "/v1/errors/not-found"):
        got, head = served.client.get(path), served.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        # The documents of problems hold the id of the request, whose length is always the same.
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
        assert head.headers["content-type"] == got.headers["content-type"]


def test_the_measurements_count_requests_by_route_and_not_by_name(served: Served) -> None:
    for name in ("a", "b", SECRET):
        served.client.get(f"/v1/things/{name}")
    served.client.get("/v1/nothing")
    served.client.post("/v1/size", content=bytes(1000))
    response = served.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert SECRET not in response.text
    found = {
        (sample.name, *(sample.labels.get(name) for name in ("method", "route", "status"))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found["mlret_http_requests_total", "GET", "/v1/things/{name}", "200"] == 3
    assert found["mlret_http_requests_total", "GET", "unmatched", "404"] == 1
    assert found["mlret_http_received_bytes_total", None, None, None] == 1000
    assert found["mlret_http_requests_at_work", None, None, None] == 1
    assert found["mlret_http_request_seconds_count", "GET", "/v1/things/{name}", None] == 3


def test_the_log_names_the_parts_and_causes_of_an_error() -> None:
    def fail() -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ExceptionGroup(SECRET, [ValueError(SECRET)]) from error

    try:
        fail()
    except ExceptionGroup as error:
        fields, with_texts = error_fields(error, texts=False), error_fields(error, texts=True)
    classes = [one["class"] for one in fields["errors"]]  # type: ignore[attr-defined]
    assert classes == ["builtins.ExceptionGroup", "builtins.ValueError", "builtins.KeyError"]
    assert SECRET not in json.dumps(fields)
    assert SECRET in json.dumps(with_texts)


@pytest.mark.parametrize("texts", [False, True])
def test_warnings_are_lines_of_the_log_too(monkeypatch: pytest.MonkeyPatch, texts: bool) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    stream = io.StringIO()
    log = AccessLog(stream, texts=texts)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        write_warnings(log)
        warnings.warn(f"no document has the field {SECRET!r}", FilterWarning, stacklevel=1)
    log.close()
    [line] = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["kind"]) == ("warning", "FilterWarning")
    assert (SECRET in stream.getvalue()) == texts


def test_a_log_whose_reader_stalls_stops_nobody() -> None:
    class Stalled(io.StringIO):
        open = threading.Event()

        def write(self, text: str) -> int:
            self.open.wait(20)
            return super().write(text)

    stream = Stalled()
    log = AccessLog(stream)
    for number in range(12_000):
        log.write("request", number=number)
    Stalled.open.set()
    log.close()
    log = AccessLog(stream)
    log.write("later")
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert 10_000 <= len(lines) < 12_000
    assert [line["number"] for line in lines[:-1]] == list(range(len(lines) - 1))
