"""Adding, listing, changing and deleting documents over HTTP, compared with a dictionary that does the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import Index
from mlret.serve.problems import ProblemDocument
from mlret.serve.schemas.document_models import Deleted, DocumentOut, DocumentPage, DocumentsAdded
from tests.conftest import examples
from tests.serve.running import Running

Made = Callable[..., str]
TEXTS = {
    "train": ("Der Zug nach Berlin hat eine Stunde Verspätung.", "de"),
    "maize": ("Bei ya mahindi imepanda sokoni.", "sw"),
    "library": ("駅前に新しい図書館が開館した。", "ja"),
}
DOCUMENTS = [{"id": id, "text": text, "lang": lang, "year": 2024} for id, (text, lang) in TEXTS.items()]


def add(server: Running, index: str, documents: Any, **parameters: Any) -> Any:
    return server.client.post(f"{index}/documents", json=documents, params=parameters)


def stored(server: Running, index: str) -> dict[str, dict[str, Any]]:
    """Return all documents by id, read in pages of two."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    while True:
        answer = server.client.get(f"{index}/documents", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        page = DocumentPage.model_validate_json(answer.content)
        for document in page.documents:
            assert document.id not in found
            found[document.id] = document.model_dump()
        if page.next is None:
            return found
        cursor = page.next


def problem(answer: Any, status: int, field: str | None) -> ProblemDocument:
    """Check that an answer is a problem about a field."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = ProblemDocument.model_validate_json(answer.content)
    assert (found.status, found.field) == (status, field), answer.text
    assert found.fix
    return found


def test_documents_are_stored_as_the_library_stores_them(server: Running, made: Made, tmp_path: Any) -> None:
    index = made()
    answer = add(server, index, DOCUMENTS)
    assert answer.status_code == 200
    added = DocumentsAdded.model_validate_json(answer.content)
    assert (added.added, added.replaced, added.unchanged, added.skipped) == (3, 0, 0, 0)
    assert [(one.id, one.verdict) for one in added.results] == [(id, "added") for id in TEXTS]
    with Index.create(tmp_path / "library") as own:
        own.add(DOCUMENTS)
        expected = {
            one.id: {"id": one.id, "text": one.text, "lang": one.language, "metadata": one.metadata}
            for one in own.documents()
        }
    assert stored(server, index) == expected


def test_a_language_that_is_not_given_is_detected_and_an_id_made(server: Running, made: Made) -> None:
    index = made()
    answer = add(
        server, index, [{"text": "駅前に新しい図書館が開館した。"}, {"text": "The train to Berlin is an hour late."}]
    )
    ids = [one["id"] for one in answer.json()["results"]]
    assert len(set(ids)) == 2
    assert [stored(server, index)[id]["lang"] for id in ids] == ["ja", "en"]


def test_an_array_with_an_invalid_document_stores_nothing_and_names_all_that_are_invalid(
    server: Running, made: Made
) -> None:
    index = made()
    bad = [DOCUMENTS[0], {"id": "a", "text": " "}, {"id": "b", "text": "Habari", "lang": "nonsense"}, {"id": "c"}, 7]
    found = problem(add(server, index, bad), 422, "/1/text")
    assert found.errors is not None
    assert [one["field"] for one in found.errors] == ["/1/text", "/2/lang", "/3", "/4"]
    assert stored(server, index) == {}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"[", 400, None),
        (b'{"id": "a", "text": "x"}', 422, ""),
        (b'[{"id": "a", "id": "b", "text": "x"}]', 422, ""),
        (b"\xff", 400, None),
        (b'[{"id": true, "text": "x"}]', 422, "/0/id"),
        (b'[{"id": "", "text": "x"}]', 422, "/0/id"),
        (b'[{"id": "a", "text": "\\ud800"}]', 422, "/0/text"),
        (b'[{"id": "a", "text": "x", "metadata": 1}]', 422, "/0/metadata"),
        (b'[{"id": "a", "text": "x", "metadata": false}]', 422, "/0/metadata"),
        (b'[{"id": "a", "text": "x", "vector": []}]', 422, "/0/vector"),
        (b'[{"id": "a", "text": "x", "metadata": {"y": 1}, "y": 2}]', 422, "/0"),
        (b'[{"id": "a", "text": "x", "vector": "x"}]', 422, "/0/vector"),
        (b'[{"id": "a", "text": "x", "vector": [1, NaN]}]', 422, "/0/vector"),
        (b'[{"id": "a", "text": "x", "vector": [1, 2]}]', 422, "/0/vector"),
        (b"[" * 2000, 400, None),
    ],
)
def test_a_bad_body_is_refused_with_its_field(
    server: Running, made: Made, body: bytes, status: int, field: str | None
) -> None:
    index = made()
    answer = server.client.post(f"{index}/documents", content=body, headers={"content-type": "application/json"})
    problem(answer, status, field)
    assert stored(server, index) == {}


def test_a_body_of_another_type_is_refused(server: Running, made: Made) -> None:
    answer = server.client.post(f"{made()}/documents", content=b"<a/>", headers={"content-type": "text/xml"})
    problem(answer, 415, "Content-Type")


def test_a_conflict_in_an_array_stores_nothing(server: Running, made: Made) -> None:
    index = made()
    add(server, index, DOCUMENTS[:1])
    problem(add(server, index, [DOCUMENTS[1], DOCUMENTS[0]]), 409, "/1/id")
    problem(add(server, index, [DOCUMENTS[1], DOCUMENTS[1]]), 409, "/1/id")
    assert list(stored(server, index)) == ["train"]


IDS = st.sampled_from(["a", "b", "c"])
WORDS = st.sampled_from(["habari", "guten Tag", "bonjour"])
YEARS = st.sampled_from([2024, 2025])
BATCHES = st.lists(
    st.tuples(st.lists(st.tuples(IDS, WORDS, YEARS), max_size=5), st.sampled_from(["fail", "skip", "replace"])),
    max_size=4,
)


@settings(max_examples=examples(30))
@given(BATCHES)
def test_verdicts_are_those_of_storing_one_document_after_another(
    server: Running, made: Made, batches: list[tuple[list[tuple[str, str, int]], str]]
) -> None:
    index, model = made(), dict[str, tuple[str, int]]()
    for documents, on_conflict in batches:
        then, verdicts = dict(model), []
        for id, text, year in documents:
            if id not in then:
                verdicts.append("added")
            elif on_conflict != "replace":
                verdicts.append("skipped" if on_conflict == "skip" else "failed")
                continue
            else:
                verdicts.append("unchanged" if then[id] == (text, year) else "replaced")
            then[id] = text, year
        rows = [{"id": id, "text": text, "lang": "sw", "year": year} for id, text, year in documents]
        answer = add(server, index, rows, on_conflict=on_conflict)
        if "failed" in verdicts:
            problem(answer, 409, f"/{verdicts.index('failed')}/id")
        else:
            assert [one["verdict"] for one in answer.json()["results"]] == verdicts
            model = then
    found = {id: (one["text"], one["metadata"]["year"]) for id, one in stored(server, index).items()}
    assert found == model


def test_a_page_starts_behind_a_row_whatever_was_deleted_in_between(server: Running, made: Made) -> None:
    index = made()
    ids = [f"d{number}" for number in range(10)]
    add(server, index, [{"id": id, "text": f"habari {id}", "lang": "sw"} for id in ids])
    first = server.client.get(f"{index}/documents", params={"limit": 4}).json()
    assert [one["id"] for one in first["documents"]] == ids[:4]
    gone = ["d1", "d3", "d4", "d8"]  # of the page that was read, its last one, the next one, a later one
    assert server.client.post(f"{index}/documents:delete", json={"ids": gone}).json() == {"deleted": 4, "documents": 6}
    second = server.client.get(f"{index}/documents", params={"limit": 4, "cursor": first["next"]}).json()
    assert [one["id"] for one in second["documents"]] == ["d5", "d6", "d7", "d9"]
    assert second["next"] is None


@pytest.mark.parametrize("change", ["cut", "other", "word", "padding"])
def test_a_cursor_that_is_not_of_this_index_is_refused(server: Running, made: Made, change: str) -> None:
    index, other = made(), made()
    for one in (index, other):
        add(server, one, DOCUMENTS)
    cursor = server.client.get(f"{index}/documents", params={"limit": 1}).json()["next"]
    bad = {"cut": cursor[:-4], "word": "next", "padding": cursor + "=", "other": cursor}[change]
    asked = other if change == "other" else index
    problem(server.client.get(f"{asked}/documents", params={"cursor": bad}), 422, "cursor")


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_page_has_from_1_to_1000_documents(server: Running, made: Made, limit: str) -> None:
    problem(server.client.get(f"{made()}/documents", params={"limit": limit}), 422, "limit")


@pytest.mark.parametrize("id", ["train", "a/b", "a b", "ä?#&%2F", "駅", "x" * 500, "documents:delete"])
def test_a_document_is_read_and_deleted_by_any_id(server: Running, made: Made, id: str) -> None:
    index = made()
    add(server, index, [{"id": id, "text": "habari", "lang": "sw"}])
    address = f"{index}/documents/{quote(id, safe='')}"
    found = DocumentOut.model_validate_json(server.client.get(address).content)
    assert found == DocumentOut(id=id, text="habari", lang="sw", metadata={})
    assert Deleted.model_validate_json(server.client.delete(address).content) == Deleted(deleted=1, documents=0)
    for method in ("GET", "DELETE"):
        problem(server.client.request(method, address), 404, "id")
    problem(server.client.patch(address, json={"text": "x"}), 404, "id")


# The examples of RFC 7396, appendix A, whose result is an object.
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def test_metadata_is_changed_by_a_merge_patch(server: Running, made: Made) -> None:
    index = made()
    for number, (before, patch, after) in enumerate(MERGES):
        add(server, index, [{"id": str(number), "text": "habari", "lang": "sw", "metadata": before}])
        address = f"{index}/documents/{number}"
        assert server.client.patch(address, json={"metadata": patch}).json()["metadata"] == after
        assert server.client.get(address).json() == {
            "id": str(number),
            "text": "habari",
            "lang": "sw",
            "metadata": after,
        }


def test_a_changed_text_is_found_by_its_new_meaning(server: Running, made: Made) -> None:
    index = made()
    add(server, index, DOCUMENTS)
    changed = server.client.patch(f"{index}/documents/maize", json={"text": "The museum is closed.", "lang": None})
    assert changed.json() == {
        "id": "maize",
        "text": "The museum is closed.",
        "lang": "en",
        "metadata": {"year": 2024},
    }
    hits = server.client.post(f"{index}:search", json={"query": "Das Museum hat zu", "k": 1}).json()["results"][0][
        "hits"
    ]
    assert hits[0]["id"] == "maize"
    assert server.client.patch(f"{index}/documents/maize", json={}).json() == changed.json()


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"text": ""}, "/text"),
        ({"text": " "}, "/text"),
        ({"text": None}, "/text"),
        ({"lang": "nonsense"}, "/lang"),
        ({"metadata": {"id": 1}}, "/metadata"),
        ({"metadata": 1}, "/metadata"),
        ({"id": "other"}, "/id"),
    ],
)
def test_a_bad_change_changes_nothing(server: Running, made: Made, patch: dict[str, Any], field: str) -> None:
    index = made()
    add(server, index, DOCUMENTS[:1])
    before = stored(server, index)
    problem(server.client.patch(f"{index}/documents/train", json=patch), 422, field)
    assert stored(server, index) == before


def test_documents_are_deleted_by_ids_or_by_a_filter(server: Running, made: Made) -> None:
    index = made()
    add(server, index, DOCUMENTS)
    address = f"{index}/documents:delete"
    problem(server.client.post(address, json={"ids": ["train", "no"]}), 404, "/ids/1")
    assert len(stored(server, index)) == 3
    answer = server.client.post(address, json={"ids": ["train", "no"], "ignore_missing": True})
    assert answer.json() == {"deleted": 1, "documents": 2}
    assert server.client.post(address, json={"where": {"lang": "sw"}}).json() == {"deleted": 1, "documents": 1}
    assert list(stored(server, index)) == ["library"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": "train"}, "/ids"),
        ({"where": {}}, "/where"),
        ({"where": {"year": {"$no": 1}}}, "/where"),
        ({"ids": ["train"], "where": {"lang": "sw"}}, "/where"),
        ({"where": {"lang": "sw"}, "ignore_missing": True}, "/ignore_missing"),
        ({"ids": ["no"], "ignore_missing": 1}, "/ignore_missing"),
    ],
)
def test_a_bad_deletion_deletes_nothing(server: Running, made: Made, body: dict[str, Any], field: str) -> None:
    index = made()
    add(server, index, DOCUMENTS)
    problem(server.client.post(f"{index}/documents:delete", json=body), 422, field)
    assert len(stored(server, index)) == 3
