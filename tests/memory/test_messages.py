"""Test that messages and the facts extracted from them are stored together, and the keywords beside a scope."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import AsyncMemory, InputError, Memory
from tests.conftest import examples

CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "I moved to Oslo in March.", "time": "2026-05-04T09:00+02:00"},
    {"role": "assistant", "content": "How do you like the city?", "time": "2026-05-04T09:01+02:00"},
    {"role": "assistant", "content": None},
    {"role": "user", "content": [{"type": "text", "text": "The winters are long."}], "time": 1777880000},
]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory.open(tmp_path / "memory")


def test_messages_are_turns_in_one_operation(memory: Memory) -> None:
    added = memory.add(messages=CHAT, user="anna", session="monday", tags=["chat"])
    records = memory.list(user="anna")
    assert [one.id for one in added.turns] == [record.id for record in records]
    assert [(r.text, r.source.role if r.source else None, r.session, r.seq, r.level) for r in records] == [
        ("I moved to Oslo in March.", "user", "monday", 0, "turn"),
        ("How do you like the city?", "assistant", "monday", 1, "turn"),
        ("The winters are long.", "user", "monday", 2, "turn"),
    ]
    assert all(record.tags == ("chat",) and record.event_time is not None for record in records)
    assert {one.operation for one in added.turns} == {added.operation} == {1}
    memory.undo(1, {"user": "anna"})
    assert memory.list(user="anna") == []


def test_facts_are_derived_from_their_turns_and_undone_with_them(memory: Memory) -> None:
    seen: list[Any] = []

    def extract(messages: Sequence[Any]) -> list[Any]:
        seen.extend(messages)
        return ["Anna speaks of a city.", {"text": "Anna lives in Oslo.", "messages": [0], "importance": 0.9}]

    added = memory.add(messages=CHAT, user="anna", extract=extract)
    assert seen == [CHAT[0], CHAT[1], CHAT[3]]
    every, one = (memory.get(fact.id, user="anna") for fact in added.facts)
    assert every is not None and one is not None
    turns = [turn.id for turn in added.turns]
    assert {link.target for link in every.links if link.type == "derived_from"} == set(turns)
    assert [link.target for link in one.links if link.type == "derived_from"] == turns[:1]
    assert (one.level, one.kind, one.importance) == ("fact", "derived", 0.9)
    first = memory.get(turns[0], user="anna")
    assert first is not None and one.event_time == first.event_time and one.source == first.source
    memory.undo(int(added.operation or 0), user="anna")
    assert len(memory) == 0


def test_the_same_messages_again_are_repetitions_and_their_facts_too(memory: Memory) -> None:
    def extract(messages: Sequence[Any]) -> list[str]:
        return ["Anna lives in Oslo."]

    first = memory.add(messages=CHAT, user="anna", session="monday", extract=extract)
    again = memory.add(messages=CHAT, user="anna", session="monday", extract=extract)
    assert [one.id for one in again.turns] == [one.id for one in first.turns]
    assert [one.id for one in again.facts] == [one.id for one in first.facts]
    assert {one.verdict for one in (*again.turns, *again.facts)} == {"duplicate"}
    assert len(memory) == 4


def test_nothing_is_stored_if_a_message_or_a_fact_is_wrong(memory: Memory) -> None:
    wrong: list[tuple[Any, str]] = [
        ([*CHAT, {"role": "user"}], "message 5: no turn of a chat"),
        ([{"role": "user", "content": "x", "time": "2026-05-04T09:00"}], "message 1: .*zone.* for UTC$"),
        ([{"role": "user", "content": "x", "time": 1_777_878_060_000}], "message 1: .*not milliseconds"),
        ([{"role": "user", "content": "x", "time": float("nan")}], "message 1: .*seconds since 1970"),
        ([{"role": "user", "content": "x", "lang": ["de"]}], "message 1: the language is list"),
        ({"role": "user", "content": "x"}, "list of messages"),
    ]
    for messages, reason in wrong:
        with pytest.raises(InputError, match=reason):
            memory.add(messages=messages, user="anna")
    bad: list[tuple[Any, str]] = [
        ("one text", "return a list"),
        (None, "one NoneType; return a list"),
        ([5], "fact 1 .* is int"),
        ([{"text": "x", "messages": 1.5}], "positions from 0 to 2"),
        ([{"text": "x", "messages": [3]}], "positions from 0 to 2"),
        ([{"text": "x", "levl": 1}], "fact 1 .*'levl'"),
        ([{"text": "x", "derived_from": "y"}], "'messages'"),
    ]
    for facts, reason in bad:
        with pytest.raises(InputError, match=reason):
            memory.add(messages=CHAT, user="anna", extract=lambda _, facts=facts: facts)
    with pytest.raises(InputError, match="a text or messages"):
        memory.add("text", user="anna", messages=CHAT)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="one text"):
        memory.add(messages=CHAT, user="anna", id="one")
    assert len(memory) == 0
    assert memory.add(messages=[], user="anna").operation is None


def test_the_names_of_a_scope_can_be_given_as_keywords(memory: Memory) -> None:
    added = memory.add("Simba is a cat.", {"tenant": "t"}, user="anna", agent="a", run="r")
    assert memory.get(added.id, {"tenant": "t", "user": "anna", "agent": "a", "run": "r"}) is not None
    assert memory.get(added.id, {"tenant": "t"}, user="bob") is None
    assert [hit.id for hit in memory.search("a pet", {"tenant": "t"}, user="anna")] == [added.id]
    with pytest.raises(InputError, match="names the user 'bob', and user='anna' another"):
        memory.list({"user": "bob"}, user="anna")
    with pytest.raises(InputError, match="a scope is needed"):
        memory.list()


@settings(deadline=None, max_examples=examples(20))
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8), deleted=st.sets(st.integers(0, 19)))
def test_pages_hold_every_record_once(paged: Memory, sizes: list[int], deleted: set[int]) -> None:
    found: list[str] = []
    after = None
    for size in [*sizes, *([5] * 20)]:
        page = paged.list(user="anna", limit=size, after=after)
        found += [record.id for record in page]
        assert len(page) <= size
        after = page.next
        if after is None:
            break
    assert found == [record.id for record in paged.list(user="anna")] == [f"r{n}" for n in range(20)]


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    memory = Memory.open(tmp_path_factory.mktemp("paged") / "memory")
    memory.add_batch([{"text": f"number {n}", "id": f"r{n}"} for n in range(20)], user="anna", dedupe=False)
    memory.add("other", user="bob")
    return memory


def test_a_cursor_is_of_one_memory_and_hides_numbers(paged: Memory, memory: Memory) -> None:
    cursor = paged.list(user="anna", limit=3).next
    assert cursor is not None
    memory.add("x", user="anna")
    for wrong in (cursor, "1", "", "AAAA"):
        with pytest.raises(InputError, match="not a cursor"):
            memory.list(user="anna", after=wrong)
    with pytest.raises(InputError, match="limit"):
        memory.list(user="anna", limit=-1)
    assert paged.list(user="anna", limit=20).next is None


def test_a_record_that_changes_between_pages_is_not_missed(memory: Memory) -> None:
    memory.add_batch([{"text": f"number {n}", "id": f"r{n}"} for n in range(4)], user="anna", dedupe=False)
    first = memory.list(user="anna", limit=2)
    memory.update("r0", user="anna", text="changed")
    memory.delete("r2", user="anna")
    rest = memory.list(user="anna", after=first.next)
    assert [record.id for record in rest] == ["r3", "r0"]


def test_coroutines_do_the_same(tmp_path: Path) -> None:
    async def main() -> tuple[list[str], list[str]]:
        async with await AsyncMemory.open(tmp_path / "memory") as memory:
            added: Any = await memory.add(messages=CHAT, user="anna", extract=lambda turns: ["Anna lives in Oslo."])
            page = await memory.list(user="anna", limit=2)
            rest = await memory.list(user="anna", after=page.next)
            events = [event.id or "" async for event in memory.watch(user="anna", after="", timeout=0)]
            assert [record.id for record in (*page, *rest)] == [one.id for one in (*added.turns, *added.facts)]
            return [record.id for record in (*page, *rest)], events

    listed, events = asyncio.run(main())
    assert listed == events
