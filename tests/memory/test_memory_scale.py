"""A hundred thousand records, a hundred thousand operations: search is brute force over what is alive."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mlret.memory.memory import Memory
from mlret.memory.search import Ranking
from mlret.memory.upkeep import verify
from tests.conftest import WORDS
from tests.index.made import DIMS, vector_of
from tests.memory.made import brute_force, open_memory, same_ranking

USERS = 100
PLAIN = Ranking(contiguity=0, links=0, dates=0, collapse=False)


def scope_of(user: int) -> dict[str, str]:
    return {"tenant": "t", "user": f"u{user}"}


def check(memory: Memory, alive: Mapping[str, tuple[int, str]], chance: random.Random) -> None:
    """The whole tenant by meaning, and one user by both channels."""
    query = " ".join(chance.choices(WORDS, k=5))
    vector = vector_of(query)
    ids = sorted(alive)
    matrix = np.array([vector_of(alive[id][1]) for id in ids], dtype=np.float64).reshape(-1, DIMS)
    scores = np.round(matrix @ vector.astype(np.float64), 6)
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:20]
    found = memory.search(query, {"tenant": "t"}, 20, vector=vector, language="en", mode="dense", ranking=PLAIN)
    assert found.searched == len(alive)
    assert same_ranking([(hit.id, hit.score) for hit in found], [(ids[place], float(scores[place])) for place in order])
    user = chance.randrange(USERS)
    records = memory.list(scope_of(user))
    assert {record.id: record.text for record in records} == {id: t for id, (of, t) in alive.items() if of == user}
    both = memory.search(query, scope_of(user), 20, vector=vector, language="en", ranking=PLAIN)
    assert same_ranking([(hit.id, hit.score) for hit in both], brute_force(records, query, "en", 20))


def live(folder: Path, records: int, operations: int, checks: int) -> None:
    """Fill a memory, change it at random, and check it on the way."""
    chance = random.Random(3)
    alive: dict[str, tuple[int, str]] = {}  # id -> whose, and its current text
    hidden: dict[str, tuple[int, str]] = {}
    number = 0

    def text() -> str:
        nonlocal number
        number += 1
        return f"{' '.join(chance.choices(WORDS, k=6))} {number}"

    def add(memory: Memory, user: int, count: int) -> None:
        texts = [text() for _ in range(count)]
        items = [{"text": one, "language": "en", "vector": vector_of(one)} for one in texts]
        added = memory.add_batch(items, scope_of(user), dedupe=False)
        alive.update({one.id: (user, said) for one, said in zip(added, texts, strict=True)})

    with open_memory(folder) as memory:
        for user in range(USERS):
            add(memory, user, records // USERS)
        done, next_check = 0, 0
        while done < operations:
            user = chance.randrange(USERS)
            mine = [id for id in chance.sample(sorted(alive), min(200, len(alive))) if alive[id][0] == user]
            verb = chance.choices(["add", "update", "delete", "restore", "merge", "erase"], [40, 40, 10, 5, 5, 0.2])[0]
            if verb == "add" or len(mine) < 2:
                count = chance.choice([1, 1, 1, 60])
                add(memory, user, count)
                done += count
            elif verb == "update":
                said = text()
                memory.update(mine[0], scope_of(user), said, vector=vector_of(said), language="en")
                alive[mine[0]] = (user, said)
                done += 1
            elif verb == "delete":
                memory.delete(mine[:2], scope_of(user))
                hidden |= {id: alive.pop(id) for id in mine[:2]}
                done += 2
            elif verb == "restore":
                some = [id for id in hidden if hidden[id][0] == user][:3]
                if some:
                    memory.restore(some, scope_of(user))
                    alive |= {id: hidden.pop(id) for id in some}
                done += len(some)
            elif verb == "merge":
                memory.merge(mine[0], mine[1:2], scope_of(user))
                hidden[mine[1]] = alive.pop(mine[1])
                done += 1
            else:
                some = [id for id in alive if alive[id][0] == user][:40]
                assert memory.erase(some, scope_of(user)).complete
                for id in some:
                    del alive[id]
                gone = {id for id in hidden if id not in set(memory.ids(scope_of(hidden[id][0])))}
                for id in gone:  # what was merged into them
                    del hidden[id]
                done += len(some)
            if done >= next_check:
                check(memory, alive, chance)
                next_check += operations // checks
    with open_memory(folder) as memory:
        assert len(memory) == len(alive)
        for _ in range(3):
            check(memory, alive, chance)
    assert verify(folder) == []


def test_mixed_operations_leave_search_exact(tmp_path: Path) -> None:
    live(tmp_path / "m", 1000, 600, 4)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_hundred_thousand_records_survive_as_many_operations(tmp_path: Path) -> None:
    live(tmp_path / "m", 100_000, 100_000, 20)
