"""Test the retrieval benchmarks in their own layouts: what is read, and what is reported of inconsistent data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from mlret.data.retrieval import Topic
from mlret.errors import InputError
from mlret.eval.benchmarks.beir import read_beir
from mlret.eval.benchmarks.miracl import read_miracl
from mlret.eval.benchmarks.mmarco import read_mmarco
from mlret.eval.benchmarks.mrtydi import LANGUAGES, PROTOCOL, fetched_version, protocol_of, read_mrtydi
from mlret.eval.collection import Collection, checked, from_ir_datasets
from tests.eval.made import (
    DOCUMENTS,
    QRELS,
    QUERIES,
    make_beir,
    make_miracl,
    make_mmarco,
    make_mrtydi,
    write,
)
from tests.shared import shared_data

Made = tuple[Path, Callable[..., list[Collection]]]


@pytest.fixture(params=["mrtydi", "miracl", "mmarco", "beir"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    make = {"mrtydi": make_mrtydi, "miracl": make_miracl, "mmarco": make_mmarco, "beir": make_beir}[request.param]
    read = {"mrtydi": read_mrtydi, "miracl": read_miracl, "mmarco": read_mmarco, "beir": read_beir}[request.param]
    return make(tmp_path / "set"), read


def test_topics_judgements_and_documents_are_read(made: Made) -> None:
    (found,) = (checked(one) for one in made[1](made[0]))
    assert {topic.id: topic.text for topic in found.queries} == QUERIES
    assert found.qrels == QRELS
    assert (found.size, found.notes) == (len(DOCUMENTS), ())
    assert found.documents is not None
    documents = {document.id: document.text for document in found.documents()}
    assert documents.keys() == DOCUMENTS.keys()
    assert all(DOCUMENTS[name] in text for name, text in documents.items())
    assert all(document.language == found.language for document in found.documents())


def test_saved_runs_need_no_corpus(made: Made) -> None:
    for path in [*made[0].rglob("*docs*"), *made[0].rglob("*orpus.jsonl"), *made[0].rglob("*collection.tsv")]:
        path.unlink()
    (found,) = (checked(one) for one in made[1](made[0], with_corpus=False))
    assert (found.documents, found.size) == (None, None)
    assert len(found.queries) == len(QUERIES)


def test_a_missing_folder_is_an_error(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        made[1](tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: (holds no|is not a data set)"):
        made[1](tmp_path / "empty")


def collection(**changes: object) -> Collection:
    from mlret.data.documents import Document

    base = Collection(
        "sw",
        "sw",
        {name: Topic(name, text) for name, text in QUERIES.items()},
        {query: dict(found) for query, found in QRELS.items()},
        lambda: (Document(name, text) for name, text in DOCUMENTS.items()),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_topics_without_judgements_are_skipped_and_reported() -> None:
    qrels = {query: found for query, found in QRELS.items() if query != "3"}
    found = checked(collection(qrels=qrels))
    assert "3" not in {topic.id for topic in found.queries}
    assert found.notes == ("sw: 1 topic without judgements skipped, e.g. '3'",)


def test_judgements_without_a_topic_are_skipped_and_reported() -> None:
    found = checked(collection(qrels={**QRELS, "99": {"0#0": 1}, "98": {"0#0": 1}}))
    assert found.qrels == QRELS
    assert found.notes == ("sw: judgements of 2 queries without a topic skipped, e.g. '99'",)


def test_missing_judged_documents_are_reported() -> None:
    qrels = {query: dict(found) for query, found in QRELS.items()}
    qrels["0"]["elsewhere#1"] = 1
    found = checked(collection(qrels=qrels))
    assert found.notes == (
        "sw: 1 relevant document not in the corpus, e.g. 'elsewhere#1'; they count as not retrieved",
    )
    assert found.qrels == qrels
    qrels["0"]["elsewhere#1"] = 0
    assert checked(collection(qrels=qrels)).notes == ()


def test_another_corpus_or_another_split_is_an_error() -> None:
    with pytest.raises(InputError, match=r"none of the 1 relevant documents is in the corpus, e.g. 'x'"):
        checked(collection(qrels={"0": {"x": 1}}))
    with pytest.raises(InputError, match=r"no topic is judged .*same split"):
        checked(collection(qrels={"77": {"0#0": 1}}))


def test_a_document_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    make_mrtydi(tmp_path)
    path = tmp_path / "mrtydi-v1.1-swahili" / "collection" / "docs.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([*lines, lines[2]]).encode()))
    (found,) = read_mrtydi(tmp_path)
    with pytest.raises(InputError, match=r"docs.jsonl.gz:13: the document id '2#2' occurs twice"):
        checked(found)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7", r"topic.test.tsv:7: 1 column, not 2"),
        ("0\tagain", r"topic.test.tsv:7: query '0' is on line 1 too"),
        ("7\t ", r"topic.test.tsv:7: the text is empty"),
    ],
)
def test_corrupted_topics_are_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    make_mrtydi(tmp_path)
    path = tmp_path / "mrtydi-v1.1-swahili" / "topic.test.tsv"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_mrtydi(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("qrels/test.tsv", "1\t2", r"test.tsv:8: not query-id<TAB>corpus-id<TAB>score"),
        ("qrels/test.tsv", "0\t0#0\t2", r"test.tsv:8: document '0#0' of query '0' is on line 2 too, with relevance 1"),
        ("queries.jsonl", "{}", r"queries.jsonl:8: not {\"_id\""),
        ("queries.jsonl", '{"_id": "0", "text": "b"}', r"queries.jsonl:8: the query '0' occurs twice"),
        ("queries.jsonl", '{"_id": "z", "text": " "}', r"queries.jsonl:8: the text of query 'z' is empty"),
    ],
)
def test_corrupted_files_of_beir_are_named_by_file_and_line(tmp_path: Path, name: str, line: str, message: str) -> None:
    path = make_beir(tmp_path / "set") / name
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_beir(tmp_path / "set")


def test_missing_languages_and_splits_are_named(tmp_path: Path) -> None:
    make_mrtydi(tmp_path)
    with pytest.raises(InputError, match=r"Mr.TyDi has no language 'de'; there are ar, bn"):
        read_mrtydi(tmp_path, languages=["de"])
    with pytest.raises(InputError, match=r"ar: topics not found: expected .*mrtydi-v1.1-arabic/topic.test.tsv"):
        read_mrtydi(tmp_path, languages=["ar"])
    with pytest.raises(InputError, match=r"sw: topics not found: expected .*topic.dev.tsv"):
        read_mrtydi(tmp_path, split="dev")
    with pytest.raises(InputError, match=r"no split 'best'"):
        read_mrtydi(tmp_path, split="best")
    with pytest.raises(InputError, match=r"MIRACL has judgements for train, dev, not for 'test'"):
        read_miracl(tmp_path, split="test")


def test_several_data_sets_of_beir_are_read_by_name(tmp_path: Path) -> None:
    make_beir(tmp_path / "b"), make_beir(tmp_path / "a")
    assert [found.group for found in read_beir(tmp_path)] == ["a", "b"]
    assert [found.group for found in read_beir(tmp_path, datasets=["b"])] == ["b"]
    with pytest.raises(InputError, match=r"has no data set 'c'; there are a, b"):
        read_beir(tmp_path, datasets=["c"])
    with pytest.raises(InputError, match=r"name the data sets to fetch"):
        read_beir("ir_datasets")


def test_blank_translations_of_mmarco_are_skipped(tmp_path: Path) -> None:
    make_mmarco(tmp_path)
    path = tmp_path / "collections" / "german_collection.tsv"
    path.write_text(path.read_text(encoding="utf-8") + "blank\t \n", encoding="utf-8")
    (found,) = read_mmarco(tmp_path)
    assert found.documents is not None
    assert len(list(found.documents())) == len(DOCUMENTS)
    write(path, "no tab here\n")
    with pytest.raises(InputError, match=r"german_collection.tsv:1: not pid<TAB>text"):
        read_mmarco(tmp_path)


def test_the_number_of_official_topics_is_that_of_the_papers() -> None:
    """Judged queries by the papers of Mr.TyDi and MIRACL (arXiv 2108.08787, table 1; 2210.09984, table 2)."""
    data = shared_data("mrtydi_miracl_topics")
    tests = {"ar": 1081, "bn": 111, "en": 744, "fi": 1254, "id": 829, "ja": 720, "ko": 421, "ru": 995, "sw": 670,
             "te": 646, "th": 1190}  # fmt: skip
    found = {one.group: checked(one) for one in read_mrtydi(data, with_corpus=False)}
    assert list(found) == list(LANGUAGES)
    assert {code: len(one.queries) for code, one in found.items()} == tests
    dev = {"ar": 2896, "bn": 411, "en": 799, "es": 648, "fa": 632, "fi": 1271, "fr": 343, "hi": 350, "id": 960,
           "ja": 860, "ko": 213, "ru": 1252, "sw": 482, "te": 828, "th": 733, "zh": 393, "de": 305,
           "yo": 119}  # fmt: skip
    miracl = {one.group: checked(one) for one in read_miracl(data, with_corpus=False)}
    assert {code: len(one.queries) for code, one in miracl.items()} == dev


def test_a_collection_of_ir_datasets_is_read_as_the_same_in_files(tmp_path: Path) -> None:
    ir_datasets = pytest.importorskip("ir_datasets")
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
    from ir_datasets.util import LocalDownload

    docs = "".join(json.dumps({"doc_id": name, "title": "T", "text": text}) + "\n" for name, text in DOCUMENTS.items())
    write(tmp_path / "docs.jsonl", docs)
    write(tmp_path / "queries.tsv", "".join(f"{name}\t{text}\n" for name, text in QUERIES.items()))
    write(tmp_path / "qrels", "".join(f"{q} 0 {d} {g}\n" for q, found in QRELS.items() for d, g in found.items()))

    class Doc(NamedTuple):
        doc_id: str
        title: str
        text: str

    dataset = Dataset(
        JsonlDocs(LocalDownload(tmp_path / "docs.jsonl"), doc_cls=Doc),
        TsvQueries(LocalDownload(tmp_path / "queries.tsv")),
        TrecQrels(LocalDownload(tmp_path / "qrels"), {1: "relevant"}),
    )
    ir_datasets.registry.register("mlret-made", dataset)
    found = checked(from_ir_datasets("mlret-made", "sw", "sw"))
    assert found.notes == (f"sw: fetched by ir_datasets {ir_datasets.__version__}, mlret-made",)
    assert found.qrels == QRELS
    assert {topic.id: topic.text for topic in found.queries} == QUERIES
    assert found.documents is not None
    assert {one.id: one.text for one in found.documents()} == {name: f"T\n{text}" for name, text in DOCUMENTS.items()}
    with pytest.raises(InputError, match=r"ir_datasets has no 'mlret-not-there'"):
        from_ir_datasets("mlret-not-there", "sw", "sw")


def test_mrtydi_is_named_by_the_version_that_is_read() -> None:
    ir_datasets = pytest.importorskip("ir_datasets")
    if ir_datasets.__version__ == "0.6.3":
        assert fetched_version() == "1.0"
    assert protocol_of("some-folder") is PROTOCOL
    protocol = protocol_of("ir_datasets")
    assert protocol.title == f"Mr.TyDi v{fetched_version()}"
    if fetched_version() != "1.1":
        assert "v1.1" not in protocol.title + protocol.description.split(":")[0]
        assert protocol.sizes == {}  # no published figures are shown
