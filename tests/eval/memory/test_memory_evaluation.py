"""Test the evaluation of the memory: its counts agree with loops, and it runs from data to report."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval import evaluate
from mlret.eval.memory.channels import Records, ranks, top, within
from mlret.eval.memory.dedupe import measure_dedupe
from mlret.eval.memory.evaluation import read_document_ids
from mlret.eval.memory.lookup import look_up
from mlret.eval.memory.near_misses import NearMiss
from mlret.eval.memory.news import _abstention
from mlret.index.fusion import in_unit
from mlret.memory.memory import Memory
from mlret.memory.search.search import Ranking
from mlret.memory.text.duplicates import DuplicateThresholds


def unit(vectors: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_ranks_break_ties_by_row_and_know_what_is_not_found() -> None:
    scores = np.array([[0.5, 0.9, 0.5], [0.5, 0.9, 0.5], [-np.inf, 1.0, 0.0]])
    assert ranks(scores, np.array([0, 2, 0])).tolist() == [2, 3, 0]
    assert within(np.array([2, 3, 0]), 2).tolist() == [1, 0, 0]
    assert top(scores, 2) == [{1, 0}, {1, 0}, {1, 2}]


def test_words_of_another_language_count_only_where_they_help() -> None:
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(4, 8)))
    texts = ["das Haus am See", "der Zug nach Bern", "ein Baum", "Anna Karenina"]
    records = Records(texts, ["de"] * 4, vectors)
    found = records.search(["Anna Karenina", "the train"], "en", vectors[[3, 1]])
    assert np.isinf(found["lexical"][0, :3]).all() and found["lexical"][0, 3] > 0
    # Without shared n-grams fusion ranks by meaning alone.
    assert np.argsort(-found["fused"][1]).tolist() == np.argsort(-found["dense"][1]).tolist()
    assert found["fused"][0].argmax() == 3


def test_lookup_asks_every_language_of_every_other() -> None:
    random = np.random.default_rng(1)
    shared = random.normal(size=(6, 16))
    texts = {code: [f"{code} {row}" for row in range(6)] for code in ("en", "sw", "zh")}
    vectors = {code: unit(shared + random.normal(scale=0.01, size=shared.shape)) for code in texts}
    records = {code: Records(some, [code] * 6, vectors[code]) for code, some in texts.items()}
    found = look_up(records, texts, vectors, np.arange(6))
    assert len(found.pairs["dense"]) == 9
    assert found.mean("dense")["recall@1"] == 1
    assert 0.9 < found.mean("dense")["consistency@5"] <= 1
    wrong = look_up(records, texts, vectors, np.roll(np.arange(6), 1))
    assert wrong.mean("dense")["recall@1"] == 0


def test_dedupe_counts_merges_and_near_misses() -> None:
    """With perfectly aligned vectors all translations are found; near misses are merged unless a guard blocks."""
    random = np.random.default_rng(2)
    shared = random.normal(size=(12, 64))
    texts = {"en": [f"{n} apples" for n in range(12)], "de": [f"{n} Äpfel" for n in range(12)]}
    vectors = {code: unit(shared) for code in texts}
    misses = {
        code: [
            (n, NearMiss("number", text.replace(str(n), str(n + 20)), text), vectors[code][n])
            for n, text in enumerate(some)
        ]
        for code, some in texts.items()
    }
    thresholds = DuplicateThresholds("f", 0.3, 0.1, 0.0, {"": 0.1}, 0.95, 0.5, 24)
    found = measure_dedupe(texts, vectors, misses, thresholds)
    assert (found.guarded.right, found.guarded.wrong, found.guarded.translations) == (12, 0, 12)
    assert (found.guarded.recall, found.guarded.precision_with_near_misses) == (1, 1)
    assert found.guarded.near == {"number": [12, 0]}
    assert found.bare.near == {"number": [12, 12]}
    assert found.bare.precision_with_near_misses == 0.5
    assert found.blocked == {"translation": 0.0, "number": 1.0}
    assert found.counts == {"translation": 24, "number": 24}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write made-up news in three languages, and questions with answers in two, in the expected layouts."""
    news = tmp_path / "ntrex128"
    news.mkdir()
    rows = ["lang\tline\ttext"]
    for label, word in (("eng", "On Monday cat"), ("deu", "Am Montag Katze"), ("swa", "Jumatatu paka")):
        rows += [f"{label}\t{n}\t{word} {n} {'abcdefghijklmnopqrst'[n]}." for n in range(20)]
    (news / "ntrex128.long.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (news / "doc_ids.txt.gz").write_bytes(gzip.compress("".join(f"doc{n // 5}\n" for n in range(20)).encode()))
    questions = tmp_path / "xquad_r" / "xquad-r"
    questions.mkdir(parents=True)
    for code in ("en", "de"):
        paragraphs = []
        for p in range(6):
            sentences = [f"{code} sat {p} {s}. " for s in range(4)]
            context = "".join(sentences)
            breaks = [[s * len(sentences[0]), (s + 1) * len(sentences[0])] for s in range(4)]
            asked = [
                {
                    "id": f"q{p}",
                    "question": f"where {p}?",
                    "answers": [{"text": "sat", "answer_start": len(sentences[0]) + 3}],
                }
            ]
            paragraphs.append({"context": context, "sentence_breaks": breaks, "qas": asked})
        (questions / f"{code}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return tmp_path


@pytest.mark.thorough
def test_from_data_to_report(folder: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    report = evaluate("memory", folder, models=[tiny_encoder], answer_languages=["en", "de"])
    system = f"{tiny_encoder.name}, fused"
    for name in ("dense", "lexical", "fused"):
        averages = report.figures[f"{tiny_encoder.name}, {name}"]["average"]
        assert set(averages) == {
            *("recall@1", "recall@5", "consistency@5"),
            *("sample recall@1", "sample recall@5", "sample consistency@5"),
        }
        assert all(0 <= value <= 1 for value in averages.values())
    # The average is only over pairs of different languages.
    pairs = [
        groups["recall@1"]
        for group, groups in report.figures[system].items()
        if group in ("en-de", "de-en", "en-sw", "sw-en", "de-sw", "sw-de")
    ]
    assert report.figure("recall@1", system=system) == pytest.approx(np.mean(pairs))
    assert report.figure("blocked weekday", system="guards") == 1
    names = {row[0] for table in report.tables for row in table.rows}
    assert {"contiguity", "representatives", "granularities", "one-hop links", "decay", "abstention"} <= names
    written = report.write(tmp_path / "out")
    assert tmp_path / "out" / "lookup.png" in written


def test_models_that_do_not_fit_are_refused(folder: Path, tiny_encoder: Encoder, tiny_token_encoder: object) -> None:
    with pytest.raises(InputError, match="20 lines, 20 of them for 7 texts"):
        read_document_ids(folder / "ntrex128" / "doc_ids.txt.gz", 7, None)
    assert read_document_ids(folder / "ntrex128" / "doc_ids.txt.gz", 4, (4, 7)).tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="one encoder at a time"):
        evaluate("memory", folder, models=[tiny_encoder, "other"], answers=None)
    with pytest.raises(InputError, match="a vector for each token"):
        evaluate("memory", folder, models=[tiny_token_encoder], answers=None)


def test_what_is_evaluated_is_what_the_memory_searches_with(tiny_encoder: Encoder, tmp_path: Path) -> None:
    texts = [
        ("the cat sat on a mat", "en"),
        ("seven dogs ran home", "en"),
        ("привет мир", "ru"),
        ("rice and fish", "en"),
    ]
    vectors = np.concatenate([tiny_encoder.encode([text], language=code) for text, code in texts])
    records = Records([text for text, _ in texts], [code for _, code in texts], vectors)
    with Memory.open(tmp_path / "memory", tiny_encoder) as memory:
        ids = [memory.add(text, {"user": "u"}, language=code).id for text, code in texts]
        for query in ("seven cats", "fish by night", "мир"):
            language = "ru" if query == "мир" else "en"
            vector = tiny_encoder.encode([query], language=language)
            for system, mode in (("dense", "dense"), ("fused", "hybrid")):
                scores = records.search([query], language, vector)[system][0]
                scores = in_unit(scores) if system == "fused" else scores
                found = memory.search(
                    query, {"user": "u"}, 4, language=language, mode=mode, ranking=Ranking(collapse=False)
                )
                assert {hit.id: round(hit.score, 4) for hit in found} == pytest.approx(
                    dict(zip(ids, scores, strict=True)), abs=2e-3
                )


@pytest.mark.parametrize(
    ("texts", "moved", "metrics"),
    [
        (0, 0, []),
        (1, 0, []),
        (6, 0, ["right first hits that are kept", "silence where there is no answer"]),
        (4, 2, ["silence where there is no answer"]),  # no query finds its answer, so none can be kept
    ],
)
def test_abstention_is_measured_where_there_is_something_to_measure(texts: int, moved: int, metrics: list[str]) -> None:
    vectors = np.eye(8, dtype=np.float32)[:texts]
    thresholds = DuplicateThresholds("f", 0.3, 0.1, 0.5, {"": 0.1}, 0.95, 0.5, 24)
    queries = np.roll(vectors, moved, axis=0)
    found = _abstention({"en": vectors, "de": queries}, thresholds)
    assert [feature.metric for feature in found] == metrics
    for feature in found:
        assert len(feature.on) == len(feature.off) == 2  # the two ordered pairs of languages in a ring
        assert np.isfinite(feature.on).all()
