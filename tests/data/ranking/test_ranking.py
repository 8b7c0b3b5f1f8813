"""Test training data for retrieval: every format gives the examples that it contains."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.ranking import FORMATS, RankingExample, read_ranking
from mlret.data.ranking.formats import FORMS, TABULAR
from mlret.data.ranking.texts import IdentifiedText, TextStore
from mlret.errors import InputError
from tests.shared import shared_data

QUERY, YES, NO, NEVER = "who sat on the mat", "the cat sat on the mat", "seven dogs ran home", "fish in warm rain"
ONE = RankingExample(QUERY, (YES,), (NO,))
TWO = RankingExample(QUERY, (YES,), (NO, NEVER))
COLLECTION = f"7\t{YES}\n8\t{NO}\n9\t{NEVER}\n10\t \n"
QUERIES = f"1\t{QUERY}\n2\twhat ran home\n"


def scored(*scores: float) -> RankingExample:
    """Return the first example with scores, or with a third score the second example."""
    return replace(ONE if len(scores) == 2 else TWO, scores=tuple(map(float, scores)))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    compress: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress}
    path.write_bytes(compress.get(path.suffix, bytes)(data))
    return path


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read(source: Path, **options: Any) -> list[RankingExample]:
    return list(read_ranking(source, **options))


def bare(examples: Sequence[RankingExample]) -> list[RankingExample]:
    """Return only the texts and scores."""
    return [RankingExample(one.query, one.positives, one.negatives, one.scores) for one in examples]


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(str.strip).filter(bool)


@st.composite
def examples(draw: st.DrawFn) -> RankingExample:
    positives, negatives = draw(st.lists(texts, min_size=1, max_size=3)), draw(st.lists(texts, max_size=3))
    count = len(positives) + len(negatives)

    def a_passage(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(values, min_size=count, max_size=count).map(tuple))

    language = draw(st.none() | st.sampled_from(["sw", "en", "zh-Hant"]))
    languages = a_passage(st.sampled_from(["de", "fi"]))
    return RankingExample(
        draw(texts),
        tuple(positives),
        tuple(negatives),
        scores=a_passage(st.floats(allow_nan=False, allow_infinity=False)),
        language=language,
        task=draw(st.none() | texts),
        query_id=draw(st.none() | texts),
        passage_ids=a_passage(texts),
        passage_languages=languages,
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(examples(), min_size=1, max_size=4), st.sampled_from(["x.jsonl", "x.jsonl.gz", "x.json"]))
def test_what_mlret_writes_it_reads_back(written: list[RankingExample], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / name, lines(*(one.to_record() for one in written)))
        reader = read_ranking(path)
        assert list(reader) == written
        assert list(reader) == written, "it can be read again"
        assert reader.read_bytes == reader.total_bytes == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(st.lists(examples(), min_size=1, max_size=4))
def test_an_array_and_a_table_hold_the_same(written: list[RankingExample]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [one.to_record() for one in written]
    with tempfile.TemporaryDirectory() as folder:
        array = write(Path(folder) / "x.json", json.dumps(records))
        assert read(array) == written
        table = Path(folder) / "x.parquet"
        keys = list(dict.fromkeys(key for record in records for key in record))
        parquet.write_table(pyarrow.table({key: [record.get(key) for record in records] for key in keys}), table)
        assert read(table) == written


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"anchor": QUERY, "positive": YES, "negative": NO}, ONE),
        ({"query": QUERY, "positive": YES, "negative_10": NEVER, "negative_2": NO}, TWO),
        ({"question": QUERY, "answer": YES}, RankingExample(QUERY, (YES,))),
        ({"query": QUERY, "pos": [YES], "neg": [NO, NEVER]}, TWO),
        ({"query": QUERY, "pos": [YES], "neg": [NO], "pos_scores": [2], "neg_scores": [1]}, scored(2, 1)),
        ({"query": QUERY, "pos": [YES], "neg": [NO], "teacher_scores": [2, 1]}, scored(2, 1)),
        ({"query": QUERY, "positive": YES, "negative": NO, "score": 3.5}, scored(3.5, 0)),
        ({"anchor": QUERY, "positive": YES, "negative": NO, "score": [2, 1]}, scored(2, 1)),
        ({"query": QUERY, "passages": [NO, YES, NEVER], "labels": [0, 1, 0]}, TWO),
        ({"query": QUERY, "documents": [NO, YES, NEVER], "scores": [1, 5, 3]}, scored(5, 1, 3)),
        ({"query": QUERY, "docs": [{"text": NO, "score": 1}, {"text": YES, "score": 5}]}, scored(5, 1)),
        (
            {"query": QUERY, "positive": {"title": "Mats", "text": YES}, "negative": [NO, " "]},
            replace(ONE, positives=(f"Mats\n{YES}",)),
        ),
        (
            {"query": QUERY, "positive": YES, "negative": NO, "lang": "eng", "task": "qa"},
            replace(ONE, language="en", task="qa"),
        ),
    ],
)
def test_columns_of_sentence_transformers_and_flagembedding(
    tmp_path: Path, record: dict[str, Any], expected: RankingExample
) -> None:
    assert read(write(tmp_path / "x.jsonl", lines(record))) == [expected]


def test_a_tsv_with_a_header_has_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv.gz", f"query\tpositive\tnegative_1\tnegative_2\n{QUERY}\t{YES}\t{NO}\t{NEVER}\n")
    assert read(path) == [TWO]


def test_mr_tydi_and_miracl_training_files(tmp_path: Path) -> None:
    record = {
        "query_id": "1",
        "query": QUERY,
        "positive_passages": [{"docid": "7#0", "title": "Mats", "text": YES}],
        "negative_passages": [{"docid": "8#0", "title": "", "text": NO}],
    }
    path = write(tmp_path / "mrtydi-v1.1-swahili" / "train.jsonl.gz", lines(record, record | {"negative_passages": []}))
    reader = read_ranking(path)
    first, second = reader
    assert first == RankingExample(
        QUERY, (f"Mats\n{YES}",), (NO,), language="sw", query_id="1", passage_ids=("7#0", "8#0")
    )
    assert second.negatives == ()
    assert reader.sources[0].format == "mrtydi"
    assert reader.recognised == f"{path}: training file of Mr.TyDi or MIRACL"


def test_dpr_is_one_array_and_hard_negatives_come_first(tmp_path: Path) -> None:
    record = {
        "question": QUERY,
        "answers": ["cat"],
        "positive_ctxs": [{"title": "Mats", "text": YES, "score": 1000, "passage_id": "7"}],
        "negative_ctxs": [{"title": "", "text": NEVER, "score": 0, "passage_id": "9"}],
        "hard_negative_ctxs": [{"title": "Dogs", "text": NO, "score": 14.5, "passage_id": 8}],
    }
    without = record | {"positive_ctxs": []}
    path = write(tmp_path / "nq-train.json.gz", json.dumps([record, without, record], indent=4))
    reader = read_ranking(path, task="qa")
    expected = RankingExample(QUERY, (f"Mats\n{YES}",), (f"Dogs\n{NO}", NEVER), task="qa", passage_ids=("7", "8", "9"))
    assert list(reader) == [expected, expected]
    assert reader.skipped == {"no positive passage with text": 1}


def squad(*names: str) -> dict[str, Any]:
    paragraphs = [
        {"context": context, "qas": [{"id": name, "question": f"{QUERY} {name}", "answers": [{"text": "cat"}]}]}
        for name, context in zip(names, (YES, NO, NEVER), strict=False)
    ]
    return {"version": "1.1", "data": [{"title": "Mats", "paragraphs": paragraphs}]}


def test_squad_takes_the_paragraph_and_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path / "xquad.el.json", json.dumps(squad("a", "b", "c"), indent=1))
    first, second, third = read(path, article_negatives=1)
    assert first == RankingExample(f"{QUERY} a", (YES,), (NO,), language="el", query_id="a")
    assert (second.positives, second.negatives, third.negatives) == ((NO,), (YES,), (NO,))
    assert all(one.negatives == () for one in read(path))


def test_squad_languages_come_from_tydi_s_ids_and_mlqa_s_names(tmp_path: Path) -> None:
    tydi = write(tmp_path / "tydiqa-goldp-v1.1-train.json", json.dumps(squad("swahili-12-1", "korean-3-0")))
    assert [one.language for one in read(tydi)] == ["sw", "ko"]
    mlqa = write(tmp_path / "dev-context-de-question-es.json", json.dumps(squad("a")))
    (one,) = read(mlqa, language="en")
    assert (one.language, one.languages) == ("es", ("de",))


def test_squad_without_answers_is_skipped(tmp_path: Path) -> None:
    data = squad("a", "b")
    data["data"][0]["paragraphs"][1]["qas"][0] |= {"is_impossible": True, "answers": []}
    flat = {
        "id": "a",
        "title": "t",
        "context": YES,
        "question": QUERY,
        "answers": {"text": ["cat"], "answer_start": [4]},
    }
    reader = read_ranking(write(tmp_path / "x.json", json.dumps(data)))
    assert [one.query_id for one in reader] == ["a"]
    assert reader.skipped == {"question without an answer": 1}
    assert bare(read(write(tmp_path / "x.jsonl", lines(flat)))) == [RankingExample(QUERY, (YES,))]


def marco(folder: Path, prefix: str = "") -> Path:
    write(folder / f"{prefix}collection.tsv", COLLECTION)
    write(folder / f"{prefix}queries.train.tsv", QUERIES)
    return folder


def test_ms_marco_triples_of_texts_and_of_ids_are_distinguished(tmp_path: Path) -> None:
    text = write(tmp_path / "triples.train.small.tsv", f"{QUERY}\t{YES}\t{NO}\n")
    assert read(text) == [ONE]
    ids = write(marco(tmp_path / "ids") / "triples.train.ids.tsv.gz", "1\t7\t8\n1\t7\t9\n1\t10\t8\n3\t7\t8\n1\t7\t10\n")
    for source in (ids, ids.parent):
        reader = read_ranking(source)
        found = list(reader)
        assert bare(found) == [ONE, RankingExample(QUERY, (YES,), (NEVER,)), RankingExample(QUERY, (YES,))]
        assert (found[0].query_id, found[0].passage_ids) == ("1", ("7", "8"))
        assert reader.sources[0].format == "id-triples"
        assert reader.skipped == {"positive not in the collection": 1, "query not among the queries": 1}


def test_mmarco_s_folder_gives_the_language_that_is_asked_for(tmp_path: Path) -> None:
    for name in ("german", "french"):
        write(tmp_path / "collections" / f"{name}_collection.tsv", COLLECTION.replace("the", name))
        write(tmp_path / "queries" / "train" / f"{name}_queries.train.tsv", QUERIES)
        write(tmp_path / "queries" / "dev" / f"{name}_queries.dev.tsv", "99\tnever\n")
    write(tmp_path / "triples.train.ids.small.tsv", "1\t7\t8\n")
    (german,) = read(tmp_path, language="de")
    assert (german.positives, german.language) == (("german cat sat on german mat",), "de")
    with pytest.raises(InputError, match=r"2 files may be meant as (queries|collection)"):
        read(tmp_path)
    crossed = read_ranking(
        tmp_path,
        queries=tmp_path / "queries" / "train" / "french_queries.train.tsv",
        collection=tmp_path / "collections" / "german_collection.tsv",
    )
    (one,) = crossed
    assert (one.language, one.languages) == ("fr", ("de", "de"))


def test_hard_negatives_of_sentence_transformers(tmp_path: Path) -> None:
    plain = {"qid": 1, "pos": [7], "neg": {"bm25": [9, 8, 7], "dense": [8]}}
    scored = {"qid": 1, "pos": [{"pid": 7, "ce-score": 9.5}], "neg": {"bm25": [{"pid": 8, "ce-score": -1}]}}
    path = write(marco(tmp_path) / "hard-negatives.jsonl.gz", lines(plain, scored))
    first, second = read(path)
    assert (first.negatives, first.passage_ids) == ((NEVER, NO), ("7", "9", "8"))
    assert second.scores == (9.5, -1.0)
    assert [one.negatives for one in read(path, per_system=1)] == [(NEVER, NO), (NO,)]
    assert [one.negatives for one in read(path, max_negatives=1)] == [(NEVER,), (NO,)]
    assert [one.scores for one in read(path, max_negatives=0)] == [None, (9.5,)]


@pytest.mark.parametrize(
    ("name", "content", "scores"),
    [
        ("x.jsonl", lines([1, [7, 9.5], [8, 2], [9, 1.5]]), (9.5, 2.0, 1.5)),
        ("examples.json", lines(["1", 7, 8, 9], [1, "7", 8, 9]), None),
        ("x.jsonl", lines({"query_id": 1, "document_ids": [8, 7, 9], "scores": [2, 9.5, 1.5]}), (9.5, 2.0, 1.5)),
        ("x.jsonl", lines({"qid": "1", "document_ids": "['8', '7', '9']", "scores": "[2, 9.5, 1.5]"}), (9.5, 2.0, 1.5)),
        ("x.jsonl", lines({"query_id": "1", "positive_id": 7, "negative_1_id": 8, "negative_2_id": 9}), None),
    ],
)  # fmt: skip
def test_distillation_files_of_colbert_and_pylate(
    tmp_path: Path, name: str, content: str, scores: tuple[float, ...] | None
) -> None:
    found = read(write(marco(tmp_path) / name, content))
    assert set(bare(found)) == {RankingExample(QUERY, (YES,), (NO, NEVER), scores)}


def test_collections_and_queries_of_other_forms(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", lines([1, [7, 2], [8, 1]]))
    collection = write(
        tmp_path / "passages.jsonl",
        lines({"document_id": 7, "text": YES}, {"document_id": 8, "document": NO, "lang": "de"}),
    )
    queries = write(tmp_path / "asked.jsonl", lines({"query_id": 1, "text": QUERY, "lang": "sw"}))
    (one,) = read(path, collection=collection, queries=queries)
    assert one.positives == (YES,)
    assert (one.language, one.languages) == ("sw", ("sw", "de"))
    titled = write(
        tmp_path / "corpus2.jsonl", lines({"_id": "7", "title": "Mats", "text": YES}, {"_id": "8", "text": NO})
    )
    (one,) = read(path, collection=titled, queries=queries)
    assert one.positives == (f"Mats\n{YES}",)


def test_a_folder_of_mr_tydi_with_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "mrtydi-v1.1-swahili"
    write(
        folder / "collection" / "docs.jsonl.gz",
        lines(
            {"id": "7#0", "contents": f"Mats\n\n{YES}"}, {"id": "8#0", "contents": NO}, {"id": "9#0", "contents": NEVER}
        ),
    )
    write(folder / "topic.train.tsv", f"1\t{QUERY}\n")
    write(folder / "topic.dev.tsv", "5\tnot for training\n")
    write(folder / "qrels.train.txt", "1 Q0 7#0 1\n")
    write(folder / "qrels.dev.txt", "5 Q0 8#0 1\n")
    (one,) = read(folder)
    assert (one.query, one.language, one.positives, one.negatives) == (QUERY, "sw", (f"Mats\n\n{YES}",), ())
    run = write(tmp_path / "run.trec", "1 Q0 9#0 1 3.5 bm25\n1 Q0 7#0 2 3 bm25\n1 Q0 8#0 3 1 bm25\n")
    (one,) = read(folder, run=run)
    assert one.negatives == (NEVER, NO)
    assert [one.query for one in read(folder, split="dev")] == ["not for training"]


def test_miracl_s_judgements_of_zero_are_negatives_and_its_corpus_is_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "miracl-v1.0-sw"
    write(folder / "topics" / "topics.miracl-v1.0-sw-train.tsv", f"1\t{QUERY}\n")
    write(folder / "qrels" / "qrels.miracl-v1.0-sw-train.tsv", "1\tQ0\t8#0\t0\n1\tQ0\t7#0\t1\n")
    with pytest.raises(InputError, match="give collection="):
        read_ranking(folder)
    corpus = tmp_path / "miracl-corpus-v1.0-sw"
    write(corpus / "docs-0.jsonl.gz", lines({"docid": "7#0", "title": "Mats", "text": YES}))
    write(corpus / "docs-1.jsonl.gz", lines({"docid": "8#0", "title": "", "text": NO}))
    (one,) = read(folder, collection=corpus)
    assert (one.positives, one.negatives, one.language, one.passage_languages) == ((f"Mats\n{YES}",), (NO,), "sw", None)


def test_beir_s_layout(tmp_path: Path) -> None:
    write(
        tmp_path / "corpus.jsonl",
        lines({"_id": "7", "title": "Mats", "text": YES}, {"_id": "10", "title": "", "text": ""}),
    )
    write(tmp_path / "queries.jsonl", lines({"_id": "1", "text": QUERY}, {"_id": "2", "text": "of the test split"}))
    write(tmp_path / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\n1\t7\t2\n")
    write(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n2\t7\t1\n")
    (one,) = read(tmp_path)
    assert (one.query, one.positives) == (QUERY, (f"Mats\n{YES}",))


def test_tydi_goldp_train_is_read_completely_and_by_language() -> None:
    folder = shared_data("tydiqa_goldp")
    found = read(folder)
    assert {code: sum(one.language == code for one in found) for code in ("en", "ko", "sw")} == {
        "en": 3696,
        "ko": 1625,
        "sw": 2755,
    }
    assert all(one.query_id and "-train-" in one.query_id for one in found)
    assert read(folder, languages=["swh"]) == [one for one in found if one.language == "sw"]


def test_xquad_r_asks_which_judgements_are_meant() -> None:
    folder = shared_data("xquad_r")
    with pytest.raises(InputError, match="3 files may be meant as qrels"):
        read_ranking(folder)
    same = folder / "qrels.paragraphs.same-language.trec.gz"
    found = read(folder, qrels=same, collection=folder / "corpus.paragraphs.jsonl.gz", languages=["th"])
    assert len(found) == 1190
    assert {one.languages for one in found} == {("th",)}


def test_held_out_queries_positives_and_negatives_are_dropped(tmp_path: Path) -> None:
    kept = {
        "query": "what ran home",
        "positive": "dogs ran home at night",
        "negative_1": YES,
        "negative_2": NEVER,
        "scores": [3, 2, 1],
    }
    path = write(
        tmp_path / "x.jsonl",
        lines({"query": QUERY, "positive": NO}, {"query": "where", "positive": {"title": "Mats", "text": YES}}, kept),
    )
    held = write(tmp_path / "test.jsonl", lines({"question": QUERY.upper(), "title": "Mats", "text": f" {YES}!"}))
    reader = read_ranking(path, held_out=[held])
    assert list(reader) == [RankingExample("what ran home", ("dogs ran home at night",), (NEVER,), (3.0, 1.0))]
    assert reader.skipped == {"query or positive in held-out text": 2, "negative in held-out text": 1}


def test_several_sources_a_limit_and_languages(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", lines(*({"query": f"a {n}", "positive": YES, "lang": "sw"} for n in range(3))))
    two = write(tmp_path / "b.tsv", f"b 0\t{YES}\t{NO}\nb 1\t{YES}\t{NO}\n")
    reader = read_ranking([one, two], language="en")
    assert [(found.query, found.language) for found in reader] == [
        ("a 0", "sw"), ("a 1", "sw"), ("a 2", "sw"), ("b 0", "en"), ("b 1", "en")
    ]  # fmt: skip
    assert [source.format for source in reader.sources] == ["columns", "triples"]
    assert [found.query for found in read_ranking([one, two], limit=4)] == ["a 0", "a 1", "a 2", "b 0"]
    assert [found.query for found in read_ranking([one, two], language="en", languages=["en"])] == ["b 0", "b 1"]


def test_a_data_set_of_the_hub_is_streamed(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path / "set" / "train.jsonl", lines({"anchor": QUERY, "positive": YES, "negative": NO}))
    reader = read_ranking(f"hub:{tmp_path / 'set'}")
    assert list(reader) == list(reader) == [ONE]
    assert reader.total_bytes is None
    with pytest.raises(InputError, match="names no data set"):
        read_ranking("hub:")


def test_a_kept_cache_is_used_until_the_collection_changes(tmp_path: Path) -> None:
    path = write(marco(tmp_path / "data") / "x.tsv", "1\t7\t8\n")
    reported: list[str] = []
    options = {"cache": tmp_path / "cache", "say": reported.append}
    assert bare(read(path, **options)) == [ONE]
    assert len(reported) == 2
    assert bare(read(path, **options)) == [ONE]
    assert len(reported) == 2, "nothing was written the second time"
    write(tmp_path / "data" / "collection.tsv", COLLECTION.replace("cat", "tiger"))
    assert read(path, **options)[0].positives == (YES.replace("cat", "tiger"),)


def test_a_store_holds_more_ids_than_one_statement_takes_and_no_id_twice(tmp_path: Path) -> None:
    rows = [IdentifiedText(str(number), f"text {number}", None) for number in range(1200)]
    TextStore.write(tmp_path / "a", rows, "a")
    store = TextStore(tmp_path / "a")
    assert store.get([row.id for row in rows] + ["none"]) == {row.id: row for row in rows}
    with pytest.raises(InputError, match="the id '5' occurs twice"):
        TextStore.write(tmp_path / "b", [*rows, rows[5]], "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


PAIR = {"query": QUERY, "positive": YES}
DPR = {"question": QUERY, "positive_ctxs": [{"text": YES}]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"query": "a", "positive": "b"}\n{"query": "a" "b"}\n', r"x.jsonl:2: not JSON"),
        ("x.jsonl", lines(PAIR, PAIR | {"query": " "}), "x.jsonl:2: the query is empty"),
        ("x.jsonl", lines(PAIR, [1, 2]), "x.jsonl:2: a JSON list; write"),
        ("x.jsonl", lines({"query": QUERY, "positive": 7}), "x.jsonl:1: a passage is int"),
        ("x.jsonl", lines(PAIR, {"query": QUERY}), "x.jsonl:2: the key 'passages'"),
        ("x.jsonl", lines(PAIR | {"lang": "klingonish"}), "x.jsonl:1: unknown language"),
        ("x.jsonl", lines(PAIR | {"negative": NO, "scores": [1]}), "x.jsonl:1: 1 scores for 2"),
        ("x.jsonl", lines(PAIR | {"scores": ["high"]}), "x.jsonl:1: the score 'high'"),
        ("x.jsonl", lines({"query": QUERY, "passages": [YES, NO]}), "no passage is marked as positive"),
        ("x.jsonl", lines({"query": QUERY, "docs": [YES, NO], "labels": [1]}), "1 labels for 2 passages"),
        ("x.jsonl", lines({"query": QUERY, "docs": [{"text": YES, "score": 1}, NO], "labels": [1, 0]}), "1 of 2 "),
        ("x.jsonl", lines(PAIR | {"negatives": [NO, NEVER], "score": 1}), "one 'score' for 3"),
        ("x.jsonl", lines({"query": QUERY, "positive_passages": "no list"}), "'positive_passages' must be a list"),
        ("x.json", json.dumps([DPR, DPR | {"question": 1}], indent=0), r"x.json:\d+: the query is int"),
        ("x.tsv", f"{QUERY}\t{YES}\t{NO}\n{QUERY}\t{YES}\n", "x.tsv:2: 2 columns; write query<TAB>positive"),
        ("x.tsv", f"query\tpositive\n{QUERY}\n", "x.tsv:2: 1 column where the header has 2"),
        ("x.jsonl", "", "the file is empty"),
        ("x.tsv", b"\xff\xfe", "not UTF-8"),
        ("x.jsonl", lines({"query": QUERY, "positive": " "}), r"used: no positive passage with text \(1\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / name, content))


def test_the_error_for_an_unknown_file_lists_the_known_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_ranking(write(tmp_path / "x.jsonl", lines({"prompt": "a", "chosen": "b"})))
    message = str(caught.value)
    assert "begins with an object with 'prompt', 'chosen'" in message
    assert all(form.name in message and form.example in message for form in (*FORMS, *TABULAR))
    with pytest.raises(InputError, match="begins with 2 columns"):
        read_ranking(write(tmp_path / "x.tsv", "a b\tb c\n"))
    with pytest.raises(InputError, match=r"no format 'tsv'; there are columns, mrtydi"):
        read_ranking(tmp_path / "x.tsv", "tsv")  # type: ignore[arg-type]
    assert {form.name for form in (*FORMS, *TABULAR)} | {"judged"} == set(FORMATS)


def test_the_examples_of_the_message_are_of_their_formats(tmp_path: Path) -> None:
    for form in (*FORMS, *TABULAR):
        text = form.example.replace(", …]", "]").replace(": […]", ": []").replace("<TAB>", "\t")
        name = "x.tsv" if form in TABULAR else "x.json"
        marco(tmp_path)
        reader = read_ranking(write(tmp_path / name, text))
        assert reader.sources[0].format == form.name
        assert len(list(reader)) == 1


def test_ids_without_their_texts_are_refused_before_long(tmp_path: Path) -> None:
    path = write(tmp_path / "sub" / "x.tsv", "".join(f"{n}\t7\t8\n" for n in range(5000)))
    with pytest.raises(InputError, match="names its texts by ids; give collection="):
        read_ranking(path)
    marco(tmp_path)
    assert len(read(path)) == 2, "they are found in the folder above"
    other = write(tmp_path / "other.tsv", f"x\t{YES}\n")
    with pytest.raises(InputError, match=r"x.tsv:100: of the first 100 examples none"):
        read(path, collection=other)


def test_what_an_example_cannot_be() -> None:
    for values, message in (
        ({"positives": ()}, "no positive"),
        ({"query": "\ud800"}, "half a surrogate"),
        ({"negatives": ("",)}, "a passage is empty"),
        ({"scores": (1.0, 2.0)}, "2 scores for 1 passages"),
        ({"scores": (math.nan,)}, "not a finite number"),
        ({"passage_ids": ()}, "0 passage_ids for 1"),
    ):
        with pytest.raises(InputError, match=message):
            RankingExample(**{"query": QUERY, "positives": (YES,), **values})  # type: ignore[arg-type]


def test_arguments_that_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", f"{QUERY}\t{YES}\t{NO}\n")
    for options, message in (
        ({"limit": 0}, "limit is 0"),
        ({"max_negatives": -1}, "max_negatives is -1"),
        ({"article_negatives": -1}, "article_negatives is -1"),
        ({"language": "xxx-nope"}, "unknown language"),
        ({"format": "judged"}, "is a file; give the folder"),
    ):
        with pytest.raises(InputError, match=message):
            read_ranking(path, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such file"):
        read_ranking(tmp_path / "none")
    with pytest.raises(InputError, match="no training data; name a file"):
        read_ranking([])
