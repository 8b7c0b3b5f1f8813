from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from mlret.data.retrieval import write_run
from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval.benchmarks.xquad_r import evaluate_xquad_r, texts_of
from mlret.eval.metrics import evaluate_run
from mlret.eval.readers.xquad_r_data import CANDIDATES, QUESTIONS, XquadR, read_xquad_r
from mlret.eval.report import Report
from mlret.eval.run import evaluate
from mlret.eval.scorers import bitext_scorers
from tests.eval.made import make_xquad_r
from tests.shared import shared_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> XquadR:
    return read_xquad_r(make_xquad_r(tmp_path_factory.mktemp("xquad")))


def scored(data: XquadR, encoder: Encoder) -> Report:
    questions = [text for asked in data.questions.values() for text in asked.values()]
    scorers = bitext_scorers([encoder], [*questions, *texts_of(data, "sentence")[0]], floors=True)
    return evaluate_xquad_r(scorers, data, name="made", unit="sentence")


def test_the_official_layout_is_read(data: XquadR) -> None:
    assert data.languages == ["de", "en", "zh"]
    assert [one.id for one in data.candidates["de"]] == [f"de-{a}-{s}" for a in ("0-0", "0-1", "1-0") for s in range(3)]
    assert all(one.sentence in one.context and one.sentence.endswith(".") for one in data.candidates["en"])
    assert data.answers["zh"]["q02"] == "zh-0-0-2"
    assert data.answers["zh"]["q20"] == "zh-1-0-0"
    assert len(data.questions["en"]) == 6
    assert not data.is_official


def test_tables_are_read_as_the_same(data: XquadR, tmp_path: Path) -> None:
    def write(name: str, lines: list[str]) -> None:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))

    sentences, paragraphs = [], {}
    for language, candidates in data.candidates.items():
        for one in candidates:
            paragraph = one.id.rpartition("-")[0]
            record = {"id": one.id, "lang": language, "text": one.sentence, "par": paragraph}
            sentences.append(json.dumps(record))
            paragraphs[paragraph] = json.dumps({"id": paragraph, "lang": language, "text": one.context})
    write("corpus.sentences.jsonl", sentences)
    write("corpus.paragraphs.jsonl", list(paragraphs.values()))
    topics = [
        f"{code}:{name}\t{code}\t{text}\tx" for code, asked in data.questions.items() for name, text in asked.items()
    ]
    write("topics.tsv", ["qid\tlang\tquestion\tanswer", *topics])
    write(
        "qrels.sentences.any-language.trec",
        [
            f"{asked}:{name} 0 {their[name]} 1"
            for asked in data.languages
            for their in data.answers.values()
            for name in their
        ],
    )
    assert read_xquad_r(tmp_path, languages=data.languages) == data
    with pytest.raises(InputError, match=r"has no language 'fr'"):
        read_xquad_r(tmp_path, languages=["fr"])
    with pytest.raises(InputError, match=r"ar: has no questions|has no questions in ar"):
        read_xquad_r(tmp_path)


def test_counts_are_those_of_lareqas_readme() -> None:
    data = read_xquad_r(shared_data("xquad_r"))
    assert {code: len(found) for code, found in data.candidates.items()} == CANDIDATES
    assert {code: len(asked) for code, asked in data.questions.items()} == dict.fromkeys(CANDIDATES, QUESTIONS)
    assert sum(CANDIDATES.values()) == 13_014
    assert data.is_official


