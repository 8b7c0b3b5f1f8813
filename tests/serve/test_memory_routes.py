"""The memory over HTTP, compared with the same calls of the library on a memory of its own."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mlret import Memory
from mlret.index.storage.receipts import TABLE
from mlret.serve.problems import ProblemDocument
from mlret.serve.schemas import memory_models as models
from tests.serve.running import Running, running

TEXTS: list[dict[str, Any]] = [
    {"text": "Je suis allergique aux arachides.", "id": "nuts", "language": "fr", "tags": ["health"]},
    {"text": "Ich wohne seit 2021 in Rom.", "id": "home", "language": "de", "metadata": {"year": 2021}},
    {"text": "Paka wangu anaitwa Simba.", "id": "cat/1", "language": "sw", "session": "monday"},
]
ANNA = {"tenant": "acme", "user": "anna"}
# Changes at each run: instants, and random ids.
_VOLATILE = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00|[0-9a-f]{8}-[0-9a-f-]{27}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server with a memory."""
    folder = tmp_path_factory.mktemp("served")
    with running(folder, memory=folder / "memory") as one:
        yield one


@pytest.fixture
def anna(served: Running, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """Return a client whose token is bound to a tenant of its own, in which a few texts are stored."""
    tenant = request.node.name[:60]
    with served.client_of(tenant, "write", scope={**ANNA, "tenant": tenant}) as client:
        answer = client.post("/v1/memories", json={"memories": TEXTS})
        assert answer.status_code == 200, answer.text
        yield client


def problem(answer: httpx2.Response, status: int, field: str | None = None) -> ProblemDocument:
    assert answer.status_code == status, answer.text
    found = ProblemDocument.model_validate_json(answer.content)
    assert found.field == field, answer.text
    assert found.fix
    return found


def without_times(value: Any) -> Any:
    """Return a JSON value without what differs from one memory to the next."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in ("tenant", "scope")}
    if isinstance(value, list):
        return [without_times(one) for one in value]
    return _VOLATILE.sub("…", value) if isinstance(value, str) else value


def test_answers_are_those_of_the_library(anna: httpx2.Client, tmp_path: Path) -> None:
    with Memory.open(tmp_path / "memory") as memory:
        memory.add_batch(TEXTS, ANNA)
        asked = "Which foods must she avoid?"
        [found] = anna.post("/v1/memories:search", json={"query": asked, "k": 2}).json()["results"]
        models.FoundOut.model_validate(found)
        expected = memory.search(asked, ANNA, 2).as_json()
        for hit, other in zip(found["hits"], expected["hits"], strict=True):
            assert hit["score"] == pytest.approx(other["score"], abs=1e-5)
            assert without_times(hit["record"]) == without_times(other["record"])
        assert anna.get("/v1/memories").json()["memories"][0]["id"] == "nuts"
        for id in ("nuts", "cat/1"):
            there = memory.get(id, ANNA)
            assert there is not None
            assert without_times(anna.get(f"/v1/memories/{id}").json()) == without_times(there.as_json())
        change = {"text": "Ich wohne jetzt in Oslo.", "language": "de", "valid_from": "2026-03-01T00:00:00+01:00"}
        changed = anna.patch("/v1/memories/home", json=change).json()
        done = memory.update("home", ANNA, **change)  # type: ignore[arg-type]
        assert changed["operation"] == done.operation
        assert changed["memory"]["version"] == 2
        history = anna.get("/v1/memories/home/history").json()
        models.HistoryOut.model_validate(history)
        assert [one["verb"] for one in history["operations"]] == [one.verb for one in memory.history("home", ANNA)]
        assert [one["text"] for one in history["versions"]] == [one.text for one in memory.versions("home", ANNA)]
        packed = anna.post("/v1/memories:context", json={"query": asked, "budget": 20}).json()
        models.ContextAnswer.model_validate(packed)
        direct = memory.context(memory.search(asked, ANNA, 20), 20)
        assert (packed["text"], packed["cost"]) == (direct.text, direct.cost)


def test_a_record_is_read_as_it_was(anna: httpx2.Client) -> None:
    change = {"text": "Ich wohne jetzt in Oslo.", "valid_from": "2030-03-01T00:00:00+01:00"}
    assert anna.patch("/v1/memories/home", json=change).status_code == 200
    after, before = ({"as_of": f"20{year}-06-01T00:00:00Z"} for year in (30, 27))
    assert anna.get("/v1/memories/home", params=after).json()["text"] == change["text"]
    assert anna.get("/v1/memories/home", params=before).json()["text"] == TEXTS[1]["text"]
    problem(anna.get("/v1/memories/home", params={"as_of": "2020-01-01T00:00:00Z"}), 404, "id")
    problem(anna.get("/v1/memories/home", params={"as_of": "yesterday"}), 422)


def test_operations_are_undone(anna: httpx2.Client) -> None:
    deleted = anna.delete("/v1/memories/nuts").json()
    models.DoneOut.model_validate(deleted)
    problem(anna.get("/v1/memories/nuts"), 404, "id")
    assert anna.post("/v1/memories:undo", json={"operation": deleted["operation"]}).status_code == 200
    assert anna.get("/v1/memories/nuts").status_code == 200
    merged = anna.post("/v1/memories:merge", json={"survivor": "nuts", "others": ["home"]}).json()
    assert anna.get("/v1/memories/home").json()["merged_into"] == "nuts"
    assert anna.get("/v1/memories", params={"state": "merged"}).json()["memories"][0]["id"] == "home"
    anna.post("/v1/memories:undo", json={"operation": merged["operation"]})
    assert anna.get("/v1/memories/home").json()["state"] == "active"
    problem(anna.post("/v1/memories:undo", json={"operation": 10**9}), 404)
    link = {"id": "nuts", "type": "about", "target": "home"}
    assert anna.post("/v1/memories:link", json=link).status_code == 200
    problem(anna.post("/v1/memories:link", json=link), 409)
    assert anna.get("/v1/memories/nuts").json()["links"] == [{"type": "about", "target": "home"}]
    assert anna.post("/v1/memories:link", json={**link, "on": False}).status_code == 200
    assert anna.get("/v1/memories/nuts").json()["links"] == []


def test_forgetting_is_dry_unless_asked_otherwise_and_can_be_taken_back(anna: httpx2.Client) -> None:
    policy = {"unused_days": 0, "keep": 1}
    dry = anna.post("/v1/memories:forget", json=policy).json()
    models.ForgottenOut.model_validate(dry)
    assert len(dry["reasons"]) == 2
    assert dry["operation"] is None
    assert len(anna.get("/v1/memories").json()["memories"]) == 3
    wet = anna.post("/v1/memories:forget", json={**policy, "dry_run": False}).json()
    assert wet["reasons"].keys() == dry["reasons"].keys()
    assert len(anna.get("/v1/memories").json()["memories"]) == 1
    assert anna.post("/v1/memories:restore", json={"ids": list(wet["reasons"])}).status_code == 200
    assert len(anna.get("/v1/memories").json()["memories"]) == 3
    problem(anna.post("/v1/memories:forget", json={}), 422)


def test_erasing_gives_a_proof_and_needs_a_token_that_may_erase(served: Running, anna: httpx2.Client) -> None:
    proof = anna.post("/v1/memories:erase", json={"ids": ["nuts"]}).json()
    models.ProofOut.model_validate(proof)
    assert (proof["ids"], proof["complete"]) == (["nuts"], True)
    problem(anna.get("/v1/memories/nuts"), 404, "id")
    problem(anna.get("/v1/memories/nuts/history"), 404)
    with served.client_of("writer", "write", scope={"tenant": "t"}) as writer:
        problem(writer.post("/v1/memories:erase", json={"ids": ["a"], "scope": {"user": "u"}}), 403)
    with served.client_of("reader", "read", scope=ANNA) as reader:
        problem(reader.post("/v1/memories:erase", json={"ids": ["a"]}), 403)
        problem(reader.post("/v1/memories", json={"text": "a"}), 403)


def test_a_request_can_only_narrow_the_scope_of_its_token(anna: httpx2.Client) -> None:
    run = {"text": "The meeting is in room 4.", "id": "room", "scope": {"run": "r1"}}
    assert anna.post("/v1/memories", json=run).status_code == 200
    assert [one["id"] for one in anna.get("/v1/memories", params={"run": "r1"}).json()["memories"]] == ["room"]
    assert anna.get("/v1/memories/room").json()["scope"]["run"] == "r1"
    problem(anna.get("/v1/memories/nuts", params={"run": "r1"}), 404, "id")
    for scope in ({"user": "bob"}, {"tenant": "other"}):
        problem(anna.post("/v1/memories:search", json={"query": "a", "scope": scope}), 403)
        problem(anna.get("/v1/memories", params=scope), 403)
    problem(anna.post("/v1/memories:search", json={"query": "a", "scope": {"group": "g"}}), 422, "/scope/group")


def test_a_repeated_request_with_a_key_stores_nothing_twice(anna: httpx2.Client) -> None:
    key = {"Idempotency-Key": "first"}
    body = {"memories": [{"text": "The train leaves at eight."}, {"text": "Rice and tea for dinner."}]}
    first = anna.post("/v1/memories", json=body, headers=key)
    again = anna.post("/v1/memories", json=body, headers=key)
    assert first.json() == again.json()
    assert [one["verdict"] for one in first.json()["results"]] == ["added", "added"]
    ids = [one["id"] for one in first.json()["results"]]
    assert [anna.get(f"/v1/memories/{id}").json()["strength"] for id in ids] == [1.0, 1.0]
    unlike = anna.post("/v1/memories", json={"text": "Another text."}, headers=key)
    problem(unlike, 422, "Idempotency-Key")
    without = anna.post("/v1/memories", json=body).json()["results"]
    assert [one["verdict"] for one in without] == ["duplicate", "duplicate"]


def test_erasing_removes_the_answers_that_are_kept_for_repeated_requests(tmp_path: Path) -> None:
    with running(tmp_path, memory=tmp_path / "memory") as one, one.client_of("anna", "write", scope=ANNA) as client:
        for id in ("gone", "kept"):
            body = {"text": f"note {id}", "id": id, "dedupe": False}  # or the evidence of one names the other
            client.post("/v1/memories", json=body, headers={"Idempotency-Key": id})
        assert client.post("/v1/memories:erase", json={"ids": ["gone"]}).json()["complete"]
        answer = client.post("/v1/memories", json=body, headers={"Idempotency-Key": "kept"})
        assert answer.json()["results"][0]["verdict"] == "added"
    with contextlib.closing(sqlite3.connect(tmp_path / "memory" / "records.db")) as database:
        [(kept,)] = database.execute(f"SELECT answer FROM {TABLE}")
    assert b"kept" in zlib.decompress(kept)


def test_pages_hold_every_record_once(anna: httpx2.Client) -> None:
    anna.post("/v1/memories", json={"memories": [{"text": f"note {n}", "id": f"n{n}"} for n in range(9)]})
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = anna.get("/v1/memories", params={"limit": 4, **cursor}).json()
        models.MemoryPage.model_validate(page)
        found += [one["id"] for one in page["memories"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        anna.delete(f"/v1/memories/{found[0]}")  # What is deleted makes no other record go missing.
    assert sorted(found) == sorted([*(one["id"] for one in TEXTS), *(f"n{n}" for n in range(9))])
    problem(anna.get("/v1/memories", params={"cursor": "AAAA"}), 422, "cursor")


CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "I moved to Oslo.", "time": "2026-05-04T09:00:00+02:00"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call", "function": {"name": "look"}}]},
    {"role": "assistant", "content": [{"type": "text", "text": "How is Oslo?"}], "time": 1777878060},
]
FACTS: list[dict[str, Any]] = [{"text": "Lives in Oslo.", "messages": [0], "tags": ["address"]}, {"text": "Spoke."}]


def test_messages_are_stored_as_the_library_stores_them(anna: httpx2.Client, tmp_path: Path) -> None:
    body = {"messages": CHAT, "facts": FACTS, "session": "oslo", "metadata": {"app": "chat"}, "language": "en"}
    answer = anna.post("/v1/memories", json=body, headers={"Idempotency-Key": "chat"})
    assert answer.status_code == 200, answer.text
    added = answer.json()
    models.MemoriesAdded.model_validate(added)
    assert len({one["operation"] for one in (*added["results"], *added["facts"])}) == 1
    with Memory.open(tmp_path / "memory") as memory:
        direct = memory.add(
            messages=CHAT,
            scope=ANNA,
            session="oslo",
            metadata={"app": "chat"},
            language="en",
            extract=lambda _: [{**one, "language": None} for one in FACTS],
        )
        pairs = [*zip(added["results"], direct.turns, strict=True), *zip(added["facts"], direct.facts, strict=True)]
        for there, here in pairs:
            record = memory.get(here.id, ANNA)
            assert record is not None
            found = anna.get(f"/v1/memories/{there['id']}").json()
            ids = {one.id: other["id"] for other, one in pairs}
            assert {one["target"] for one in found["links"]} == {ids[one.target] for one in record.links}
            for name in ("text", "level", "kind", "session", "seq", "source", "event_time", "tags", "metadata"):
                assert found[name] == record.as_json()[name], name
    again = anna.post("/v1/memories", json=body, headers={"Idempotency-Key": "chat"})
    assert again.json() == added
    problem(
        anna.post("/v1/memories", json={**body, "facts": []}, headers={"Idempotency-Key": "chat"}),
        422,
        "Idempotency-Key",
    )
    count = len(anna.get("/v1/memories").json()["memories"])
    assert count == len(TEXTS) + 4
    anna.post("/v1/memories:undo", json={"operation": added["results"][0]["operation"]})
    assert len(anna.get("/v1/memories").json()["memories"]) == len(TEXTS)
    nothing = anna.post("/v1/memories", json={"messages": [{"role": "user", "content": " "}]})
    assert nothing.json() == {"results": [], "facts": []}


def test_a_profile_is_that_of_the_library(anna: httpx2.Client, tmp_path: Path) -> None:
    with Memory.open(tmp_path / "memory") as memory:
        memory.add_batch(TEXTS, ANNA)
        expected = memory.profile(ANNA)
    found = anna.get("/v1/memories:profile").json()
    models.ProfileOut.model_validate(found)
    assert (found["text"], found["left"]) == (expected.text, 0)
    for topic, other in zip(found["topics"], expected.topics, strict=True):
        assert topic["name"] == other.name
        assert without_times(topic["records"]) == [without_times(one.as_json()) for one in other.records]
    few = anna.get("/v1/memories:profile", params={"most": 1}).json()
    assert (few["left"], few["topics"][0]["records"][0]["id"]) == (2, "cat/1")
    before = anna.get("/v1/memories:profile", params={"as_of": "2020-01-01T00:00:00Z"}).json()
    assert before == {"text": "", "topics": [], "left": 0}
    problem(anna.get("/v1/memories:profile", params={"as_of": "yesterday"}), 422, "as_of")
    problem(anna.get("/v1/memories:profile", params={"most": 0}), 422, "most")


def test_changes_are_read_page_by_page_and_from_now_on(anna: httpx2.Client, served: Running) -> None:
    def read(**query: Any) -> dict[str, Any]:
        answer = anna.get("/v1/memories:changes", params=query)
        assert answer.status_code == 200, answer.text
        models.ChangesOut.model_validate(answer.json())
        found: dict[str, Any] = answer.json()
        return found

    start = read()
    assert (start["changes"], start["more"]) == ([], False)
    everything = read(after="")
    assert [(one["kind"], one["id"]) for one in everything["changes"]] == [("added", one["id"]) for one in TEXTS]
    first = read(after="", limit=2)
    assert first["more"] and [one["id"] for one in first["changes"]] == ["nuts", "home"]
    assert read(after=first["next"])["changes"] == everything["changes"][2:]
    assert read(after=everything["changes"][0]["cursor"])["changes"] == everything["changes"][1:]
    deleted = anna.delete("/v1/memories/nuts").json()
    with served.client_of("another tenant", "write", scope={"tenant": "another", "user": "anna"}) as other:
        other.post("/v1/memories", json={"text": "not of this tenant"})
    [change] = read(after=start["next"])["changes"]
    assert (change["kind"], change["id"], change["operation"]) == ("deleted", "nuts", deleted["operation"])
    anna.post("/v1/memories:erase", json={"ids": ["home"]})
    assert "home" not in [one["id"] for one in read(after="")["changes"]]
    problem(anna.get("/v1/memories:changes", params={"after": "AAAA"}), 422, "after")
    problem(anna.get("/v1/memories:changes", params={"limit": 0}), 422, "limit")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"messages": []}, 422, "/messages"),
        ({"messages": [CHAT[0], {"content": "a"}]}, 422, "/messages/1/role"),
        ({"messages": [CHAT[0], {"role": "user"}]}, 422, "/messages/1/content"),
        ({"messages": [CHAT[0], {**CHAT[0], "time": "soon"}]}, 422, "/messages/1"),
        ({"messages": [CHAT[0], {**CHAT[0], "time": "2026-05-04T09:00:00"}]}, 422, "/messages/1"),
        ({"messages": [CHAT[0], {**CHAT[0], "time": 1777878060000}]}, 422, "/messages/1"),
        ({"messages": [CHAT[0], {"role": "user", "content": "a", "lang": ["de"]}]}, 422, "/messages/1"),
        ({"messages": CHAT, "vector": [1.0]}, 422, "/vector"),
        ({"messages": CHAT, "facts": [{"text": "a"}, {"text": " "}]}, 422, "/facts/1"),
        ({"messages": CHAT, "facts": [{"text": "a", "messages": [3]}]}, 422, "/facts/0/messages"),
        ({"messages": CHAT, "facts": [{"text": "a", "messages": [1]}]}, 422, "/facts/0/messages"),
        ({"messages": CHAT, "facts": [{"text": "a", "derived_from": ["nuts"]}]}, 422, "/facts/0"),
        ({"messages": CHAT, "facts": [{"text": "a", "id": "nuts"}]}, 409, "/facts/0/id"),
        ({"messages": [CHAT[1]], "facts": FACTS}, 422, "/messages"),
        ({"memories": [{"text": "a"}, {"text": " "}]}, 422, "/memories/1"),
        ({"memories": [{"text": "a"}, {"text": "b", "event_time": "soon"}]}, 422, "/memories/1"),
        ({"memories": [{"text": "a", "id": "nuts"}]}, 409, "/memories/0/id"),
        ({"text": "a", "id": "nuts"}, 409, "/id"),
        ({"text": "a", "importance": 2}, 422, "/importance"),
        ({"text": "a", "colour": "red"}, 422, "/colour"),
        ({"memories": []}, 422, "/memories"),
        ({"text": "a", "links": [["about", "nobody"]]}, 404, None),
    ],
)
def test_bad_texts_are_refused_and_nothing_is_stored(
    anna: httpx2.Client, body: dict[str, Any], status: int, field: str | None
) -> None:
    problem(anna.post("/v1/memories", json=body), status, field)
    assert len(anna.get("/v1/memories").json()["memories"]) == len(TEXTS)


def test_a_server_without_a_memory_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as bare:
        assert "--memory" in problem(bare.client.get("/v1/memories", params={"user": "a"}), 404).detail


def test_an_export_is_imported_as_the_same_memory(served: Running, anna: httpx2.Client, request: Any) -> None:
    anna.patch("/v1/memories/home", json={"text": "Ich wohne jetzt in Oslo."})
    anna.post("/v1/memories:link", json={"id": "nuts", "type": "about", "target": "home"})
    anna.post("/v1/memories", json={"memories": [{"text": f"note {n}", "id": f"n{n}"} for n in range(70)]})
    lines = anna.post("/v1/memories:export", json={"vectors": True})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert len(lines.content.splitlines()) == len(TEXTS) + 70
    form = {"Content-Type": "application/x-ndjson"}
    problem(anna.post("/v1/memories:import", content=lines.content, headers=form), 409, "existing")
    again = anna.post("/v1/memories:import", content=lines.content, headers=form, params={"existing": "skip"})
    assert again.json() == {"imported": 0, "skipped": len(TEXTS) + 70}
    other = {"tenant": f"{request.node.name[:50]} copy", "user": "anna"}
    with served.client_of(other["tenant"], "write", scope=other) as copy:
        problem(copy.post("/v1/memories:import", content=lines.content, headers=form), 422)
        own = lines.text.replace(request.node.name[:60], other["tenant"]).encode()
        imported = copy.post("/v1/memories:import", content=own, headers=form)
        assert imported.json() == {"imported": len(TEXTS) + 70, "skipped": 0}
        for id in ("home", "nuts", "n69"):
            here, there = (one.get(f"/v1/memories/{id}").json() for one in (copy, anna))
            assert without_times(here) == without_times(there)
        assert len(copy.get("/v1/memories/home/history").json()["versions"]) == 2
    problem(anna.post("/v1/memories:import", content=b"{", headers=form), 400)
    problem(anna.post("/v1/memories:import", json={}), 415, "Content-Type")
    with served.client_of(f"{other['tenant']} reader", "read", scope=other) as reader:
        problem(reader.post("/v1/memories:import", content=b"", headers=form), 403)
