"""Test that a profile shows every current record of a user once, by topics and time, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import InputError, Memory
from tests.conftest import examples
from tests.memory import made

ANNA = {"user": "anna"}
TOPICS = [
    ["My dog is called Rex.", "Rex needs a vet appointment.", "Mein Hund frisst alles."],
    ["We flew to Lisbon in May.", "I want to travel to Japan next year.", "The train to Paris was late."],
    ["My favourite food is sushi.", "I cook pasta on Sundays.", "J'adore le fromage."],
]


def test_records_without_tags_are_grouped_by_meaning_across_languages(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "memory")
    # One of each topic in turn: the order says nothing.
    for texts in zip(*TOPICS, strict=True):
        memory.add_batch(list(texts), user="anna", dedupe=False)
    found = {frozenset(one.text for one in topic.records) for topic in memory.profile(user="anna").topics}
    assert found == {frozenset(topic) for topic in TOPICS}


def test_what_is_superseded_said_by_the_assistant_or_made_into_a_fact_is_not_shown(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "memory")
    chat = [{"role": "user", "content": "I moved to Oslo."}, {"role": "assistant", "content": "How is Oslo?"}]
    added = memory.add(messages=chat, user="anna", extract=lambda _: [{"text": "Anna is in Oslo.", "messages": [0]}])
    memory.add("Anna likes tea.", user="anna", id="tea", tags=["food"])
    memory.update("tea", user="anna", text="Anna likes coffee.")
    memory.add("Ben likes tea.", user="ben")
    profile = memory.profile(user="anna")
    shown = {one.id for topic in profile.topics for one in topic.records}
    assert shown == {added.facts[0].id, "tea"}
    assert [topic.name for topic in profile.topics if topic.records[0].id == "tea"] == ["food"]
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"## food\n- {day}: Anna likes coffee. [tea]" in profile.text
    assert profile.as_json()["left"] == 0


@settings(deadline=None, max_examples=examples(20))
@given(
    tags=st.lists(st.lists(st.sampled_from("abc"), max_size=2, unique=True), max_size=8),
    most=st.integers(1, 9),
)
def test_every_record_is_in_one_topic_newest_first(
    tmp_path_factory: pytest.TempPathFactory, tags: list[list[str]], most: int
) -> None:
    memory = made.open_memory(tmp_path_factory.mktemp("profile") / "memory")
    for number, some in enumerate(tags):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number * 7 % 5)
        made.add(memory, f"text {number}", ANNA, id=f"r{number}", tags=some, event_time=at)
    profile = memory.profile(ANNA, most=most)
    shown = [one for topic in profile.topics for one in topic.records]
    assert {one.id for one in shown} == {f"r{n}" for n in range(max(0, len(tags) - most), len(tags))}
    assert len(shown) == min(most, len(tags))
    assert profile.left == max(0, len(tags) - most)
    for topic in profile.topics:
        times = [one.event_time[0] for one in topic.records if one.event_time is not None]
        assert times == sorted(times, reverse=True)
        assert (topic.since, topic.until) == (times[-1], times[0])
        assert all(topic.name in one.tags for one in topic.records if one.tags)


def test_most_must_be_a_number(tmp_path: Path) -> None:
    memory = made.open_memory(tmp_path / "memory")
    with pytest.raises(InputError, match="most"):
        memory.profile(ANNA, most=0)
    assert memory.profile(ANNA).topics == ()
    assert memory.profile(ANNA).text == ""
