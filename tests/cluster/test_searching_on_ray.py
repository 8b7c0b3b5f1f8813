"""Test that shards behind Ray Serve give the hits of one index: also while a replica is lost, and after writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret import Index, IndexSettings
from mlret.cluster.served_shards import ServedShards
from mlret.cluster.serving import served_on_ray
from mlret.errors import InputError, Unavailable
from tests.cluster.test_building_on_ray import QUERIES, WORDS, ids_of

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an index, and another of the same documents in three shards."""
    folder = tmp_path_factory.mktemp("served")
    random = np.random.default_rng(0)
    documents = [
        {"id": f"d{number}", "text": " ".join(random.choice(WORDS, 8)) + f" {number % 40}", "year": 2000 + number % 7}
        for number in range(600)
    ]
    for name, shards in (("one", None), ("three", 3)):
        with Index.create(folder / name, settings=IndexSettings(lexical=True), shards=shards) as index:
            index.add(documents)
    return folder / "one", folder / "three"


@pytest.fixture
def served(nodes: Callable[[int], Any], folders: tuple[Path, Path]) -> Iterator[Callable[[], Index]]:
    """Return a function that opens the index in three shards, each of which has two replicas."""
    cluster = nodes(1)
    with served_on_ray([folders[1]], address=cluster.address, replicas=2) as opened:
        yield lambda: opened[folders[1]](None)


def process_that_listens(port: int) -> int:
    """Return the process of the replica that listens at a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # The columns: the local address and port, the state (10 is that of a listening socket), and the inode.
    [inode] = [row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port and int(row[3], 16) == 10]
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                files = [str(file.readlink()) for file in (folder / "fd").iterdir()]
            except OSError:
                continue
            if "ServeReplica:mlret" in title and f"socket:[{inode}]" in files:
                return int(folder.name)
    raise AssertionError(f"no replica listens at {port}")


def test_served_shards_give_the_hits_of_one_index(
    served: Callable[[], Index], folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.open(folders[0]) as one, served() as other:
        for mode in ("dense", "lexical", "hybrid"):
            for options in ({}, {"where": {"year": 2003}}, {"ids": [f"d{n}" for n in range(0, 600, 7)]}):
                found = [index.search_batch(QUERIES, 30, mode=mode, **options) for index in (one, other)]
                assert [ids_of(hits) for hits in found[0]] == [ids_of(hits) for hits in found[1]], (mode, options)
                for hits, others in zip(*found, strict=True):
                    np.testing.assert_allclose([h.score for h in hits], [h.score for h in others], atol=1e-6)
        assert len(one) == len(other)
        assert one.get("d5") == other.get("d5")
        with pytest.raises(InputError, match="only read"):
            other.add(["new"])
        with pytest.raises(InputError, match="a replica of a shard only reads: seal"):
            other.seal()
        # A write to the folder is seen after a refresh, whichever of the two replicas answers.
        with Index.open(folders[1]) as written:
            written.add([{"id": "new", "text": "a zeppelin above the harbour"}])
        other.refresh()
        assert all(other.search("a zeppelin above the harbour", 1)[0].id == "new" for _ in range(20))
        with Index.open(folders[1]) as written:
            written.delete(["new"])

        # The replica that answers is killed in the middle of 1,000 queries: none is wrong, and none fails.
        random = np.random.default_rng(1)
        queries = [" ".join(random.choice(WORDS, 3)) for _ in range(50)]
        vectors = one.encoder.encode_query(queries)
        wanted = [ids_of(hits) for hits in one.search_vectors(vectors, 10)]
        other.refresh()
        connected = [replicas._address for replicas in other.shards._replicas]
        asked = 0
        for number in range(1000):
            if number == 300:
                os.kill(process_that_listens(connected[0].port), signal.SIGKILL)
            [hits] = other.search_vectors(vectors[number % 50][None], 10)
            assert ids_of(hits) == wanted[number % 50], number
            asked += 1
        assert asked == 1000
        assert other.shards._replicas[0]._address != connected[0]

        # Ray Serve is asked now and then for another replica, so that those that were added get connections.
        monkeypatch.setattr("mlret.cluster.replicas.RENEWAL", 0.0)
        used = set()
        for replicas in other.shards._replicas:
            replicas._next_offer = 0.0
        for number in range(100):
            [hits] = other.search_vectors(vectors[number % 50][None], 10)
            assert ids_of(hits) == wanted[number % 50], number
            used.add(other.shards._replicas[1]._address)
        assert len(used) == 2


class _Lost:
    """The handle of a deployment that does not answer."""

    def __init__(self) -> None:
        self.address = self

    def remote(self) -> Any:
        return self

    def result(self, timeout_s: float) -> Any:
        raise TimeoutError


def test_a_shard_that_does_not_answer_is_named(served: Callable[[], Index], folders: tuple[Path, Path]) -> None:
    with served() as index:
        shards = index.shards
        assert isinstance(shards, ServedShards)
        handles = [*(one._handle for one in shards._replicas[:2]), _Lost()]
        with Index(ServedShards(folders[1], handles, patience=1.0)) as lacking:
            with pytest.raises(Unavailable, match="the shard shard-00002 does not answer: no answer within 1 seconds"):
                lacking.search("a train", 5)
            hits = lacking.search("a train", 5, partial=True)
            assert hits and hits.missing == ("shard-00002",)
