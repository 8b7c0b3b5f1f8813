"""Test random operations in random order against a model that is a dictionary."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlret.errors import InputError
from mlret.index.vectors.cosine import CosineSpace
from mlret.memory.memory import Memory
from mlret.memory.scope import holds, place_of
from mlret.memory.storage import tables
from mlret.memory.storage.journal import read_entries, replay
from tests.index.made import vector_of
from tests.memory.made import open_memory

# Scopes that contain each other, and values that are operators, wildcards or separators elsewhere.
SCOPES: list[dict[str, str]] = [
    {"user": "u1"},
    {"user": "u1", "run": "r"},
    {"tenant": "t", "user": "u1"},
    {"user": "' OR 1=1 --"},
    {"user": "%"},
    {"user": "u1/1/0", "agent": '{"user": "u1"}'},
    {"tenant": "scope.user=u1"},
]
# Names of metadata that could be confused with others.
METADATA: list[dict[str, Any]] = [
    {},
    {"scope.user": "u1"},
    {"user": "u1", "tenant": "t"},
    {"scope": {"user": "u1"}},
    {"$or": [{"user": "u1"}], "memory_scopes": 1},
]
DAYS = 40
START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Kept:
    scope: dict[str, str]
    state: str = "active"
    strength: float = 1.0
    merged_into: str | None = None
    versions: list[tuple[str, int]] = field(default_factory=list)  # text, and the day from which it is valid
    links: set[tuple[str, str]] = field(default_factory=set)

    def at(self, day: int) -> str | None:
        for place, (text, start) in enumerate(self.versions):
            end = min((later for _, later in self.versions[place + 1 :]), default=10**6)
            if start <= day < end:
                return text
        return None


class Verbs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mlret-stateful-"))
        self.memory: Memory = open_memory(self.folder / "m")
        self.model: dict[str, Kept] = {}
        # The last operation with its scope, and the model before it.
        self.before: tuple[tuple[int, dict[str, str]], dict[str, Kept]] | None = None
        self.erased: list[str] = []
        self.number = 0

    @initialize(size=st.sampled_from([8, 40]))
    def shrink(self, size: int) -> None:
        CosineSpace.segment_size = CosineSpace.bulk_size = size

    def teardown(self) -> None:
        self.memory.close()
        CosineSpace.segment_size = CosineSpace.bulk_size = 16_384
        shutil.rmtree(self.folder)

    def text(self) -> str:
        self.number += 1
        return f"secret number {self.number} of {self.number * 7919 % 10007}"

    def some(self, draw: int, *states: str) -> str | None:
        ids = sorted(id for id, kept in self.model.items() if kept.state in states)
        return ids[draw % len(ids)] if ids else None

    def done(self, operation: int, scope: dict[str, str], change: Callable[[dict[str, Kept]], None]) -> None:
        self.before = (operation, scope), copy.deepcopy(self.model)
        change(self.model)

    @rule(
        scope=st.sampled_from(SCOPES), metadata=st.sampled_from(METADATA), day=st.integers(0, DAYS), n=st.integers(1, 3)
    )
    def add(self, scope: dict[str, str], metadata: dict[str, Any], day: int, n: int) -> None:
        texts = [self.text() for _ in range(n)]
        added = self.memory.add_batch(
            [
                {"text": text, "language": "en", "vector": vector_of(text), "metadata": metadata, "valid_from": at(day)}
                for text in texts
            ],
            scope,
        )
        assert [one.verdict for one in added] == ["added"] * n
        made = {one.id: Kept(scope, versions=[(text, day)]) for one, text in zip(added, texts, strict=True)}
        self.done(added[0].operation, scope, lambda model: model.update(made))

    @rule(draw=st.integers(0, 99))
    def add_again(self, draw: int) -> None:
        if id := self.some(draw, "active"):
            kept = self.model[id]
            [added] = self.memory.add_batch([{"text": kept.versions[-1][0], "language": "en"}], kept.scope)
            assert (added.verdict, added.id) == ("duplicate", id)
            self.done(added.operation, kept.scope, lambda model: setattr(model[id], "strength", model[id].strength + 1))

    @rule(draw=st.integers(0, 99), day=st.integers(0, DAYS))
    def update(self, draw: int, day: int) -> None:
        if id := self.some(draw, "active"):
            text = self.text()
            done = self.memory.update(
                id, self.model[id].scope, text, valid_from=at(day), vector=vector_of(text), language="en"
            )
            self.done(done.operation, self.model[id].scope, lambda model: model[id].versions.append((text, day)))

    @rule(draw=st.integers(0, 99))
    def delete(self, draw: int) -> None:
        if id := self.some(draw, "active", "archived", "merged"):
            scope = self.model[id].scope
            derived = {one for one in self.below(id, {"derived_from"}) if holds(scope, place_of(self.model[one].scope))}
            done = self.memory.delete(id, scope)
            assert set(done.ids) == {id} | {one for one in derived if self.model[one].state != "deleted"}
            self.done(
                done.operation, scope, lambda model: [setattr(model[one], "state", "deleted") for one in done.ids]
            )

    @rule(draw=st.integers(0, 99))
    def restore(self, draw: int) -> None:
        if id := self.some(draw, "deleted", "archived", "merged"):
            survivor = self.model[id].merged_into
            done = self.memory.restore(id, self.model[id].scope)

            def change(model: dict[str, Kept]) -> None:
                model[id].state, model[id].merged_into = "active", None
                if survivor is not None and survivor in model:
                    model[survivor].strength = max(1.0, model[survivor].strength - model[id].strength)

            self.done(done.operation, self.model[id].scope, change)

    @rule(draw=st.integers(0, 99), other=st.integers(0, 99))
    def merge(self, draw: int, other: int) -> None:
        one, two = self.some(draw, "active"), self.some(other, "active")
        if one is None or two is None or one == two:
            return
        if self.model[one].scope != self.model[two].scope:
            with pytest.raises(InputError, match="scope"):
                self.memory.merge(one, [two], self.model[one].scope)
            return
        before = self.everything()
        done = self.memory.merge(one, [two], self.model[one].scope)
        undone = self.memory.undo(done.operation, self.model[one].scope)
        assert self.everything() == before  # merge and undo are inverse
        last = self.memory.undo(undone.operation, self.model[one].scope)

        def change(model: dict[str, Kept]) -> None:
            model[one].strength += model[two].strength
            model[two].state, model[two].merged_into = "merged", one

        self.done(last.operation, self.model[one].scope, change)

    @rule(draw=st.integers(0, 99), other=st.integers(0, 99), type=st.sampled_from(["about", "derived_from"]))
    def link(self, draw: int, other: int, type: str) -> None:
        one, two = self.some(draw, "active", "archived"), self.some(other, "active", "archived")
        if one is None or two is None or one == two or (type, two) in self.model[one].links:
            return
        scope = self.model[one].scope
        if not holds(scope, place_of(self.model[two].scope)):
            with pytest.raises(InputError, match="scope"):
                self.memory.link(one, type, two, scope)
            return
        if type == "derived_from" and one in self.below(one, {"derived_from"}, extra=(one, two)):
            return  # a record that is derived from itself makes no sense, although it is harmless
        done = self.memory.link(one, type, two, scope)
        self.done(done.operation, scope, lambda model: model[one].links.add((type, two)))

    @precondition(lambda self: self.before is not None)
    @rule()
    def undo(self) -> None:
        assert self.before is not None
        (operation, scope), model = self.before
        for id in set(self.model) - set(model):  # undoing an addition hides the record
            model[id] = copy.deepcopy(self.model[id])
            model[id].state = "deleted"
        self.memory.undo(operation, scope)
        self.model, self.before = model, None

    @rule(draw=st.integers(0, 99))
    def erase(self, draw: int) -> None:
        if id := self.some(draw, "active", "archived", "deleted", "merged"):
            gone = {id, *self.below(id, {"derived_from"}, merged=True)}
            proof = self.memory.erase(id, self.model[id].scope)
            scope = self.model[id].scope
            assert set(proof.ids) == {one for one in gone if holds(scope, place_of(self.model[one].scope))}
            assert proof.complete
            self.erased += [text for one in gone for text, _ in self.model[one].versions]
            self.erased += gone
            for one in gone:
                del self.model[one]
            for kept in self.model.values():
                kept.links = {link for link in kept.links if link[1] not in gone}
            self.before = None
            assert nothing_left(self.folder, self.erased)

    @rule()
    def reopen(self) -> None:
        before = self.everything()
        self.memory.close()
        self.memory = open_memory(self.folder / "m")
        assert self.everything() == before

    @invariant()
    def journal_adds_up_to_the_state(self) -> None:
        records = self.memory.folder.records
        assert replay(read_entries(records)) == tables.read_state(records)

    @invariant()
    def what_a_scope_holds_is_found_and_nothing_else(self) -> None:
        for scope in [*SCOPES, {"run": "r"}, {"tenant": "t"}, {"agent": "u1"}]:
            mine = {id: kept for id, kept in self.model.items() if holds(scope, place_of(kept.scope))}
            active = {id: kept.versions[-1][0] for id, kept in mine.items() if kept.state == "active"}
            assert {record.id: record.text for record in self.memory.list(scope)} == active
            found = self.memory.search("number", scope, 1000, vector=vector_of("number"), mode="dense")
            assert {hit.id: hit.text for hit in found} == active
            found = self.memory.search("number", scope, 1000, vector=vector_of("number"), language="en")
            assert {hit.id: hit.text for hit in found} == active
            merged = {id for id, kept in mine.items() if kept.state == "merged"}
            assert {record.id for record in self.memory.list(scope, state="merged")} == merged
        for id, kept in self.model.items():
            record = self.memory.get(id, kept.scope)
            assert (record is None) == (kept.state == "deleted")
            if record is not None:
                assert (record.strength, record.merged_into) == (kept.strength, kept.merged_into)
                assert {(link.type, link.target) for link in record.links} == kept.links

    @invariant()
    def as_of_gives_what_was_valid_then(self) -> None:
        for day in (0, 7, 20, DAYS, 1000):
            then = {id: text for id, kept in self.model.items() if (text := kept.at(day)) and kept.state == "active"}
            for scope in SCOPES[:3]:
                mine = {id: text for id, text in then.items() if holds(scope, place_of(self.model[id].scope))}
                found = self.memory.search("x", scope, 1000, vector=vector_of("x"), mode="dense", as_of=at(day))
                assert {hit.id: hit.text for hit in found} == mine

    def everything(self) -> list[Any]:
        return [self.memory.list(scope, state=state) for scope in SCOPES for state in ("active", "archived", "merged")]

    def below(
        self, id: str, types: set[str], *, merged: bool = False, extra: tuple[str, str] | None = None
    ) -> list[str]:
        found: list[str] = []
        pending = [id]
        while pending:
            one = pending.pop()
            for other, kept in self.model.items():
                derived = any(link == (type, one) for link in kept.links for type in types) or extra == (other, one)
                if (derived or (merged and kept.merged_into == one)) and other not in found:
                    found.append(other)
                    pending.append(other)
        return found


def at(day: int) -> datetime:
    return START + timedelta(days=day)


def nothing_left(folder: Path, texts: list[str]) -> bool:
    """Whether no file holds a text."""
    files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    return not any(text.encode() in content for text in texts for content in files)


_FAST = settings(
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.timeout(240)
def test_verbs_in_any_order_agree_with_the_model() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Verbs, settings=_FAST)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_verbs_in_any_long_order_agree_with_the_model() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Verbs, settings=settings(_FAST, max_examples=100, stateful_step_count=60))
