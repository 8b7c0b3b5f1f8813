"""Calls that load the records of their scope alone, compared with the same calls on the whole tenant."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import AlreadyExists, Corrupt
from mlret.memory.memory import Memory
from mlret.memory.storage import folder
from tests.index.made import vector_of
from tests.memory.made import add, open_memory

USERS = [{"tenant": "t", "user": f"u{n}", "agent": f"a{n % 2}"} for n in range(6)]
ASKED = [*USERS, *({"tenant": "t", "user": f"u{n}"} for n in range(6)), {"tenant": "t", "agent": "a1"}, {"user": "u1"}]
WORDS = ["tea", "rain", "river", "north", "bread", "blue", "cat", "old", "house", "seven", "train", "music"]


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load scopes alone also in small stores, whatever their share."""
    monkeypatch.setattr(folder, "_WHOLE", 0)
    monkeypatch.setattr(folder, "_SHARE", 0)


def fill(memory: Memory) -> None:
    chance = random.Random(3)
    ids: dict[int, list[str]] = {}
    for number in range(150):
        which = number % len(USERS)
        text = f"{' '.join(chance.choices(WORDS, k=5))} {number}"
        session = f"s{number % 4}" if number % 3 else None
        ids.setdefault(which, []).append(add(memory, text, USERS[which], session=session).id)
    tenant = {"tenant": "t"}
    memory.link(ids[0][0], "supersedes", ids[0][1], tenant)
    memory.link(ids[0][2], "contradicts", ids[1][0], tenant)  # Of another user.
    memory.link(ids[2][3], "related", ids[0][3], tenant)
    memory.merge(ids[3][0], [ids[3][1]], USERS[3])
    memory.delete(ids[4][0], USERS[4])
    memory.erase(ids[5][0], USERS[5])
    add(memory, "tea for another tenant", {"user": "u1"})


def answers(memory: Memory, scope: dict[str, str]) -> list[Any]:
    """Return what the methods that read a scope say of it."""
    found: list[Any] = [memory.ids(scope), [record.as_json() for record in memory.list(scope)]]
    found.append([record.as_json() for record in memory.list(scope, state="merged")])
    for query in ("tea and rain", "old blue house 7"):
        hits = memory.search(query, scope, 4, vector=vector_of(query), language="en", conflicts=True)
        found += [(hit.scores, hit.yields_to, [one.id for one in hit.conflicts], hit.record.as_json()) for hit in hits]
    found += [[one.as_json() for one in memory.versions(id, scope)] for id in memory.ids(scope)[:3]]
    return found


def test_a_scope_alone_answers_as_the_whole_tenant_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_memory(tmp_path / "m") as memory:
        fill(memory)
        whole = [answers(memory, scope) for scope in ASKED]
        assert not memory.folder._parts
    monkeypatch.setattr(folder, "_WHOLE", 0)
    monkeypatch.setattr(folder, "_SHARE", 0)
    with open_memory(tmp_path / "m") as memory:
        assert [answers(memory, scope) for scope in ASKED] == whole
        assert memory.folder._parts and not memory.folder._tenants


def test_what_others_write_is_seen_by_a_scope_alone(tmp_path: Path, _alone: None) -> None:
    one, other = USERS[0], USERS[1]
    with open_memory(tmp_path / "m") as writer, open_memory(tmp_path / "m") as reader:
        fill(writer)
        reader.refresh()
        before = {name: reader.ids(scope) for name, scope in (("one", one), ("other", other))}
        parts = dict(reader.folder._parts)
        added = add(writer, "a new text about tea", one).id
        reader.refresh()
        assert reader.ids(one) == [*before["one"], added]
        assert reader.ids(other) == before["other"]
        kept = [key for key, columns in reader.folder._parts.items() if parts.get(key) is columns]
        assert kept == [("t", "u1", "a1", "")]  # Only what changed is loaded again.
        writer.delete(before["other"][0], other)
        writer.erase(before["one"][0], one)
        reader.refresh()
        assert reader.get(before["other"][0], other) is None
        assert reader.ids(one) == [*before["one"][1:], added]


def test_a_write_is_seen_in_all_scopes_that_hold_it(tmp_path: Path, _alone: None) -> None:
    wide, agent, exact = {"tenant": "t", "user": "u2"}, {"tenant": "t", "agent": "a0"}, USERS[2]
    with open_memory(tmp_path / "m") as memory:
        fill(memory)
    with open_memory(tmp_path / "m") as memory:
        for scope in (exact, agent, wide):
            assert memory.ids(scope)
        added = add(memory, "bread from the old house", exact).id
        assert not memory.folder._tenants
        for scope in (exact, agent, wide):
            assert memory.ids(scope)[-1] == added
        memory.update(added, exact, "bread from the new house", vector=vector_of("bread"), language="en")
        assert not memory.folder._tenants
        for scope in (exact, agent, wide):
            assert memory.get(added, scope).text == "bread from the new house"  # type: ignore[union-attr]


def test_an_id_of_another_scope_of_the_tenant_is_taken(tmp_path: Path, _alone: None) -> None:
    with open_memory(tmp_path / "m") as memory:
        add(memory, "tea", USERS[0], id="mine")
    with open_memory(tmp_path / "m") as memory:
        assert memory.ids(USERS[1]) == []
        with pytest.raises(AlreadyExists, match="mine"):
            add(memory, "rain", USERS[1], id="mine")
        assert add(memory, "rain", {"user": "u"}, id="mine").id == "mine"


def test_what_was_derived_by_way_of_another_scope_is_deleted(tmp_path: Path, _alone: None) -> None:
    mine, tenant = USERS[0], {"tenant": "t"}
    for cascade in (True, False):
        with open_memory(tmp_path / f"{cascade}") as memory:
            first, fact, alone = (add(memory, text, mine).id for text in ("tea", "a fact of a fact", "rain"))
            between = add(memory, "a fact", USERS[1]).id
            memory.link(between, "derived_from", first, tenant)
            memory.link(fact, "derived_from", between, tenant)
        with open_memory(tmp_path / f"{cascade}") as memory:
            assert memory.delete(alone, mine, cascade=cascade).ids == (alone,)
            assert not memory.folder._tenants
            assert memory.delete(first, mine, cascade=cascade).ids == ((first, fact) if cascade else (first,))


def test_scopes_that_were_used_long_ago_are_forgotten(
    tmp_path: Path, _alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_KEPT", 60)
    with open_memory(tmp_path / "m") as memory:
        fill(memory)
    with open_memory(tmp_path / "m") as memory:
        for _ in range(2):
            for scope in USERS:
                assert memory.ids(scope)
                assert sum(map(len, memory.folder._parts.values())) <= 60


def test_damage_in_a_scope_alone_is_an_error(tmp_path: Path, _alone: None) -> None:
    with open_memory(tmp_path / "m") as memory:
        fill(memory)
        row = memory.folder.records.read("SELECT max(row) FROM memory_versions WHERE scope = 1")[0][0]
        with memory.folder.writing():
            memory.folder.store.commit(
                lambda connection: connection.execute("UPDATE memory_versions SET seq = 99 WHERE row = ?", (row,))
            )
    with open_memory(tmp_path / "m") as memory:
        with pytest.raises(Corrupt, match="memory_versions"):
            memory.ids(USERS[0])
        assert memory.ids(USERS[1])
