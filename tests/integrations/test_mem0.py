"""mem0's interface: a program for mem0 runs after its import is changed, and its answers have the same form."""

from __future__ import annotations

import asyncio
import doctest
import inspect
import json
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret import InputError
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.integrations.mem0 import AsyncMemory, Memory, RequestError
from mlret.integrations.mem0_requests import Settings, own_metadata, read_config, stored_metadata
from mlret.memory.memory import Memory as Store
from tests.integrations import mem0_program

RECORDED = Path(__file__).with_name("mem0_answers.json")
# What mem0 2.2.1 does otherwise.
DIFFERENT = {
    # Its errors of `add` are of a class of its own; here all are ValueErrors.
    "no owner": "ValueError",
    "no messages": "ValueError",
    "another memory type": "ValueError",
}


@cache
def bundled() -> AnyEncoder:
    return load_any_encoder(None)


@pytest.fixture
def m(tmp_path: Path) -> Iterator[Memory]:
    with Memory(path=tmp_path / "memory", encoder=bundled()) as memory:
        yield memory


def texts(found: dict[str, Any]) -> list[str]:
    return [one["memory"] for one in found["results"]]


def test_a_program_for_mem0_gets_answers_of_the_same_form(tmp_path: Path) -> None:
    source = Path(mem0_program.__file__).read_text(encoding="utf-8")
    assert source.count("from mem0 import Memory") == 1
    config = {"vector_store": {"provider": "qdrant", "config": {"path": str(tmp_path), "embedding_model_dims": 64}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Memory(config, encoder=bundled()) as memory:
            answers = mem0_program.run(memory)
    expected = json.loads(RECORDED.read_text(encoding="utf-8")) | DIFFERENT
    assert list(answers) == list(expected)
    for name, answer in answers.items():
        assert answer == expected[name], name


def test_the_parameters_are_those_of_mem0() -> None:
    # As in mem0ai 2.2.1, in this order; mlret adds names behind them.
    recorded = {
        "add": "messages user_id agent_id run_id metadata timestamp expiration_date infer memory_type prompt",
        "search": "query top_k filters threshold rerank explain reference_date show_expired",
        "get_all": "filters top_k show_expired",
        "get": "memory_id",
        "update": "memory_id text metadata expiration_date data",
        "delete": "memory_id",
        "delete_all": "user_id agent_id run_id",
        "history": "memory_id",
        "reset": "",
        "close": "",
        "chat": "query",
        "from_config": "config_dict",
    }
    for kind in (Memory, AsyncMemory):
        for name, parameters in recorded.items():
            there = [one for one in inspect.signature(getattr(kind, name)).parameters if one != "self"]
            assert there[: len(parameters.split())] == parameters.split(), name
            blocking = kind is Memory or name in ("close", "from_config")
            assert inspect.iscoroutinefunction(getattr(kind, name)) is not blocking, name
    defaults = inspect.signature(Memory.search).parameters
    assert defaults["top_k"].default == 20 and defaults["threshold"].default == 0.1
    assert inspect.signature(Memory.add).parameters["infer"].default is True


def test_what_mem0_before_version_2_took_is_taken(m: Memory) -> None:
    id = m.add("I live in Rome.", user_id="anna", infer=False)["results"][0]["id"]
    m.add("I live in Oslo.", user_id="bob", infer=False)
    assert texts(m.search("Where?", user_id="anna", limit=5)) == ["I live in Rome."]
    assert texts(m.get_all(user_id="anna", limit=5)) == ["I live in Rome."]
    m.update(id, data="I live in Paris.")
    assert texts(m.get_all(user_id="anna")) == ["I live in Paris."]


def test_a_query_finds_a_memory_in_another_language(m: Memory) -> None:
    m.add("Je suis allergique aux arachides.", user_id="anna", infer=False)
    m.add("Der Zug nach Berlin fährt um acht.", user_id="anna", infer=False)
    [best, other] = m.search("Which foods must I avoid?", filters={"user_id": "anna"}, explain=True)["results"]
    assert best["memory"] == "Je suis allergique aux arachides."
    assert 1 >= best["score"] > other["score"] >= 0
    assert best["score_details"]["final_score"] == best["score"] and best["score_details"]["semantic_score"] <= 1


def test_a_threshold_excludes_what_is_far_but_not_what_ranks_below_it(m: Memory) -> None:
    for number in range(12):
        m.add(f"The train to platform {number} is late.", user_id="anna", infer=False)
    m.add("Paka anakunywa maziwa.", user_id="anna", infer=False)
    every = m.search("the train is late", filters={"user_id": "anna"}, threshold=0.0, explain=True)["results"]
    cosines = {one["memory"]: one["score_details"]["semantic_score"] for one in every}
    bound = sorted(cosines.values())[6]
    found = m.search("the train is late", filters={"user_id": "anna"}, threshold=bound, top_k=5)["results"]
    assert [one["memory"] for one in found] == [text for text in map(_text, every) if cosines[text] >= bound][:5]
    assert len(found) == 5


def _text(one: dict[str, Any]) -> str:
    text: str = one["memory"]
    return text


def test_owners_are_kept_apart_and_an_id_may_be_tied_to_its_owner(m: Memory) -> None:
    id = m.add("I live in Rome.", user_id="anna", agent_id="cook", infer=False)["results"][0]["id"]
    assert texts(m.get_all(filters={"agent_id": "cook"})) == texts(m.get_all(filters={"user_id": "anna"}))
    assert texts(m.search("Rome", filters={"user_id": "bob"})) == []
    assert m.get(id, user_id="anna") == m.get(id) and m.get(id, user_id="bob") is None
    assert m.history(id, user_id="bob") == [] and len(m.history(id)) == 1
    for call in (lambda: m.update(id, text="x", user_id="bob"), lambda: m.delete(id, user_id="bob")):
        with pytest.raises(RequestError, match="not found"):
            call()
    m.delete_all(user_id="bob")
    assert m.get(id) is not None
    assert m.store.get(id, {"user": "anna"}) is not None and m.store.get(id, {"user": "bob"}) is None


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({}, "at least one of: user_id"),
        ({"user_id": "*"}, "names no owner"),
        ({"user_id": "a", "OR": [{"user_id": "b"}]}, "named at the top"),
        ({"user_id": "a", "NOT": [{"AND": [{"agent_id": "b"}]}]}, "named at the top"),
        ({"user_id": "a", "created_at": {"gte": "2026"}}, "created_at"),
        ({"user_id": "a", "topic": {"icontains": "x"}}, "icontains"),
        ({"user_id": "a", "AND": {"topic": "x"}}, "AND operator requires"),
        ("user_id", "filters is str"),
    ],
)
def test_filters_that_would_leave_the_scope_or_mean_nothing_are_refused(m: Memory, filters: Any, said: str) -> None:
    m.add("I live in Oslo.", user_id="b", infer=False)
    for call in (lambda: m.search("x", filters=filters), lambda: m.get_all(filters=filters)):
        with pytest.raises(ValueError, match=said) as raised:
            call()
        assert isinstance(raised.value, InputError)


