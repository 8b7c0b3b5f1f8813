"""Indexes over HTTP: which exist, who may see them, how they are created and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlret import Index, IndexSettings, InputError
from mlret.serve.app import create_app
from mlret.serve.schemas.index_models import IndexDescription, IndexList
from mlret.serve.security.tokens import TokenStore
from mlret.serve.settings import ServeSettings, named_folders
from tests.serve.running import running

DOCUMENT = {"id": "train", "text": "Der Zug nach Berlin hat eine Stunde Verspätung.", "lang": "de"}


def test_an_index_is_described_without_its_folder(tmp_path: Path) -> None:
    with Index.create(tmp_path / "news", settings=IndexSettings(lexical=True)) as index:
        index.add([DOCUMENT, {"text": "12345"}])
        info = index.info()
    with running(tmp_path, indexes={"news": tmp_path / "news"}) as server:
        answer = server.client.get("/v1/indexes/news")
        assert str(tmp_path) not in answer.text
        found = IndexDescription.model_validate_json(answer.content)
        listed = IndexList.model_validate_json(server.client.get("/v1/indexes").content)
    assert listed.indexes == [found]
    assert (found.documents, found.languages) == (2, {"de": 1, "und": 1})
    assert (found.fingerprint, found.encoder, found.dims) == (info.fingerprint, info.encoder, info.dims)
    assert found.settings == IndexSettings(lexical=True)
    assert not found.removable


def test_an_index_is_created_once_and_served_again_after_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "root"
    body = {"settings": {"lexical": True, "dims": 64}}
    with running(tmp_path, root=root) as server:
        first = server.client.put("/v1/indexes/fresh", json=body)
        assert first.status_code == 201 and first.json()["removable"]
        assert first.headers["location"] == "/v1/indexes/fresh"
        assert server.client.put("/v1/indexes/fresh", json=body).status_code == 200
        other = server.client.put("/v1/indexes/fresh", json={})
        assert (other.status_code, other.json()["field"]) == (409, "/settings")
        assert server.client.post("/v1/indexes/fresh/documents", json=[DOCUMENT]).status_code == 200
    with running(tmp_path, root=root) as server:
        assert server.client.get("/v1/indexes/fresh/documents/train").status_code == 200
        hits = server.client.post("/v1/indexes/fresh:search", json={"query": "the train is late"}).json()
        assert hits["results"][0]["hits"][0]["id"] == "train"
        assert server.client.delete("/v1/indexes/fresh").status_code == 204
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", ":search"), ("GET", "/documents")):
            body = {"query": "x"} if path == ":search" else None
            assert server.client.request(method, f"/v1/indexes/fresh{path}", json=body).status_code == 404
        assert not list(root.iterdir())
        assert server.client.put("/v1/indexes/fresh").json()["documents"] == 0
    with running(tmp_path, root=root) as server:
        assert [one["name"] for one in server.client.get("/v1/indexes").json()["indexes"]] == ["fresh"]


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "a%2Fb", "%2e%2e%2fetc", "x" * 65, "ä", "a:b", "-x"])
def test_no_request_names_a_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "outer" / "root"
    with running(tmp_path, root=root) as server:
        answer = server.client.put(f"/v1/indexes/{name}", json={})
        assert answer.status_code in (404, 405, 422), answer.text
    assert [one.name for one in (tmp_path / "outer").iterdir()] == ["root"] and not list(root.iterdir())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"settings": {"kind": "best"}}, "/settings/kind"),
        ({"settings": {"dims": 0}}, "/settings/dims"),
        ({"settings": {"dims": 1000}}, "/settings"),
        ({"settings": {"kind": "probe"}}, "/settings"),
        ({"settings": {"path": "/tmp"}}, "/settings/path"),
        ({"encoder": "/etc"}, "/encoder"),
    ],
)
def test_bad_settings_create_nothing(tmp_path: Path, body: Any, field: str) -> None:
    with running(tmp_path, root=tmp_path / "root") as server:
        answer = server.client.put("/v1/indexes/fresh", json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
        assert server.client.get("/v1/indexes/fresh").status_code == 404
    assert not list((tmp_path / "root").iterdir())


def test_a_server_without_a_root_creates_nothing_and_deletes_nothing(tmp_path: Path) -> None:
    Index.create(tmp_path / "news").close()
    with running(tmp_path, indexes={"news": tmp_path / "news"}) as server:
        answer = server.client.put("/v1/indexes/fresh", json={})
        assert answer.status_code == 403 and "--root" in answer.text
        assert server.client.delete("/v1/indexes/news").status_code == 403
        assert server.client.put("/v1/indexes/news", json={}).status_code == 200
    assert (tmp_path / "news" / "manifest.json").exists()


def test_a_folder_below_the_root_that_is_no_index_is_kept(tmp_path: Path) -> None:
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "root" / "photos" / "one.jpg").write_bytes(b"x")
    left = tmp_path / "root" / ".news.0123abcd.removed"
    left.mkdir()
    with running(tmp_path, root=tmp_path / "root") as server:
        answer = server.client.put("/v1/indexes/photos", json={})
        assert answer.status_code == 409 and str(tmp_path) not in answer.text
    assert (tmp_path / "root" / "photos" / "one.jpg").exists()
    assert not left.exists()  # A deletion that was interrupted is finished.


def test_roles_and_scopes_decide(tmp_path: Path) -> None:
    for name in ("news", "laws"):
        with Index.create(tmp_path / name) as index:
            index.add([DOCUMENT])
    folders = {name: tmp_path / name for name in ("news", "laws")}
    with running(tmp_path, indexes=folders, root=tmp_path / "root") as server:
        reader = server.client_of("reader", "read", indexes=["news"])
        writer = server.client_of("writer", "write", indexes=["news"])
        assert [one["name"] for one in reader.get("/v1/indexes").json()["indexes"]] == ["news"]
        requests: list[tuple[str, str, Any, str]] = [
            ("GET", "/v1/indexes/{}", None, "read"),
            ("GET", "/v1/indexes/{}/documents", None, "read"),
            ("GET", "/v1/indexes/{}/documents/train", None, "read"),
            ("POST", "/v1/indexes/{}:search", {"query": "x"}, "read"),
            ("POST", "/v1/indexes/{}/documents", [{"id": "new", "text": "x"}], "write"),
            ("PATCH", "/v1/indexes/{}/documents/new", {"metadata": {"a": 1}}, "write"),
            ("DELETE", "/v1/indexes/{}/documents/new", None, "write"),
            ("POST", "/v1/indexes/{}/documents:delete", {"ids": ["x"], "ignore_missing": True}, "write"),
            ("PUT", "/v1/indexes/{}", {}, "admin"),
            ("DELETE", "/v1/indexes/{}", None, "admin"),
        ]
        for method, address, body, role in requests:
            for client, own in ((reader, "read"), (writer, "write")):
                answer = client.request(method, address.format("news"), json=body)
                allowed = role == "read" or role == own
                assert (answer.status_code == 200) == allowed, (method, address, own, answer.text)
                assert allowed or answer.status_code == 403
                # An index that the token may not use looks as if it did not exist.
                hidden, none = (client.request(method, address.format(name), json=body) for name in ("laws", "none"))
                assert hidden.status_code == none.status_code == 404
                assert hidden.json()["detail"] == none.json()["detail"].replace("none", "laws")


def test_an_index_is_compacted(tmp_path: Path) -> None:
    with running(tmp_path, root=tmp_path / "root") as server:
        server.client.put("/v1/indexes/fresh")
        documents = [{"id": f"d{number}", "text": f"habari {number}", "lang": "sw"} for number in range(20)]
        server.client.post("/v1/indexes/fresh/documents", json=documents)
        server.client.post("/v1/indexes/fresh/documents:delete", json={"ids": ["d0", "d1"]})
        writer = server.client_of("writer", "write")
        assert writer.post("/v1/indexes/fresh:compact").status_code == 403
        found = IndexDescription.model_validate_json(server.client.post("/v1/indexes/fresh:compact").content)
        assert (found.documents, found.segments, found.unsealed, found.deleted) == (18, 1, 0, 0)
        assert found.kinds == {"flat": 18}


def test_a_server_does_not_start_with_two_folders_of_one_name(tmp_path: Path) -> None:
    Index.create(tmp_path / "root" / "news").close()
    Index.create(tmp_path / "other").close()
    settings = ServeSettings(indexes={"news": tmp_path / "other"}, root=tmp_path / "root")
    app = create_app(settings, tokens=TokenStore(tmp_path / "tokens.json"))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    import asyncio

    with pytest.raises(InputError, match="both named 'news'"):
        asyncio.run(start())


def test_folders_are_named_by_the_command_line() -> None:
    found = named_folders(["news=data/n.index", "data/laws.index", "data/a=b/c", "x=y=z"])
    assert found == {
        "news": Path("data/n.index"),
        "laws": Path("data/laws.index"),
        "c": Path("data/a=b/c"),
        "x": Path("y=z"),
    }


@pytest.mark.parametrize("arguments", [["=x"], ["a="], ["a b=x"], [".x=y"], ["a=x", "a=y"], ["x/a", "y/a"], ["/"]])
def test_bad_names_of_folders_are_refused(arguments: list[str]) -> None:
    with pytest.raises(InputError):
        named_folders(arguments)
