"""Corpora: formats of benchmarks and tables, how far one has read, flat memory."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from mlret.data.corpus import Corpus, read_documents
from mlret.data.documents import Document
from mlret.errors import InputError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(str.strip)


def jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_beir_mr_tydi_and_miracl_are_read_in_their_own_layout(tmp_path: Path) -> None:
    beir = jsonl(tmp_path / "nfcorpus" / "corpus.jsonl", [{"_id": "d1", "title": "Cats", "text": "They sleep."}])
    tydi = jsonl(
        tmp_path / "mrtydi-v1.1-swahili" / "collection" / "docs.jsonl.gz",
        [{"id": "26#0", "contents": "Paka\n\nWanalala."}],
    )
    miracl = tmp_path / "miracl-corpus-v1.0-th"
    for part in (10, 2):
        record = {"docid": f"{part}#0", "title": "แมว", "text": f"หลับ {part}"}
        jsonl(miracl / f"docs-{part}.jsonl.gz", [record])
    assert list(Corpus([beir.parent, tydi.parents[1], miracl])) == [
        Document("d1", "Cats\nThey sleep.", None, {"title": "Cats"}),
        Document("26#0", "Paka\n\nWanalala.", "sw"),
        Document("2#0", "แมว\nหลับ 2", "th", {"title": "แมว"}),
        Document("10#0", "แมว\nหลับ 10", "th", {"title": "แมว"}),
    ]
    assert [document.language for document in Corpus([tydi])] == ["sw"]


def test_a_title_of_one_s_own_stays_metadata(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"id": "x", "title": "T", "text": "t", "docid": "7"}])
    assert list(read_documents(path)) == [Document("x", "t", None, {"title": "T", "docid": "7"})]


@given(
    st.dictionaries(TEXT, st.tuples(TEXT, st.sampled_from(["sw", None]), st.integers(-9, 9)), min_size=1, max_size=9)
)
def test_jsonl_and_parquet_tell_the_same(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[str, str | None, int]]
) -> None:
    folder = tmp_path_factory.mktemp("c")
    records = [{"id": id, "text": text, "lang": lang, "n": n} for id, (text, lang, n) in content.items()]
    parquet.write_table(pa.Table.from_pylist(records), folder / "a.parquet", row_group_size=2)
    expected = [Document(id, text, lang, {"n": n}) for id, (text, lang, n) in content.items()]
    assert list(read_documents(jsonl(folder / "a.jsonl", records))) == expected
    assert list(read_documents(folder / "a.parquet")) == expected


def test_parquet_keeps_what_json_can_say(tmp_path: Path) -> None:
    row = {"id": "a", "text": "t", "when": date(2024, 2, 29), "tags": ["x"], "none": None, "vector": [0.5, 0.5]}
    parquet.write_table(pa.Table.from_pylist([row | {"metadata": '{"k": [1, {"d": 2}]}'}]), tmp_path / "a.parquet")
    [document] = read_documents(tmp_path / "a.parquet")
    assert document.metadata == {"when": "2024-02-29", "tags": ["x"], "k": [1, {"d": 2}]}


def test_standard_input_is_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"id": "a", "text": "t"}\n')))
    corpus = Corpus(["-"])
    assert list(corpus) == [Document("a", "t")] and corpus.total_bytes is None


def test_data_set_is_streamed(tmp_path: Path) -> None:
    parquet.write_table(
        pa.Table.from_pylist([{"docid": "1", "title": "T", "text": "t"}, {"docid": "2", "title": "", "text": "u"}]),
        tmp_path / "train.parquet",
    )
    assert list(read_documents(f"hub:{tmp_path}")) == [
        Document("1", "T\nt", None, {"title": "T"}),
        Document("2", "u", None, {"title": ""}),
    ]


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    records = [{"id": str(n), "text": "word " * 50} for n in range(300)]
    corpus = Corpus(
        [jsonl(tmp_path / "a.jsonl", records), jsonl(tmp_path / "b.jsonl.gz", records)],
    )
    assert corpus.total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    seen = [corpus.read_bytes for _ in corpus]
    assert seen == sorted(seen) and 0 <= seen[0] < seen[400] <= corpus.total_bytes == corpus.read_bytes


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as out:
        out.writelines(f'{{"id": "document-{n}", "text": "text {n}"}}\n' for n in range(60_000))
    documents = read_documents(path)
    next(documents)
    tracemalloc.start()
    assert sum(1 for _ in documents) == 59_999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a.csv", r"a\.csv: unknown kind of file; give \.jsonl"),
        ("nothing.jsonl", r"nothing\.jsonl: no such file"),
        ("bad.parquet", r"bad\.parquet: no Parquet file that can be read"),
        ("meta.parquet", r"meta\.parquet: row 1: the column 'metadata' is not JSON"),
        ("empty.parquet", r"empty\.parquet: the file is empty"),
        ("hub:", "names no data set; write hub:NAME"),
        ("hub:/nowhere/at/all", "no data set that can be reached"),
    ],
)
def test_bad_source_is_named(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    parquet.write_table(pa.table({"id": ["a"], "text": ["t"], "metadata": ["{"]}), tmp_path / "meta.parquet")
    parquet.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match=message):
        list(Corpus([source if source.startswith("hub:") else tmp_path / source]))


def test_the_last_of_many_is_checked_before_the_first_is_read(tmp_path: Path) -> None:
    good = jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "t"}])
    with pytest.raises(InputError, match=r"b\.jsonl: no such file"):
        Corpus([good, tmp_path / "b.jsonl"])
    with pytest.raises(InputError, match="no files to read"):
        Corpus([])
