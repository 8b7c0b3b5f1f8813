"""No route of the application is left unguarded, whatever is added to it."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from mlret.serve.security.public import FOLDERS, PAGES
from tests.serve.running import Running

# Path values and bodies with which each operation on an index succeeds for one who may do it.
VALUES = {"name": "guarded", "id": "a", "kind": "invalid"}
CHANGES: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/indexes/{name}"): {},
    ("DELETE", "/v1/indexes/{name}"): None,
    ("POST", "/v1/indexes/{name}/documents"): [{"id": "b", "text": "a second text"}],
    ("PATCH", "/v1/indexes/{name}/documents/{id}"): {"metadata": {"year": 2026}},
    ("DELETE", "/v1/indexes/{name}/documents/{id}"): None,
    ("POST", "/v1/indexes/{name}/documents:delete"): {"ids": ["a"]},
    ("POST", "/v1/indexes/{name}:compact"): None,
}


def operations(server: Running) -> list[tuple[str, str]]:
    """Return method and path of all operations that the description of the interface lists."""
    paths = server.client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, found in paths.items() for method in found]


def address(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: VALUES.get(found[1], "x"), path)


@pytest.fixture(scope="module", autouse=True)
def guarded(server: Running) -> None:
    assert server.client.put("/v1/indexes/guarded", json={}).status_code == 201
    added = server.client.post("/v1/indexes/guarded/documents", json=[{"id": "a", "text": "a first text"}])
    assert added.status_code == 200


def test_every_operation_but_the_public_ones_needs_a_token(server: Running) -> None:
    found = operations(server)
    assert len(found) > 10
    with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}") as stranger:
        for method, path in [*found, ("GET", "/openapi.json"), ("GET", "/metrics")]:
            response = stranger.request(method, address(path))
            public = path in PAGES or path.startswith(FOLDERS)
            assert (response.status_code != 401) == public, (method, path)
            if not public:
                assert response.headers["www-authenticate"].startswith("Bearer")


def test_every_operation_refuses_other_hosts_and_origins_also_with_a_token(server: Running) -> None:
    for method, path in operations(server):
        for header, value, status in [("host", "evil.example", 421), ("origin", "https://evil.example", 403)]:
            response = server.client.request(method, address(path), headers={header: value})
            assert response.status_code == status, (method, path, header)


def test_every_answer_of_an_error_is_a_problem(server: Running) -> None:
    for method, path in operations(server):
        for content in (b"{", b"\xff", b'"' + b"\\ud800" + b'"', b"[" * 10_000, b"null"):
            headers = {"content-type": "application/json"}
            response = server.client.request(method, address(path), content=content, headers=headers)
            assert response.status_code < 500, (method, path, content[:10], response.text)
            if response.status_code >= 400:
                assert response.headers["content-type"] == "application/problem+json"
                assert response.json()["instance"] == f"urn:uuid:{response.headers['x-request-id']}"
        if (method, path) == ("DELETE", "/v1/indexes/{name}"):
            guarded_again(server)


def guarded_again(server: Running) -> None:
    server.client.put("/v1/indexes/guarded", json={})
    server.client.post("/v1/indexes/guarded/documents", json=[{"id": "a", "text": "a first text"}])


def test_what_changes_an_index_is_refused_to_readers_and_what_makes_one_to_writers(server: Running) -> None:
    guarded_again(server)
    with server.client_of("reader", "read") as reader, server.client_of("writer", "write") as writer:
        before = server.client.get("/v1/indexes/guarded").json()
        for (method, path), body in CHANGES.items():
            response = reader.request(method, address(path), json=body)
            assert response.status_code == 403, (method, path, response.text)
            assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
        for method, path in (("PUT", ""), ("DELETE", ""), ("POST", ":compact")):
            assert writer.request(method, f"/v1/indexes/guarded{path}", json=None).status_code in (403, 422)
        assert server.client.get("/v1/indexes/guarded").json() == before
        listed = {(method, path) for method, path in operations(server) if "/indexes/{name}" in path}
        # What is neither listed above nor below is a new operation: say here who may use it.
        assert listed - CHANGES.keys() == {
            ("GET", "/v1/indexes/{name}"),
            ("GET", "/v1/indexes/{name}/fields"),
            ("GET", "/v1/indexes/{name}/documents"),
            ("GET", "/v1/indexes/{name}/documents/{id}"),
            ("POST", "/v1/indexes/{name}:search"),
        }
        assert reader.post("/v1/indexes/guarded:search", json={"query": "text"}).status_code == 200
        assert reader.get("/v1/indexes/guarded/documents/a").status_code == 200


def test_a_token_for_another_index_cannot_tell_whether_this_one_exists(server: Running) -> None:
    guarded_again(server)
    with server.client_of("elsewhere", "admin", indexes=["elsewhere"], memory=False) as other:
        assert other.get("/v1/indexes").json()["indexes"] == []
        for method, path in operations(server):
            if "/indexes/{name}" not in path:
                continue
            body = CHANGES.get((method, path), {"query": "text"})
            body = None if method == "GET" else body
            answers = []
            for name in ("guarded", "missing"):
                response = other.request(method, address(path.replace("{name}", name)), json=body)
                assert response.status_code == 404, (method, path, response.text)
                document = response.json()
                del document["instance"]
                answers.append(str(document).replace(name, "NAME"))
            assert answers[0] == answers[1]


def test_the_log_of_all_operations_holds_no_text(server: Running) -> None:
    secret = "nobody-else-reads-this"
    index = "/v1/indexes/guarded"
    guarded_again(server)
    server.client.post(f"{index}/documents", json=[{"id": secret, "text": secret, "kind": secret}])
    server.client.post(f"{index}:search", json={"query": secret, "where": {secret: secret}})
    server.client.get(f"{index}/documents/{secret}")
    server.client.patch(f"{index}/documents/{secret}", json={"text": secret * 2})
    server.client.post("/v1/embeddings", json={"input": secret})
    server.client.post("/v1/rerank", json={"query": secret, "documents": [secret]})
    server.client.delete(f"{index}/documents/{secret}")
    last = server.client.get(f"/{secret}?{secret}={secret}").headers["x-request-id"]
    for _ in range(1000):
        if last in server.log.getvalue():
            break
        server.client.get("/healthz")
    assert last in server.log.getvalue()
    assert secret not in server.log.getvalue()
    assert server.token not in server.log.getvalue()
