"""A memory whose tenants are divided among shards gives each tenant what one store gives."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import Corrupt, InputError
from mlret.index.sharding.placement import shard_of
from mlret.index.sharding.resharding import reshard_index
from mlret.index.sharding.shards_manifest import shard_name
from mlret.memory.maintenance.upkeep import reembed, verify
from mlret.memory.memory import Memory

SHARDS = 3
TENANTS = ["acme", "blue", "coop", "dune", ""]
TEXTS = ["the cat sat on a mat", "seven dogs ran home", "rice and fish in warm rain", "the train to Berlin is late"]


def scope_of(tenant: str) -> dict[str, str]:
    return {"user": "anna"} | ({"tenant": tenant} if tenant else {})


def filled(memory: Memory) -> Memory:
    for tenant in TENANTS:
        scope = scope_of(tenant)
        added = memory.add_batch([{"id": f"m{place}", "text": text} for place, text in enumerate(TEXTS)], scope)
        assert [one.id for one in added] == [f"m{place}" for place in range(len(TEXTS))]
        memory.update("m1", scope, f"eight dogs of {tenant or 'nobody'} ran home")
        memory.delete("m2", scope)
    memory.erase("m3", scope_of("acme"))
    return memory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "divided"


@pytest.fixture
def divided(path: Path, tiny_encoder: Encoder) -> Iterator[Memory]:
    with filled(Memory.create(path, tiny_encoder, shards=SHARDS)) as memory:
        yield memory


def test_each_tenant_gets_what_one_store_gives(divided: Memory, tmp_path: Path, tiny_encoder: Encoder) -> None:
    with filled(Memory.create(tmp_path / "one", tiny_encoder)) as one:
        assert len(divided) == len(one) == 3 * len(TENANTS) - 1
        for tenant in TENANTS:
            scope = scope_of(tenant)
            for query in ("dogs", "the cat on the mat", "Berlin"):
                for mode in (None, "lexical", "dense"):
                    found, expected = (some.search(query, scope, mode=mode) for some in (divided, one))  # type: ignore[arg-type]
                    assert [hit.id for hit in found] == [hit.id for hit in expected]
                    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
            assert list(divided.ids(scope)) == list(one.ids(scope))
            versions, expected_versions = (some.versions("m1", scope) for some in (divided, one))
            assert [version.text for version in versions] == [version.text for version in expected_versions]
            assert [record["id"] for record in divided.export(scope)] == [record["id"] for record in one.export(scope)]
            assert divided.get("m3", scope) is None if tenant == "acme" else divided.get("m3", scope) is not None


def test_a_tenant_is_in_one_shard(divided: Memory, path: Path, tiny_encoder: Encoder) -> None:
    divided.close()
    for number in range(SHARDS):
        with Memory.open(path / shard_name(number), tiny_encoder) as shard:
            for tenant in TENANTS:
                assert bool(shard.ids(scope_of(tenant))) == (shard_of(tenant, SHARDS) == number)


def test_a_store_of_shards_is_opened_verified_copied_and_pickled(
    divided: Memory, path: Path, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    divided.add("a new text", scope_of("blue"), id="new")
    with Memory.open(path, tiny_encoder) as other:
        other.add("another text", scope_of("coop"), id="more")
        assert other.get("new", scope_of("blue")) is not None
    assert divided.get("more", scope_of("coop")) is None
    divided.refresh()
    assert divided.get("more", scope_of("coop")) is not None
    assert verify(path, tiny_encoder) == []
    reembed(path, tmp_path / "copy", tiny_encoder)
    assert verify(tmp_path / "copy", tiny_encoder) == []
    with Memory.open(tmp_path / "copy", tiny_encoder) as copy:
        assert len(copy) == len(divided) and copy.get("new", scope_of("blue")) is not None
    again = pickle.loads(pickle.dumps(divided))
    assert len(again) == len(divided) and again.get("new", scope_of("blue")) is not None
    again.close()
    with pytest.raises(InputError, match="divided into 3 shards"):
        _ = divided.folder
    with pytest.raises(InputError, match="is a memory, whose tenants stay where they are"):
        reshard_index(path, 2)


def test_a_damaged_shard_is_named_to_its_tenants_alone(divided: Memory, path: Path, tiny_encoder: Encoder) -> None:
    divided.close()
    number = shard_of("acme", SHARDS)
    (path / shard_name(number) / "records.db").write_bytes(b"damaged" * 1000)
    with Memory.open(path, tiny_encoder) as memory:
        with pytest.raises(Corrupt, match=f"the shard {shard_name(number)} does not answer"):
            memory.search("dogs", scope_of("acme"))
        with pytest.raises(Corrupt, match=f"the shard {shard_name(number)} does not answer"):
            len(memory)
        other = next(tenant for tenant in TENANTS if shard_of(tenant, SHARDS) != number)
        assert memory.search("dogs", scope_of(other))[0].id == "m1"


def test_calibrated_thresholds_hold_in_all_shards(divided: Memory, path: Path, tiny_encoder: Encoder) -> None:
    texts = {code: [f"{word} {place}" for place in range(40) for word in ("cat",)] for code in ("en", "de")}
    thresholds = divided.calibrate(texts)
    divided.close()
    for number in range(SHARDS):
        with Memory.open(path / shard_name(number), tiny_encoder) as shard:
            assert shard.thresholds() == thresholds
