"""A page of another site cannot reach the server, under its own name or another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.serve.security.hosts import HostPolicy, host_name, is_loopback
from tests.serve.serving import Served, answer, serving

APP = "https://app.example.org"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hosts")) as one:
        yield one


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    policy = HostPolicy(hosts=frozenset({"search.example.org"}), origins=frozenset({APP}))
    with serving(tmp_path_factory.mktemp("listed"), hosts=policy) as one:
        yield one


def status(served: Served, path: str = "/v1/things/a", method: str = "GET", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.client.request(method, path, headers=sent).status_code


def problem(response: httpx2.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8752", "127.9.9.9", "localhost."])
def test_loopback_names_are_answered(served: Served, host: str) -> None:
    assert status(served, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "192.168.1.5", "[::]"]
)
def test_other_names_are_not_answered(served: Served, host: str) -> None:
    for path in ("/v1/things/a", "/", "/healthz"):
        response = served.client.get(path, headers={"host": host})
        assert response.status_code == 421
        assert problem(response)["field"] == "Host"
        assert "--allow-host" in str(problem(response)["fix"])


@pytest.mark.parametrize("host", ["a@localhost", "localhost/x", "localhost:99999999", "local host", "[localhost]", ""])
def test_a_host_that_is_not_valid_is_refused(served: Served, host: str) -> None:
    response = served.client.get("/v1/things/a", headers={"host": host})
    assert response.status_code == 400
    assert problem(response)["field"] == "Host"


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_a_request_has_one_host(served: Served, hosts: list[str]) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    with served.connect() as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\n{lines}\r\n".encode())
        assert answer(connection)[0] == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost", "file://", "*", ""]
)
def test_pages_of_other_origins_are_refused_and_get_no_cors_headers(served: Served, origin: str) -> None:
    for method, path in [("GET", "/v1/things/a"), ("POST", "/v1/size"), ("GET", "/healthz"), ("OPTIONS", "/v1/size")]:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        response = served.client.request(method, path, headers=headers)
        assert response.status_code == 403
        assert problem(response)["type"] == "/problems/foreign-page"
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_own_page_may_call(served: Served) -> None:
    for host in (f"localhost:{served.port}", f"127.0.0.1:{served.port}", "localhost"):
        for scheme in ("http", "https"):
            assert status(served, host=host, origin=f"{scheme}://{host}", sec_fetch_site="same-origin") == 200
    # Another name for the same machine is another origin.
    assert status(served, host=f"localhost:{served.port}", origin=f"http://127.0.0.1:{served.port}") == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_names_another_site_is_refused_without_an_origin(served: Served, site: str) -> None:
    # An image or a script of a page sends no Origin.
    assert status(served, sec_fetch_site=site, sec_fetch_mode="no-cors") == 403
    assert status(served, path="/", sec_fetch_site=site, sec_fetch_mode="no-cors") == 403
    assert status(served, sec_fetch_site=site, sec_fetch_mode="navigate") == 403
    # Somebody follows a link to the page.
    assert status(served, path="/", sec_fetch_site=site, sec_fetch_mode="navigate") == 200
    assert status(served, sec_fetch_site="none", sec_fetch_mode="navigate") == 200


def test_a_listed_origin_gets_cors_headers_also_on_errors(listed: Served) -> None:
    response = listed.client.get("/v1/things/a", headers={"origin": APP, "sec-fetch-site": "cross-site"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-credentials" not in response.headers
    wrong = listed.client.get("/v1/things/a", headers={"origin": APP, "authorization": "Bearer x"})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, APP)
    assert "X-Request-Id" in wrong.headers["access-control-expose-headers"]
    assert status(listed, origin="https://evil.example") == 403
    assert status(listed, origin=f"{APP}.evil.example") == 403


def test_a_preflight_needs_no_token(listed: Served) -> None:
    asked = {
        "origin": APP,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "authorization,idempotency-key",
    }
    with httpx2.Client() as client:
        address = f"http://localhost:{listed.port}/v1/things/a"
        response = client.options(address, headers=asked)
        local = client.options(address, headers={**asked, "access-control-request-private-network": "true"})
        other = client.options(address, headers={**asked, "access-control-request-method": "TRACE"})
    assert local.headers["access-control-allow-private-network"] == "true"
    assert (other.status_code, problem(other)["field"]) == (400, "Access-Control-Request-Method")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == APP
    assert "PUT" in response.headers["access-control-allow-methods"]


def test_a_listed_host_is_answered(listed: Served) -> None:
    assert status(listed, host="search.example.org") == 200
    assert status(listed, host="Search.Example.org:443", origin="https://search.example.org:443") == 200
    assert status(listed, host="example.org") == 421


def test_on_another_address_any_literal_address_is_answered_but_no_name() -> None:
    policy = HostPolicy("0.0.0.0")
    assert all(policy.answers(host) for host in ("192.168.1.5", "fd00::1", "127.0.0.1", "localhost"))
    assert not any(policy.answers(host) for host in ("evil.example", "192.168.1.5.evil.example", "1.2.3", "0x7f.1"))
    assert HostPolicy("search.local").answers("search.local")


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.org", "https://app.example.org/", "https://App.example.org"]
)
def test_an_origin_that_cannot_be_one_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(InputError, match="is not an origin"):
        HostPolicy(origins=frozenset({origin}))


@pytest.mark.parametrize("host", ["*", "a b", "http://a", "a:80", ""])
def test_a_host_that_cannot_be_one_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(InputError, match="is not the name of a host"):
        HostPolicy(hosts=frozenset({host}))


@given(st.text(max_size=30) | st.from_regex(r"[a-z0-9.\-\[\]:@/]{1,20}", fullmatch=True))
def test_any_header_is_read_or_refused(header: str) -> None:
    name = host_name(header)
    if name is not None and HostPolicy().answers(name):
        assert is_loopback(name)


def test_answers_tell_a_browser_to_keep_and_frame_nothing(served: Served, tmp_path: Path) -> None:
    page, data, wrong = (served.client.get(path) for path in ("/", "/v1/things/a", "/v1/nothing"))
    for response in (page, data, wrong):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "server" not in response.headers
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in data.headers["content-security-policy"]
