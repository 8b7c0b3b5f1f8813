"""Test filters: their syntax, when two values are equal, and that SQL gives the same results as Python."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlret.data.documents import Document
from mlret.errors import FilterWarning, InputError
from mlret.index.filtering import filters
from mlret.index.filtering.fields import fields_of, stored_value
from mlret.index.filtering.filter_sql import matching_rows
from mlret.index.filtering.filter_warnings import Unmatched
from mlret.index.filtering.filters import DEEPEST_FILTER, HasLanguage, Some, parse_filter, read_filter
from mlret.index.index import Index
from mlret.index.storage.creation import create_database
from mlret.index.storage.records import Records
from tests.conftest import examples
from tests.index.made import encoder, vector_of, vectors_of
from tests.memory.made import add, open_memory

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


def test_long_values_are_distinguished_although_stored_short() -> None:
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
        ({"id": "a"}, "a filter cannot name 'id'"),
        ({"text": "a"}, "takes .* alone"),
        ({"text": {"$gt": "a"}}, "compares numbers or strings"),
        ({"topic": {"$contains": ["a"]}}, "cannot look for"),
        ({"lang": {"$contains": "e"}}, "cannot look for"),
        ({"topic": {"$icontains": 1}}, r"\$icontains on 'topic' takes a string, not 1"),
        ({"lang": {"$icontains": "e"}}, "takes a string"),
        ({"topic": {"$empty": "yes"}}, r"\$empty on 'topic' takes true or false"),
        ({"topic": {"$type": "date"}}, "cannot be 'date'; there are number, string"),
        ({"text": {"$type": "string"}}, "there are number, string"),
        ({"topic": {"$regex": "a"}}, r"unknown operator '\$regex' on 'topic'; there are .*\$contains"),
        ({"$xor": []}, "unknown operator '\\$xor'"),
        ({"$not": 3}, "is int; give a dict"),
        ({3: "a"}, "names are strings"),
        ("lang=sw", "is str; give a dict"),
    ],
)
def test_bad_filter_is_refused(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_filter(where)


def test_case_is_ignored_in_every_script(tmp_path: Path) -> None:
    texts = ["Hauptstraße 5", "ΟΔΟΣ ΑΘΗΝΑΣ", "Улица Мира", "İstiklal"]
    create_database(tmp_path / "r", "{}")
    records = Records(tmp_path / "r")
    with records.transaction():
        records.append([Document(f"n{n}", text, None, {"s": text}) for n, text in enumerate(texts)])
    for place, part in enumerate(["HAUPTSTRASSE", "οδος αθηνας", "УЛИЦА", "i̇STIKLAL"]):
        for name in ("text", "s"):
            condition = read_filter({name: {"$icontains": part}})
            assert condition is not None
            [row] = records.matching(condition).tolist()
            assert records.fetch([row])[row].text == texts[place]
            both = read_filter({"$and": [{"s": texts[place]}, {name: {"$icontains": part}}]})
            assert both is not None
            assert records.matching(both).tolist() == [row]
    records.close()


def test_command_line_filters() -> None:
    assert parse_filter(["lang=sw", "lang=en"]) == {"lang": {"$in": ["sw", "en"]}}
    assert parse_filter(["year>=2024", "name!=a=b", "n=", "n=1"]) == {
        "$and": [{"year": {"$gte": 2024}}, {"name": {"$nin": ["a=b"]}}, {"n": {"$in": ["", "1", 1]}}]
    }
    assert parse_filter(['{"$or": [{"a": 1}, {"b": 2}]}']) == {"$or": [{"a": 1}, {"b": 2}]}
    assert parse_filter(["author.born>1980", "title~Berlin", "tags!~5"]) == {
        "$and": [
            {"author.born": {"$gt": 1980}},
            {"title": {"$contains": "Berlin"}},
            {"$not": {"$or": [{"tags": {"$contains": "5"}}, {"tags": {"$contains": 5}}]}},
        ]
    }
    assert parse_filter(["text~a=b", "x=NaN", "y=1e999"]) == {
        "$and": [{"text": {"$contains": "a=b"}}, {"x": {"$in": ["NaN"]}}, {"y": {"$in": ["1e999"]}}]
    }
    assert parse_filter([]) == {}
    with pytest.raises(InputError, match="the key 'a' occurs twice"):
        parse_filter(['{"a": 1, "a": 2}'])
    for bad in ("lang", "=sw", "{", "[1]"):
        with pytest.raises(InputError, match="filter"):
            parse_filter([bad])


# The meaning of filters in plain Python, on the metadata themselves.
LONG = "é" * 200
TEXTS = st.sampled_from(
    ["", "a", "a\0b", "a\0", "\0", "ab", "B", "é", "\U0001f642", LONG, LONG + "a", LONG + "b", LONG + "#"]
)
LARGE = [2**53, 2**53 + 1, 2**63, 2**63 - 1, -(2**63), 2**63 + 1, 2**64, 2**64 + 1, 10**300, -(10**300)]
NUMBERS = st.sampled_from(
    [0, 1, -1, 1.0, 0.1 + 0.2, 0.3, -0.0, float(2**53), float(2**64), 1e300, 5e-324, 1.7976931348623157e308, *LARGE]
)
VALUE = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(["a", "b", "a.b", "", "k\0", "k"])
METADATA = st.recursive(
    st.dictionaries(KEYS, VALUE | st.lists(VALUE, max_size=3), max_size=3),
    lambda inner: st.dictionaries(
        KEYS, inner | VALUE | st.lists(inner | VALUE | st.lists(VALUE, max_size=1), max_size=3)
    ),
    max_leaves=6,
)
PATHS = st.sampled_from(["a", "b", "a.b", "a.a", "b.a", "a.b.a", "", "k\0", "k", "a.k\0", ".", "a.", "missing"])
COMPARED = (
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), VALUE)
    | st.tuples(st.just("$icontains"), TEXTS)
    | st.tuples(st.just("$type"), st.sampled_from(["number", "string", "boolean", "null", "list", "object"]))
    | st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(VALUE, max_size=4))
    | st.tuples(st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), NUMBERS | TEXTS)
    | st.tuples(st.sampled_from(["$exists", "$empty"]), st.booleans())
)
CODES = st.sampled_from(["sw", "en", None])
FILTERS = st.recursive(
    st.builds(lambda path, some: {path: dict(some)}, PATHS, st.lists(COMPARED, min_size=1, max_size=2))
    | st.builds(lambda path, value: {path: value}, PATHS, VALUE | st.lists(VALUE, max_size=3))
    | st.builds(lambda code: {"lang": code}, CODES | st.lists(CODES, max_size=2))
    | st.builds(lambda code: {"language": {"$ne": code}}, CODES)
    | st.builds(
        lambda operator, text: {"text": {operator: text}},
        st.sampled_from(["$contains", "$icontains"]),
        st.sampled_from(["text", "\0", "n1", "N1", "TEXT\0", ""]),
    ),
    lambda inner: (
        st.builds(lambda one, some: {one: some}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1))
        | st.builds(lambda one: {"$not": one}, inner)
    ),
    max_leaves=6,
)
SCALAR = (str, int, float, type(None))


def values_at(metadata: dict[str, Any], name: str) -> list[Any]:
    """Return all values under a name; a list is one of them."""
    found = []
    for end in [*(place for place, letter in enumerate(name) if letter == "."), len(name)]:
        value = metadata.get(name[:end], ...)
        if value is not ... and end == len(name):
            found.append(value)
        elif value is not ...:
            objects = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
            found += [deeper for one in objects for deeper in values_at(one, name[end + 1 :])]
    return found


def type_of(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "null")


def found_at(metadata: dict[str, Any], name: str) -> tuple[bool, list[tuple[Any, bool]]]:
    """Return whether a name exists, and each scalar there with whether it is an element of a list."""
    there, found = False, []
    for end in [*(place for place, letter in enumerate(name) if letter == "."), len(name)]:
        value = metadata.get(name[:end], ...)
        if value is ...:
            continue
        elements = value if isinstance(value, list) else [value]
        if end == len(name):
            there = True
            found += [(one, isinstance(value, list)) for one in elements if isinstance(one, SCALAR)]
        for one in elements if end < len(name) else []:
            if isinstance(one, dict):
                deeper = found_at(one, name[end + 1 :])
                there, found = there or deeper[0], found + deeper[1]
    return there, found


def meets(metadata: dict[str, Any], language: str | None, text: str, where: dict[str, Any]) -> bool:
    """Return whether a document passes a filter."""

    def compared(name: str, operator: str, wanted: Any) -> bool:
        if operator in ("$ne", "$nin"):
            return not compared(name, "$in", wanted)
        there, values = (True, [(language, False)]) if name in ("lang", "language") else found_at(metadata, name)
        if operator == "$exists":
            return there == wanted
        if operator == "$empty":
            if name in ("lang", "language"):
                return (language is None) == wanted
            return all(value is None or value in ("", []) for value in values_at(metadata, name)) == wanted
        if operator == "$type":
            deep = values_at(metadata, name)
            types = {type_of(value) for value in deep} | {type_of(value) for value, _ in values}
            return wanted in types
        if operator == "$icontains":
            if name == "text":
                return wanted.casefold() in text.casefold()
            folded = [(value.casefold(), in_list) for value, in_list in values if isinstance(value, str)]
            wanted = wanted.casefold()
            return any(value == wanted or (not in_list and wanted in value) for value, in_list in folded)
        if operator == "$contains":
            if name == "text":
                return wanted in text
            return any(
                equal(value, wanted)
                or (isinstance(value, str) and isinstance(wanted, str) and not in_list and wanted in value)
                for value, in_list in values
            )
        if operator in ("$eq", "$in"):
            some = wanted if isinstance(wanted, list) else [wanted]
            return any(equal(value, one) for value, _ in values for one in some)
        compare = {"$lt": "__lt__", "$lte": "__le__", "$gt": "__gt__", "$gte": "__ge__"}[operator]
        kind = str if isinstance(wanted, str) else (int, float)
        alike = [value for value, _ in values if isinstance(value, kind) and not isinstance(value, bool)]
        return any(bool(_compare(compare, value, wanted)) for value in alike)

    def holds(name: str, wanted: Any) -> bool:
        if name == "$and":
            return all(meets(metadata, language, text, part) for part in wanted)
        if name == "$or":
            return any(meets(metadata, language, text, part) for part in wanted)
        if name == "$not":
            return not meets(metadata, language, text, wanted)
        if isinstance(wanted, dict):
            return all(compared(name, *one) for one in wanted.items())
        return compared(name, "$in", wanted)

    return all(holds(*one) for one in where.items())


def _compare(name: str, one: Any, other: Any) -> bool:
    import operator

    compare: Any = getattr(operator, name)
    return bool(compare(one, other))


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(METADATA, st.sampled_from([None, "sw", "en"])), max_size=5), st.lists(FILTERS, max_size=5))
def test_database_reads_a_filter_as_python_does(
    stored: list[tuple[dict[str, Any], str | None]], filters: list[dict[str, Any]]
) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE records (row INTEGER PRIMARY KEY, text TEXT, language TEXT, metadata TEXT)")
    columns = "key TEXT, kind TEXT, value, row INTEGER, PRIMARY KEY (key, kind, value, row)"
    connection.execute(f"CREATE TABLE fields ({columns}) WITHOUT ROWID")
    rows = range(1, len(stored) + 1)
    for row, (metadata, language) in zip(rows, stored, strict=True):
        values = (row, f"text\0 n{row}", language, json.dumps(metadata))
        connection.execute("INSERT INTO records VALUES (?, ?, ?, ?)", values)
        fields = [(key, value.kind, value.value, row) for key, value in fields_of(metadata)]
        connection.executemany("INSERT INTO fields VALUES (?, ?, ?, ?)", fields)
    for where in filters:
        condition = read_filter(where)
        assert condition is not None
        expected = [
            row
            for row, (metadata, language) in zip(rows, stored, strict=True)
            if meets(metadata, language, f"text\0 n{row}", where)
        ]
        assert matching_rows(connection, condition).tolist() == expected
    connection.close()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(METADATA, st.sampled_from(["sw", "en"])), min_size=1, max_size=5), FILTERS)
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_every_door_of_an_index_reads_filters_alike(
    tmp_path_factory: pytest.TempPathFactory, stored: list[tuple[dict[str, Any], str]], where: dict[str, Any]
) -> None:
    documents = [Document(f"n{i}", f"text\0 n{i}", code, metadata) for i, (metadata, code) in enumerate(stored)]
    expected = {d.id for d in documents if meets(d.metadata, d.language, d.text, where)}
    with Index.create(tmp_path_factory.mktemp("i") / "i", encoder()) as index:
        index.add(documents, vectors=vectors_of([document.text for document in documents], "cosine"))
        query = vectors_of(["query"], "cosine")
        assert {hit.id for hit in index.search_vectors(query, 9, where=where)[0]} == expected
        first = documents[0].id
        assert {hit.id for hit in index.search_vectors(query, 9, where=where, ids=[first])[0]} == expected & {first}
        assert index.delete(where=where) == len(expected)
        assert {document.id for document in index.documents()} == {d.id for d in documents} - expected


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(METADATA, st.sampled_from(["sw", "en"])), min_size=1, max_size=4), FILTERS)
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_a_memory_reads_filters_as_an_index_does(
    tmp_path_factory: pytest.TempPathFactory, stored: list[tuple[dict[str, Any], str]], where: dict[str, Any]
) -> None:
    texts = [f"text\0 n{i}" for i in range(len(stored))]
    with open_memory(tmp_path_factory.mktemp("m") / "m") as memory:
        for user in ("u", "other"):
            for text, (metadata, code) in zip(texts, stored, strict=True):
                add(memory, text, {"user": user}, metadata=metadata, language=code)
        expected = [
            text for text, (metadata, code) in zip(texts, stored, strict=True) if meets(metadata, code, text, where)
        ]
        assert [record.text for record in memory.list({"user": "u"}, where=where)] == expected
        found = memory.search("text", {"user": "u"}, 9, where=where, vector=vector_of("text"), language="en")
        assert {hit.record.text for hit in found} == set(expected)


def test_thousands_of_values_are_one_filter(tmp_path: Path) -> None:
    create_database(tmp_path / "r", "{}")
    records = Records(tmp_path / "r")
    with records.transaction():
        records.append([Document(f"n{i}", "t", None, {"n": i}) for i in range(5000)])
    condition = read_filter({"n": list(range(0, 5000, 2))})
    assert condition is not None
    assert len(records.matching(condition)) == 2500
    records.close()


def test_fields_are_paths_lists_and_objects() -> None:
    metadata = {"tags": ["x", "x", {"no": 1}, ["deeper"]], "d": {"k": {"l": 1.5}}, "d.k": None, "e": []}
    assert set(fields_of(metadata)) == {
        ("tags", ("list", 0)),
        ("tags", ("string", "x")),
        ("tags.no", ("number", 1)),
        ("d", ("object", 0)),
        ("d.k", ("object", 0)),
        ("d.k.l", ("number", 1.5)),
        ("d.k", ("null", 0)),
        ("e", ("list", 0)),
    }


def test_fields_of_metadata_deeper_than_the_stack_are_read() -> None:
    metadata: dict[str, Any] = {"x": 1}
    for _ in range(5000):
        metadata = {"a": metadata}
    assert len(fields_of(metadata)) == 5001


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Return 300 documents with a number, a name, one of ten groups and an object."""
    with Index.create(tmp_path_factory.mktemp("n") / "i", encoder()) as index:
        documents = [
            Document(f"n{i}", "t", "en", {"n": i, "name": f"N{i}", "group": {"of": [i % 10]}, f"own{i}": i})
            for i in range(300)
        ]
        index.add(documents, vectors=np.ones((300, 8), np.float32), batch_size=300)
        yield index


