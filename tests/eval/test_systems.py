from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlret.data.documents import Document
from mlret.data.retrieval import Topic, write_run
from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.eval.bm25 import Bm25
from mlret.eval.collection import Collection
from mlret.eval.metrics import rank_documents
from mlret.eval.scorers import maxsim_matrix
from mlret.eval.systems import Bm25System, IndexSystem, RandomSystem, SavedRuns
from mlret.index.settings import IndexRecipe, IndexSettings
from tests.conftest import WORDS

NAMES = [f"d{number:02}" for number in range(30)]
TEXTS = [" ".join(np.random.default_rng(number).choice(WORDS, 5)) for number in range(30)]
QUERIES = {f"q{number}": " ".join(WORDS[number : number + 2]) for number in range(5)} | {"d03": TEXTS[3]}


@pytest.fixture
def collection() -> Collection:
    return Collection(
        "sw",
        "sw",
        {name: Topic(name, text) for name, text in QUERIES.items()},
        {name: {"d00": 1} for name in QUERIES},
        lambda: (Document(name, text, "sw") for name, text in zip(NAMES, TEXTS, strict=True)),
    )


def best(scores: np.ndarray, k: int) -> dict[str, list[str]]:  # type: ignore[type-arg]
    rows = [dict(zip(NAMES, map(float, np.round(row, 6)), strict=True)) for row in scores]
    return {query: rank_documents(row)[:k] for query, row in zip(QUERIES, rows, strict=True)}


def test_an_encoder_ranks_as_comparing_with_every_document_does(collection: Collection, tiny_encoder: Encoder) -> None:
    expected = best(tiny_encoder.encode(list(QUERIES.values())) @ tiny_encoder.encode(TEXTS).T, 7)
    system = IndexSystem(tiny_encoder)
    run = system.retrieve(collection, 7)
    assert {query: list(scores) for query, scores in run.items()} == expected
    facts = system.facts()
    assert facts["fingerprint"] == tiny_encoder.fingerprint
    assert facts["milliseconds"] > 0 and facts["bytes"] > 4 * tiny_encoder.dims


def test_a_multi_vector_encoder_ranks_by_maxsim(collection: Collection, tiny_token_encoder: TokenEncoder) -> None:
    queries = tiny_token_encoder.encode_query(list(QUERIES.values()))
    scores = maxsim_matrix(queries, tiny_token_encoder.encode_document(TEXTS))
    run = IndexSystem(tiny_token_encoder).retrieve(collection, 30)
    for row, found in zip(scores, run.values(), strict=True):
        assert found == pytest.approx(dict(zip(NAMES, map(float, row), strict=True)), rel=1e-2)


def test_calibration_gets_the_language_of_the_topics(collection: Collection, calibrated_encoder: Encoder) -> None:
    expected = best(
        calibrated_encoder.encode(list(QUERIES.values()), language="sw")
        @ calibrated_encoder.encode(TEXTS, language="sw").T,
        5,
    )
    run = IndexSystem(calibrated_encoder).retrieve(collection, 5)
    assert {query: list(scores) for query, scores in run.items()} == expected


def test_more_queries_than_fit_at_once_are_all_answered(collection: Collection, tiny_encoder: Encoder) -> None:
    topics = {f"t{number}": Topic(f"t{number}", WORDS[number % 20]) for number in range(300)}
    many = replace(collection, topics=topics, qrels={name: {"d00": 1} for name in topics})
    run = IndexSystem(tiny_encoder).retrieve(many, 3)
    assert list(run) == list(topics)
    for number in range(20, 300):
        assert run[f"t{number}"] == pytest.approx(run[f"t{number % 20}"], abs=2e-6)


