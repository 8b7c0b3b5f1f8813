"""Filters of Haystack, evaluated by the index, against Haystack's own evaluation of one document after the other."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("haystack", reason="make test-integrations installs it")

from haystack import Document
from haystack.dataclasses import ByteStream
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.integrations.haystack import MlretDocumentStore
from tests.conftest import examples

pytestmark = pytest.mark.frameworks

WORDS = ["alpha", "Zug nach Bonn", "駅", ""]
DATES = [
    "2024-02-29",
    "2024-02-29T00:00:00",
    "2024-02-29 00:00",
    "2024-02-29T00:00:00+00:00",
    "2024-02-28T23:30:00-01:00",
    "2024-03-01T01:00:00.5+02:00",
    "2023-12-31T23:59:59.999999",
    "0001-01-01T00:00:00+00:00",
    "9999-12-31",
]
NUMBERS: st.SearchStrategy[Any] = st.sampled_from([0, 1, -1, 2, 1.0, 0.5, -0.0, 2**53, 2**63, 2**63 + 1, 2**70, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(WORDS) | st.sampled_from(DATES)
LISTS = st.lists(st.sampled_from([1, True, "alpha", None, 2.5]), max_size=2)
VALUES = SCALARS | LISTS | st.fixed_dictionaries({}, optional={"p": SCALARS | LISTS, "q": NUMBERS})
METADATA = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": SCALARS, "lang": st.sampled_from(["sw", 1]), "o": VALUES, "~x": SCALARS}
) | st.builds(lambda some: {"o": some}, st.lists(st.fixed_dictionaries({"p": SCALARS}), max_size=2))
DOCUMENTS = st.lists(
    st.builds(
        lambda content, meta, score, embedding: (content, meta, score, embedding),
        st.sampled_from([None, "", " ", "alpha", "a document"]),
        METADATA,
        st.none() | st.sampled_from([0.5, 1.0]),
        st.none() | st.just([0.5, 1.0]),
    ),
    max_size=5,
)
FIELDS = st.sampled_from(["meta.a", "meta.b", "meta.o", "meta.o.p", "meta.lang", "meta.~x", "meta.none", "a", "score"])
ORDERED = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.sampled_from(DATES)
    | st.sampled_from([float("inf"), -float("inf"), 10**400])
)
WANTED = VALUES | st.sampled_from([float("nan"), float("inf"), datetime.datetime(2024, 2, 29), "\ud800", 10**400])
COMPARISONS = st.one_of(
    st.fixed_dictionaries({"field": FIELDS, "operator": st.sampled_from(["==", "!="]), "value": WANTED}),
    st.fixed_dictionaries(
        {"field": FIELDS, "operator": st.sampled_from(["in", "not in"]), "value": st.lists(WANTED, max_size=3)}
    ),
    st.fixed_dictionaries({"field": FIELDS, "operator": st.sampled_from(["<", "<=", ">", ">="]), "value": ORDERED}),
    st.fixed_dictionaries(
        {
            "field": st.just("content"),
            "operator": st.sampled_from(["==", "!="]),
            "value": st.sampled_from([None, "", " ", "alpha", 1, "\ud800"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "field": st.just("id"),
            "operator": st.sampled_from(["in", "not in"]),
            "value": st.lists(st.sampled_from(["0", "3", "x", 1])),
        }
    ),
    st.fixed_dictionaries(
        {
            "field": st.sampled_from(["embedding", "blob", "sparse_embedding"]),
            "operator": st.sampled_from(["==", "!="]),
            "value": st.none(),
        }
    ),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.fixed_dictionaries(
        {"operator": st.sampled_from(["AND", "OR", "NOT"]), "conditions": st.lists(inner, max_size=3)}
    ),
    max_leaves=6,
)


def matches(filters: dict[str, Any], document: Document) -> bool:
    """Evaluate a filter by Haystack's own function.

    Where that raises because the value of this document cannot be put in order (a list, a word instead of a date), the
    comparison does not hold. Haystack's contract says nothing about such values; the error would depend on which
    documents there are.
    """
    if "field" in filters:
        try:
            return document_matches_filter(filters, document)
        except (FilterError, TypeError):
            return False
    parts = [matches(one, document) for one in filters["conditions"]]
    return {"AND": all(parts), "OR": any(parts), "NOT": not all(parts)}[filters["operator"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlretDocumentStore]:
    found = MlretDocumentStore(tmp_path_factory.mktemp("filters") / "index", embedding_dims=2, lexical=False)
    yield found
    found.close()


@settings(max_examples=examples(300))
@given(DOCUMENTS, st.lists(FILTERS, min_size=1, max_size=8))
def test_filters_agree_with_haystack(
    store: MlretDocumentStore, some: list[tuple[Any, ...]], wanted: list[dict[str, Any]]
) -> None:
    documents = [
        Document(id=str(number), content=content, meta=meta, score=score, embedding=embedding)
        for number, (content, meta, score, embedding) in enumerate(some)
    ]
    store.delete_all_documents()
    store.write_documents(documents)
    for filters in wanted:
        expected = [one.id for one in documents if matches(filters, one)]
        assert [one.id for one in store.filter_documents(filters)] == expected, filters
        assert store.count_documents_by_filter(filters) == len(expected)


ISO = st.builds(
    lambda moment, offset, separator, precision: moment.replace(
        tzinfo=offset and datetime.timezone(datetime.timedelta(minutes=offset))
    ).isoformat(separator, precision),
    st.datetimes(datetime.datetime(2024, 2, 25), datetime.datetime(2024, 3, 5)) | st.datetimes(),
    st.none() | st.integers(-1439, 1439).filter(bool),
    st.sampled_from("T "),
    st.sampled_from(["auto", "minutes", "microseconds"]),
)


@settings(max_examples=examples(200))
@given(st.lists(ISO, max_size=8), ISO, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_dates_agree_with_haystack(store: MlretDocumentStore, dates: list[str], wanted: str, operator: str) -> None:
    documents = [Document(id=str(number), meta={"date": date}) for number, date in enumerate(dates)]
    store.delete_all_documents()
    store.write_documents(documents)
    filters = {"field": "meta.date", "operator": operator, "value": wanted}
    expected = [one.id for one in documents if document_matches_filter(filters, one)]
    assert [one.id for one in store.filter_documents(filters)] == expected


def test_strings_that_only_look_like_dates_are_before_and_after_no_date(store: MlretDocumentStore) -> None:
    store.delete_all_documents()
    wrong = ["2020-99-01", "2020-02-30", "2020-02-01 and later", "2020-02-01T", "20200201", "May 2020", "2020"]
    store.write_documents([Document(id=one, meta={"date": one}) for one in wrong])
    for operator in ("<", "<=", ">", ">="):
        for value in ("2000-01-01", "2020-02-01", "2100-01-01T00:00:00+01:00"):
            assert not store.filter_documents({"field": "meta.date", "operator": operator, "value": value})


def test_a_date_is_in_no_other_spelling_than_iso_8601(store: MlretDocumentStore) -> None:
    """Haystack's own function reads "1" as the first day of this month, though its error asks for ISO dates alone."""
    document = Document(meta={"date": "2020-01-01"})
    for value in ("1", "May 2020", "tomorrow", ""):
        filters = {"field": "meta.date", "operator": "<", "value": value}
        with pytest.raises(FilterError, match="ISO 8601"):
            store.filter_documents(filters)
    assert document_matches_filter({"field": "meta.date", "operator": "<", "value": "1"}, document)


