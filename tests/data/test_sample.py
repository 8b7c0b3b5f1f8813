"""Test that the bundled sample is complete: every topic in every language, every question judged."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mlret.data.sample import FOLDER, Sample, load_sample


@pytest.fixture(scope="module")
def sample() -> Sample:
    return load_sample()


def test_every_topic_is_in_every_language(sample: Sample) -> None:
    per_topic = Counter(passage.metadata["topic"] for passage in sample.passages)
    assert len(sample.languages) >= 12
    assert len(per_topic) >= 20
    assert set(per_topic.values()) == {len(sample.languages)}


def test_passages_are_ordered_texts_of_four_to_eight_sentences_parallel_over_languages() -> None:
    counts: dict[str, set[int]] = {}
    for line in (FOLDER / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        counts.setdefault(record["topic"], set()).add(len(record["sents"]))
        assert all(sentence == " ".join(sentence.split()) and sentence for sentence in record["sents"])
    assert all(len(sizes) == 1 and 4 <= min(sizes) <= 8 for sizes in counts.values())


def test_every_question_is_answered_in_every_language(sample: Sample) -> None:
    language_of = {passage.id: passage.language for passage in sample.passages}
    assert set(sample.qrels) == set(sample.questions)
    for qid, judged in sample.qrels.items():
        assert sorted(language_of[passage] or "" for passage in judged) == sorted(sample.languages)
        assert {passage.rsplit("-", 1)[0] for passage in judged} == {qid.rsplit("-", 2)[0]}


def test_pairs_are_of_two_languages(sample: Sample) -> None:
    pairs = list(sample.pairs())
    assert len(pairs) == len(set(pairs)) == len(sample.languages) * (len(sample.languages) - 1)
    assert all(question != passage for question, passage in pairs)
