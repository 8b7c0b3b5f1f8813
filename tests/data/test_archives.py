"""Test the languages that are read from the file names of benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlret.data.archives import language_of_file, languages_of_mlqa


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("mrtydi-v1.1-swahili/train.jsonl.gz", "sw"),
        ("miracl-corpus-v1.0-zh/docs-0.jsonl.gz", "zh"),
        ("miracl-v1.0-yo/topics/topics.miracl-v1.0-yo-dev.tsv", "yo"),
        ("mmarco/german_collection.tsv", "de"),
        ("queries/train/vietnamese_queries.train.tsv.gz", "vi"),
        ("xquad.el.json", "el"),
        ("tydiqa-goldp-dev-swahili.json", "sw"),
        ("tydiqa.goldp.te.train.json", "te"),
        ("tydiqa-goldp-v1.1-dev.json", None),
        ("my_collection.tsv", None),
        ("dev.jsonl", None),
    ],
)
def test_names_of_archives_give_a_language_and_others_do_not(name: str, language: str | None) -> None:
    assert language_of_file(Path("/data") / name) == language


def test_mlqa_names_the_languages_of_questions_and_of_paragraphs() -> None:
    assert languages_of_mlqa(Path("test-context-ar-question-hi.json")) == ("hi", "ar")
    assert languages_of_mlqa(Path("train.json")) is None
