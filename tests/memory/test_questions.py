"""Test what a question asks for beyond its topic: occasions, speakers, persons, cues and passages of a session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.memory.search.questions import Question, before, cue_bonus, occasions, person_bonus
from mlret.memory.search.ranking import CHANNELS_ALONE, Ranking, window
from tests.index.made import vector_of
from tests.memory.made import add, open_memory

ME = {"user": "me"}
DAY = datetime(2024, 3, 1, 12, tzinfo=UTC)
turn = st.tuples(st.floats(-3, 3), st.integers(-1, 2), st.integers(0, 6))


@given(st.lists(turn, max_size=14, unique_by=lambda one: one[1:]), st.floats(0, 2))
def test_window_is_the_sum_of_the_turns_two_places_away(turns: list[tuple[float, int, int]], weight: float) -> None:
    expected = [
        weight
        * sum(max(score, 0) for score, of, other in turns if of == session and session >= 0 and abs(other - place) == 2)
        for _, session, place in turns
    ]
    columns = [list(column) for column in zip(*turns, strict=True)] or [[], [], []]
    assert window(*columns, weight) == pytest.approx(np.array(expected))


def test_the_last_time_is_the_newest_of_a_repeated_event() -> None:
    texts = [("Serviced the boiler, it cost 90 pounds.", "en"), ("Serviced the boiler, it cost 110 pounds.", "en")]
    texts += [("The car service cost 310 pounds.", "en")]
    scores, starts = [0.9, 0.8, 0.7], [1.0, 2.0, 3.0]
    last = Question("What did the boiler cost the last time it was serviced?", "en", DAY)
    first = Question("What did the boiler cost the first time it was serviced?", "en", DAY)
    plain = Question("What did the boiler cost when it was serviced?", "en", DAY)
    assert occasions(last, scores, texts, starts) == [(1, 0)]
    assert occasions(first, scores, texts, starts) == [(0, 1)]
    assert occasions(plain, scores, texts, starts) == []
    assert occasions(last, scores, texts, [np.nan] * 3) == []


def test_persons_and_cues_of_the_question_decide() -> None:
    texts: list[tuple[str, str | None]] = [
        ("My sister lives in Leeds.", "en"),
        ("I live in York.", "en"),
        ("We want to go to Leeds.", "en"),
        ("The doctor says I am allergic to nuts.", "en"),
    ]
    assert person_bonus(Question("Where do I live?", "en", DAY), texts, 0.5).tolist() == [-0.5, 0, 0, 0]
    assert person_bonus(Question("Wo wohnt meine Schwester?", "de", DAY), texts, 0.5).tolist() == [0.5, 0, 0, 0]
    assert cue_bonus(Question("What was the result?", "en", DAY), texts, 1.0).tolist() == [0, 0, -1, 0]
    assert cue_bonus(Question("Was darf ich nicht essen?", "de", DAY), texts, 1.0)[3] == 1
    assert not cue_bonus(Question("Where do I live?", "en", DAY), texts, 1.0).any()


def test_what_was_before_is_counted_from_the_record_that_the_question_names() -> None:
    texts = {0: ("I live in Leeds.", "en"), 1: ("Moved to York.", "en"), 2: ("Moved to Derby.", "en")}
    pairs, ages = [(1, 0), (2, 1)], {0: 0, 1: 1, 2: 2}
    asked = {
        "Where did I live before?": [(1, 0), (0, 2)],
        "Where did I live before I moved to Derby?": [(1, 0), (0, 2)],
        "Where did I live before I was in York?": [(0, 2), (2, 1)],
    }
    for text, expected in asked.items():
        assert before(Question(text, "en", DAY), pairs, texts, ages) == expected


@pytest.mark.parametrize(
    "given", [{"source": {"role": "Sam"}}, {"metadata": {"speaker": "Sam"}}, {"text": "Sam: the seven dogs ran home"}]
)
def test_whom_the_question_names_ranks_first(tmp_path: Path, given: dict[str, Any]) -> None:
    with open_memory(tmp_path / "m") as memory:
        for number in range(6):
            at = DAY + timedelta(minutes=number)
            add(memory, f"the cat sat on mat {number}", ME, event_time=at, source={"role": "Ann"})
        text = given.pop("text", "the seven dogs ran home")
        said = add(memory, text, ME, event_time=DAY, **given).id
        asked: dict[str, Any] = {"language": "en", "vector": vector_of("what did Sam say about the cat"), "k": 7}
        hits = memory.search("what did Sam say about the cat", ME, **asked)
        assert hits[0].id == said and hits[0].scores["speaker"] == Ranking().speaker
        assert all("speaker" in hit.scores and not hit.scores["speaker"] for hit in hits[1:])
        plain = memory.search("what did Sam say about the cat", ME, ranking=CHANNELS_ALONE, **asked)
        assert all("speaker" not in hit.scores for hit in plain)