def test_an_owner_named_twice_must_be_the_same(m: Memory) -> None:
    with pytest.raises(RequestError, match="give it once"):
        m.search("x", user_id="a", filters={"user_id": "b"})


METADATA = st.dictionaries(
    st.text(min_size=1, max_size=4) | st.sampled_from(["id", "text", "lang", "language", "tags", "~tags", "~id"]),
    st.integers(-5, 5) | st.text(max_size=3) | st.lists(st.integers(0, 3), max_size=2),
)


@given(METADATA)
def test_metadata_has_free_names(metadata: dict[str, Any]) -> None:
    assert own_metadata(stored_metadata(metadata)) == metadata


def test_metadata_comes_back_as_it_was_and_is_not_changed(m: Memory) -> None:
    metadata = {"id": 7, "tags": ["x"], "text": "t", "lang": "xx", "nested": {"tags": 1}}
    before = json.dumps(metadata)
    id = m.add("I live in Rome.", user_id="anna", metadata=metadata, infer=False)["results"][0]["id"]
    found = m.get(id)
    assert found is not None and found["metadata"] == metadata and json.dumps(metadata) == before
    for filters in ({"id": 7}, {"tags": "x"}, {"text": "t"}, {"lang": "xx"}):
        assert len(m.get_all(filters={"user_id": "anna", **filters})["results"]) == 1
    m.update(id, metadata={"id": 8})
    changed = m.get(id)
    assert changed is not None and changed["metadata"] == {**metadata, "id": 8}