def test_an_index_is_kept_and_resumed(
    collection: Collection, tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = list(collection.documents())  # type: ignore[misc]
    first = IndexSystem(tiny_encoder, tmp_path / "indexes").retrieve(collection, 5)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(tiny_encoder, "encode_document", fail)
    assert IndexSystem(tiny_encoder, tmp_path / "indexes").retrieve(collection, 5) == first
    fewer = replace(collection, documents=lambda: iter(documents[:-1]))
    with pytest.raises(InputError, match=r"holds 30 documents, the corpus has 29: it is the index of another corpus"):
        IndexSystem(tiny_encoder, tmp_path / "indexes").retrieve(fewer, 5)


def test_a_kind_of_index_is_searched_as_in_use(collection: Collection, tiny_encoder: Encoder) -> None:
    recipe = IndexRecipe(name="hnsw", settings=IndexSettings(kind="hnsw"))
    system = IndexSystem(tiny_encoder, recipe=recipe)
    assert system.name == f"{tiny_encoder.name}, hnsw"
    assert list(system.retrieve(collection, 5)["q1"]) == list(IndexSystem(tiny_encoder).retrieve(collection, 5)["q1"])


def test_bm25_ranks_by_its_scores_and_breaks_ties_by_id(collection: Collection) -> None:
    scores = Bm25(TEXTS, ["sw"] * 30).scores(list(QUERIES.values()), ["sw"] * len(QUERIES)).toarray()
    run = Bm25System().retrieve(collection, 4)
    for query, row in zip(QUERIES, scores, strict=True):
        found = {name: float(score) for name, score in zip(NAMES, row, strict=True) if score > 0}
        assert list(run[query]) == rank_documents(found)[:4]
        assert run[query] == pytest.approx({name: found[name] for name in run[query]})


@pytest.mark.parametrize("kind", ["index", "bm25"])
def test_the_document_with_the_query_id_is_excluded_where_required(
    collection: Collection, tiny_encoder: Encoder, kind: str
) -> None:
    system = IndexSystem(tiny_encoder) if kind == "index" else Bm25System()
    kept = system.retrieve(collection, 5)["d03"]
    dropped = system.retrieve(replace(collection, drop_identical=True), 5)["d03"]
    assert next(iter(kept)) == "d03"
    assert "d03" not in dropped
    assert list(dropped)[:4] == list(kept)[1:]
    assert len(dropped) == 5


def test_chance_is_the_same_each_time_and_differs_by_query(collection: Collection) -> None:
    run = RandomSystem().retrieve(collection, 6)
    assert run == RandomSystem().retrieve(collection, 6) != RandomSystem(seed=1).retrieve(collection, 6)
    assert all(len(scores) == 6 for scores in run.values())
    assert len({tuple(scores) for scores in run.values()}) == len(run)


def test_saved_runs_come_from_a_file_or_one_per_group(collection: Collection, tmp_path: Path) -> None:
    run = {"q0": {"d00": 2.0, "d01": 1.0}, "elsewhere": {"d00": 1.0}}
    write_run(tmp_path / "mine.trec", run)
    write_run(tmp_path / "sw.trec.gz", run)
    assert SavedRuns(tmp_path / "mine.trec").retrieve(collection, 9) == {"q0": run["q0"]}
    assert SavedRuns(tmp_path).retrieve(collection, 9) == {"q0": run["q0"]}
    with pytest.raises(InputError, match=r"has no run for de; expected de.trec"):
        SavedRuns(tmp_path).retrieve(replace(collection, group="de"), 9)
    with pytest.raises(InputError, match=r"no such run"):
        SavedRuns(tmp_path / "nowhere")
    write_run(tmp_path / "other.trec", {"x": {"d00": 1.0}})
    with pytest.raises(InputError, match=r"has none of the 6 queries of sw, e.g. 'q0'"):
        SavedRuns(tmp_path / "other.trec").retrieve(collection, 9)


def test_saved_runs_lose_the_querys_own_document_where_the_benchmark_drops_it(
    collection: Collection, tmp_path: Path
) -> None:
    write_run(tmp_path / "mine.trec", {"d03": {"d03": 9.0, "d00": 2.0, "d01": 1.0}, "q0": {"d03": 1.0}})
    system = SavedRuns(tmp_path / "mine.trec")
    assert system.retrieve(collection, 9)["d03"] == {"d03": 9.0, "d00": 2.0, "d01": 1.0}
    dropped = system.retrieve(replace(collection, drop_identical=True), 9)
    assert dropped == {"d03": {"d00": 2.0, "d01": 1.0}, "q0": {"d03": 1.0}}


def test_without_a_corpus_nothing_can_be_ranked(collection: Collection, tiny_encoder: Encoder) -> None:
    bare = replace(collection, documents=None)
    for system in (IndexSystem(tiny_encoder), Bm25System(), RandomSystem()):
        with pytest.raises(InputError, match=r"there is no corpus to search"):
            system.retrieve(bare, 5)
