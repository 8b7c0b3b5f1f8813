"""Test the server before replicas of shards: without Ray Serve between them, whose handles are replaced here."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlret import Index, IndexSettings
from mlret.cluster.direct_connection import Address
from mlret.cluster.replicas import Replicas
from mlret.cluster.served_shards import ServedShards
from mlret.cluster.shard_server import READING, ShardServer
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import Corrupt, InputError, MlretError, Unavailable
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
        assert "the shard shard-00001 does not answer: its replicas were lost (" in refused.json()["detail"]
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


@pytest.fixture
def shards(folder: Path, deployments: list[Deployment]) -> Iterator[ServedShards]:
    found = ServedShards(folder, deployments, patience=10.0)
    yield found
    found.close()


def connections(deployments: list[Deployment]) -> list[list[int]]:
    """Return the number of connections of each replica of each deployment."""
    return [[len(replica._calls._connections) for replica in one.replicas] for one in deployments]


def test_a_connection_is_kept_until_the_index_is_closed(folder: Path, deployments: list[Deployment]) -> None:
    with Index(ServedShards(folder, deployments)) as index:
        for _ in range(20):
            assert len(index.search("a train", 5)) == 5
        assert [one.named for one in deployments] == [1, 1, 1]
        assert [sum(some) for some in connections(deployments)] == [1, 1, 1]
    deadline = time.monotonic() + 10
    while any(map(any, connections(deployments))) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(any, connections(deployments)))


def test_an_answer_that_was_late_is_not_taken_for_that_of_the_next_call(
    folder: Path, deployments: list[Deployment]
) -> None:
    going = threading.Event()
    with Index(ServedShards(folder, deployments, patience=0.5)) as index:
        wanted = [index.search(text, 5) for text in ("a train", "the harbour")]
        for replica in deployments[1].replicas:
            replica._thread.submit(going.wait, 20)
        with pytest.raises(Unavailable, match=r"the shard shard-00001 does not answer: no answer within 0\.5 s"):
            index.search("a train", 5)
        assert index.search("the harbour", 5, partial=True).missing == ("shard-00001",)
        going.set()
        for _ in range(3):
            assert [index.search(text, 5) for text in ("a train", "the harbour")] == wanted


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("hangs", [False, True])
def test_a_shard_that_does_not_answer_keeps_no_other_from_answering(
    folder: Path, deployments: list[Deployment], number: int, hangs: bool
) -> None:
    going = threading.Event()
    if hangs:
        for replica in deployments[number].replicas:
            replica._thread.submit(going.wait, 20)
    else:
        deployments[number].lost = True
    # Nothing is connected when the first call begins.
    with Index(ServedShards(folder, deployments, patience=0.7)) as index:
        for _ in range(2):
            hits = index.search("a train", 40, partial=True)
            assert hits.missing == (f"shard-0000{number}",)
            assert len(hits) == 40 - len(deployments[number].replicas[0]._shard.store)
        going.set()
        deployments[number].lost = False
        assert len(index.search("a train", 40)) == 40


def test_errors_arrive_and_leave_the_connections_usable(
    shards: ServedShards, deployments: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = shards.state()
    for _ in range(2):
        with pytest.raises(InputError, match="a replica of a shard only reads: compact"):
            shards.every("compact", True)
        assert shards.state() == state
    answers = shards.ask("get", {0: (5,), 1: (["d1"],), 2: (["d1"],)})
    assert sorted(answers.found) == [1, 2]
    assert type(answers.failed[0]) is MlretError and str(answers.failed[0]).startswith("TypeError: ")
    damage = Corrupt("the file a.npy is damaged")
    damage.field = "a.npy"

    def damaged(key: str) -> None:
        raise damage

    for replica in deployments[2].replicas:
        monkeypatch.setattr(replica._shard, "receipts", damaged)
    answers = shards.ask("receipts", dict.fromkeys(range(3), ("key",)))
    assert sorted(answers.found) == [0, 1]
    assert type(answers.failed[2]) is Corrupt and answers.failed[2].field == "a.npy"
    assert shards.state() == state
    assert [one.named for one in deployments] == [1, 1, 1]


def test_a_call_that_is_interrupted_leaves_no_answer_behind(
    shards: ServedShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shards.get(["d1", "d2", "d3", "d4", "d5"])
    receive = Replicas.receive
    interrupted = []

    def interrupt(self: Replicas, deadline: float) -> Any:
        if not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        return receive(self, deadline)

    monkeypatch.setattr(Replicas, "receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        shards.every("state")
    assert shards.get(["d1", "d2", "d3", "d4", "d5"]) == wanted


def test_a_lost_replica_is_replaced_by_another_one(shards: ServedShards, deployments: list[Deployment]) -> None:
    state = shards.state()
    for _ in range(3):
        for one in deployments:
            for number, replica in enumerate(one.replicas):
                if replica._calls._connections:
                    replica.close()
                    folder, identity = str(replica._path), replica._identity
                    one.replicas[number] = ShardServer(folder, identity, 1)
        assert shards.state() == state


def test_replicas_that_were_added_get_connections(
    shards: ServedShards, deployments: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlret.cluster.replicas.RENEWAL", 0.0)
    state = shards.state()
    added = ShardServer(str(deployments[0].replicas[0]._path), deployments[0].replicas[0]._identity, 1)
    deployments[0].replicas.append(added)
    used = set()
    for _ in range(12):
        assert shards.state() == state
        used |= {number for number, replica in enumerate(deployments[0].replicas) if replica._calls._connections}
    assert used == {0, 1, 2}
    # Whatever Ray Serve says meanwhile, the connection that exists serves on.
    for one in deployments:
        one.lost = True
    assert shards.state() == state


def test_a_forked_process_does_not_use_the_connections(folder: Path, deployments: list[Deployment]) -> None:
    with Index(ServedShards(folder, deployments)) as index:
        wanted = index.search("a train", 5)
        context = multiprocessing.get_context("fork")
        told = context.SimpleQueue()

        def search() -> None:
            try:
                told.put(len(index.search("a train", 5)))
            except MlretError as error:
                told.put(str(error))

        child = context.Process(target=search)
        child.start()
        assert "a fork cannot share connections" in told.get()
        child.join()
        assert index.search("a train", 5) == wanted