def test_metadata_cannot_change_the_owner(m: Memory, caplog: pytest.LogCaptureFixture) -> None:
    id = m.add("x y", user_id="anna", metadata={"user_id": "bob", "agent_id": "a"}, infer=False)["results"][0]["id"]
    m.update(id, metadata={"run_id": "r"})
    found = m.get(id)
    assert found is not None and found["user_id"] == "anna" and "agent_id" not in found and "run_id" not in found
    assert "metadata['user_id'] is not used" in caplog.text


def test_times_of_creation_stay_and_may_be_given(m: Memory) -> None:
    created = "2024-05-01T10:00:00+00:00"
    id = m.add("I live in Rome.", user_id="anna", metadata={"created_at": created}, infer=False)["results"][0]["id"]
    other = m.add("I live in Bonn.", user_id="anna", infer=False)["results"][0]["id"]
    before = m.get(other)
    m.update(id, text="I live in Oslo.")
    m.update(other, text="I live in Kiel.")
    first, second = m.get(id), m.get(other)
    assert first is not None and second is not None and before is not None
    assert first["created_at"] == created < first["updated_at"]
    assert second["created_at"] == before["created_at"] < second["updated_at"]
    assert before["created_at"] == before["updated_at"]
    assert [one["created_at"] for one in m.history(id)] == [created, created]


def test_what_is_undone_in_the_store_shows_in_the_history(m: Memory) -> None:
    id = m.add("one", user_id="anna", infer=False)["results"][0]["id"]
    m.update(id, text="two")
    operation = m.store.history(id, {"user": "anna"})[-1].operation
    m.store.undo(operation, {"user": "anna"})
    m.delete(id)
    m.store.restore(id, {"user": "anna"})
    assert [(one["event"], one["old_memory"], one["new_memory"]) for one in m.history(id)] == [
        ("ADD", None, "one"),
        ("UPDATE", "one", "two"),
        ("UPDATE", "two", "one"),
        ("DELETE", "one", None),
        ("ADD", None, "one"),
    ]


def test_without_extract_messages_are_stored_as_they_are_and_the_answer_says_so(m: Memory) -> None:
    chat = [{"role": "user", "content": "I moved to Oslo."}, {"role": "assistant", "content": "How is it?"}]
    first = m.add(chat, user_id="anna")
    assert texts(first) == ["I moved to Oslo.", "How is it?"] and "stored as they are" in first["message"]
    again = m.add(chat, user_id="anna")
    assert [one["event"] for one in again["results"]] == ["NONE", "NONE"]
    assert [one["id"] for one in again["results"]] == [one["id"] for one in first["results"]]
    assert len(m.get_all(filters={"user_id": "anna"})["results"]) == 2
    assert "message" not in m.add(chat, user_id="anna", infer=False)
    assert len(m.get_all(filters={"user_id": "anna"})["results"]) == 4


