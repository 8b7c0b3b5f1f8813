"""Test a hundred thousand records and operations: search equals brute force over the live records."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.search.ranking import CHANNELS_ALONE
from tests.conftest import WORDS
from tests.index.made import DIMS, vector_of
from tests.memory.made import brute_force, open_memory, same_ranking

USERS = 100
PLAIN = CHANNELS_ALONE


def scope_of(user: int) -> dict[str, str]:
    return {"tenant": "t", "user": f"u{user}"}


class Model:
    """The expected state: the current text of each record of each user, and the hidden records."""

    def __init__(self) -> None:
        self.alive: list[dict[str, str]] = [{} for _ in range(USERS)]
        self.hidden: list[dict[str, str]] = [{} for _ in range(USERS)]
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.alive))

    def hide(self, user: int, id: str) -> None:
        self.hidden[user][id] = self.alive[user].pop(id)

    def matrix(self) -> tuple[list[str], NDArray[np.float64]]:
        """Return the ids of all live records, and their vectors."""
        texts = {id: text for mine in self.alive for id, text in mine.items()}
        ids = sorted(texts)
        self._vectors = {text: self._vectors.get(text, _NONE) for text in texts.values()}
        for text, vector in self._vectors.items():
            if vector is _NONE:
                self._vectors[text] = vector_of(text)
        return ids, np.array([self._vectors[texts[id]] for id in ids], dtype=np.float64).reshape(-1, DIMS)


_NONE = np.empty(0, dtype=np.float32)


def check(memory: Memory, model: Model, chance: random.Random, queries: int = 3) -> None:
    """Search the whole tenant by meaning, and a user by both channels."""
    ids, matrix = model.matrix()
    for _ in range(queries):
        query = " ".join(chance.choices(WORDS, k=5))
        vector = vector_of(query)
        scores = np.round(matrix @ vector.astype(np.float64), 6)
        best = np.argsort(-scores, kind="stable")[:20]  # the ids are sorted
        found = memory.search(query, {"tenant": "t"}, 20, vector=vector, language="en", mode="dense", ranking=PLAIN)
        assert found.searched == len(ids)
        expected = [(ids[place], float(scores[place])) for place in best.tolist()]
        assert same_ranking([(hit.id, hit.score) for hit in found], expected)
        user = chance.randrange(USERS)
        records = memory.list(scope_of(user))
        assert {record.id: record.text for record in records} == model.alive[user]
        if records:
            both = memory.search(query, scope_of(user), 20, vector=vector, language="en", ranking=PLAIN)
            assert same_ranking([(hit.id, hit.score) for hit in both], brute_force(records, query, "en", 20))


def live(folder: Path, records: int, operations: int, checks: int) -> None:
    """Fill a memory, change it at random, and check it repeatedly."""
    chance = random.Random(3)
    model = Model()
    number = 0

    def text() -> str:
        nonlocal number
        number += 1
        return f"{' '.join(chance.choices(WORDS, k=6))} {number}"

    def add(memory: Memory, user: int, count: int) -> None:
        texts = [text() for _ in range(count)]
        items = [{"text": one, "language": "en", "vector": vector_of(one)} for one in texts]
        added = memory.add_batch(items, scope_of(user), dedupe=False)
        model.alive[user].update({one.id: content for one, content in zip(added, texts, strict=True)})

    with open_memory(folder) as memory:
        for user in range(USERS):
            add(memory, user, records // USERS)
        done, next_check = 0, 0
        while done < operations:
            user = chance.randrange(USERS)
            mine, hidden = model.alive[user], model.hidden[user]
            some = chance.sample(sorted(mine), min(40, len(mine)))
            verb = chance.choices(["add", "update", "delete", "restore", "merge", "erase"], [40, 40, 10, 5, 5, 0.2])[0]
            if verb == "add" or len(some) < 2:
                count = chance.choice([1, 1, 1, 60])
                add(memory, user, count)
                done += count
            elif verb == "update":
                content = text()
                memory.update(some[0], scope_of(user), content, vector=vector_of(content), language="en")
                mine[some[0]] = content
                done += 1
            elif verb == "delete":
                memory.delete(some[:2], scope_of(user))
                for id in some[:2]:
                    model.hide(user, id)
                done += 2
            elif verb == "restore":
                back = list(hidden)[:3]
                if back:
                    memory.restore(back, scope_of(user))
                    mine |= {id: hidden.pop(id) for id in back}
                done += len(back)
            elif verb == "merge":
                memory.merge(some[0], some[1:2], scope_of(user))
                model.hide(user, some[1])
                done += 1
            else:
                assert memory.erase(some, scope_of(user)).complete
                for id in some:
                    del mine[id]
                there = set(memory.ids(scope_of(user)))
                for id in [id for id in hidden if id not in there]:  # the records that were merged into them
                    del hidden[id]
                done += len(some)
            if done >= next_check:
                check(memory, model, chance)
                next_check += operations // checks
    with open_memory(folder) as memory:
        assert len(memory) == len(model)
        check(memory, model, chance, 10)
    assert verify(folder) == []


def test_mixed_operations_leave_search_exact(tmp_path: Path) -> None:
    live(tmp_path / "m", 1000, 600, 4)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_hundred_thousand_records_survive_as_many_operations(tmp_path: Path) -> None:
    live(tmp_path / "m", 100_000, 100_000, 50)