def test_a_key_with_a_dot_is_found_under_the_path_that_it_looks_like(store: MlretDocumentStore) -> None:
    """Haystack's own function cannot name such a key at all."""
    store.delete_all_documents()
    store.write_documents([Document(id="dotted", meta={"a.b": 1}), Document(id="nested", meta={"a": {"b": 1}})])
    found = store.filter_documents({"field": "meta.a.b", "operator": "==", "value": 1})
    assert [one.id for one in found] == ["dotted", "nested"]


def test_documents_with_binary_data_are_found(store: MlretDocumentStore) -> None:
    store.delete_all_documents()
    store.write_documents([Document(id="image", blob=ByteStream(b"\x89PNG")), Document(id="text", content="a")])
    found = store.filter_documents({"field": "blob", "operator": "!=", "value": None})
    assert [one.id for one in found] == ["image"]


def test_thousands_of_values_and_long_strings_are_found(store: MlretDocumentStore) -> None:
    store.delete_all_documents()
    long = "x" * 300
    store.write_documents(
        [Document(id=str(number), meta={"number": number, "text": long + str(number)}) for number in range(1200)]
    )
    some = {"field": "id", "operator": "in", "value": [str(number) for number in range(0, 1200, 2)]}
    assert store.count_documents_by_filter(some) == 600
    one = {"field": "meta.text", "operator": "==", "value": long + "7"}
    assert [found.id for found in store.filter_documents(one)] == ["7"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"field": "meta.a", "operator": "=", "value": 1}, "no comparison operator"),
        ({"field": "meta.a", "operator": ["=="], "value": 1}, "no comparison operator"),
        ({"field": 1, "operator": "==", "value": 1}, "no string"),
        ({"field": "meta.a", "operator": ">", "value": {"a": 1}}, "numbers and dates"),
        ({"field": "meta.a", "operator": "==", "value": b"bytes"}, "bytes"),
        ({"field": "meta.a", "operator": "==", "value": [object()]}, "not JSON"),
        ({"field": "meta", "operator": "==", "value": {}}, "meta.NAME"),
        ({"field": "blob.mime_type", "operator": "==", "value": "image/png"}, "meta.NAME"),
        ({"field": "embedding", "operator": "==", "value": [0.5]}, "None alone"),
        ({"field": "content", "operator": ">", "value": "2020-01-01"}, "no order"),
        ({"operator": "XOR", "conditions": []}, "no logical operator"),
        ({"operator": "AND", "conditions": {}}, "a list"),
        ({"operator": "AND", "conditions": ["meta.a"]}, "a dict"),
        ("meta.a == 1", "a dict"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(store: MlretDocumentStore, filters: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        store.filter_documents(filters)


def test_filters_nested_too_deeply_are_an_error(store: MlretDocumentStore) -> None:
    filters: dict[str, Any] = {"field": "meta.a", "operator": "==", "value": 1}
    for _ in range(2000):
        filters = {"operator": "NOT", "conditions": [filters]}
    with pytest.raises(FilterError, match="nested"):
        store.filter_documents(filters)


def test_empty_filters_delete_and_change_nothing(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index", embedding_dims=2)
    store.write_documents([Document(content="a")])
    with pytest.raises(ValueError, match="delete_all_documents"):
        store.delete_by_filter({})
    with pytest.raises(ValueError, match="empty"):
        store.update_by_filter({}, {"a": 1})
    assert store.count_documents() == 1