def test_extract_adds_changes_and_deletes(tmp_path: Path) -> None:
    seen: list[Any] = []
    answer: list[Any] = ["Anna lives in Oslo.", {"text": "Anna has a cat.", "metadata": {"topic": "pets"}}]

    def extract(messages: list[dict[str, Any]]) -> list[Any]:
        seen.append(messages)
        return answer

    with Memory(path=tmp_path / "memory", encoder=bundled(), extract=extract) as m:
        first = m.add("I moved to Oslo with my cat.", user_id="anna", metadata={"source": "chat"})
        assert seen == [[{"role": "user", "content": "I moved to Oslo with my cat."}]]
        assert [(one["memory"], one["event"]) for one in first["results"]] == [
            ("Anna lives in Oslo.", "ADD"),
            ("Anna has a cat.", "ADD"),
        ]
        assert "message" not in first
        home, cat = (one["id"] for one in first["results"])
        found = m.get(cat)
        assert found is not None and found["metadata"] == {"source": "chat", "topic": "pets"}
        answer = [
            {"event": "UPDATE", "id": home, "text": "Anna lives in Bergen."},
            {"event": "DELETE", "id": cat},
            {"event": "NONE", "text": "small talk"},
        ]
        second = m.add("News.", user_id="anna")
        assert [one["event"] for one in second["results"]] == ["UPDATE", "DELETE", "NONE"]
        assert second["results"][0]["previous_memory"] == "Anna lives in Oslo."
        assert texts(m.get_all(filters={"user_id": "anna"})) == ["Anna lives in Bergen."]
        m.add("Stored as it is.", user_id="anna", infer=False)
        assert len(seen) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a text", "return a list"),
        ([5], "return texts"),
        ([{"event": "MERGE", "text": "x"}], "'MERGE'"),
        ([{"event": "UPDATE", "text": "x"}], "without the id"),
        (["fine", {"text": " "}], "without a text"),
        (["fine", {"event": "DELETE", "id": "unknown"}], "unknown not found"),
        (["fine", {"event": "DELETE", "id": "BOB"}], "not found"),
    ],
)
def test_an_answer_of_extract_that_cannot_be_used_changes_nothing(tmp_path: Path, answer: Any, said: str) -> None:
    with Memory(path=tmp_path / "memory", encoder=bundled()) as m:
        id = m.add("of Bob", user_id="bob", infer=False)["results"][0]["id"]
    if answer[-1] == {"event": "DELETE", "id": "BOB"}:
        answer = [answer[0], {"event": "DELETE", "id": id}]
    with Memory(path=tmp_path / "memory", encoder=bundled(), extract=lambda messages: answer) as m:
        with pytest.raises(RequestError, match=said):
            m.add("something", user_id="anna")
        assert len(m) == 1 and m.get(id) is not None


def test_what_a_configuration_cannot_have_is_logged_and_the_rest_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEM0_DIR", str(tmp_path / "mem0"))
    config = {
        "vector_store": {"provider": "qdrant", "config": {"host": "localhost", "port": 6333}},
        "llm": {"provider": "openai", "config": {"model": "gpt"}},
        "embedder": {"provider": "openai", "config": {"model": "e"}},
        "version": "v1.1",
    }
    with caplog.at_level(logging.WARNING), Memory.from_config(config) as m:
        assert m.store.path == tmp_path / "mem0" / "mlret"
    assert "llm, version, embedder (openai), vector_store (qdrant)" in caplog.text
    own = {"embedder": {"provider": "mlret", "config": {"model": "some/encoder"}}}
    assert read_config(own, tmp_path, None) == Settings(tmp_path, "some/encoder")
    with pytest.raises(RequestError, match="give a dict"):
        Memory("config")


