from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError, MissingExtraError
from mlret.eval.benchmarks.xor_retrieve import (
    answer_found,
    passages,
    questions_file,
    read_predictions,
    read_questions,
    word_tokenizer,
)
from mlret.eval.run import evaluate
from tests.eval.made import DOCUMENTS, make_xor, write

nltk = pytest.importorskip("nltk")


@pytest.fixture
def punkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a sentence model of nltk without abbreviations, where its loader looks for the real one."""
    from nltk.tokenize.punkt import PunktParameters, save_punkt_params

    folder = tmp_path / "nltk" / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    save_punkt_params(PunktParameters(), dir=str(folder))


def test_questions_are_read_without_those_of_yes_and_no(tmp_path: Path) -> None:
    questions = read_questions(questions_file(make_xor(tmp_path), "dev"))
    assert [(one.id, one.language) for one in questions] == [("1", "ja"), ("3", "fi"), ("4", "fi")]
    assert "yes" not in questions[0].answers
    with pytest.raises(InputError, match=r"has no questions in 'te'"):
        read_questions(questions_file(tmp_path, "dev"), ["te"])
    with pytest.raises(InputError, match=r"xor_test_retrieve_eng_span_v1_1.jsonl: not there"):
        questions_file(tmp_path, "test")


def test_the_first_tokens_alone_count(punkt: None) -> None:
    tokenize = word_tokenizer()
    texts = ["one two three four", "five six"]
    assert answer_found(texts, ["five"], [4, 5], tokenize) == [False, True]
    assert answer_found(texts, ["four five"], [4, 5, 6], tokenize) == [False, True, True]
    assert answer_found(texts, ["Five"], [99], tokenize) == [False]
    assert answer_found([], ["five"], [99], tokenize) == [False]


def test_the_quirk_of_the_official_script_is_kept(punkt: None) -> None:
    tokenize = word_tokenizer()
    # The tokens are "do n't" and "( 1999 )", unlike the answer, so it is never found.
    assert answer_found(["They don't know (1999)."], ["don't", "(1999)"], [99], tokenize) == [False]
    assert answer_found(["They don't know (1999)."], ["They do", "1999"], [99], tokenize) == [True]
    # A full stop is a token of its own at the end of every sentence, not only of the text.
    assert answer_found(["It rained. It poured."], ["rained ."], [99], tokenize) == [True]


def test_passages_are_of_dprs_file(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write(path, 'id\ttext\ttitle\n1\t"He said ""no"" twice."\tTalk\n2\tplain\tT\n')
    found = list(passages(path)())
    assert [(one.id, one.text, one.metadata["passage"]) for one in found] == [
        ("1", 'Talk\nHe said "no" twice.', 'He said "no" twice.'),
        ("2", "T\nplain", "plain"),
    ]
    write(path, "id\ttext\n1\ta\n")
    with pytest.raises(InputError, match=r"the header is not id<TAB>text<TAB>title"):
        passages(path)
    write(path, "id\ttext\ttitle\n1\ta\n")
    with pytest.raises(InputError, match=r"p.tsv:2: 2 columns, not 3"):
        list(passages(path)())


def test_predictions_are_scored_by_language(punkt: None, tmp_path: Path) -> None:
    make_xor(tmp_path)
    texts = list(DOCUMENTS.values())
    answer = {"1": [texts[11], texts[0]], "3": texts, "4": []}
    predictions = tmp_path / "mine.json"
    predictions.write_text(json.dumps([{"id": q, "lang": "x", "ctxs": c} for q, c in answer.items()]), encoding="utf-8")
    report = evaluate("xor-retrieve", tmp_path, predictions=[predictions])
    assert list(report.figures) == ["mine"]
    assert report.figure("r@2kt", group="ja") == 1.0
    assert report.figure("r@2kt", group="fi") == 0.0
    assert report.figure("r@5kt") == 0.5
    assert report.notes == []
    predictions.write_text(json.dumps([{"id": "1", "lang": "ja", "ctxs": []}]), encoding="utf-8")
    assert (
        "no prediction for 2 questions, e.g. '3'"
        in evaluate("xor-retrieve", tmp_path, predictions=[predictions]).notes[0]
    )
    predictions.write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(InputError, match=r"not a list of {id, lang, ctxs}"):
        read_predictions(predictions)


def test_an_encoder_and_the_baselines_rank_the_passages(punkt: None, tmp_path: Path, tiny_encoder: Encoder) -> None:
    report = evaluate("xor-retrieve", make_xor(tmp_path), models=[tiny_encoder])
    assert list(report.figures) == [tiny_encoder.name, "BM25", "random"]
    # All twelve passages fit into 2,000 tokens, so every existing answer is found.
    assert report.figures[tiny_encoder.name]["ja"] == {"r@2kt": 1.0, "r@5kt": 1.0}
    assert report.figures[tiny_encoder.name]["fi"]["r@5kt"] == 0.5
    assert set(report.runs[tiny_encoder.name]["fi"]) == {"3", "4"}
    # BM25 finds only the question's own word.
    assert report.figure("r@5kt", system="BM25", group="ja") == 1.0


def test_without_the_sentence_model_the_error_says_how_to_fix_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    getattr(nltk.tokenize._get_punkt_tokenizer, "cache_clear", lambda: None)()
    with pytest.raises(MissingExtraError, match=r"nltk.downloader punkt_tab"):
        word_tokenizer()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"jsonl:5: not {id, question, lang, answers}"),
        ('{"id": "1", "question": "a", "lang": "ja", "answers": ["b"]}', r"jsonl:5: question '1' is on line 1 too"),
        ('{"id": "9", "question": 3, "lang": "ja", "answers": ["b"]}', r"jsonl:5: not .*must be strings"),
    ],
)
def test_corrupted_questions_are_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = questions_file(make_xor(tmp_path), "dev")
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_questions(path)
