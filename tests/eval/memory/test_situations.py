"""Test the benchmark of situations: its outcomes agree with those computed by hand, and its data is sound."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval import evaluate
from mlret.eval.memory.situation_data import Situation, read_situations
from mlret.eval.memory.situation_report import METRICS
from mlret.eval.memory.situation_scores import Outcome, judge, record_id
from mlret.memory.results import Found
from tests.index.made import vector_of
from tests.memory.made import open_memory

BUNDLED = Path("bundled")
ROWS: dict[str, Any] = {
    "id": "en-1",
    "kind": "moved house",
    "records": [
        {"id": "a", "at": "2024-01-01", "language": "en", "text": "I live in Leeds."},
        {"id": "b", "at": "2024-05-01", "language": "en", "text": "My new home is Bristol."},
        {"id": "c", "at": "2024-06-01", "language": "en", "text": "Seven dogs ran by."},
    ],
    "question": "Where do I live?",
    "language": "en",
    "asked": "2024-07-01",
    "first": ["b"],
    "behind": ["a"],
    "superseded": {"a": ["b"]},
}
MOVED = Situation.model_validate(ROWS)


def near(cosine: float) -> np.ndarray:  # type: ignore[type-arg]
    """Return a vector with this cosine to that of the question."""
    one, other = (vector_of(text).astype(np.float64) for text in ("question", "other"))
    other -= (other @ one) * one
    other /= np.linalg.norm(other)
    return (cosine * one + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def answer(folder: Path, cosines: dict[str, float], links: dict[str, str], k: int = 3) -> Found:
    """Search a memory whose records have these cosines to the question; ``links`` says what each supersedes."""
    with open_memory(folder / "memory") as memory:
        for record in MOVED.records:
            target = links.get(record.id)
            memory.add(
                record.text,
                {"user": MOVED.id},
                id=record_id(MOVED, record.id),
                language="en",
                vector=near(cosines[record.id]),
                links=[] if target is None else [("supersedes", record_id(MOVED, target))],
            )
        return memory.search("?", {"user": MOVED.id}, k=k, mode="dense", language="en", vector=vector_of("question"))


@pytest.mark.parametrize(
    ("cosines", "links", "k", "expected"),
    [
        # The order is b, a, c, and nothing says that a no longer holds.
        ({"a": 0.5, "b": 0.9, "c": 0.1}, {}, 3, Outcome(first=True, order=True, said=False)),
        # The order is b, a, c, and a names b.
        ({"a": 0.5, "b": 0.9, "c": 0.1}, {"b": "a"}, 3, Outcome(first=True, order=True, said=True)),
        # The order is c, b, a.
        ({"a": 0.1, "b": 0.5, "c": 0.9}, {"b": "a"}, 3, Outcome(first=False, order=True, said=True)),
        # The order is a, b, c.
        ({"a": 0.9, "b": 0.5, "c": 0.1}, {}, 3, Outcome(first=False, order=False, said=False)),
        # The link exchanges a and b.
        ({"a": 0.9, "b": 0.5, "c": 0.1}, {"b": "a"}, 3, Outcome(first=True, order=True, said=True)),
        # c wrongly supersedes b, and is exchanged with it: the order is c, a, b.
        ({"a": 0.5, "b": 0.9, "c": 0.1}, {"c": "b"}, 3, Outcome(first=False, order=False, said=False)),
        # Only b is returned, so that nothing that no longer holds is shown.
        ({"a": 0.5, "b": 0.9, "c": 0.1}, {}, 1, Outcome(first=True, order=True, said=True)),
    ],
)
def test_outcomes_are_those_that_a_person_computes(
    tmp_path: Path, cosines: dict[str, float], links: dict[str, str], k: int, expected: Outcome
) -> None:
    outcome = judge(MOVED, answer(tmp_path, cosines, links, k))
    assert outcome == expected
    assert outcome.right == (expected.first and expected.order and expected.said)


def test_every_answer_must_come_before_what_must_be_behind(tmp_path: Path) -> None:
    both = Situation.model_validate({**ROWS, "first": ["b", "c"], "superseded": {}})
    found = answer(tmp_path, {"a": 0.5, "b": 0.9, "c": 0.1}, {})
    assert judge(both, found) == Outcome(first=True, order=False, said=True)


def test_the_bundled_situations_are_balanced() -> None:
    situations = read_situations(BUNDLED)
    by_language = Counter(situation.records[0].language for situation in situations)
    assert set(by_language.values()) == {25} and len(by_language) == 12
    assert len({situation.kind for situation in situations}) == 9
    assert sum(situation.crosses for situation in situations) == 96
    assert all(4 <= len(situation.records) <= 9 for situation in situations)
    assert all(situation.asked >= situation.records[-1].at for situation in situations)
    assert len({situation.question for situation in situations}) == 300
    # A memory that puts first whatever is newest is never right.
    assert not any(situation.records[-1].id in situation.first for situation in situations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": ["x"]}, "no record is called x"),
        ({"behind": ["b"]}, "a record is both first and behind"),
        ({"behind": []}, "behind: Tuple should have at least 1 item"),
        ({"superseded": {"a": ["y"]}}, "no record is called y"),
        ({"records": [ROWS["records"][0]] * 2}, "two records have one id"),
        ({"records": ROWS["records"][::-1]}, "not in the order of their days"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_situations_that_cannot_be_judged_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(f"{json.dumps(ROWS)}\n{json.dumps({**ROWS, 'id': 'en-2', **change})}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"own\.jsonl:2: .*{message}"):
        read_situations(file)


def test_files_without_situations_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="has no situations"):
        read_situations(file)
    file.write_text("{\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"own\.jsonl:1: not JSON"):
        read_situations(file)
    file.write_text(f"{json.dumps(ROWS)}\n" * 2, encoding="utf-8")
    with pytest.raises(InputError, match=r"own\.jsonl:2: the id 'en-1' is taken"):
        read_situations(file)


def test_from_situations_to_report(tmp_path: Path, tiny_encoder: Encoder) -> None:
    """With words alone, the record that repeats the words of the question comes first."""
    repeats = {
        **ROWS,
        "id": "en-2",
        "kind": "negation",
        "question": "the seven dogs ran home?",
        "first": ["c"],
        "behind": ["a", "b"],
        "superseded": {},
    }
    file = tmp_path / "own.jsonl"
    file.write_text(f"{json.dumps(ROWS)}\n{json.dumps(repeats)}\n", encoding="utf-8")
    report = evaluate("memory-situations", file, models=[tiny_encoder])
    words = f"{tiny_encoder.name}, words alone"
    # Of the first situation only the record that must be behind shares words with the question.
    assert report.figure("ranked", system=words, group="moved house") == 0
    assert report.figure("right", system=words, group="negation") == 1
    assert report.figure("ranked", system=words) == 0.5
    for groups in report.figures.values():
        assert "asked in another language" not in groups
        for metric in METRICS:
            assert groups["average"][metric] == groups["en"][metric]
            assert groups["average"][metric] == (groups["moved house"][metric] + groups["negation"][metric]) / 2
    written = report.write(tmp_path / "out", pictures=False)
    assert tmp_path / "out" / "scores.tsv.gz" in written
    with pytest.raises(InputError, match="no situation has records in de; there are en"):
        evaluate("memory-situations", file, models=[tiny_encoder], languages=["de"])
    with pytest.raises(InputError, match="one encoder at a time"):
        evaluate("memory-situations", file, models=[tiny_encoder, "other"])
