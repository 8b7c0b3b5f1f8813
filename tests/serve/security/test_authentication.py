"""Every request needs a valid token, except for what is public."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.serve.problems import Problem
from mlret.serve.security.authentication import authenticate
from mlret.serve.security.tokens import TokenStore
from tests.serve.serving import Served, answer, application, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authentication")) as one:
        yield one


@pytest.fixture
def stranger(served: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://localhost:{served.port}") as client:
        yield client


def test_public_paths_need_no_token(stranger: httpx2.Client) -> None:
    for path in ("/", "/healthz", "/problems/invalid"):
        assert stranger.get(path).status_code == 200
        assert stranger.head(path).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/v1/things/a", "/metrics", "/openapi.json", "/nothing", "/healthz/", "/HEALTHZ"])
def test_all_else_needs_one(stranger: httpx2.Client, method: str, path: str) -> None:
    response = stranger.request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="mlret"'
    if method != "HEAD":
        assert response.json()["type"] == "/problems/unauthorized"
        assert "mlret tokens add" in response.json()["fix"]


@pytest.mark.parametrize("path", ["/healthz%2f..%2fv1/things/a", "/static/../v1/things/a", "/static/%2e%2e/v1/things"])
def test_a_public_beginning_leads_to_nothing_else(served: Served, path: str) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("GET", path, token=False))
        assert answer(connection)[0] in (401, 404)


def test_public_paths_are_public_for_reading_alone(stranger: httpx2.Client) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert stranger.request(method, "/healthz").status_code == 401


@pytest.mark.parametrize("write", ["Bearer {}", "bearer {}", "BEARER  {}"])
def test_the_scheme_is_read_as_the_standard_says(served: Served, stranger: httpx2.Client, write: str) -> None:
    response = stranger.get("/v1/things/a", headers={"authorization": write.format(served.token)})
    assert response.json() == {"name": "a", "caller": "tests"}


@pytest.mark.parametrize("write", ["{}", "Basic {}", "Bearer", "Bearer {}x", "Bearer {} x", "Bearer x{}", "Bearer\t{}"])
def test_another_form_is_refused_with_the_reason(served: Served, stranger: httpx2.Client, write: str) -> None:
    response = stranger.get("/v1/things/a", headers={"authorization": write.format(served.token)})
    assert response.status_code == 401
    assert 'error="inval' in response.headers["www-authenticate"]
    assert served.token not in response.text


def test_a_token_elsewhere_is_not_read(served: Served, stranger: httpx2.Client) -> None:
    for path in (f"/v1/things/a?token={served.token}", f"/v1/things/a?access_token={served.token}"):
        assert stranger.get(path, headers={"cookie": f"token={served.token}"}).status_code == 401


def test_two_tokens_are_refused(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(served.head("GET", "/v1/things/a", f"Authorization: Bearer {served.token}"))
        assert answer(connection)[0] == 400


def test_a_role_that_is_too_low_is_refused_with_the_one_needed(served: Served) -> None:
    response = served.client.put("/v1/things/a")
    assert response.status_code == 403
    assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert "role 'admin'" in response.json()["detail"]


def test_a_revoked_token_ends_while_the_server_runs(served: Served) -> None:
    token = served.guards.tokens.add("short", "read")
    headers = {"authorization": f"Bearer {token}"}
    assert served.client.get("/v1/things/a", headers=headers).status_code == 200
    # Another process revokes it.
    TokenStore(served.guards.tokens.path).revoke("short")
    assert served.client.get("/v1/things/a", headers=headers).status_code == 401
    assert served.client.get("/v1/things/a").status_code == 200


def test_without_its_file_the_server_accepts_nobody_and_says_so_in_the_log(served: Served) -> None:
    served.guards.tokens.path.chmod(0o644)
    try:
        response = served.client.get("/v1/things/a")
    finally:
        served.guards.tokens.path.chmod(0o600)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert "tokens.json" not in response.text
    deadline = time.monotonic() + 10
    while not (lines := [line for line in served.lines(1) if line["request"] == response.headers["x-request-id"]]):
        assert time.monotonic() < deadline
    [line] = lines
    assert line["status"] == 503
    assert line["errors"][0]["class"] == "mlret.errors.InputError"
    assert served.client.get("/v1/things/a").status_code == 200


HEADERS = st.text(st.characters(max_codepoint=255), max_size=80) | st.from_regex(
    r"(?i)bearer +\S{0,60}", fullmatch=True
)


@given(st.lists(HEADERS, max_size=3))
def test_any_header_is_refused_in_order(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    store = TokenStore(tmp_path_factory.getbasetemp() / "no-tokens.json")
    scope: dict[str, Any] = {"headers": [(b"authorization", value.encode("latin-1", "ignore")) for value in values]}
    with pytest.raises(Problem) as refused:
        authenticate(scope, store)
    assert refused.value.status == (400 if len(values) > 1 else 401)
    assert refused.value.status == 400 or "WWW-Authenticate" in refused.value.headers


def test_the_interface_names_the_scheme_for_each_route_that_needs_a_token() -> None:
    app = application()
    document = app.openapi()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    public = {"/", "/healthz", "/problems/{kind}"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in public)