def count(index: Index, where: dict[str, Any]) -> int:
    return len(index.search_vectors(np.ones((1, 8), np.float32), 1000, where=where)[0])


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_ten_thousand_parts_work(numbered: Index) -> None:
    even = range(0, 20_000, 2)
    assert count(numbered, {"n": list(even)}) == 150
    assert count(numbered, {"n": {"$nin": list(even)}}) == 150
    assert count(numbered, {"name": {"$in": [f"N{i}" for i in even]}}) == 150
    assert count(numbered, {"$or": [{"n": i} for i in even]}) == 150
    assert count(numbered, {"$or": [{f"own{i}": i} for i in even]}) == 150
    assert count(numbered, {"$or": [{"n": i, "group.of": 4} for i in even]}) == 30
    assert count(numbered, {"$or": [{"n": {"$gte": i, "$lt": i + 1}} for i in even]}) == 150
    assert count(numbered, {"$and": [{"n": {"$ne": i}} for i in even]}) == 150
    assert count(numbered, {"$and": [{"n": {"$gte": -i}} for i in even]}) == 300
    assert count(numbered, {f"own{i}": {"$exists": False} for i in even}) == 150


def nested(depth: int, operator: str) -> dict[str, Any]:
    where: dict[str, Any] = {"n": 7}
    for _ in range(depth - 1):
        where = {operator: where if operator == "$not" else [where]}
    return where