def test_mean_average_precision_is_pytrec_evals_over_the_whole_pool(data: XquadR, tiny_encoder: Encoder) -> None:
    report = scored(data, tiny_encoder)
    texts, languages = texts_of(data, "sentence")
    names = [one.id for candidates in data.candidates.values() for one in candidates]
    pool = tiny_encoder.encode(texts)
    for asked, questions in data.questions.items():
        cosines = np.round(tiny_encoder.encode(list(questions.values())) @ pool.T, 6)
        run = {q: dict(zip(names, map(float, row), strict=True)) for q, row in zip(questions, cosines, strict=True)}
        qrels = {q: {their[q]: 1 for their in data.answers.values()} for q in questions}
        figures = report.figures[tiny_encoder.name][asked]
        assert figures["map"] == pytest.approx(evaluate_run(qrels, run, ["map"]).mean["map"], abs=1e-3)
        assert figures["map@20"] == pytest.approx(evaluate_run(qrels, run, ["map@20"]).mean["map@20"], abs=1e-3)
        other = {n for n, code in zip(names, languages, strict=True) if code != asked}
        elsewhere = {q: {n: s for n, s in found.items() if n in other} for q, found in run.items()}
        left = {q: {n: 1 for n in judged if n in other} for q, judged in qrels.items()}
        expected = evaluate_run(left, elsewhere, ["map"]).mean["map"]
        assert figures["map other languages"] == pytest.approx(expected, abs=1e-3)
        own = {q: {n: s for n, s in found.items() if n not in other} for q, found in run.items()}
        first = np.mean([max(found, key=found.__getitem__) == data.answers[asked][q] for q, found in own.items()])
        assert figures["recall@1 own language"] == pytest.approx(first)
        share = np.mean([sum(n not in other for n in sorted(f, key=lambda n: -f[n])[:10]) / 10 for f in run.values()])
        assert figures["same language in top 10"] == pytest.approx(share, abs=0.04)
    mean = np.mean([report.figures[tiny_encoder.name][code]["map"] for code in data.languages])
    assert report.figure("map") == pytest.approx(mean)


def test_the_histogram_of_ranks_counts_every_answer(data: XquadR, tiny_encoder: Encoder) -> None:
    report = scored(data, tiny_encoder)
    for sides in report.details["histogram"][tiny_encoder.name].values():
        assert all(sum(shares) == pytest.approx(1) for shares in sides.values())
    assert [table.title.split(":")[-1].split(",")[0].strip() for table in report.tables[:2]] == ["map", "map@20"]
    assert "BM25" in report.tables[0].markdown() and "bm25s" in report.tables[0].caption
    # No published figures can be compared with a made-up benchmark.
    assert "published" not in report.markdown()
    assert "left out" in report.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", r"de.json: not XQuAD-R's JSON"),
        ('{"data": [{"paragraphs": [{}]}]}', r"de.json: not XQuAD-R's JSON \(KeyError: 'context'\)"),
        (
            '{"data": [{"paragraphs": [{"context": "ab", "sentence_breaks": [[0, 1]], "qas": '
            '[{"id": "q", "question": "a", "answers": [{"answer_start": 1}]}]}]}]}',
            r"question 'q': no sentence holds its answer",
        ),
    ],
)
def test_corrupted_files_are_named(tmp_path: Path, change: str, message: str) -> None:
    (make_xquad_r(tmp_path) / "xquad-r" / "de.json").write_text(change, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_xquad_r(tmp_path)


def test_a_folder_without_the_benchmark_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds neither xquad-r/ar.json nor corpus.sentences.jsonl"):
        read_xquad_r(tmp_path)
    with pytest.raises(InputError, match=r"de.json: No such file"):
        read_xquad_r(tmp_path, languages=["de"])


def test_saved_runs_score_as_the_pool_does(data: XquadR, tiny_encoder: Encoder, tmp_path: Path) -> None:
    root = make_xquad_r(tmp_path / "set")
    report = evaluate("xquad-r", root, models=[tiny_encoder], unit="sentence", run_depth=99)
    (run,) = [report.runs[name] for name in report.runs if name == tiny_encoder.name]
    whole = {query: scores for part in run.values() for query, scores in part.items()}
    write_run(tmp_path / "mine.trec", whole)
    again = evaluate("xquad-r", root, runs=[tmp_path / "mine.trec"], unit="sentence")
    assert list(again.figures) == ["mine"] and not again.pictures
    for language in data.languages:
        expected = report.figures[tiny_encoder.name][language]
        assert again.figures["mine"][language] == pytest.approx(expected, abs=0.05)
        for metric in ("map", "map@20", "map other languages", "recall@1 own language"):
            assert again.figures["mine"][language][metric] == pytest.approx(expected[metric])
    write_run(tmp_path / "part.trec", run["de"])
    with pytest.raises(InputError, match=r"part: has no query of en; queries are called en:ID"):
        evaluate("xquad-r", root, runs=[tmp_path / "part.trec"])
