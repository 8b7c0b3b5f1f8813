"""The client against the real server: the same results as the library, in the same types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret import AlreadyExists, Client, Forbidden, Index, IndexSettings, InputError, Memory, NotFound
from mlret.client.client import ClientIndex, ClientMemory
from mlret.data.documents import Document
from mlret.errors import FilterWarning
from mlret.index.hits import Updated
from mlret.memory.ingest.forget import Policy
from mlret.memory.records import Link, Source
from tests.serve.running import Running

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "train", "text": "Der Zug hat zehn Minuten Verspätung.", "lang": "de", "year": 2021},
    {"id": "museum", "text": "The museum is closed on Mondays.", "lang": "en", "year": 2019},
    {"id": "a/b?c#d%", "text": "Treni imechelewa leo asubuhi.", "lang": "sw", "metadata": {"year": 2020}},
    {"id": "犬", "text": "犬が公園を走っている。", "lang": "ja", "year": 2022},
]
QUERIES = ["the train is late", "zoo and museum opening hours", "dogs in a park"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("local") / "same.index"
    with Index.create(folder, settings=IndexSettings(lexical=True)) as index:
        index.add(DOCUMENTS)
        yield index


@pytest.fixture
def filled(made: Callable[[], ClientIndex]) -> ClientIndex:
    index = made()
    assert index.add(DOCUMENTS) == len(DOCUMENTS)
    return index


def near(hits: Any) -> list[Any]:
    """Return hits with scores rounded, because a text is encoded in batches of other sizes."""
    return [
        replace(
            hit,
            score=round(hit.score, 4),
            cosine=round(hit.cosine, 4),
            scores={name: round(score, 4) for name, score in hit.scores.items()},
            terms={},
        )
        for hit in hits
    ]


def test_a_search_finds_what_the_library_finds(filled: ClientIndex, local: Index) -> None:
    for query in QUERIES:
        assert near(filled.search(query, k=3)) == near(local.search(query, k=3))
    where = {"year": {"$gte": 2020}}
    assert near(filled.search(QUERIES[0], where=where, mode="dense")) == near(
        local.search(QUERIES[0], where=where, mode="dense")
    )
    ids = ["犬", "museum"]
    assert near(filled.search(QUERIES[0], ids=ids, language="en", exact=True)) == near(
        local.search(QUERIES[0], ids=ids, language="en", exact=True)
    )
    batches = filled.search_batch(QUERIES, 2, language=["en", None, "en"])
    assert [near(hits) for hits in batches] == [near(hits) for hits in local.search_batch(QUERIES, 2)]


def test_more_queries_than_one_request_may_hold_are_several_requests(
    filled: ClientIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, send = [], filled._client._sent
    monkeypatch.setattr(filled._client, "_sent", lambda call: (sent.append(call.path), send(call))[1])
    found = filled.search_batch(["a train"] * 5, k=4_000)
    assert [len(hits) for hits in found] == [len(DOCUMENTS)] * 5
    assert len({tuple(hit.id for hit in hits) for hits in found}) == 1
    assert len(sent) == 3
    assert filled.search_batch([]) == []


def test_vectors_can_be_searched_for_and_stored(made: Callable[[], ClientIndex], local: Index) -> None:
    index = made()
    vectors = np.asarray(local.vectors([one["id"] for one in DOCUMENTS]), dtype=np.float32)
    assert index.add(DOCUMENTS, vectors=vectors, batch_size=3) == len(DOCUMENTS)
    for found, document in zip(index.search_vectors(vectors, 1), DOCUMENTS, strict=True):
        assert found[0].id == document["id"]
        assert found[0].cosine == pytest.approx(1, abs=1e-3)
    for few in (vectors[:2], np.concatenate([vectors, vectors])):
        with pytest.raises(InputError, match="vectors than documents"):
            made().add(DOCUMENTS, vectors=few)


def test_documents_come_back_as_they_were_stored(filled: ClientIndex, local: Index) -> None:
    assert list(filled.documents()) == list(local.documents())
    for document in local.documents():
        assert filled.get(document.id) == document
        assert document.id in filled
    assert filled.get("none") is None
    assert "none" not in filled
    assert len(filled) == len(local)


def test_all_pages_of_documents_are_read(made: Callable[[], ClientIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    index = made()
    texts = [Document(str(number), f"text number {number}", "en", {}) for number in range(25)]
    index.add(texts)
    documents, cursor = index.page(limit=10)
    assert [one.id for one in documents] == [str(number) for number in range(10)]
    documents, cursor = index.page(cursor, limit=10)
    assert [one.id for one in documents] == [str(number) for number in range(10, 20)]
    assert [one.id for one in index.page(cursor, limit=10)[0]] == [str(number) for number in range(20, 25)]
    assert [one.id for one in index.documents()] == [str(number) for number in range(25)]


def test_info_is_that_of_the_library(filled: ClientIndex, local: Index) -> None:
    there, here = filled.info(), local.info()
    assert replace(there, path="", bytes=0, encoder="") == replace(here, path="", bytes=0, encoder="")
    assert there.path == filled._client.address + f"/v1/indexes/{filled.name}"
    assert filled._client.indexes()[filled.name].documents == len(DOCUMENTS)


def test_an_iterator_is_stored_batch_by_batch_and_read_no_further_than_needed(
    made: Callable[[], ClientIndex],
) -> None:
    index = made()
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield f"sentence {number} of a stream"

    batches = index.add_batches(texts(), batch_size=16)
    assert next(batches) == Updated(added=16)
    assert taken == 16
    assert len(index) == 16
    assert list(batches) == [Updated(added=16), Updated(added=8)]
    assert [one.text for one in index.documents()] == [f"sentence {number} of a stream" for number in range(40)]


def test_a_conflict_says_which_document_and_how_many_were_stored(filled: ClientIndex) -> None:
    more = [{"id": f"new-{number}", "text": "A text."} for number in range(5)]
    with pytest.raises(AlreadyExists, match=r"'train'.*stored before it: 4 documents of this call") as caught:
        filled.add([*more, DOCUMENTS[0]], batch_size=4)
    assert caught.value.field == "/5/id"
    assert caught.value.fix
    assert len(filled) == len(DOCUMENTS) + 4
    assert filled.add([*more, DOCUMENTS[0]], skip_existing=True) == 1
    changed = [{**DOCUMENTS[0], "text": "Der Zug ist pünktlich."}, DOCUMENTS[1]]
    assert filled.update(changed) == Updated(replaced=1, skipped=1)
    changed_text = filled.get("train")
    assert changed_text is not None and changed_text.text == "Der Zug ist pünktlich."


def test_an_invalid_document_is_named(made: Callable[[], ClientIndex]) -> None:
    index = made()
    with pytest.raises(InputError) as caught:
        index.add(["good", {"id": "x", "text": "  "}], batch_size=1)
    assert caught.value.field == "/1/text"
    with pytest.raises(InputError, match=r"document 2 cannot be sent as JSON"):
        index.add(["good too", {"text": "a", "metadata": {"when": object()}}])
    with pytest.raises(InputError, match="list of documents"):
        index.add("a single text")
    with pytest.raises(InputError, match="batch_size is 0"):
        index.add(["a"], batch_size=0)


def test_documents_are_deleted_and_changed(filled: ClientIndex) -> None:
    assert filled.change("museum", {"metadata": {"year": None, "city": "Nairobi"}}).metadata == {"city": "Nairobi"}
    assert filled.delete(["train"]) == 1
    with pytest.raises(NotFound, match="train"):
        filled.delete(["train"])
    assert filled.delete(["train", "犬"], ignore_missing=True) == 1
    assert filled.delete(where={"lang": "sw"}) == 1
    with pytest.raises(InputError, match="one of the two"):
        filled.delete()
    assert filled.compact().documents == len(filled) == 1
    with pytest.raises(InputError, match="one of the two"):
        filled.delete(["a"], where={"lang": "sw"})
    filled.drop()
    with pytest.raises(NotFound, match=filled.name):
        filled.get("museum")


def test_a_filter_without_effect_is_a_warning(filled: ClientIndex) -> None:
    with pytest.warns(FilterWarning, match="yaer"):
        assert filled.search("a train", where={"yaer": 2020}) == []


def test_bad_values_are_errors_of_the_library(filled: ClientIndex) -> None:
    with pytest.raises(InputError) as caught:
        filled.search("a train", k=0)
    assert caught.value.field == "/k"
    with pytest.raises(InputError, match="1 language for 2 queries"):
        filled.search_batch(["a", "b"], language=["en"])
    with pytest.raises(InputError, match="one string"):
        filled.search_batch("a train")


def test_a_token_that_allows_less_is_forbidden(server: Running, address: str, filled: ClientIndex) -> None:
    token = server.tokens.add("reader of the client", "read")
    with Client(address, token) as client:
        assert client.index(filled.name).search("a train")
        with pytest.raises(Forbidden):
            client.index(filled.name).add(["a text"])
    with Client(address, "wrong") as client, pytest.raises(Forbidden, match="MLRET_TOKEN"):
        client.index(filled.name).info()


def test_the_token_of_the_environment_is_used(
    server: Running, address: str, filled: ClientIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLRET_TOKEN", server.token)
    with Client(address) as client:
        assert len(client.index(filled.name)) == len(DOCUMENTS)


def test_a_memory_remembers_finds_and_forgets(client: Client, scope: dict[str, str], tmp_path: Path) -> None:
    memory = client.memory(scope)
    when = datetime(2026, 3, 1, 9, tzinfo=UTC)
    nuts = memory.add(
        "Je suis allergique aux arachides.",
        language="fr",
        event_time=when,
        source=Source(uri="chat:1", role="user"),
        tags=["health"],
        metadata={"turn": 1},
    )
    assert nuts.verdict == "added"
    again = memory.add("Je suis allergique aux arachides.", language="fr")
    assert (again.verdict, again.id) == ("duplicate", nuts.id)
    pet = memory.add_batch([{"text": "Paka wangu anaitwa Simba.", "links": [Link("about", nuts.id)]}])[0]
    with Memory.open(tmp_path / "local") as local:
        local.add("Je suis allergique aux arachides.", scope, language="fr", id=nuts.id, event_time=when)
        here = local.get(nuts.id, scope)
    there = memory.get(nuts.id)
    assert here is not None and there is not None
    assert (there.text, there.language, there.event_time, there.valid_from, there.scope) == (
        here.text, here.language, here.event_time, here.valid_from, here.scope,
    )  # fmt: skip
    assert there.source == Source(uri="chat:1", role="user")
    assert (there.tags, there.metadata, there.strength) == (("health",), {"turn": 1}, 2.0)
    found = memory.search("peanut allergy", k=1)
    assert [hit.id for hit in found] == [nuts.id]
    assert found[0].record == there
    assert found.searched == 2
    assert memory.context("peanut allergy", 50).text
    done = memory.update(pet.id, text="Paka wangu anaitwa Pili.", tags=["pet"])
    assert [one.text for one in memory.versions(pet.id)] == ["Paka wangu anaitwa Simba.", "Paka wangu anaitwa Pili."]
    assert memory.history(pet.id)[-1].operation == done.operation
    memory.undo(done.operation)
    current = memory.get(pet.id)
    assert current is not None and current.text == "Paka wangu anaitwa Simba."
    assert current.links == (Link("about", nuts.id),)
    memory.unlink(pet.id, "about", nuts.id)
    assert [one.id for one in memory.list()] == [nuts.id, pet.id]
    assert [one.id for one in memory.list(limit=1)] == [nuts.id]
    memory.feedback("allergies", [nuts.id])
    assert memory.forget(Policy(importance_below=0.5)).reasons.keys() == {nuts.id, pet.id}
    memory.delete(nuts.id)
    assert memory.get("none") is None
    memory.restore([nuts.id])
    proof = memory.erase([nuts.id, pet.id])
    assert proof.complete and set(proof.ids) == {nuts.id, pet.id}
    assert memory.get(nuts.id) is None


def test_the_evidence_of_a_verdict_comes_along(client: Client, scope: dict[str, str], tmp_path: Path) -> None:
    texts = ["Anna was born on 3 May.", "Anna was born on 4 May."]
    memory = client.memory(scope)
    there = [memory.add(text, language="en", id=f"birthday-{place}") for place, text in enumerate(texts)]
    with Memory.open(tmp_path / "local") as local:
        here = [local.add(text, scope, language="en", id=f"birthday-{place}") for place, text in enumerate(texts)]
    assert [one.verdict for one in there] == [one.verdict for one in here]
    assert [one.reason for one in there] == [one.reason for one in here]
    [one], [other] = there[1].evidence, here[1].evidence
    assert replace(one, cosine=0, density=0, margin=0) == replace(other, cosine=0, density=0, margin=0)
    assert one.cosine == pytest.approx(other.cosine, abs=1e-4)


def test_a_stream_of_texts_is_stored_batch_by_batch(client: Client, scope: dict[str, str]) -> None:
    memory = client.memory()
    texts = [f"Fact number {number} is about {word}." for number, word in enumerate(("cats", "rivers", "snow") * 3)]
    added = memory.add_stream(iter(texts), scope, batch_size=4, dedupe=False)
    first = next(added)
    assert len(memory.list(scope)) == 4
    ids = [first.id, *(one.id for one in added)]
    assert [one.text for one in memory.list(scope)] == texts
    assert [one.id for one in memory.list(scope)] == ids
    with pytest.raises(InputError) as caught:
        list(memory.add_stream(["good", {"text": "bad", "importance": 7}], scope, batch_size=1))
    assert caught.value.field == "/1/importance"


def test_messages_profile_pages_and_changes_are_those_of_the_library(
    client: Client, scope: dict[str, str], tmp_path: Path
) -> None:
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": "I moved to Oslo.", "time": datetime(2026, 5, 4, 9, tzinfo=UTC)},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "How is Oslo?", "time": "2026-05-04T09:01:00+00:00"},
    ]

    def extract(messages: Any) -> list[Any]:
        assert [one["content"] for one in messages] == ["I moved to Oslo.", "How is Oslo?"]
        return ["They spoke of Oslo.", {"text": "Lives in Oslo.", "messages": [0], "tags": ["address"]}]

    with Memory.open(tmp_path / "local") as local:
        texts = []
        for memory in (local, client.memory()):
            added = memory.add(messages=chat, scope=scope, session="monday", language="en", extract=extract)  # type: ignore[attr-defined]
            assert (len(added.turns), len(added.facts)) == (2, 2)
            assert len({one.operation for one in (*added.turns, *added.facts)} | {added.operation}) == 1
            page = memory.list(scope, limit=3)  # type: ignore[attr-defined]
            rest = memory.list(scope, after=page.next)  # type: ignore[attr-defined]
            assert (len(page), len(rest), rest.next) == (3, 1, None)
            watched = list(memory.watch(scope, after="", timeout=0))  # type: ignore[attr-defined]
            assert [one.id for one in watched] == [one.id for one in (*added.turns, *added.facts)]
            assert list(memory.watch(scope, after=watched[-1].cursor, timeout=0)) == []  # type: ignore[attr-defined]
            profile = memory.profile(scope)  # type: ignore[attr-defined]
            texts.append(
                [
                    [(one.text, one.session, one.event_time, one.level) for one in (*page, *rest)],
                    [(topic.name, [one.text for one in topic.records]) for topic in profile.topics],
                    [one.kind for one in watched],
                ]
            )
        assert texts[0] == texts[1]
        assert client.memory().add(messages=[{"role": "user", "content": ""}], scope=scope).operation is None
        for wrong in ([{"role": "user"}], "one text"):
            with pytest.raises(InputError):
                client.memory().add(messages=wrong, scope=scope)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="poll"):
            next(client.memory().watch(scope, poll=0))


def test_other_scopes_see_nothing(client: Client, scope: dict[str, str]) -> None:
    secret = client.memory(scope).add("The code of the safe is in the blue book.")
    other = client.memory({"user": "somebody else"})
    assert other.get(secret.id) is None
    assert not other.search("the code of the safe")
    with pytest.raises(NotFound):
        other.delete(secret.id)


@pytest.mark.parametrize(("here", "there"), [(Index, ClientIndex), (Memory, ClientMemory)])
def test_verbs_take_the_parameters_of_the_library_in_its_order(here: type, there: type) -> None:
    local = {"encoder", "store", "folder", "path", "vectors", "seal", "tune", "encode_queries", "compact_if_due",
             "thresholds", "calibrate", "manifest", "shards", "folder_of", "space",
             "create", "derive", "events", "ids", "open"}  # fmt: skip
    missing = {name for name in vars(here) if not name.startswith("_")} - set(dir(there)) - local
    assert missing <= {"compact", "export", "import_records"}
    for name in ("add", "add_batch", "add_batches", "add_stream", "update", "search", "search_batch", "search_vectors",
                 "get", "delete", "merge", "link", "undo", "forget", "erase", "feedback", "restore"):  # fmt: skip
        if not hasattr(here, name):
            continue
        ours, theirs = (signature(getattr(cls, name)).parameters for cls in (there, here))
        positional = [
            parameter.name
            for parameter in theirs.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        assert list(ours)[: len(positional)] == positional, name