def test_resetting_leaves_an_empty_memory_and_no_other_file(tmp_path: Path) -> None:
    with Memory(path=tmp_path / "memory", encoder=bundled()) as m:
        m.add("secret words", user_id="anna", infer=False)
        m.reset()
        assert len(m) == 0 and [one.name for one in tmp_path.iterdir()] == ["memory"]
        m.add("other words", user_id="anna", infer=False)
        assert texts(m.get_all(filters={"user_id": "anna"})) == ["other words"]
    assert not any(b"secret words" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_it_is_an_ordinary_memory_on_disk(tmp_path: Path) -> None:
    with Memory(path=tmp_path / "memory", encoder=bundled()) as m:
        m.add("Ich wohne in Rom.", user_id="anna", run_id="r1", infer=False)
    with Store.open(tmp_path / "memory", bundled()) as store:
        [record] = store.list({"user": "anna"})
        assert record.text == "Ich wohne in Rom." and record.language == "de" and record.scope["run"] == "r1"


def test_the_asynchronous_memory_answers_as_the_other(tmp_path: Path) -> None:
    async def extract(messages: list[Mapping[str, Any]]) -> list[str]:
        await asyncio.sleep(0)
        return [f"fact: {one['content']}" for one in messages]

    async def main() -> None:
        async with AsyncMemory(path=tmp_path / "memory", encoder=bundled(), extract=extract) as m:
            results = await asyncio.gather(*(m.add(f"number {n}", user_id="anna", infer=False) for n in range(8)))
            ids = [one["results"][0]["id"] for one in results]
            assert len(set(ids)) == 8
            found = await m.search("number 3", filters={"user_id": "anna"}, top_k=3)
            with Memory(path=tmp_path / "memory", encoder=bundled()) as plain:
                assert found == plain.search("number 3", filters={"user_id": "anna"}, top_k=3)
                assert await m.get(ids[0]) == plain.get(ids[0])
            await m.update(ids[0], text="another")
            await m.delete(ids[1])
            assert [one["event"] for one in await m.history(ids[0])] == ["ADD", "UPDATE"]
            assert (await m.add("it rains", user_id="bob"))["results"][0]["memory"] == "fact: it rains"
            with pytest.raises(RequestError, match="not found"):
                await m.delete(ids[1])
            assert len((await m.get_all(filters={"user_id": "anna"}))["results"]) == 7
            await m.delete_all(user_id="anna")
            assert texts(await m.get_all(filters={"user_id": "anna"})) == []
            await m.reset()
            assert texts(await m.get_all(filters={"user_id": "bob"})) == []

    asyncio.run(main())
    assert not [one for one in threading.enumerate() if one.name.startswith(("reads", "writes"))]


def test_a_cancelled_addition_of_several_messages_is_whole_or_not_there(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": f"message {number}"} for number in range(4)]

    async def main() -> None:
        async with AsyncMemory(path=tmp_path / "memory", encoder=bundled()) as m:
            for turns in range(12):
                task = asyncio.create_task(m.add(chat, user_id=f"u{turns}", infer=False))
                await asyncio.sleep(turns * 0.004)
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                there = len((await m.get_all(filters={"user_id": f"u{turns}"}))["results"])
                assert there in (0, 4)
                if not isinstance(done, asyncio.CancelledError):
                    assert there == 4
            await m.add("the next call works", user_id="anna", infer=False)

    asyncio.run(main())
    with Memory(path=tmp_path / "memory", encoder=bundled()) as m:
        assert texts(m.get_all(filters={"user_id": "anna"})) == ["the next call works"]
        assert all(len(m.get_all(filters={"user_id": f"u{turns}"})["results"]) in (0, 4) for turns in range(12))


def test_the_examples_of_the_methods_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    methods = [
        one for name, one in vars(Memory).items() if not name.startswith("_") and name not in ("chat", "carry_out")
    ]
    said: list[str] = []
    for one in (Memory, *methods, AsyncMemory):
        test = doctest.DocTestParser().get_doctest(inspect.getdoc(one) or "", variables, repr(one), None, 0)
        assert test.examples, one
        test.globs = variables
        doctest.DocTestRunner().run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)
