"""Test the server before replicas of shards: without Ray Serve between them, whose handles are replaced here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlret import Index, IndexSettings
from mlret.cluster.direct_connection import Address
from mlret.cluster.served_shards import ServedShards
from mlret.cluster.shard_server import READING, ShardServer
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.sharding.shards_manifest import read_shards
from tests.serve.running import running

pytest.importorskip("ray", reason="needs the extra ray: make test-cluster")
DOCUMENTS = [{"id": f"d{n}", "text": f"the {n}th train to the harbour", "year": 2000 + n} for n in range(40)]


class Deployment:
    """Replicas of a shard in this process, and the handle that names them in turn."""

    def __init__(self, folder: Path, identity: str, count: int = 2) -> None:
        self.replicas = [ShardServer(str(folder), identity, 1) for _ in range(count)]
        self.named = 0
        self.lost = False

    @property
    def address(self) -> Deployment:
        return self

    def remote(self) -> Deployment:
        return self

    def result(self, timeout_s: float) -> Address:
        if self.lost:
            raise TimeoutError
        self.named += 1
        return asyncio.run(self.replicas[self.named % len(self.replicas)].address())

    def lose(self) -> None:
        self.lost = True
        self.close()

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "docs.index", settings=IndexSettings(lexical=True), shards=3) as index:
        index.add(DOCUMENTS)
    return tmp_path / "docs.index"


@pytest.fixture
def deployments(folder: Path) -> Iterator[list[Deployment]]:
    found = [Deployment(folder / info.folder, info.identity) for info in read_shards(folder).shards]
    yield found
    for one in found:
        one.close()


def test_the_server_answers_from_replicas_and_writes_to_the_folder(
    folder: Path, deployments: list[Deployment], tmp_path: Path
) -> None:
    def opened(encoder: AnyEncoder | None) -> Index:
        return Index(ServedShards(folder, deployments, encoder, patience=1.0), encoder)

    with running(tmp_path, reading={folder: opened}, indexes={"docs": folder}) as server:
        ask = {"query": "a train", "k": 5, "where": {"year": {"$gte": 2010}}}
        answer = server.client.post("/v1/indexes/docs:search", json=ask).json()
        with Index.open(folder) as index:
            plain = index.search("a train", 5, where={"year": {"$gte": 2010}})
        assert [hit["id"] for hit in answer["results"][0]["hits"]] == [hit.id for hit in plain]
        assert all(one.named for one in deployments)

        added = server.client.post("/v1/indexes/docs/documents", json=[{"id": "new", "text": "a zeppelin at noon"}])
        assert added.status_code == 200, added.text
        for _ in range(6):  # Whichever replica answers has seen it.
            found = server.client.post("/v1/indexes/docs:search", json={"query": "a zeppelin at noon", "k": 1}).json()
            assert found["results"][0]["hits"][0]["id"] == "new"
        assert server.client.get("/v1/indexes/docs/documents/new").json()["text"] == "a zeppelin at noon"
        assert server.client.get("/v1/indexes/docs").json()["documents"] == 41

        deployments[1].lose()
        refused = server.client.post("/v1/indexes/docs:search", json={"query": "a train"})
        assert refused.status_code == 503
        assert "the shard shard-00001 does not answer: no answer within 1 seconds" in refused.json()["detail"]
        assert str(folder) not in refused.text
        partly = server.client.post("/v1/indexes/docs:search", json={"query": "a train", "partial": True}).json()
        [result] = partly["results"]
        assert result["missing"] == ["shard-00001"] and result["hits"]


def test_replicas_only_read(folder: Path, deployments: list[Deployment]) -> None:
    assert {"candidates", "prepare", "complete", "fetch", "info", "state", "refresh"} <= READING
    with Index(ServedShards(folder, deployments)) as index:
        with pytest.raises(InputError, match="a replica of a shard only reads: delete"):
            index.delete(["d1"])
        with pytest.raises(InputError, match="served by replicas, which only read"):
            index.add(["new"])
        assert len(index) == 40
