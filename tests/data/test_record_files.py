"""Test files of records in every format, written by pandas, polars, pyarrow and the standard library."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

from mlret.data.corpus import Corpus, read_documents
from mlret.data.documents import Document
from mlret.errors import InputError

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "text": 'Mvua "kubwa", ilinyesha;\nusiku kucha.', "lang": "sw", "place": "Dar, mji"},
    {"id": "b", "text": "Äpfel\tund Birnen – günstig", "lang": "de", "place": None},
    {"id": "c", "text": "図書館は日曜日も開館します。", "lang": None, "place": "=1+1"},
]
DOCUMENTS = [
    Document("a", RECORDS[0]["text"], "sw", {"place": "Dar, mji"}),
    Document("b", RECORDS[1]["text"], "de"),
    Document("c", RECORDS[2]["text"], None, {"place": "=1+1"}),
]


def present(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None}


def csv_of(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as out:
        rows = csv.DictWriter(out, list(RECORDS[0]), delimiter=delimiter)
        rows.writeheader()
        rows.writerows(RECORDS)


def arrow_stream(path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    with ipc.new_stream(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=1)


def dump(value: object, **how: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(value, ensure_ascii=False, **how), encoding="utf-8")


WRITERS: dict[str, Callable[[Path], object]] = {
    "array.json": dump(RECORDS),
    "indented.json": dump(RECORDS, indent=2),
    "list.json": dump({"version": 1, "source": {"name": "x"}, "data": RECORDS}),
    "map.json": dump({record["id"]: present(record) | {"id": None} for record in RECORDS}),
    "pandas.json": lambda path: pd.DataFrame(RECORDS).to_json(path, orient="records", force_ascii=False),
    "polars.json": lambda path: pl.DataFrame(RECORDS).write_json(path),
    "array.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(RECORDS).encode())),
    "lines.jsonl": lambda path: pl.DataFrame(RECORDS).write_ndjson(path),
    "python.csv": csv_of,
    "bom.csv": lambda path: csv_of(path, encoding="utf-8-sig"),
    "semicolons.csv": lambda path: csv_of(path, ";"),
    "tabs.csv": lambda path: csv_of(path, "\t"),
    "pandas.csv": lambda path: pd.DataFrame(RECORDS).to_csv(path, index=False),
    "pandas.csv.xz": lambda path: pd.DataFrame(RECORDS).to_csv(path, index=False),
    "polars.csv": lambda path: pl.DataFrame(RECORDS).write_csv(path),
    "pandas.parquet": lambda path: pd.DataFrame(RECORDS).to_parquet(path),
    "filtered.parquet": lambda path: pd.DataFrame([RECORDS[0], *RECORDS]).iloc[1:].to_parquet(path),
    "indexed.parquet": lambda path: pd.DataFrame(RECORDS).set_index("id").to_parquet(path),
    "polars.parquet": lambda path: pl.DataFrame(RECORDS).write_parquet(path),
    "polars.arrow": lambda path: pl.DataFrame(RECORDS).write_ipc(path),
    "stream.arrow": lambda path: pl.DataFrame(RECORDS).write_ipc_stream(path),
    "chunks.ipc": arrow_stream,
    "pandas.feather": lambda path: pd.DataFrame(RECORDS).to_feather(path),
    "pyarrow.feather": lambda path: feather.write_feather(pa.Table.from_pylist(RECORDS), path, compression="zstd"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_corpus_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    corpus = Corpus([tmp_path / name])
    seen = []
    for document, expected in zip(corpus, DOCUMENTS, strict=True):
        # JSON distinguishes null from a missing value, and so do documents; tables have missing values alone.
        null = {"place": None} if ".json" in name and name != "map.json" and document.id == "b" else {}
        assert document == replace(expected, metadata=expected.metadata | null)
        seen.append(corpus.read_bytes)
    assert seen == sorted(seen) and corpus.read_bytes == corpus.total_bytes


CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda cell: cell.strip() and "\0" not in cell and not cell.startswith("\ufeff")
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(CELL, st.tuples(CELL, CELL | st.none()), min_size=1, max_size=5))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[str, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("c")
    records = [{"id": id, "text": text, "note": note} for id, (text, note) in content.items()]
    expected = [Document(id, text, None, present({"note": note})) for id, (text, note) in content.items()]
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as out:
        rows = csv.DictWriter(out, ["id", "text", "note"], quoting=csv.QUOTE_ALL)
        rows.writeheader()
        rows.writerows(records)
    (folder / "a.json").write_text(json.dumps([present(record) for record in records]))
    pl.DataFrame(records, schema={"id": pl.String, "text": pl.String, "note": pl.String}).write_ipc(folder / "a.arrow")
    for name in ("a.csv", "a.json", "a.arrow"):
        assert list(read_documents(folder / name)) == expected


def test_columns_are_read_under_another_name(tmp_path: Path) -> None:
    rows = [{"sku": 7, "body": "Äpfel", "headline": "Obst", "locale": "de", "id": "old"}]
    columns = {"sku": "id", "body": "text", "headline": "title", "locale": "lang", "id": "former"}
    expected = [Document("7", "Äpfel", "de", {"title": "Obst", "former": "old"})]
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_json(tmp_path / "a.json")
    (tmp_path / "one.json").write_text(json.dumps(rows[0]))
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.arrow")
    (tmp_path / "hub").mkdir()
    frame.write_parquet(tmp_path / "hub" / "train.parquet")
    for source in ("a.csv", "a.tsv", "a.json", "one.json", "a.jsonl", "a.parquet", "a.arrow"):
        assert list(Corpus([tmp_path / source], columns=columns)) == expected
    assert list(Corpus([f"hub:{tmp_path / 'hub'}"], columns=columns)) == expected


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet", "a.arrow"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"no column 'id' or .*columns=\{'NAME': 'id'\} .*--id-column NAME`\), there are 'key', 'body'"),
        ({"key": "id"}, r"no column 'text' or .*--text-column NAME`\), there are 'id', 'body'"),
        ({"kye": "id"}, r"no column 'kye', there are 'key', 'body'"),
        ({"key": "body"}, r"two columns have the name 'body'; rename one"),
    ],
)
def test_missing_and_repeated_columns_are_named(
    tmp_path: Path, name: str, columns: dict[str, str], message: str
) -> None:
    frame = pl.DataFrame({"key": ["1"], "body": ["t"]})
    write: dict[str, Callable[..., object]] = {
        "a.csv": frame.write_csv,
        "a.tsv": lambda path: frame.write_csv(path, separator="\t"),
        "a.parquet": frame.write_parquet,
        "a.arrow": frame.write_ipc,
    }
    write[name](tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}.*: {message}"):
        Corpus([tmp_path / name], columns=columns)


@pytest.mark.parametrize("columns", [["text"], {"a": "text", "b": "text"}, {"": "text"}, {"a": 3}])
def test_bad_names_of_columns_are_refused(columns: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column"):
        Corpus([tmp_path / "a.csv"], columns=columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'id,text\n1,"a\n', r"a\.csv:2: not CSV \(unexpected end of data\); check the quotes"),
        ("a.csv", 'id,text\n1,"a"b\n', r"a\.csv:2: not CSV"),
        ("a.csv", 'id,text\n1,"a\nb"\n2,c,d\n', r"a\.csv:4: 3 columns where the header has 2"),
        ("a.csv", "id,text\n\n1,\n", r"a\.csv:3: the text is empty"),
        ("a.csv", "id,text\n,t\n", r"a\.csv:2: the key 'id' is missing"),
        ("a.csv", "id,id,text\n", r"a\.csv:1: a column name is repeated"),
        ("a.csv", "id,text\n", r"a\.csv: the file is empty"),
        ("a.csv", "", r"a\.csv: the file is empty"),
        ("a.csv", "id,text\n1,Bäcker\n".encode("latin-1"), r"a\.csv:2: not UTF-8 at byte 3"),
        ("a.csv", "id,text\n1,t\n".encode("utf-16"), r"a\.csv: UTF-16, not UTF-8; convert it with `iconv"),
        ("a.tsv", "id\ttext\n1\tt\n".encode("utf-16"), r"a\.tsv: UTF-16, not UTF-8"),
        ("a.json", codecs.BOM_UTF16_BE + "[]".encode("utf-16-be"), r"a\.json: UTF-16, not UTF-8"),
        ("a.json", "", r"a\.json:1: the end of the file where an array"),
        ("a.json", "[]", r"a\.json: the file is empty"),
        ("a.json", "{}", r"a\.json: no list and no objects, where the documents should be; give an array"),
        ("a.json", '{"a": [], "b": [1]}', r"a\.json: the lists 'a', 'b', where the documents should be"),
        ("a.json", '{"a": {"text": "t"}, "b": 1', r"a\.json:1: the end of the file where a comma or \}"),
        ("a.json", '{"id": "1", "text": "t"}\n{"id": "2", "text": "u"}', r"a\.json:2: .* one object per line \.jsonl"),
        ("a.json", '[{"id": "1", "text": "t"},\n3]', r"a\.json:2: a JSON int, where a document"),
        ("a.json", '[{"id": "1",\n "txt": "t"}]', r"a\.json:1: the key 'text' is missing"),
        ("a.json", '{"k": {"text": "t"},\n "l": {"text": ""}}', r"a\.json:2: the text is empty"),
        ("a.arrow", "nothing", r"a\.arrow: no Arrow file that can be read"),
        ("a.feather", "", r"a\.feather: no Arrow file that can be read"),
    ],
)
def test_bad_files_are_named_with_line_and_way_out(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        list(Corpus([tmp_path / name]))
    assert "\n" not in str(caught.value)


def test_a_json_object_is_one_record_or_many(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    one = {"id": "x", "tags": ["a"], "metadata": {"n": 1}, "text": "t"}
    for value, expected in (
        (one, [Document("x", "t", None, {"tags": ["a"], "n": 1})]),
        ({"x": {"text": "t"}, "y": {"id": "own", "text": "u"}}, [Document("x", "t"), Document("own", "u")]),
        ({"meta": {"n": 1}, "passages": [{"id": 1, "text": "t"}]}, [Document("1", "t")]),
    ):
        path.write_text(json.dumps(value))
        assert list(read_documents(path)) == expected


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{"word " * 60_000}"\n')
    assert len(next(read_documents(tmp_path / "a.csv")).text) == 300_000


VALUES: dict[str, tuple[pa.Array, list[Any]]] = {
    "date": (pa.array([date(2024, 2, 29), None]), ["2024-02-29", None]),
    "zoned": (pa.array([datetime(2024, 1, 1, 9, tzinfo=UTC), None]), ["2024-01-01T09:00:00+00:00", None]),
    "nanoseconds": (
        pa.array([np.datetime64("2024-01-01T09:00:00.123456789"), None], pa.timestamp("ns")),
        ["2024-01-01T09:00:00.123456", None],
    ),
    "time": (pa.array([time(9, 30), None]), ["09:30:00", None]),
    "decimal": (pa.array([Decimal("1.50"), None]), [1.5, None]),
    "integral": (pa.array([Decimal(12), None], pa.decimal128(20, 0)), [12, None]),
    "float": (pa.array([float("nan"), 0.5]), [None, 0.5]),
    "floats": (pa.array([[float("nan"), 0.5], None]), [[None, 0.5], None]),
    "struct": (pa.array([{"a": 1, "b": float("nan")}, None]), [{"a": 1, "b": None}, None]),
    "uuid": (pa.array([UUID(int=7).bytes, None], pa.uuid()), [str(UUID(int=7)), None]),
    "bytes": (pa.array([b"x", None]), [None, None]),
    "duration": (pa.array([timedelta(1), None]), [None, None]),
    "view": (pa.array(["x", None], pa.string_view()), ["x", None]),
    "category": (pa.array(["x", None]).dictionary_encode(), ["x", None]),
    "null": (pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("form", [".parquet", ".arrow"])
def test_each_type_of_column_has_one_meaning(kind: str, form: str, tmp_path: Path) -> None:
    column, expected = VALUES[kind]
    table = pa.table({"id": ["1", "2"], "text": ["t", "u"], "v": column})
    if form == ".parquet":
        parquet.write_table(table, tmp_path / "a.parquet")
    else:
        with ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as out:
            out.write_table(table)
    found = [document.metadata.get("v") for document in read_documents(tmp_path / f"a{form}")]
    assert found == expected
