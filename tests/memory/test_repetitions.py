"""Test repeated texts: counted as a repetition if all accompanying data are stored, and stored again otherwise."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.memory.ingest.repetitions import additions
from mlret.memory.memory import Memory
from mlret.memory.records import make_content
from mlret.memory.text.duplicates import DuplicateThresholds
from tests.index.made import vector_of
from tests.memory.made import keep, open_memory

ME = {"user": "u1"}
TEXT = "I ran ten kilometres."
DAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
FIRST: dict[str, Any] = {
    "event_time": DAY,
    "metadata": {"place": "park", "with": ["Ana"]},
    "source": {"uri": "chat", "role": "user"},
    "tags": ["sport"],
    "keys": ["running"],
    "session": "s1",
    "importance": 0.5,
}
OTHERS: dict[str, dict[str, Any]] = {
    "event time": {"event_time": DAY + timedelta(days=61)},
    "end of the event": {"event_time": [DAY, DAY + timedelta(hours=1)]},
    "metadata": {"metadata": {"place": "beach"}},
    "nested metadata": {"metadata": {"place": "park", "with": ["Ben"]}},
    "more metadata": {"metadata": {"place": "park", "shoes": 1}},
    "speaker": {"source": {"uri": "chat", "role": "assistant"}},
    "session": {"session": "s2"},
    "place in the session": {"seq": 9},
    "tags": {"tags": ["sport", "health"]},
    "keys": {"keys": ["jogging"]},
    "importance": {"importance": 0.9},
    "validity": {"valid_from": DAY + timedelta(days=9)},
    "expiry": {"expires_at": datetime(2100, 1, 1, tzinfo=UTC)},
}


def say(memory: Memory, text: str = TEXT, **about: Any) -> Any:
    return memory.add(text, ME, language="en", vector=vector_of(text), **about)


def calibrated(path: Path) -> Memory:
    memory = open_memory(path)
    keep(memory, DuplicateThresholds(memory.encoder.fingerprint, 0.6, 0.4, 0.5, {"": 0.0}, 0.95, 0.5, 100))
    return memory


@pytest.mark.parametrize("with_thresholds", [True, False])
@pytest.mark.parametrize("what", OTHERS)
def test_another_occasion_is_a_record_of_its_own(tmp_path: Path, what: str, with_thresholds: bool) -> None:
    with calibrated(tmp_path / "m") if with_thresholds else open_memory(tmp_path / "m") as memory:
        one, two = say(memory, **FIRST), say(memory, **{**FIRST, **OTHERS[what]})
        assert two.verdict == ("related" if with_thresholds else "added") and two.id != one.id
        kept = {record.id: record for record in memory.list(ME)}
        assert set(kept) == {one.id, two.id}
        expected = make_content(**{**FIRST, **OTHERS[what]})
        assert kept[two.id].event_time == expected.event_time and kept[two.id].metadata == expected.metadata
        assert kept[two.id].source == expected.source and kept[two.id].tags == expected.tags
        assert kept[one.id].event_time == (DAY, DAY) and kept[one.id].strength == 1
        # A repetition of each is counted for the right record.
        again = say(memory, **{**FIRST, **OTHERS[what]})
        assert (again.verdict, again.id) == ("duplicate", two.id)


@pytest.mark.parametrize("left_out", [(), ("metadata",), tuple(FIRST)])
def test_what_brings_nothing_new_is_counted(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    with calibrated(tmp_path / "m") as memory:
        one = say(memory, **FIRST)
        again = say(memory, **{name: value for name, value in FIRST.items() if name not in left_out})
        assert (again.verdict, again.id) == ("duplicate", one.id)
        assert memory.get(one.id, ME).strength == 2  # type: ignore[union-attr]


def test_occasions_of_one_batch_are_separate_records(tmp_path: Path) -> None:
    days = [DAY + timedelta(days=number) for number in (0, 1, 2, 1)]
    items = [{"text": TEXT, "language": "en", "vector": vector_of(TEXT), "event_time": day} for day in days]
    with calibrated(tmp_path / "m") as memory:
        added = memory.add_batch(items, ME)
        assert [one.verdict == "duplicate" for one in added] == [False, False, False, True]
        assert added[3].id == added[1].id
        assert sorted(r.event_time[0] for r in memory.list(ME) if r.event_time) == days[:3]


def test_every_occasion_is_found_exported_and_seen_in_its_time(tmp_path: Path) -> None:
    with calibrated(tmp_path / "m") as memory:
        for number in range(3):
            say(memory, event_time=DAY + timedelta(days=30 * number), metadata={"n": number})
        hits = memory.search("Where did I run?", ME, language="en", vector=vector_of(TEXT))
        assert sorted(hit.metadata["n"] for hit in hits) == [0, 1, 2] and not any(hit.also for hit in hits)
        assert "2026-03-06" in json.dumps(list(memory.export(ME)), default=str)
        assert len(memory.list(ME, as_of=DAY + timedelta(days=31))) == 2


def test_a_translation_of_another_day_stays(tmp_path: Path) -> None:
    with calibrated(tmp_path / "m") as memory:
        vector = vector_of(TEXT)
        memory.add(TEXT, ME, language="en", vector=vector, event_time=DAY)
        german = {"language": "de", "vector": vector}
        other = memory.add("Ich lief zehn Kilometer.", ME, **german, event_time=DAY + timedelta(days=1))  # type: ignore[arg-type]
        assert other.verdict == "related" and "event time" in other.reason
        same = memory.add("Ich lief zehn Kilometer.", ME, **german, event_time=DAY + timedelta(days=1))  # type: ignore[arg-type]
        assert (same.verdict, same.id) == ("duplicate", other.id)


def test_a_superscript_is_not_a_digit_and_true_is_not_one(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        say(memory, "The area is 5 m²", metadata={"checked": True})
        assert say(memory, "The area is 5 m2").verdict == "added"
        assert say(memory, "The area is 5 m²", metadata={"checked": 1}).verdict == "added"
        assert say(memory, "The  area is 5 m²", metadata={"checked": True}).verdict == "duplicate"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=3), VALUES)
def test_metadata_is_new_unless_all_of_it_is_stored(metadata: dict[str, Any], value: Any) -> None:
    stored = make_content(metadata=metadata)
    for name in metadata:
        part = make_content(metadata={name: metadata[name]})
        assert additions(part, (), stored, ()) == []
        other = make_content(metadata={**metadata, name: value})
        same = json.dumps(value, sort_keys=True) == json.dumps(metadata[name], sort_keys=True)
        assert additions(other, (), stored, ()) == ([] if same else ["metadata"])
