"""Test the benchmark of conversations: its scores agree with those computed by hand, and its data is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval import evaluate
from mlret.eval.memory.conversation_data import read_conversations
from mlret.eval.memory.conversation_report import evidence_scores

TALK: dict[str, Any] = {
    "id": "c1",
    "speakers": ["Ann", "Ben"],
    "sessions": [
        {"at": "2024-01-01T10:00:00+00:00", "turns": [{"by": "Ann", "text": "the cat"}, {"by": "Ben", "text": "rain"}]}
    ],
    "questions": [{"text": "the cat?", "evidence": ["1:1"]}],
}


def test_evidence_scores_count_the_turns_that_are_found() -> None:
    ids = ["a", "b", "c", "d", "e", "f"]
    assert evidence_scores(ids, ["a", "f"]) == [0.5, 0.5, 1.0, 1.0]
    assert evidence_scores(ids, ["x", "b"]) == [0.0, 0.5, 0.5, 0.0]


def test_the_bundled_conversations_are_sound() -> None:
    talks = read_conversations(Path("bundled"))
    assert len(talks) == 12 and sum(len(talk.questions) for talk in talks) == 86
    assert all(20 <= len(list(talk.turns())) <= 30 and len(talk.sessions) == 3 for talk in talks)
    assert sum(len(question.evidence) > 1 for talk in talks for question in talk.questions) == 39


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": [{"text": "who?", "evidence": ["1:3"]}]}, "no turn is 1:3"),
        ({"speakers": ["Ann", "Cid"]}, "Ben is not among the speakers"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"questions": []}, "has no questions"),
    ],
)
def test_conversations_that_cannot_be_asked_about_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({**TALK, **change}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_conversations(file)


def test_from_conversations_to_report(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps(TALK) + "\n", encoding="utf-8")
    report = evaluate("memory-conversations", file, models=[tiny_encoder])
    words = f"{tiny_encoder.name}, no terms, words alone"
    assert report.figure("recall@1", system=words) == report.figure("all@10", system=words) == 1
    assert report.write(tmp_path / "out", pictures=False)
