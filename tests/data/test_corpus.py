"""Test reading corpora: formats of benchmarks and tables, progress, bounded memory."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mlret.data.corpus import Corpus, read_documents
from mlret.data.documents import Document
from mlret.errors import InputError, MissingExtraError
from tests.shared import shared_data

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(str.strip)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


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
        Document("26#0", "Paka\n\nWanalala.", "sw", {"title": "Paka"}),
        Document("2#0", "แมว\nหลับ 2", "th", {"title": "แมว"}),
        Document("10#0", "แมว\nหลับ 10", "th", {"title": "แมว"}),
    ]
    assert [document.language for document in Corpus([tydi])] == ["sw"]


def test_a_title_of_one_s_own_stays_metadata(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"id": "x", "title": "T", "text": "t", "docid": "7"}])
    assert list(read_documents(path)) == [Document("x", "t", None, {"title": "T", "docid": "7"})]


@settings(deadline=None)  # the first call imports pyarrow
@given(
    st.dictionaries(TEXT, st.tuples(TEXT, st.sampled_from(["sw", None]), st.integers(-9, 9)), min_size=1, max_size=9)
)
def test_jsonl_and_parquet_give_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[str, str | None, int]]
) -> None:
    folder = tmp_path_factory.mktemp("c")
    records = [{"id": id, "text": text, "lang": lang, "n": n} for id, (text, lang, n) in content.items()]
    parquet.write_table(pa.Table.from_pylist(records), folder / "a.parquet", row_group_size=2)
    expected = [Document(id, text, lang, {"n": n}) for id, (text, lang, n) in content.items()]
    assert list(read_documents(jsonl(folder / "a.jsonl", records))) == expected
    assert list(read_documents(folder / "a.parquet")) == expected


def test_parquet_keeps_what_json_can_represent(tmp_path: Path) -> None:
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


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
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
        out.writelines(f'{{"id": "document-{n}", "text": "text {n}"}}\n' for n in range(30_000))
    documents = read_documents(path)
    next(documents)
    tracemalloc.start()
    assert sum(1 for _ in documents) == 29_999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a.doc", r"a\.doc: unknown kind of file; give \.jsonl"),
        ("nothing.jsonl", r"nothing\.jsonl: no such file"),
        ("bad.parquet", r"bad\.parquet: no Parquet file that can be read"),
        ("meta.parquet", r"meta\.parquet: row 1: the column 'metadata' is not JSON"),
        ("empty.parquet", r"empty\.parquet: the file is empty"),
        ("hub:", "names no data set; write hub:NAME"),
        ("hub:/nowhere/at/all", "no data set that can be reached"),
    ],
)
def test_bad_source_is_named(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "a.doc").write_text("text")
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


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".GZ"])
@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".tsv"])
def test_compressed_files_are_read_and_progress_counts_their_own_bytes(tmp_path: Path, kind: str, suffix: str) -> None:
    rows = [(str(n), f"maandishi {n * 7919 % 1000}") for n in range(2000)]
    lines = ["id\ttext", *("\t".join(row) for row in rows)]
    if kind != ".tsv":
        lines = [json.dumps({"id": id, "text": text}) for id, text in rows]
    path = tmp_path / f"a{kind}{suffix}"
    path.write_bytes(COMPRESS[suffix.lower()]("\n".join(lines).encode()))
    corpus = Corpus([path])
    assert [(document.id, document.text) for document in corpus] == rows
    assert corpus.read_bytes == corpus.total_bytes == path.stat().st_size


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"plain text, after all\n"])
def test_damaged_compressed_file_is_named(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    content = "".join(json.dumps({"id": str(n), "text": f"{n * 7919}"}) + "\n" for n in range(5000))
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(damage(COMPRESS[suffix](content.encode())))
    with pytest.raises(InputError, match=rf"a\.jsonl\{suffix}:\d+: damaged (gzip|bzip2|xz) file .*; fetch it again"):
        list(Corpus([path]))


def test_parquet_cannot_be_compressed_twice(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.parquet\.gz: unknown kind of file; give \.jsonl"):
        Corpus([tmp_path / "a.parquet.gz"])


TSV_CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda cell: cell.strip() and not cell.startswith("\ufeff")
)


@settings(deadline=None)
@given(st.dictionaries(TSV_CELL, st.tuples(TSV_CELL, TSV_CELL), min_size=1, max_size=9))
def test_tsv_gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "a.tsv"
    rows = "".join(f"{note}\t{id}\t{text}\n" for id, (text, note) in content.items())
    path.write_bytes(f"note\tid\ttext\n{rows}".encode())
    assert list(read_documents(path)) == [
        Document(id, text, None, {"note": note}) for id, (text, note) in content.items()
    ]


def test_titles_join_texts_in_benchmarks_as_their_own_code_does(tmp_path: Path) -> None:
    beir = jsonl(
        tmp_path / "corpus.jsonl",
        [
            {"_id": 1, "title": " Cats ", "text": "They sleep.", "metadata": {"url": "u"}},
            {"_id": "2", "title": "", "text": "No title."},
            {"_id": "3", "text": "None at all."},
            {"_id": "4", "title": "A title alone", "text": ""},
        ],
    )
    assert [(d.id, d.text, d.metadata) for d in read_documents(beir)] == [
        ("1", "Cats\nThey sleep.", {"title": " Cats ", "url": "u"}),
        ("2", "No title.", {"title": ""}),
        ("3", "None at all.", {}),
        ("4", "A title alone", {"title": "A title alone"}),
    ]
    contents = [
        "Paka\n\nWanalala.\n\nSana.",
        "Paka \n \n\nWanalala.",
        "One paragraph.",
        "Two\nlines\n\nof text",
        "\n\nx",
    ]
    tydi = jsonl(tmp_path / "docs.jsonl", [{"id": str(n), "contents": text} for n, text in enumerate(contents)])
    assert [d.text for d in read_documents(tydi)] == contents
    assert [d.metadata.get("title") for d in read_documents(tydi)] == ["Paka", "Paka", None, None, None]


def test_blank_passages_of_benchmarks_are_counted_and_one_s_own_refused(tmp_path: Path) -> None:
    blank: list[dict[str, Any]] = [
        {"_id": "1", "title": "", "text": ""},
        {"_id": "2", "text": "\n"},
        {"docid": "3", "title": None, "text": None},
        {"id": "4", "contents": " \n\n "},
    ]
    path = jsonl(tmp_path / "a.jsonl", [*blank, {"_id": "5", "title": "", "text": "said"}])
    corpus = Corpus([path])
    for _ in range(2):
        assert [document.id for document in corpus] == ["5"]
        assert corpus.blank == 4
    parquet.write_table(
        pa.table({"docid": ["1", "2"], "title": [None, "t"], "text": ["", None]}), tmp_path / "a.parquet"
    )
    assert [document.text for document in Corpus([tmp_path / "a.parquet"])] == ["t"]
    with pytest.raises(InputError, match=r"b\.jsonl: the file is empty"):
        Corpus([jsonl(tmp_path / "b.jsonl", blank)])
    with pytest.raises(InputError, match=r"c\.jsonl:1: the text is empty"):
        Corpus([jsonl(tmp_path / "c.jsonl", [{"id": "1", "title": "", "text": ""}])])
    parquet.write_table(pa.table({"id": ["1"], "title": ["t"], "text": pa.nulls(1)}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: row 1: the text is empty"):
        Corpus([tmp_path / "c.parquet"])
    with pytest.raises(InputError, match=r"d\.jsonl:1: the key 'text' is missing"):
        Corpus([jsonl(tmp_path / "d.jsonl", [{"_id": "1", "title": ""}])])


@pytest.mark.parametrize(
    ("place", "language"),
    [
        ("mrtydi-v1.1-bengali/collection", "bn"),
        ("miracl-corpus-v1.0-zh", "zh"),
        ("miracl-corpus-v1.0-fa/copy/of/mrtydi-v1.1-arabic", "ar"),
        ("mrtydi-v1.1-swahili/mrtydi-v1.1-mine", "sw"),
        ("mrtydi-v1.1-combined", None),
        ("swahili", None),
    ],
)
def test_language_is_the_one_in_the_innermost_folder_s_name(tmp_path: Path, place: str, language: str | None) -> None:
    records = [{"docid": "1", "text": "x"}, {"docid": "2", "text": "y", "lang": "te"}]
    jsonl(tmp_path / place / "docs.jsonl", records)
    assert [document.language for document in Corpus([tmp_path / place])] == [language, "te"]


def test_parquet_columns_that_json_cannot_represent_are_skipped(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2]),
            "text": pa.array(["t", "u"], pa.large_string()),
            "lang": pa.array(["sw", None]).dictionary_encode(),
            "picture": pa.array([b"\xff", b""]),
            "pages": pa.array([[b"\xff"], []]),
            "seen": pa.array([datetime(2024, 2, 29, 12, tzinfo=UTC), None], pa.timestamp("ms", "UTC")),
            "score": pa.array([0.5, None], pa.float32()),
            "good": pa.array([True, False]),
            "metadata": pa.array([{"url": "a", "n": 1}, None]),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(read_documents(tmp_path / "a.parquet")) == [
        Document("1", "t", "sw", {"seen": "2024-02-29T12:00:00+00:00", "score": 0.5, "good": True, "url": "a", "n": 1}),
        Document("2", "u", None, {"good": False}),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "body"], r"a\.parquet: no column 'text' or 'contents' or .*; rename .*, there are 'body', 'id'"),
        (["key", "text"], r"a\.parquet: no column 'id' or '_id' or 'docid'; rename .*, there are 'key', 'text'"),
    ],
)
def test_missing_columns_are_named_with_the_existing_ones(tmp_path: Path, columns: list[str], message: str) -> None:
    rows = pa.table({column: ["x"] for column in sorted(columns)})
    parquet.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        Corpus([tmp_path / "a.parquet"])
    with pytest.raises(InputError, match=message.replace(r"a\.parquet", f"hub:{tmp_path}")):
        Corpus([f"hub:{tmp_path}"])


def test_parquet_that_ends_in_the_middle_is_named(tmp_path: Path) -> None:
    rows = pa.table({"id": [str(n) for n in range(5000)], "text": [str(n * 7919) * 9 for n in range(5000)]})
    parquet.write_table(rows, tmp_path / "a.parquet", row_group_size=500)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2] + bytes(1000) + whole[len(whole) // 2 + 1000 :])
    corpus = Corpus([tmp_path / "a.parquet"])
    with pytest.raises(InputError, match=r"a\.parquet: no Parquet file that can be read \(.*\); fetch it again"):
        list(corpus)


BAD_STARTS = {
    "empty.jsonl": (b"", "the file is empty"),
    "empty.jsonl.xz": (lzma.compress(b""), "the file is empty"),
    "header.tsv": (b"id\ttext\n", "the file is empty"),
    "columns.tsv": (b"key\ttext\na\tb\n", "1: no column 'id' or '_id' or 'docid'; rename .*, there are 'key', 'text'"),
    "not.jsonl": (b"\nid,text\n", "2: not JSON"),
    "no.parquet": (b"id,text\n", "no Parquet file"),
}


@pytest.mark.parametrize("bad", BAD_STARTS)
def test_bad_start_of_the_last_source_is_reported_before_any_is_read(tmp_path: Path, bad: str) -> None:
    good = jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "t"}])
    content, message = BAD_STARTS[bad]
    (tmp_path / bad).write_bytes(content)
    with pytest.raises(InputError, match=f"{re.escape(bad)}:? ?{message}"):
        Corpus([good, tmp_path / bad])


def test_source_given_twice_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "beir" / "corpus.jsonl", [{"_id": "a", "text": "t"}])
    for sources in ([path, path], [path.parent, path], ["-", "-"]):
        with pytest.raises(InputError, match=r"(corpus\.jsonl|standard input): given twice"):
            Corpus(sources)


def test_named_pipe_is_read_once_and_not_before_its_turn(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    corpus = Corpus([pipe])  # opening it would wait for a writer
    writer = Thread(target=pipe.write_bytes, args=(b'{"id": "a", "text": "t"}\n{"id": "b", "text": "u"}\n',))
    writer.start()
    assert [document.id for document in corpus] == ["a", "b"]
    writer.join()
    assert corpus.total_bytes is None


def test_lost_connection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pa.table({"_id": ["1"], "title": ["T"], "text": ["t"]}), tmp_path / "corpus.parquet")
    corpus = Corpus([f"hub:{tmp_path}@train"])
    assert [document.text for document in corpus] == ["T\nt"]
    assert [document.text for document in corpus] == ["T\nt"]

    def lose(_: object) -> Iterator[dict[str, object]]:
        yield {"_id": "1", "title": "T", "text": "t"}
        raise ConnectionError

    monkeypatch.setattr(datasets.IterableDataset, "__iter__", lose)
    with pytest.raises(InputError, match=rf"hub:{tmp_path}@train: no data set .* \(ConnectionError\); check"):
        list(corpus)


def test_unknown_split_of_a_data_set_is_reported_at_once(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["1"], "text": ["t"]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"@dev: no data set that can be reached .*; check its name, configuration"):
        Corpus([f"hub:{tmp_path}@dev"])


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in ("pyarrow", "datasets") else find(name)
    )
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for source in (tmp_path / "a.parquet", f"hub:{tmp_path}"):
        with pytest.raises(MissingExtraError, match=r'pip install "mlret\[data\]"'):
            Corpus([source])


def test_memory_does_not_grow_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = 30_000
    parquet.write_table(pa.table({"id": [f"document-{n}" for n in range(rows)], "text": ["t" * 40] * rows}), path)
    documents = read_documents(path)
    next(documents)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    most = 0
    for number, _ in enumerate(documents):
        if number % 1000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000 and most < 4_000_000


@pytest.mark.parametrize(
    ("name", "count"), [("tydiqa_goldp/dev.corpus.jsonl.gz", 4488), ("xquad_r/corpus.paragraphs.jsonl.gz", 2880)]
)
def test_real_corpora_are_read_completely(name: str, count: int) -> None:
    corpus = Corpus([shared_data(*name.split("/"))])
    documents = list(corpus)
    assert len({document.id for document in documents}) == len(documents) == count
    assert all(document.language for document in documents)
    assert corpus.read_bytes == corpus.total_bytes
