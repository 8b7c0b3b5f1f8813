"""Test that changes are seen in order, across processes, and only within the scope."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import InputError, Memory
from mlret.encoders.encoder import Encoder
from mlret.memory.ingest.forget import Policy
from mlret.memory.watching import MemoryEvent, changes
from tests.conftest import examples
from tests.memory import made

ANNA, BOB = {"user": "anna"}, {"user": "bob"}


def seen(memory: Memory, scope: dict[str, str], after: str | None = "") -> list[tuple[str, str | None]]:
    return [(event.kind, event.id) for event in memory.watch(scope, after=after, timeout=0)]


def test_every_kind_of_change_is_an_event(tmp_path: Path) -> None:
    memory = made.open_memory(tmp_path / "memory")
    for name in ("a", "b", "c", "d"):
        made.add(memory, f"text {name}", ANNA, id=name)
    made.add(memory, "text", BOB, id="z")
    memory.update("a", ANNA, "another text", vector=made.vector_of("another text"))
    memory.merge("a", ["b"], ANNA)
    memory.delete("c", ANNA)
    memory.restore("c", ANNA)
    memory.forget(Policy(keep=1), ANNA, dry_run=False)
    found = seen(memory, ANNA)
    assert found[:8] == [
        ("added", "a"), ("added", "b"), ("added", "c"), ("added", "d"),
        ("updated", "a"), ("merged", "b"), ("deleted", "c"), ("restored", "c"),
    ]  # fmt: skip
    assert {kind for kind, _ in found[8:]} == {"forgotten"}
    assert seen(memory, BOB) == [("added", "z")]
    assert seen(memory, {"tenant": "t"}) == []


def test_an_erased_record_is_named_to_who_saw_it_and_to_nobody_else(tmp_path: Path) -> None:
    memory = made.open_memory(tmp_path / "memory")
    made.add(memory, "text", ANNA, id="a")
    watching = memory.watch(ANNA, after="", timeout=0.2, poll=0.01)
    assert next(watching).id == "a"
    memory.erase("a", ANNA)
    event = next(watching)
    assert (event.kind, event.id) == ("erased", "a")
    assert seen(memory, ANNA) == []
    assert seen(memory, BOB) == []


def test_a_cursor_continues_behind_an_event(tmp_path: Path) -> None:
    memory = made.open_memory(tmp_path / "memory")
    for name in "abc":
        made.add(memory, f"text {name}", ANNA, id=name)
    events = list(memory.watch(ANNA, after="", timeout=0))
    assert seen(memory, ANNA, events[0].cursor) == [("added", "b"), ("added", "c")]
    assert seen(memory, ANNA, events[-1].cursor) == []
    assert seen(memory, ANNA, None) == []  # from now on
    for wrong in ("3", events[0].cursor[:-2]):
        with pytest.raises(InputError, match="not a cursor"):
            seen(memory, ANNA, wrong)
    with pytest.raises(InputError, match="poll"):
        memory.watch(ANNA, poll=0)


def test_changes_are_read_in_pages(tmp_path: Path) -> None:
    memory = made.open_memory(tmp_path / "memory")
    for name in "abcde":
        made.add(memory, f"text {name}", ANNA, id=name)
        made.add(memory, f"text {name}", BOB, id=f"of Bob {name}")
    memory.link("b", "about", "a", ANNA)  # no event
    found, after = [], ""
    while True:
        page = changes(memory, ANNA, after, 2)
        assert len(page.events) <= 2
        found += [event.id for event in page.events]
        after = page.next
        if not page.more:
            break
    assert found == list("abcde")
    assert changes(memory, ANNA, after, 2).events == ()
    assert changes(memory, ANNA, None).events == ()
    made.add(memory, "text f", ANNA, id="f")
    assert [event.id for event in changes(memory, ANNA, after, 2).events] == ["f"]


def test_every_tenant_of_a_divided_memory_is_watched(tmp_path: Path, tiny_encoder: Encoder) -> None:
    tenants = ["acme", "blue", "coop", "dune", "echo"]
    with Memory.create(tmp_path / "memory", tiny_encoder, shards=3) as memory:
        for tenant in tenants:
            memory.add("a text", {"tenant": tenant}, id=tenant)
        for tenant in tenants:
            assert seen(memory, {"tenant": tenant}) == [("added", tenant)]


def test_another_process_is_watched(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "memory")
    memory.add("first", ANNA, id="first")
    watching = memory.watch(ANNA, poll=0.02, timeout=200)
    found: list[MemoryEvent] = []
    ready = threading.Event()

    def take() -> None:
        ready.set()
        found.append(next(watching))

    thread = threading.Thread(target=take)
    thread.start()
    ready.wait()
    code = (
        f"from mlret import Memory; Memory.open({str(tmp_path / 'memory')!r}).add('x', {{'user': 'anna'}}, id='other')"
    )
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5); " + code], check=True)
    thread.join(200)
    assert [(event.kind, event.id) for event in found] == [("added", "other")]


@settings(deadline=None, max_examples=examples(25))
@given(st.lists(st.tuples(st.sampled_from(["add", "update", "delete", "restore"]), st.integers(0, 3)), max_size=12))
def test_events_replayed_give_what_is_listed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    memory = made.open_memory(tmp_path_factory.mktemp("watch") / "memory")
    for number, (verb, record) in enumerate(steps):
        name, text = f"r{record}", f"text {number}"
        if verb == "add" and name not in memory.ids(ANNA):
            made.add(memory, text, ANNA, id=name)
        elif name in memory.ids(ANNA):
            active = memory.get(name, ANNA) is not None
            if verb == "update" and active:
                memory.update(name, ANNA, text, vector=made.vector_of(text), language="en")
            elif verb == "delete" and active:
                memory.delete(name, ANNA)
            elif verb == "restore" and not active:
                memory.restore(name, ANNA)
    alive: set[str | None] = set()
    for kind, id in seen(memory, ANNA):
        (alive.discard if kind == "deleted" else alive.add)(id)
    assert alive == {record.id for record in memory.list(ANNA)}
