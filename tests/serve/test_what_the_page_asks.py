"""What the web page asks the server for, and other clients may: what a token allows, fields, sizes, matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlret.serve.security.principal import ROLES
from tests.serve.running import Running, running

Made = Callable[..., str]


@pytest.mark.parametrize("role", ROLES)
def test_a_token_is_told_what_it_allows(tmp_path: Path, role: Any) -> None:
    with running(tmp_path, root=tmp_path / "indexes", memory=tmp_path / "memory") as server:
        with server.client_of("all", role) as client:
            found = client.get("/v1/token").json()
            assert found["id"] == client.headers["authorization"].split("_")[1]
            del found["id"]
            admin = role == "admin"
            free = {"indexes": None, "memory": True, "scope": {}, "erase": admin, "creates": admin}
            assert found == {"name": "all", "role": role, **free}
        with server.client_of("bound", role, scope={"tenant": "acme", "user": "anna"}, indexes=["b", "a"]) as client:
            found = client.get("/v1/token").json()
            assert found["scope"] == {"tenant": "acme", "user": "anna"}
            assert found["indexes"] == ["a", "b"]
            assert found["erase"] == (role != "read")
        with server.client_of("without memory", role, memory=False) as client:
            found = client.get("/v1/token").json()
            assert (found["memory"], found["erase"]) == (False, False)


def test_a_server_without_memory_and_root_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        found = server.client.get("/v1/token").json()
        assert (found["memory"], found["erase"], found["creates"]) == (False, False, False)
        assert server.client.post("/v1/token").status_code == 405


def test_fields_are_those_of_the_metadata_with_their_values_if_there_are_few(server: Running, made: Made) -> None:
    index = made()
    assert server.client.get(f"{index}/fields").json() == {"fields": []}
    documents = [
        {
            "id": str(place),
            "text": f"text {place}",
            "metadata": {
                "number": place,
                "topic": ["tea", "bread"][place % 2],
                "good": place % 2 == 0,
                "tags": ["new", "old"][: place % 3],
                "author": {"born": 1980 + place % 2},
            },
        }
        for place in range(60)
    ]
    assert server.client.post(f"{index}/documents", json=documents).status_code == 200
    found = {one.pop("name"): one for one in server.client.get(f"{index}/fields").json()["fields"]}
    assert found == {
        "author": {"kinds": ["object"], "values": []},
        "author.born": {"kinds": ["number"], "values": [1980, 1981]},
        "good": {"kinds": ["boolean"], "values": [False, True]},
        "number": {"kinds": ["number"], "values": None},
        "tags": {"kinds": ["string", "list"], "values": ["new", "old"]},
        "topic": {"kinds": ["string"], "values": ["bread", "tea"]},
    }
    server.client.post(f"{index}/documents:delete", json={"where": {"topic": "tea"}})
    left = {one["name"]: one["values"] for one in server.client.get(f"{index}/fields").json()["fields"]}
    assert (left["topic"], left["good"]) == (["bread"], [False])


def test_the_parts_of_an_index_are_its_size_on_disk(server: Running, made: Made) -> None:
    index = made(lexical=True)
    documents = [{"id": str(place), "text": f"text {place}"} for place in range(50)]
    server.client.post(f"{index}/documents", json=documents)
    server.client.post(f"{index}:compact")
    found = server.client.get(index).json()
    assert sum(found["parts"].values()) == found["bytes"]
    assert found["parts"]["vectors"] >= 50 * found["dims"]
    assert min(found["parts"].values()) > 0


def test_hits_of_the_memory_are_explained_if_asked(tmp_path: Path) -> None:
    with running(tmp_path, memory=tmp_path / "memory") as server:
        long = "The train to Nairobi is late. " * 12 + "Honey is harvested from the hive in July and put into jars."
        scope = {"user": "anna"}
        for text in (long, "A birthday cake."):
            server.client.post("/v1/memories", json={"text": text, "language": "en", "scope": scope})
        asked = {"query": "honey from the hive", "scope": scope}
        [plain] = server.client.post("/v1/memories:search", json=asked).json()["results"]
        assert "explanation" not in plain["hits"][0]
        [found] = server.client.post("/v1/memories:search", json={**asked, "explain": True}).json()["results"]
        first = found["hits"][0]
        text, explanation = first["record"]["text"], first.pop("explanation")
        assert {"Honey", "hive"} <= {text[mark["start"] : mark["end"]] for mark in explanation["marks"]}
        assert "Honey" in text[explanation["passage"]["start"] : explanation["passage"]["end"]]
        assert first == plain["hits"][0]
        assert found["hits"][1]["explanation"]["passage"] is None
