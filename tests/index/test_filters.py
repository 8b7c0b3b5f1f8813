"""Filters: how they are written, when two values are equal, and that SQL reads them as Python does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.documents import Document
from mlret.errors import InputError
from mlret.index.blobs import OneVector
from mlret.index.filters import HasLanguage, Some, fields_of, parse_filter, read_filter, stored_value
from mlret.index.records import Records

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-5, 5, allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=3)
)
NAMES = ["a", "b", "lang"]


def equal(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(SCALARS, SCALARS)
def test_values_are_equal_as_json_has_it(one: Any, other: Any) -> None:
    assert (stored_value(one) == stored_value(other)) == equal(one, other)


def test_long_values_are_told_apart_though_stored_short() -> None:
    assert stored_value("x" * 5000) != stored_value("x" * 5001)
    assert len(str(stored_value("x" * 5000).value)) < 300


def test_language_is_brought_to_one_form_under_either_name() -> None:
    expected = Some((HasLanguage("sw"), HasLanguage("zh-Hant"), HasLanguage(None)))
    assert read_filter({"lang": ["swh", "zh_TW", None]}) == expected
    assert read_filter({"language": ("swh", "zh_TW", None)}) == expected
    assert read_filter(None) is None and read_filter({}) is None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"lang": "xx"}, "unknown language code 'xx'"),
        ({"topic": {"a": 1}}, r"unknown operator 'a' on 'topic'; there are \$eq"),
        ({"topic": {}}, "the filter on 'topic' is empty"),
        ({"topic": [["a"]]}, "the filter on 'topic' holds list"),
        ({"topic": {"$gt": True}}, "compares numbers or strings"),
        ({"lang": {"$gt": "en"}}, "compares numbers or strings"),
        ({"topic": {"$exists": 1}}, "takes true or false"),
        ({"topic": float("nan")}, "must be finite"),
        ({"topic": 10**400}, "is an integer beyond"),
        ({"$or": []}, "takes a list of filters"),
        ({"$xor": []}, "unknown operator '\\$xor'"),
        ({"$not": 3}, "is int; give a dict"),
        ({3: "a"}, "names are strings"),
        ("lang=sw", "is str; give a dict"),
    ],
)
def test_bad_filter_is_refused(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_filter(where)


def test_command_line_filters() -> None:
    assert parse_filter(["lang=sw", "lang=en"]) == {"lang": {"$in": ["sw", "en"]}}
    assert parse_filter(["year>=2024", "name!=a=b", "n=", "n=1"]) == {
        "$and": [{"year": {"$gte": 2024}}, {"name": {"$nin": ["a=b"]}}, {"n": {"$in": ["", "1", 1]}}]
    }
    assert parse_filter(['{"$or": [{"a": 1}, {"b": 2}]}']) == {"$or": [{"a": 1}, {"b": 2}]}
    assert parse_filter([]) == {}
    for bad in ("lang", "=sw", "{", "[1]"):
        with pytest.raises(InputError, match="filter"):
            parse_filter([bad])


# Filters and what they mean, told by plain Python over lists of values.
LEAVES = st.one_of(
    st.tuples(st.just("in"), st.sampled_from(["a", "b"]), st.lists(SCALARS, max_size=3)),
    st.tuples(st.just("nin"), st.sampled_from(["a", "b"]), st.lists(SCALARS, max_size=3)),
    st.tuples(st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), st.sampled_from(["a", "b"]), st.integers(-5, 5)),
    st.tuples(st.sampled_from(["$lt", "$gte"]), st.sampled_from(["a", "b"]), st.text("abc", max_size=2)),
    st.tuples(st.just("exists"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("in"), st.just("lang"), st.lists(st.sampled_from(["sw", "en", None]), max_size=2)),
    st.tuples(st.just("nin"), st.just("lang"), st.lists(st.sampled_from(["sw", "en", None]), max_size=2)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("$not"), inner),
    ),
    max_leaves=5,
)


def written(tree: Any) -> dict[str, Any]:
    match tree:
        case ("$and" | "$or" as operator, parts):
            return {operator: [written(part) for part in parts]}
        case ("$not", part):
            return {"$not": written(part)}
        case ("in", key, values):
            return {key: values}
        case ("nin", key, values):
            return {key: {"$nin": values}}
        case ("exists", key, value):
            return {key: {"$exists": value}}
        case (operator, key, value):
            return {key: {operator: value}}
    raise AssertionError(tree)


def holds(tree: Any, document: Document) -> bool:
    match tree:
        case ("$and", parts):
            return all(holds(part, document) for part in parts)
        case ("$or", parts):
            return any(holds(part, document) for part in parts)
        case ("$not", part):
            return not holds(part, document)
    operator, key, wanted = tree
    if key == "lang":
        values: list[Any] = [document.language]
    else:
        found = document.metadata.get(key, [])
        values = found if isinstance(found, list) else [found]
    if operator == "exists":
        return (any(value is not None for value in values) if key == "lang" else bool(values)) == wanted
    if operator in ("in", "nin"):
        return any(equal(value, one) for value in values for one in wanted) == (operator == "in")
    alike = [v for v in values if isinstance(v, str) == isinstance(wanted, str) and type(v) in (str, int, float)]
    compare = {
        "$lt": lambda v: v < wanted,
        "$lte": lambda v: v <= wanted,
        "$gt": lambda v: v > wanted,
        "$gte": lambda v: v >= wanted,
    }[operator]
    return any(compare(value) for value in alike)


VALUES = SCALARS | st.lists(SCALARS, max_size=3)
DOCUMENTS = st.lists(
    st.tuples(
        st.sampled_from([None, "sw", "en"]),
        st.dictionaries(st.sampled_from(["a", "b"]), VALUES.filter(lambda v: v != []), max_size=2),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, TREES)
def test_database_reads_a_filter_as_python_does(
    tmp_path_factory: pytest.TempPathFactory, stored: list[tuple[str | None, dict[str, Any]]], tree: Any
) -> None:
    path = tmp_path_factory.mktemp("f") / "records.db"
    Records.create(path, "{}")
    records = Records(path, OneVector(2))
    documents = [Document(f"n{i}", "text", language, metadata) for i, (language, metadata) in enumerate(stored)]
    with records.transaction():
        rows = records.append(documents, np.zeros((len(documents), 2), dtype=np.float32))
    condition = read_filter(written(tree))
    assert condition is not None
    found = records.matching(condition).tolist()
    records.close()
    assert found == [int(row) for row, document in zip(rows, documents, strict=True) if holds(tree, document)]


def test_thousands_of_values_are_one_filter(tmp_path: Path) -> None:
    Records.create(tmp_path / "r", "{}")
    records = Records(tmp_path / "r", OneVector(1))
    with records.transaction():
        records.append([Document(f"n{i}", "t", None, {"n": i}) for i in range(5000)], np.zeros((5000, 1), np.float32))
    condition = read_filter({"n": list(range(0, 5000, 2))})
    assert condition is not None
    assert len(records.matching(condition)) == 2500
    records.close()


def test_lists_are_filtered_by_their_elements() -> None:
    assert [value.value for _, value in fields_of({"tags": ["x", "y", "x", {"no": 1}], "d": {"k": 1}})] == ["x", "y"]
