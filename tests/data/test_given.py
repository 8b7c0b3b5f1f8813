"""Test documents that a program gives: data frames, tables, data sets and files; and what is not a document."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.documents import Document, document_from_mapping
from mlret.data.given import check_several, documents_of
from mlret.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "habari", "lang": "sw", "n": 1, "score": 0.5, "tags": ["x"], "when": datetime(2024, 1, 1, 9)},
    {"id": "b", "text": "guten Tag", "lang": None, "n": 2, "score": None, "tags": [], "when": None},
]
DOCUMENTS = [
    Document("a", "habari", "sw", {"n": 1, "score": 0.5, "tags": ["x"], "when": "2024-01-01T09:00:00"}),
    Document("b", "guten Tag", None, {"n": 2, "tags": []}),
]


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS)


TABLES: dict[str, Any] = {
    "pandas": pandas_frame,
    "pandas of arrow": lambda: pandas_frame().convert_dtypes(dtype_backend="pyarrow"),
    "pandas nullable": lambda: pandas_frame().convert_dtypes(),
    "pandas indexed": lambda: pandas_frame().set_index("id"),
    "pandas filtered": lambda: pd.DataFrame([ROWS[0], *ROWS]).iloc[1:],
    "polars": lambda: pl.DataFrame(ROWS),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "record batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(max_chunksize=1),
    "data set": lambda: datasets.Dataset.from_list(ROWS),
    "data set of arrays": lambda: datasets.Dataset.from_list(ROWS).with_format("numpy"),
    "data set, transformed": lambda: datasets.Dataset.from_list(ROWS).with_transform(lambda batch: batch),
    "data set, shuffled": lambda: datasets.Dataset.from_list(ROWS[::-1]).select([1, 0]),
    "stream": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "stream of unknown columns": lambda: datasets.IterableDataset.from_generator(lambda: iter(ROWS)),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_its_rows(name: str) -> None:
    table = TABLES[name]()
    check_several(table)
    assert list(documents_of(table)) == DOCUMENTS


@pytest.mark.parametrize("name", ["pandas", "polars", "arrow", "data set", "stream"])
def test_the_columns_of_a_table_are_renamed_and_ids_counted(name: str) -> None:
    rows = [{"body": "t", "title": "T", "vector": [0.5], "raw": b"\xff"}, {"body": "u", "title": None, "raw": None}]
    frame = pa.Table.from_pylist(rows)
    make: dict[str, Any] = {
        "pandas": frame.to_pandas,
        "polars": lambda: pl.from_arrow(frame),
        "arrow": lambda: frame,
        "data set": lambda: datasets.Dataset(frame),
        "stream": lambda: datasets.Dataset(frame).to_iterable_dataset(),
    }
    found = list(documents_of(make[name](), {"body": "text"}, after=7))
    assert found == [Document("auto-8", "t", None, {"title": "T"}), Document("auto-9", "u")]
    with pytest.raises(InputError, match=r"no column 'text' or .*--text-column NAME.*, there are 'body'"):
        list(documents_of(make[name]()))
    with pytest.raises(InputError, match=r"no column 'bodies', there are 'body'"):
        list(documents_of(make[name](), {"bodies": "text"}))


def test_the_row_of_an_error_is_named() -> None:
    for frame in (pd.DataFrame, pl.DataFrame):
        with pytest.raises(InputError, match=r"DataFrame: row 2: the text is empty"):
            list(documents_of(frame({"id": ["a", "b"], "text": ["t", None]})))
        with pytest.raises(InputError, match=r"DataFrame: row 1: metadata\['x'\] is inf"):
            list(documents_of(frame({"id": ["a"], "text": ["t"], "x": [float("inf")]})))
        with pytest.raises(InputError, match=r"DataFrame: row 1: title and text are empty"):
            list(documents_of(frame({"_id": ["a"], "title": [""], "text": [""]})))
    with pytest.raises(InputError, match=r"DataFrame: row 1: .*'when'\] is Period, which is not JSON"):
        list(documents_of(pd.DataFrame({"text": ["t"], "when": [pd.Period("2024-01")]})))


def test_texts_may_be_a_series_or_an_array() -> None:
    expected = [Document("auto-1", "t"), Document("auto-2", "u")]
    for texts in (pd.Series(["t", "u"]), pl.Series(["t", "u"]), np.array(["t", "u"]), (one for one in ["t", "u"])):
        assert list(documents_of(texts)) == expected


def test_a_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/a.txt").write_text("t")
    Path("docs/b.csv").write_text("key,text\nk,u\n")
    expected = [Document("docs/a.txt", "t", None, {"file": "docs/a.txt"}), Document("k", "u")]
    assert list(documents_of(Path("docs"), {"key": "id"})) == expected
    assert list(documents_of(sorted(Path("docs").iterdir()), {"key": "id"})) == expected


class Frame:
    """A data frame that is not computed."""

    def collect(self) -> None: ...


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        ("a text", "give a list of documents to add, not one str$"),
        (__file__, r"not one str; to read a file or folder, give pathlib\.Path\('.*test_given\.py'\)"),
        (b"bytes", "not one bytes"),
        ("a long text " * 100, "not one str$"),
        (Document("a", "t"), "not one Document"),
        ({"id": "a", "text": "t"}, "not one dict$"),
        (
            datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}),
            "not one DatasetDict; of a data set, give one split",
        ),
        (pl.LazyFrame(ROWS), r"a LazyFrame is not computed yet; give what its method collect\(\) returns"),
        (Frame(), "a Frame is not computed yet"),
        (7, "give a list of documents to add, not int"),
        (None, "give a list of documents to add, not NoneType"),
        ([["a", "b"]], "a document is a string, a dict or a Document, not list"),
        ([("id", "text")], "a document is a string, a dict or a Document, not tuple"),
        ([1, 2], "a document is a string, a dict or a Document, not int"),
        (np.ones((2, 2)), "not ndarray"),
        (np.ones(2), "not float64"),
        (pd.Series(["a", None]), "not (float|NoneType|NAType)"),
        ([None], "not NoneType"),
        (pa.array(["a"]), "not StringScalar"),
        (pl.Series([1]), "not int"),
        (datetime, "give a list of documents to add, not type"),
        ([pd.DataFrame(ROWS)], "not DataFrame"),
        (pl.DataFrame({"text": [object()]}), "a DataFrame that cannot be read|no column 'text'"),
    ],
)
def test_what_is_no_document_is_refused(given_value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_several(given_value)
        list(documents_of(given_value))
    assert "\n" not in str(caught.value)


MEANINGS: list[tuple[Any, Any]] = [
    (np.int64(3), 3), (np.float32(0.5), 0.5), (np.longdouble(1.5), 1.5), (np.bool_(True), True), (np.str_("é"), "é"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]), (np.array(["a", None], object), ["a", None]),
    (np.array(["2024-02-29"], "M8[D]"), ["2024-02-29"]), (np.datetime64("2024-02-29"), "2024-02-29"),
    (np.datetime64("2024-02-29T01:02:03.456789123"), "2024-02-29T01:02:03.456789"), (np.datetime64("NaT"), None),
    (date(2024, 2, 29), "2024-02-29"), (time(1, 2), "01:02:00"),
    (datetime(2024, 2, 29, 1, tzinfo=UTC), "2024-02-29T01:00:00+00:00"),
    (pd.Timestamp("2024-02-29T01:02:03.456789123"), "2024-02-29T01:02:03.456789"), (pd.NaT, None), (pd.NA, None),
    (Decimal("1.50"), 1.5), (Decimal("12"), 12), (Decimal("5E+2"), 500), (UUID(int=1), str(UUID(int=1))),
    (None, None), (pd.Series([1, 2]), [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "meaning"), MEANINGS, ids=[repr(value)[:40] for value, _ in MEANINGS])
def test_a_value_in_a_dict_has_one_meaning_at_any_depth(value: Any, meaning: Any) -> None:
    [document] = documents_of([{"text": "t", "v": value, "deep": {"list": [value]}}])
    assert document.metadata == {"v": meaning, "deep": {"list": [meaning]}}
    assert type(document.metadata["v"]) is type(meaning)


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), Decimal("NaN"), Decimal("sNaN"), float("inf")])
def test_nan_in_a_dict_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"metadata\['v'\] is (nan|inf), which is not JSON; leave it out"):
        list(documents_of([{"text": "t", "v": value}]))


@pytest.mark.parametrize("value", [np.complex128(1), b"x", np.bytes_(b"x"), np.timedelta64(1, "D"), np.void(b"x"), {1}])
def test_values_without_a_meaning_in_json_are_refused_in_a_dict(value: Any) -> None:
    with pytest.raises(InputError, match=r"metadata\['v'\] is .*, which is not JSON; keep to"):
        list(documents_of([{"text": "t", "v": value}]))


@pytest.mark.parametrize(("id", "expected"), [(7, "7"), (np.int64(7), "7"), (UUID(int=1), str(UUID(int=1)))])
def test_ids_may_be_integers_and_uuids(id: Any, expected: str) -> None:
    assert document_from_mapping({"id": id, "text": "t"}).id == expected
    assert [one.id for one in documents_of(pd.DataFrame({"id": [id], "text": ["t"]}))] == [expected]
    for bad in (True, 1.5, np.float64(1)):
        with pytest.raises(InputError, match=r"the id is (bool|float)"):
            document_from_mapping({"id": bad, "text": "t"})


SCALARS = {
    "whole": st.integers(-(2**60), 2**60),
    "real": st.floats(width=32, allow_infinity=False),
    "flag": st.booleans(),
    "word": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5),
    "day": st.dates(),
    "moment": st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),
}


ROW = st.fixed_dictionaries({name: st.none() | one for name, one in SCALARS.items()})


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.fixed_dictionaries({name: st.none() | one for name, one in SCALARS.items()}), min_size=1, max_size=4)
)
def test_polars_arrow_and_data_sets_agree_with_the_values_themselves(rows: list[dict[str, Any]]) -> None:
    rows = [{"id": str(number), "text": "t", **row} for number, row in enumerate(rows)]

    expected = [
        {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in row.items()
            if name in SCALARS and value is not None and value == value
        }
        for row in rows
    ]
    kinds = {"id": pa.string(), "text": pa.string(), "whole": pa.int64(), "real": pa.float64(), "flag": pa.bool_()}
    schema = pa.schema(kinds | {"word": pa.string(), "day": pa.date32(), "moment": pa.timestamp("us")})
    table = pa.Table.from_pylist(rows, schema=schema)
    for one in (table, pl.from_arrow(table), datasets.Dataset(table), table.to_pandas(types_mapper=pd.ArrowDtype)):
        assert [document.metadata for document in documents_of(one)] == expected


def test_a_stream_of_batches_is_read_in_bounded_memory() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, 100_000, 5000):
            yield pa.record_batch({"id": [str(n) for n in range(start, start + 5000)], "text": ["t" * 40] * 5000})

    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    documents = documents_of(pa.RecordBatchReader.from_batches(schema, batches()))
    next(documents)
    before = pa.total_allocated_bytes()
    most = 0
    tracemalloc.start()
    for number, _ in enumerate(documents):
        if number % 1000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 99_998 and peak < 2_500_000 and most < 4_000_000


@pytest.mark.parametrize(
    ("make", "unwanted"),
    [
        ("import polars; frame = polars.DataFrame({'id': ['a'], 'text': ['t']})", {"pandas"}),
        ("import pandas; frame = pandas.DataFrame({'id': ['a'], 'text': ['t']})", {"polars"}),
        (
            "frame = [{'id': 'a', 'text': 't'}]",
            {"pandas", "polars", "pyarrow", "numpy", "yaml", "bs4", "pypdf", "docx"},
        ),
    ],
)
def test_no_package_is_imported_that_is_not_needed(make: str, unwanted: set[str]) -> None:
    code = f"{make}\nfrom mlret.data.given import documents_of\nprint([d.id for d in documents_of(frame)])\n"
    code += "import sys; print(*sys.modules)"
    ids, modules = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert ids == "['a']" and not unwanted & {*modules.split()}
