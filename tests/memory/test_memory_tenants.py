"""Test that tenants of one store behave as if each had a store of its own, through every method."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import InputError
from mlret.memory.ingest.forget import Policy
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.text.duplicates import DuplicateThresholds
from tests.index.made import encoder, vector_of
from tests.memory.made import keep, open_memory

# Two tenants with the same users, and users without a tenant; each with a narrower scope.
SCOPES: list[list[dict[str, str]]] = [
    [{"tenant": "t1", "user": "u"}, {"tenant": "t1", "user": "u", "run": "r"}, {"tenant": "t1"}],
    [{"tenant": "t2", "user": "u"}, {"tenant": "t2", "user": "u", "run": "r"}, {"tenant": "t2"}],
    [{"user": "u"}, {"user": "u", "run": "r"}, {"user": "t1"}],
]
# Ids that all tenants use, including unused ones, and names that the store uses internally.
IDS = ["a", "b", "c", "shared-id", "1", "1/1/0", "nobody"]
TEXTS = ["the cat sat", "a dog ran home", "warm rain by night", "seven fish", "rice and tea", "cat"]
START = datetime(2026, 1, 1, tzinfo=UTC)
VERBS = [
    *("add", "add", "add", "add_batch", "again", "update", "link", "unlink", "merge", "delete", "restore", "undo"),
    *("undo", "erase", "forget", "derive", "import", "export", "search", "get", "list", "history", "versions"),
    *("ids", "context", "events", "feedback", "take"),
]


class Tenant:
    """The operations of one tenant, drawn from its own random generator, so that they are the same in every store."""

    def __init__(self, memory: Memory, scopes: list[dict[str, str]], seed: int) -> None:
        self.memory = memory
        self.scopes = scopes
        self.chance = random.Random(seed)
        self.kept: list[str] = []  # exported lines
        self.last = 1  # operation

    def _some(self) -> list[str]:
        return self.chance.sample(IDS, 3)

    def turn(self) -> str:
        """Run an operation; return its result in a form that can be compared."""
        verb, scope = self.chance.choice(VERBS), self.chance.choice(self.scopes)
        known = self.memory.ids(scope)
        ids = [self.chance.choice(known) if known and self.chance.random() < 0.8 else one for one in self._some()]
        if verb in ("add", "add_batch"):
            ids = self._some()
        text, number = self.chance.choice(TEXTS), self.chance.randint(1, 12)
        if verb == "undo" and self.chance.random() < 0.8:
            number = self.last
        at = START + timedelta(days=self.chance.randint(0, 9))
        try:
            answer = self._do(verb, scope, ids, text, number, at)
            self.last = getattr(answer, "operation", None) or self.last
            return f"{verb} {scope} {comparable(answer)}"
        except InputError as error:
            return f"{verb} {scope} {type(error).__name__} {error}"

    def _do(self, verb: str, scope: dict[str, str], ids: list[str], text: str, number: int, at: datetime) -> Any:
        memory, one, other = self.memory, ids[0], ids[1]
        about: dict[str, Any] = {"language": "en", "vector": vector_of(text), "valid_from": at}
        doors: dict[str, Callable[[], Any]] = {
            "add": lambda: memory.add(f"{text} {number}", scope, id=one, session="s", **about),
            "add_batch": lambda: memory.add_batch(
                [
                    {"text": f"{text} {n}", "id": id, "links": [("about", one)] * (n > 0), **about}
                    for n, id in enumerate(ids)
                ],
                scope,
            ),
            "again": lambda: memory.add(text, scope, id=one, dedupe=True, **about),
            "update": lambda: memory.update(one, scope, f"{text} anew", **about),
            "link": lambda: memory.link(one, "about", other, scope),
            "unlink": lambda: memory.unlink(one, "about", other, scope),
            "merge": lambda: memory.merge(one, [id for id in ids[1:] if id != one], scope),
            "delete": lambda: memory.delete(one, scope),
            "restore": lambda: memory.restore(one, scope),
            "undo": lambda: memory.undo(number, scope),
            "erase": lambda: memory.erase(one, scope),
            "forget": lambda: memory.forget(Policy(retention_below=2, keep=4), scope, dry_run=number > 3),
            "derive": lambda: memory.derive(one, lambda record: [{"keys": [text]}], scope),
            "export": lambda: self._export(scope),
            "import": lambda: self._import(scope, "error"),
            "take": lambda: self._import(scope, "skip"),
            "search": lambda: memory.search(text, scope, number, language="en", vector=about["vector"], conflicts=True),
            "get": lambda: memory.get(one, scope),
            "list": lambda: [memory.list(scope, state=state) for state in ("active", "archived", "merged")],
            "history": lambda: memory.history(one, scope),
            "versions": lambda: memory.versions(one, scope),
            "ids": lambda: memory.ids(scope),
            "context": lambda: memory.context(
                memory.search(text, scope, language="en", vector=about["vector"]), 60, len
            ),
            "events": lambda: memory.events("s", scope),
            "feedback": lambda: memory.feedback(text, ids[:1], scope, language="en"),
        }
        return doors[verb]()

    def _export(self, scope: dict[str, str]) -> list[str]:
        self.kept = [json.dumps(line) for line in self.memory.export(scope, vectors=True)]
        return self.kept

    def _import(self, scope: dict[str, str], existing: Any) -> int:
        lines = [json.loads(line) for line in self.kept]
        return self.memory.import_records(lines, scope, existing=existing)


_TIMES = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00")


def comparable(answer: Any) -> str:
    """Return an answer without its times."""
    if is_dataclass(answer) and not isinstance(answer, type):
        answer = {name: value for name, value in asdict(answer).items() if name != "accessed_at"}
    if isinstance(answer, list | tuple):
        return f"[{', '.join(map(comparable, answer))}]"
    if isinstance(answer, dict):
        clock = {"recorded_at", "at", "accessed_at"}
        return f"{{{', '.join(f'{key}: {comparable(value)}' for key, value in answer.items() if key not in clock)}}}"
    if isinstance(answer, str):
        try:
            return comparable(json.loads(answer))  # an exported line
        except ValueError:
            return _TIMES.sub("then", answer)
    return "then" if isinstance(answer, datetime) and answer.microsecond else repr(answer)


def thresholds(memory: Memory) -> None:
    keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.6, 0.4, 0.5, {"": 0.0}, 0.95, 0.5, 100))


class Stored:
    """Memories whose encoder returns the vectors of known texts, so that every method can be called."""

    def __init__(self, folder: Path) -> None:
        self.memory = open_memory(folder)
        self.memory._index.encoder.encode_query = lambda texts, **_: [vector_of(text) for text in texts]  # type: ignore[method-assign,union-attr]
        self.memory._index.encoder.encode_document = lambda texts, **_: [vector_of(text) for text in texts]  # type: ignore[method-assign,union-attr]
        thresholds(self.memory)


def live(folder: Path, seed: int, turns: int) -> int:
    """Let tenants take turns in one store, and each in a store of its own; return the number of compared answers."""
    chance = random.Random(seed)
    together = Stored(folder / "together").memory
    alone = [Stored(folder / f"alone-{number}").memory for number in range(len(SCOPES))]
    pairs = [
        (Tenant(together, scopes, seed + number), Tenant(memory, scopes, seed + number))
        for number, (scopes, memory) in enumerate(zip(SCOPES, alone, strict=True))
    ]
    for turn in range(turns):
        number = chance.randrange(len(pairs))
        here, there = pairs[number]
        assert here.turn() == there.turn(), (seed, turn, number)
        if chance.random() < 0.05:
            together.refresh()
    for memory in (together, *alone):
        memory.close()
    assert verify(folder / "together", encoder()) == []
    return turns


@pytest.mark.timeout(200)
def test_tenants_of_one_store_are_as_in_stores_of_their_own(tmp_path: Path) -> None:
    for seed in range(3):
        live(tmp_path / str(seed), seed, 120)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_tenants_of_one_store_are_as_in_stores_of_their_own_for_long(tmp_path: Path) -> None:
    for seed in range(100, 140):
        live(tmp_path / str(seed), seed, 400)