@pytest.mark.parametrize("operator", ["$and", "$or", "$not"])
def test_filters_may_be_nested_up_to_a_limit_that_is_named(numbered: Index, operator: str) -> None:
    assert count(numbered, nested(DEEPEST_FILTER, operator)) == (299 if operator == "$not" else 1)
    for depth in (DEEPEST_FILTER + 1, 900, 100_000):
        with pytest.raises(InputError, match=f"nested more than {DEEPEST_FILTER} deep"):
            numbered.search_vectors(np.ones((1, 8), np.float32), where=nested(depth, operator))


def test_a_filter_that_holds_itself_is_refused() -> None:
    where: dict[str, Any] = {}
    where["$not"] = where
    with pytest.raises(InputError, match="nested more than"):
        read_filter(where)


def test_too_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST_PARTS", 10)
    for where in ({"n": list(range(10))}, {"$or": [{"n": 1, "m": 2}] * 6}):
        with pytest.raises(InputError, match="more than 10 parts"):
            read_filter(where)


def test_error_messages_stay_short_whatever_was_given() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    for bad in (
        deep,
        {"$and": 3 * ["x" * 10**6]},
        {"$or": deep},
        {"n": {"$exists": deep}},
        {"n": {"$gt": [1] * 10**6}},
    ):
        with pytest.raises(InputError) as caught:
            read_filter(bad)
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        {"n\udce9": 1},
        {"n": "\udce9"},
        {"n": ["a", "\udce9"]},
        {"n": {"$gt": "\udce9"}},
        {"n": {"$contains": "\udce9"}},
        {"text": {"$contains": "\udce9"}},
        {"lang": "\udce9"},
        {"$not": {"n": {"$nin": ["\udce9"]}}},
    ],
)
def test_strings_that_are_not_unicode_are_refused(where: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_filter(where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"nme": "N1"}, "no document has the field 'nme'.* there is 'name'"),
        ({"nme": {"$ne": "N1"}}, "no document has the field 'nme'"),
        ({"$or": [{"n": 1}, {"nme": "N1"}]}, "no document has the field 'nme'"),
        ({"of": 1}, "no document has the field 'of'.* there is 'group.of'"),
        ({"group": 3}, "the field 'group' holds objects: name what is in them, such as 'group.of'"),
        ({"n": "7"}, "the field 'n' holds numbers, never strings"),
        ({"name": {"$gte": 7}}, "the field 'name' holds strings, never numbers"),
        ({"group.of": {"$contains": "3"}}, "the field 'group.of' holds numbers, never strings"),
        ({"nme": {"$exists": True}}, "no document has the field 'nme'"),
    ],
)
def test_a_field_that_no_document_has_is_warned_of_once(numbered: Index, where: dict[str, Any], message: str) -> None:
    numbered.shards._shard._filters = Unmatched("document")
    with pytest.warns(FilterWarning, match=message) as caught:
        for _ in range(2):
            numbered.search_vectors(np.ones((1, 8), np.float32), where=where)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "where",
    [
        {"n": 7},
        {"n": 1000},
        {"n": ["7", 7]},
        {"name": None},
        {"nme": {"$exists": False}},
        {"lang": "sw"},
        {"group": {"$exists": True}},
        {"group.of": [1]},
        {"$not": {"n": 7}},
        {"text": {"$contains": "nothing"}},
    ],
)
def test_filters_that_could_match_are_not_warned_of(numbered: Index, where: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbered.search_vectors(np.ones((1, 8), np.float32), where=where)


def test_an_empty_index_warns_of_nothing(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", encoder()) as index, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index.search_vectors(np.ones((1, 8), np.float32), where={"a": 1}) == [[]]


def test_warnings_of_a_memory_depend_only_on_the_scope(tmp_path: Path) -> None:
    query: Any = {"vector": vector_of("text"), "language": "en"}
    with open_memory(tmp_path / "m") as memory:
        add(memory, "text one", {"user": "u"}, metadata={"colour": "red"})
        add(memory, "text two", {"user": "other"}, metadata={"colours": "red", "secret": 1})
        for scope, near in (({"user": "u"}, "'colour'"), ({"user": "other"}, "'colours'")):
            with pytest.warns(FilterWarning, match="no memory that may be seen here has the field 'color'") as caught:
                assert not memory.search("text", scope, where={"color": "red"}, **query)
            assert str(caught[0].message).endswith(f"there is {near}")
        with pytest.warns(FilterWarning, match="no memory that may be seen here has the field 'secret'"):
            assert not memory.list({"user": "u"}, where={"secret": 1})


def test_strings_that_contain_nul_are_distinguished(tmp_path: Path) -> None:
    values = ["a", "a\0", "a\0b", "\0", "\0a", ""]
    with Index.create(tmp_path / "i", encoder()) as index:
        documents = [Document(f"d{n}", "t", "en", {"k": value}) for n, value in enumerate(values)]
        index.add(documents, vectors=np.ones((len(values), 8), np.float32))
        for n, value in enumerate(values):
            for where in ({"k": value}, {"k": {"$in": [value]}}, {"$not": {"k": {"$ne": value}}}):
                [hits] = index.search_vectors(np.ones((1, 8), np.float32), where=where)
                assert [hit.id for hit in hits] == [f"d{n}"]
        assert index.delete(where={"k": "a\0b"}) == 1
        assert {document.id for document in index.documents()} == {"d0", "d1", "d3", "d4", "d5"}
