"""Reranking the best documents of a search by encoders, cross-encoders and callables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import mlret
from mlret import Index, InputError
from mlret.cli.main import app
from mlret.encoders.similarity import similarities
from mlret.index.reranking import CANDIDATES, as_reranker, load_reranker

TEXTS = {
    "train": ("de", "Der Zug nach Berlin hat eine Stunde Verspätung."),
    "library": ("sw", "Maktaba inafunguliwa saa tatu asubuhi."),
    "food": ("fr", "Le prix du pain a augmenté cette année."),
    "river": ("en", "She sat on the bank of the river and fished."),
    "money": ("en", "She went to the bank to deposit her money."),
}
DOCUMENTS = [{"id": id, "lang": language, "text": text} for id, (language, text) in TEXTS.items()]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.create(tmp_path_factory.mktemp("reranking") / "index") as made:
        made.add(DOCUMENTS)
        yield made


def lengths(query: str, texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def test_a_callable_decides_the_order_of_the_candidates(index: Index) -> None:
    found = index.search("where is the bank?", k=2, rerank=lengths, candidates=5)
    expected = sorted(TEXTS, key=lambda id: -len(TEXTS[id][1]))[:2]
    assert [hit.id for hit in found] == expected
    assert [hit.rank for hit in found] == [1, 2]
    for hit in found:
        assert hit.kind == "rerank"
        assert hit.score == hit.scores["rerank"] == hit.terms["rerank"] == len(hit.text)
        assert hit.scores["dense"] == pytest.approx(hit.cosine)


def test_only_the_best_candidates_are_ranked_anew(index: Index) -> None:
    plain = [hit.id for hit in index.search("where is the bank?", k=5)]
    seen: list[str] = []

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        assert query == "where is the bank?"
        seen.extend(texts)
        return list(range(len(texts)))

    found = index.search("where is the bank?", k=3, rerank=rerank, candidates=3)
    assert seen == [TEXTS[id][1] for id in plain[:3]]
    assert [hit.id for hit in found] == plain[2::-1]


def test_candidates_are_never_fewer_than_the_hits_asked_for(index: Index) -> None:
    assert len(index.search("where is the bank?", k=5, rerank=lengths, candidates=2)) == 5


def test_equal_scores_keep_the_order_of_the_search(index: Index) -> None:
    plain = [hit.id for hit in index.search("a delayed train", k=5)]
    assert [
        hit.id for hit in index.search("a delayed train", k=5, rerank=lambda query, texts: [0.0] * len(texts))
    ] == plain


def test_each_query_of_a_batch_is_ranked_anew_by_itself(index: Index) -> None:
    queries = ["a delayed train", "the price of food"]
    assert index.search_batch(queries, 3, rerank=lengths) == [index.search(one, 3, rerank=lengths) for one in queries]


def test_a_filter_holds_before_reranking(index: Index) -> None:
    found = index.search("where is the bank?", rerank=lengths, where={"lang": "en"})
    assert [hit.id for hit in found] == ["river", "money"] or [hit.id for hit in found] == ["money", "river"]


def test_nothing_is_ranked_where_nothing_is_found(index: Index) -> None:
    assert index.search("where is the bank?", rerank=lengths, ids=[]) == []


def test_an_encoder_is_averaged_with_the_search_over_the_candidates(index: Index) -> None:
    encoder = mlret.load_token_encoder()
    query = "Where can I put my savings?"
    plain = index.search(query, k=5, language="en")
    [asked] = encoder.encode_query([query], language="en")
    passages = encoder.encode_document([hit.text for hit in plain], language=[hit.language for hit in plain])
    maxsim = np.array([(asked @ one.T).max(axis=1).mean() for one in passages])
    dense = np.array([hit.score for hit in plain])
    standard = [(values - values.mean()) / values.std() for values in (dense, maxsim)]
    expected = (standard[0] + standard[1]) / 2
    found = index.search(query, k=5, language="en", rerank=encoder)
    assert [hit.id for hit in found] == [plain[place].id for place in np.argsort(-expected)]
    assert [hit.score for hit in found] == pytest.approx(np.sort(expected)[::-1].tolist(), abs=1e-5)
    assert found[0].id == "money"


def test_vectors_of_documents_are_kept_for_the_next_query(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = mlret.load_token_encoder()
    encoded: list[str] = []
    encode = encoder.encode_document

    def counting(texts: Sequence[str], **options: Any) -> Any:
        encoded.extend(texts)
        return encode(texts, **options)

    monkeypatch.setattr(encoder, "encode_document", counting)
    for query in ("a delayed train", "the price of food"):
        index.search(query, k=2, rerank=encoder)
    assert sorted(encoded) == sorted(text for _, text in TEXTS.values())


def test_similarities_of_texts_without_tokens_are_lowest() -> None:
    query = np.eye(3, dtype=np.float32)
    passages = [np.eye(3, dtype=np.float32)[:2], np.zeros((0, 3), np.float32), -np.eye(3, dtype=np.float32)]
    expected = [np.mean([1, 1, 0]), -1, 0]
    assert similarities(query, passages).tolist() == pytest.approx(expected)
    assert similarities(query[:0], passages).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("scores", [[1.0], [float("nan")] * 5, [[1.0]] * 5, ["high"] * 5])
def test_scores_that_rank_nothing_are_an_error(index: Index, scores: list[Any]) -> None:
    with pytest.raises(InputError, match=r"rerank gave .*; it must give a finite number for each text"):
        index.search("where is the bank?", rerank=lambda query, texts: scores)


@pytest.mark.parametrize("wrong", ["tokens", 3, dict])
def test_what_cannot_rerank_is_an_error(index: Index, wrong: Any) -> None:
    with pytest.raises(InputError, match=r"rerank is .*; give an encoder"):
        index.search("where is the bank?", rerank=wrong)
    with pytest.raises(InputError, match="candidates is 0; it must be an integer of at least 1"):
        index.search("where is the bank?", rerank=lengths, candidates=0)


def test_a_cross_encoder_reads_query_and_text_together(index: Index, backbone: Path, tmp_path: Path) -> None:
    from torch.nn import Identity

    model = cross_encoder(backbone, labels=1)
    found = index.search("where is the bank?", k=5, rerank=model)
    pairs = [("where is the bank?", hit.text) for hit in found]
    expected = model.predict(pairs, activation_fn=Identity()).tolist()
    assert [hit.score for hit in found] == pytest.approx(expected, rel=1e-4)
    assert expected == sorted(expected, reverse=True)
    model.save_pretrained(str(tmp_path))
    again = index.search("where is the bank?", k=5, rerank=load_reranker(str(tmp_path)))
    assert [hit.id for hit in again] == [hit.id for hit in found]


def test_a_cross_encoder_with_several_labels_is_an_error(backbone: Path) -> None:
    with pytest.raises(InputError, match="has 3 labels, not one score"):
        as_reranker(cross_encoder(backbone, labels=3))


def test_a_reranker_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encoder folder at"):
        load_reranker(str(tmp_path / "missing"))


def test_the_command_line_reranks_by_tokens(index: Index) -> None:
    runner = CliRunner()
    query = "Where can I put my savings?"
    answer = runner.invoke(app, ["search", str(index.path), query, "-l", "en", "--rerank", "tokens", "--json"])
    assert answer.exit_code == 0, answer.output
    hits = json.loads(answer.stdout)["hits"]
    expected = index.search(query, k=5, language="en", rerank=mlret.load_token_encoder(), candidates=CANDIDATES)
    assert [(hit["id"], hit["kind"]) for hit in hits] == [(hit.id, "rerank") for hit in expected]


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("http://127.0.0.1:1/notes", ["--rerank", "tokens"], "--rerank needs the folder of an index"),
        ("notes", ["--candidates", "3"], "--candidates is the number of documents that --rerank ranks anew"),
        ("notes", ["--rerank", "tokens", "--candidates", "0"], "--candidates is 0"),
    ],
)
def test_options_that_cannot_work_are_errors(place: str, options: list[str], message: str) -> None:
    answer = CliRunner().invoke(app, ["search", place, "a query", *options])
    assert isinstance(answer.exception, InputError)
    assert message in str(answer.exception)


@pytest.fixture(scope="module")
def backbone(tiny_encoder_folder: Path) -> Path:
    return tiny_encoder_folder.parent / "backbone"


def cross_encoder(backbone: Path, labels: int) -> Any:
    """Return a small cross-encoder whose head has random weights."""
    from sentence_transformers import CrossEncoder
    from torch import manual_seed

    manual_seed(0)
    return CrossEncoder(str(backbone), num_labels=labels, device="cpu")


def test_of_a_long_document_the_passage_that_was_found_is_compared(tmp_path: Path) -> None:
    filler = "The weather report of the day says that it stays dry in the north and west. " * 60
    with Index.create(tmp_path / "index") as made:
        made.add([{"id": "long", "lang": "en", "text": filler + TEXTS["money"][1] + " " + filler}])
        seen: list[str] = []

        def rerank(query: str, texts: Sequence[str]) -> list[int]:
            seen.extend(texts)
            return [1] * len(texts)

        [hit] = made.search("Where can I put my savings?", language="en", rerank=rerank)
    assert hit.passage is not None and seen == [hit.passage.text]
    assert TEXTS["money"][1] in seen[0] and len(seen[0]) < len(filler)
