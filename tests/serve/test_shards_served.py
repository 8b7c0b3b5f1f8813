"""A folder of shards is served like one index, and a shard that does not answer is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlret import Index, IndexSettings
from mlret.index.sharding.placement import shard_of
from mlret.index.sharding.shards_manifest import shard_name
from tests.serve.running import running

SHARDS = 3
DOCUMENTS = [
    {"id": f"d{number}", "text": f"Der Zug {number} nach Berlin hat Verspätung.", "lang": "de", "number": number}
    for number in range(12)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "divided", settings=IndexSettings(lexical=True), shards=SHARDS) as index:
        index.add(DOCUMENTS)
    return tmp_path / "divided"


def test_shards_are_searched_listed_changed_and_deleted_from(folder: Path, tmp_path: Path) -> None:
    with running(tmp_path / "server", indexes={"divided": folder}) as server:
        client, place = server.client, "/v1/indexes/divided"
        body = {"query": ["the train 7", "Berlin"], "k": 5, "explain": True}
        found = client.post(f"{place}:search", json=body).json()["results"]
        with Index.open(folder) as index:
            for result, hits in zip(found, index.search_batch(["the train 7", "Berlin"], 5), strict=True):
                assert [hit["id"] for hit in result["hits"]] == [hit.id for hit in hits]
                assert result["missing"] == []
        listed, cursor = [], None
        while cursor is not None or not listed:
            query = {"limit": 5} | ({"cursor": cursor} if cursor else {})
            page = client.get(f"{place}/documents", params=query).json()
            listed += [one["id"] for one in page["documents"]]
            cursor = page["next"]
        assert sorted(listed) == sorted(one["id"] for one in DOCUMENTS)
        new = [{"id": "d3", "text": "Regen"}, {"text": "Schnee in den Bergen", "lang": "de"}]
        for _ in range(2):  # The answer to a request that is repeated with its key is the same.
            answer = client.post(
                f"{place}/documents", json=new, params={"on_conflict": "replace"}, headers={"Idempotency-Key": '"k1"'}
            )
            assert answer.status_code == 200, answer.text
            assert [one["verdict"] for one in answer.json()["results"]] == ["replaced", "added"]
        taken = client.post(f"{place}/documents", json=[{"id": "x", "text": "x"}, {"id": "d4", "text": "Wind"}])
        assert taken.status_code == 409 and client.get(f"{place}/documents/x").status_code == 404
        assert client.get(f"{place}/documents/d3").json()["text"] == "Regen"
        assert client.patch(f"{place}/documents/d5", json={"metadata": {"number": 50}}).status_code == 200
        fields = client.get(f"{place}/fields").json()["fields"]
        assert [one["name"] for one in fields] == ["number"] and 50 in fields[0]["values"]
        assert client.delete(f"{place}/documents/d6").status_code == 200
        assert client.get(place).json()["documents"] == 12
        missing = client.post(f"{place}:search", json={"query": "Zug", "where": {"nothing": 1}}).json()
        assert "no document has the field" in missing["warnings"][0]


def test_a_damaged_shard_is_an_error_or_is_named_in_a_partial_answer(folder: Path, tmp_path: Path) -> None:
    (folder / shard_name(1) / "records.db").write_bytes(b"damaged" * 1000)
    with running(tmp_path / "server", indexes={"divided": folder}) as server:
        answer = server.client.post("/v1/indexes/divided:search", json={"query": "Zug", "k": 12})
        assert answer.status_code == 500 and "shard-00001 does not answer" in answer.text
        asked = {"query": "Zug", "k": 12, "partial": True}
        [result] = server.client.post("/v1/indexes/divided:search", json=asked).json()["results"]
        assert result["missing"] == ["shard-00001"]
        assert {hit["id"] for hit in result["hits"]} == {
            one["id"] for one in DOCUMENTS if shard_of(str(one["id"]), SHARDS) != 1
        }
