"""Test the memory store: the scope determines what is found, and nothing is lost unless it is erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import FingerprintError, InputError
from mlret.index.index import Index
from mlret.memory.memory import Memory, parse_scope
from mlret.memory.records import Link, Source

MINE = {"user": "u1"}


def test_memory_is_found_after_reopening(tmp_path: Path, tiny_encoder: Encoder) -> None:
    before = datetime.now(UTC)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        added = memory.add(
            "the cat sat on a mat",
            MINE,
            language="eng",
            tags=["pet"],
            source=Source("chat", (3, 23), "user", 0.5),
            metadata={"turn": 3},
        )
        assert added.verdict == "added"
        record = memory.get(added.id, MINE)
        assert record is not None and record.id == added.id
        assert (record.text, record.scope, record.language) == ("the cat sat on a mat", MINE, "en")
        assert (record.kind, record.level, record.state, record.version, record.seq) == ("raw", "turn", "active", 1, 0)
        assert record.metadata == {"turn": 3} and record.tags == ("pet",)
        assert record.source == Source("chat", (3, 23), "user", 0.5)
        assert before <= record.recorded_at <= datetime.now(UTC)
        assert record.valid_from == record.recorded_at and record.valid_to is None
    with Memory.open(tmp_path / "m") as memory:
        assert len(memory) == 1
        assert memory.get(record.id, MINE) == record
        assert memory.get("nothing", MINE) is None
        [hit] = memory.search("the cat sat on a mat", MINE, mode="dense")
        assert (hit.id, hit.rank, hit.score) == (record.id, 1, pytest.approx(1.0))
        assert hit.record == record


def test_text_is_kept_word_for_word_with_its_keys(tmp_path: Path, tiny_encoder: Encoder) -> None:
    text = "  the cat\nsat \t on a mat\n"
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        keys = ("feline", "a rug\nwith a line")
        id = memory.add(text, MINE, keys=keys).id
        record = memory.get(id, MINE)
        assert record is not None and (record.text, record.keys) == (text, keys)
        assert memory.search("feline", MINE, mode="lexical")[0].id == id


def test_scope_is_applied_before_ranking(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for i in range(20):
            memory.add(f"the cat sat on a mat {i}", {"user": "other", "tenant": "t"})
        mine = [memory.add(text, {"user": "u1", "tenant": "t"}).id for text in ("seven dogs", "warm rain")]
        special = memory.add("rice", {"user": "u1", "tenant": "t", "agent": "cook"}).id

        def found(scope: dict[str, str], k: int = 50) -> set[str]:
            return {hit.id for hit in memory.search("the cat sat on a mat", scope, k)}

        user = {"tenant": "t", "user": "u1"}
        assert found(user) == {*mine, special}
        assert found({**user, "agent": "cook"}, 2) == {special}
        assert found({"tenant": "t"}) >= found(user)
        assert len(found(user, 2)) == 2
        for other in ({"user": "U1"}, {"user": "u1 "}, {"run": "u1"}):
            assert found({"tenant": "t", **other}) == set()
        nothing = memory.search("cat", {"tenant": "t", "run": "u1"})
        assert (nothing.scope, nothing.searched) == ({"tenant": "t", "run": "u1"}, 0) and nothing.reason


def test_scope_without_a_tenant_holds_nothing_of_any_tenant(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        theirs = memory.add("the cat sat on a mat", {"user": "u1", "tenant": "t"}).id
        for scope in ({"user": "u1"}, {"user": "u1", "tenant": "T"}, {"tenant": "u1"}):
            assert memory.search("the cat sat on a mat", scope).searched == 0
            assert memory.list(scope) == [] == memory.ids(scope) and memory.get(theirs, scope) is None
        mine = memory.add("the cat sat on a mat", {"user": "u1"})
        assert mine.verdict == "added" and [record.id for record in memory.list({"user": "u1"})] == [mine.id]


def test_what_others_write_moves_no_score(tmp_path: Path, tiny_encoder: Encoder) -> None:
    """Not even through the frequency of a word."""
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for text in ("the cat sat on a mat", "seven dogs ran home", "warm rain by night"):
            memory.add(text, MINE)
        before = [(hit.id, hit.score, hit.scores) for hit in memory.search("a cat by night", MINE)]
        for i in range(50):
            memory.add(f"a cat by night, number {i}", {"user": "u2"})
        assert [(hit.id, hit.score, hit.scores) for hit in memory.search("a cat by night", MINE)] == before


@pytest.mark.parametrize("scope", [{}, None, {"users": "u1"}, {"user": ""}, {"user": None}, {"user": ["u1"]}, "user"])
def test_scope_is_mandatory(tmp_path: Path, tiny_encoder: Encoder, scope: Any) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        id = memory.add("cat", MINE).id
        for verb in (
            lambda: memory.add("cat", scope),
            lambda: memory.search("cat", scope),
            lambda: memory.get(id, scope),
            lambda: memory.update(id, scope, "dog"),
            lambda: memory.list(scope),
            lambda: memory.history(id, scope),
            lambda: memory.delete(id, scope),
            lambda: memory.erase(id, scope),
        ):
            with pytest.raises(InputError, match="scope"):
                verb()
        assert len(memory) == 1


def test_every_verb_is_blind_outside_its_scope(tmp_path: Path, tiny_encoder: Encoder) -> None:
    other = {"user": "u2"}
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        id, mine = memory.add("cat", MINE).id, memory.add("dogs", MINE)
        theirs = memory.add("rain", other).id
        assert memory.get(id, other) is None
        for verb in (
            lambda: memory.update(id, other, "dog"),
            lambda: memory.history(id, other),
            lambda: memory.versions(id, other),
            lambda: memory.delete(id, other),
            lambda: memory.restore(id, other),
            lambda: memory.erase(id, other),
            lambda: memory.link(theirs, "about", id, other),
            lambda: memory.link(theirs, "about", id, MINE),
            lambda: memory.add("fish", other, links=[("about", id)]),
            lambda: memory.merge(theirs, [id], other),
            lambda: memory.undo(mine.operation, other),
        ):
            with pytest.raises(InputError, match="scope"):
                verb()
        assert {record.text for record in memory.list(MINE)} == {"cat", "dogs"}
        assert [record.text for record in memory.list(other)] == ["rain"]


def test_update_keeps_every_version_and_when_each_was_valid(tmp_path: Path, tiny_encoder: Encoder) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        id = memory.add("I live in Paris", MINE, valid_from=start, tags=["home"]).id
        memory.update(id, MINE, "I live in Rome", valid_from=start + timedelta(days=100))
        memory.update(id, MINE, "I live in Oslo", valid_from=start + timedelta(days=200))

        def at(days: int) -> list[str]:
            found = memory.search("where", MINE, as_of=start + timedelta(days=days), mode="dense")
            got = memory.get(id, MINE, as_of=start + timedelta(days=days))
            assert [hit.text for hit in found] == ([] if got is None else [got.text])
            return [hit.text for hit in found]

        assert [at(days) for days in (-1, 0, 99, 100, 199, 200, 5000)] == [
            [],
            ["I live in Paris"],
            ["I live in Paris"],
            ["I live in Rome"],
            ["I live in Rome"],
            ["I live in Oslo"],
            ["I live in Oslo"],
        ]
        assert [hit.text for hit in memory.search("where", MINE)] == ["I live in Oslo"]
        assert {hit.text for hit in memory.search("where", MINE, current_only=False)} == {
            f"I live in {city}" for city in ("Paris", "Rome", "Oslo")
        }
        versions = memory.versions(id, MINE)
        assert [record.state for record in versions] == ["superseded", "superseded", "active"]
        assert [record.tags for record in versions] == [("home",)] * 3
        assert [entry.verb for entry in memory.history(id, MINE)] == ["add", "update", "update"]


def test_correction_from_the_start_leaves_nothing_valid_of_what_was_wrong(
    tmp_path: Path, tiny_encoder: Encoder
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        id = memory.add("Anna is 30", MINE, valid_from=start).id
        memory.update(id, MINE, "Anna is 31", valid_from=start + timedelta(days=10))
        done = memory.update(id, MINE, "Anna is 29", valid_from=start)
        for days in (0, 5, 50):
            assert memory.get(id, MINE, as_of=start + timedelta(days=days)).text == "Anna is 29"  # type: ignore[union-attr]
        memory.undo(done.operation, MINE)
        assert memory.get(id, MINE).text == "Anna is 31"  # type: ignore[union-attr]
        assert memory.get(id, MINE, as_of=start + timedelta(days=5)).text == "Anna is 30"  # type: ignore[union-attr]


def test_times_without_a_zone_are_refused(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for naive in (datetime(2026, 3, 29, 2, 30), "2026-03-29T02:30:00", "yesterday"):
            for name in ("event_time", "valid_from", "expires_at"):
                with pytest.raises(InputError, match=r"time zone|ISO 8601"):
                    memory.add("cat", MINE, **{name: naive})
            with pytest.raises(InputError, match=r"time zone|ISO 8601"):
                memory.search("cat", MINE, as_of=naive)
        assert len(memory) == 0
        id = memory.add("cat", MINE, event_time="2026-03-29T02:30:00+09:00").id
        record = memory.get(id, MINE)
        assert record is not None and record.event_time is not None
        assert record.event_time[0].isoformat() == "2026-03-29T02:30:00+09:00"
        assert record.valid_from == record.event_time[0]


def test_merge_is_undone_by_undo_and_by_restore(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        one, two = (memory.add(text, MINE, dedupe=False).id for text in ("the cat sat", "a cat sat"))
        before = memory.list(MINE)
        for take_back in (lambda done: memory.undo(done.operation, MINE), lambda _: memory.restore(two, MINE)):
            done = memory.merge(one, [two], MINE)
            assert [record.id for record in memory.list(MINE)] == [one]
            assert [(record.id, record.merged_into) for record in memory.list(MINE, state="merged")] == [(two, one)]
            assert memory.list(MINE)[0].strength == 2
            assert [hit.id for hit in memory.search("a cat sat", MINE)] == [one]
            take_back(done)
            assert memory.list(MINE) == before


def test_delete_hides_with_what_was_derived_and_restore_brings_back(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        source = memory.add("the cat sat on a mat", MINE).id
        fact = memory.add("there is a cat", MINE, derived_from=source, level="fact").id
        summary = memory.add("cats", MINE, derived_from=[fact], level="summary").id
        assert memory.get(fact, MINE).kind == "derived"  # type: ignore[union-attr]
        assert memory.get(fact, MINE).links == (Link("derived_from", source),)  # type: ignore[union-attr]
        done = memory.delete(source, MINE)
        assert set(done.ids) == {source, fact, summary}
        assert memory.list(MINE) == [] and len(memory) == 0 and not memory.search("cat", MINE)
        assert memory.get(fact, MINE) is None
        memory.restore(source, MINE)
        assert [record.id for record in memory.list(MINE)] == [source]
        memory.undo(memory.history(source, MINE)[-1].operation, MINE)
        memory.undo(done.operation, MINE)
        assert {record.id for record in memory.list(MINE)} == {source, fact, summary}


def test_undo_refuses_what_has_changed_since(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        added = memory.add("cat", MINE)
        first = memory.update(added.id, MINE, "dog")
        memory.update(added.id, MINE, "fish")
        with pytest.raises(InputError, match="has changed since"):
            memory.undo(first.operation, MINE)
        with pytest.raises(InputError, match="no operation"):
            memory.undo(10_000, MINE)
        undone = memory.undo(memory.history(added.id, MINE)[-1].operation, MINE)
        assert memory.get(added.id, MINE).text == "dog"  # type: ignore[union-attr]
        memory.undo(undone.operation, MINE)
        assert memory.get(added.id, MINE).text == "fish"  # type: ignore[union-attr]
        memory.undo(added.operation, MINE)
        assert memory.list(MINE) == []


def test_links_join_records_and_go_with_them(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        one, two = memory.add("cat", MINE).id, memory.add("dogs", MINE).id
        memory.link(one, "about", two, MINE)
        assert memory.get(one, MINE).links == (Link("about", two),)  # type: ignore[union-attr]
        with pytest.raises(InputError, match="already"):
            memory.link(one, "about", two, MINE)
        memory.erase(two, MINE)
        assert memory.get(one, MINE).links == ()  # type: ignore[union-attr]


def test_the_same_text_again_strengthens_the_record(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        first = memory.add("the cat sat on a mat", MINE)
        again = memory.add("the  cat sat on ａ mat", MINE, source="other-chat")
        assert (again.verdict, again.id) == ("duplicate", first.id)
        assert memory.get(first.id, MINE).strength == 2  # type: ignore[union-attr]
        assert memory.history(first.id, MINE)[-1].note == {"again": True, "source": {"uri": "other-chat"}}
        batch = memory.add_batch(["warm rain", "seven dogs", "warm rain", "the cat sat on a mat"], MINE)
        assert [one.verdict for one in batch] == ["added", "added", "duplicate", "duplicate"]
        assert batch[2].id == batch[0].id and batch[3].id == first.id
        assert memory.add("the cat sat on a mat", {"user": "u2"}).verdict == "added"
        assert memory.add("the cat sat on a mat", {"user": "u1", "run": "r"}).verdict == "added"
        assert memory.add("the cat sat on a mat", MINE, level="fact").verdict == "added"
        assert memory.add("the cat sat on a mat", MINE, dedupe=False).verdict == "added"


def test_batch_is_stored_completely_or_not_at_all(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for bad in (" ", {"text": "dog", "language": "xx"}, {"text": "dog", "colour": "red"}, {"id": "x"}, 3):
            with pytest.raises(InputError, match="text 2"):
                memory.add_batch(["cat", bad], MINE)  # type: ignore[list-item]
        with pytest.raises(InputError, match="taken"):
            memory.add_batch([{"text": "cat", "id": "a"}, {"text": "dog", "id": "a"}], MINE)
        with pytest.raises(InputError, match="tags"):
            memory.add("cat", MINE, metadata={"tags": "x"})
        assert len(memory) == 0
        stream = memory.add_stream((f"text {n}" for n in range(10)), MINE, batch_size=4)
        next(stream)
        assert len(memory) == 4
        assert len(list(stream)) == 9 and len(memory) == 10
        assert [record.seq for record in memory.list(MINE)] == list(range(10))


def test_store_that_another_process_makes_first_is_opened(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Index.create

    def lose_the_race(path: Path, encoder: Encoder, **options: Any) -> Index:
        create(path, encoder, **options).close()
        return create(path, encoder, **options)

    monkeypatch.setattr(Index, "create", lose_the_race)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("cat", MINE)
        assert len(memory) == 1


def test_two_handles_see_each_other_after_refresh(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as one, Memory.open(tmp_path / "m", tiny_encoder) as two:
        assert len(two) == 0
        id = one.add("the cat sat on a mat", MINE).id
        one.add("warm rain", MINE)
        two.refresh()
        assert [hit.text for hit in two.search("cat mat", MINE, 1)] == ["the cat sat on a mat"]
        two.update(id, MINE, "a cat ran home")
        one.delete(id, MINE)
        two.refresh()
        assert [record.text for record in two.list(MINE)] == ["warm rain"]
        one.erase(id, MINE)
        two.refresh()
        assert two.get(id, MINE) is None and len(two) == 1


def test_index_and_memory_are_not_mixed_up(tmp_path: Path, tiny_encoder: Encoder) -> None:
    Index.create(tmp_path / "i", tiny_encoder).close()
    Memory.open(tmp_path / "m", tiny_encoder).close()
    with pytest.raises(InputError, match="is an index"):
        Memory.open(tmp_path / "i")
    with pytest.raises(InputError, match="is a memory store"):
        Index.open(tmp_path / "m")


def test_two_encoders_never_mix(tmp_path: Path, tiny_encoder: Encoder, calibrated_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("cat", MINE)
    with pytest.raises(FingerprintError, match=r"mlret memory reembed --store .* -o NEW"):
        Memory.open(tmp_path / "m", calibrated_encoder)


def test_scope_on_the_command_line() -> None:
    assert parse_scope(["user=u1", "agent=a=b"]) == {"user": "u1", "agent": "a=b"}
    for bad in (["user"], ["user=u1", "user=u2"], ["who=u1"], []):
        with pytest.raises(InputError):
            parse_scope(bad)
