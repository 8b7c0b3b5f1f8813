"""AsyncIndex and AsyncMemory: the methods of the classes without coroutines; cancelling loses and halves nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret import AsyncIndex, AsyncMemory, MlretError, NotFound, Unavailable
from mlret.index.concurrency.handle import Handle
from mlret.index.index import Index
from mlret.memory.memory import Memory
from tests.conftest import examples
from tests.index import made

ANNA = {"user": "anna"}
# These return an iterator over the open folder, which cannot leave its thread: `read` and `write` replace them.
ITERATORS = {"add_batches", "documents", "add_stream"}
# These have another form: the path and the threads.
OTHERS = {"open", "create", "close", "path", "encoder", "store", "folder", "refresh", "watch", "manifest", "shards",
          "folder_of", "space"}  # fmt: skip


def documents(*names: str) -> dict[str, Any]:
    given = [{"id": name, "text": f"text {name}", "lang": "en"} for name in names]
    return {"documents": given, "vectors": made.vectors_of([one["text"] for one in given], "cosine")}


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


@pytest.mark.parametrize(("plain", "asynchronous"), [(Index, AsyncIndex), (Memory, AsyncMemory)])
def test_every_method_has_a_coroutine_with_the_same_parameters(plain: type, asynchronous: type) -> None:
    missing = public(plain) - public(asynchronous) - ITERATORS - OTHERS
    assert not missing
    for name in (public(plain) & public(asynchronous)) - OTHERS - {"export"}:
        assert inspect.iscoroutinefunction(getattr(asynchronous, name)), name
        assert inspect.signature(getattr(asynchronous, name)) == inspect.signature(getattr(plain, name)), name


def test_an_index_answers_as_the_class_without_coroutines(tmp_path: Path) -> None:
    async def main() -> None:
        async with await AsyncIndex.create(tmp_path / "index", made.encoder()) as index:
            assert await index.add(**documents("a", "b", "c")) == 3
            queries = made.vectors_of(["anything"], "cosine")
            with Index.open(tmp_path / "index", made.encoder()) as plain:
                assert await index.search_vectors(queries, k=3) == plain.search_vectors(queries, k=3)
                assert await index.get("a") == plain.get("a") and await index.info() == plain.info()
            assert await index.delete(["b"]) == 1
            assert await index.count() == 2
            assert await index.read(lambda one: [document.id for document in one.documents()]) == ["a", "c"]
            with pytest.raises(NotFound, match="'b'"):
                await index.delete(["b"])
        await index.close()
        with pytest.raises(MlretError, match="index is closed; open it again"):
            await index.count()

    asyncio.run(main())


def test_a_memory_answers_as_the_class_without_coroutines_and_erases_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with await AsyncMemory.open(tmp_path / "memory", made.encoder()) as memory:
            text = "A secret that goes."
            vector = made.vector_of(text)
            added = await memory.add(text, ANNA, vector=vector, language="en", dedupe=False)
            found = await memory.search("secret", ANNA, vector=vector)
            assert [hit.id for hit in found] == [added.id] and await memory.count() == 1
            assert [one["id"] for one in await memory.export(ANNA)] == [added.id]
            assert [record.text for record in await memory.list(ANNA)] == [text]
            assert (await memory.erase(added.id, ANNA)).complete
            assert await memory.get(added.id, ANNA) is None

    asyncio.run(main())


def test_a_folder_that_cannot_be_opened_says_so_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(MlretError, match="no-index"):
        asyncio.run(AsyncIndex.open(tmp_path / "no-index"))
    assert threading.active_count() == before


def test_a_cancelled_write_that_has_not_begun_never_begins_and_one_that_has_is_finished(tmp_path: Path) -> None:
    async def main() -> None:
        async with await AsyncIndex.create(tmp_path / "index", made.encoder()) as index:
            begun, end = threading.Event(), threading.Event()

            def slow(opened: Index) -> None:
                opened.add(**documents("first"))
                begun.set()
                assert end.wait(30)
                opened.add(**documents("second"))

            running = asyncio.create_task(index.write(slow))
            await asyncio.to_thread(begun.wait, 30)
            waiting = asyncio.create_task(index.add(**documents("never")))
            after = asyncio.create_task(index.add(**documents("after")))
            await asyncio.sleep(0)
            for task in (running, waiting):
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            with pytest.raises(asyncio.CancelledError):
                await waiting
            end.set()
            assert await after == 1
            assert await index.read(lambda one: {d.id for d in one.documents()}) == {"first", "second", "after"}

    asyncio.run(main())


@settings(max_examples=examples(25), deadline=None)
@given(cancelled=st.lists(st.booleans(), min_size=1, max_size=12), turns=st.lists(st.integers(0, 3), max_size=12))
def test_whatever_is_cancelled_acknowledged_batches_are_there_and_every_batch_is_whole(
    tmp_path_factory: pytest.TempPathFactory, cancelled: list[bool], turns: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("cancelled") / "index"

    async def main() -> set[int]:
        async with await AsyncIndex.create(folder, made.encoder(), readers=1) as index:
            tasks = [
                asyncio.create_task(index.add(**documents(*(f"{number}-{part}" for part in range(3)))))
                for number in range(len(cancelled))
            ]
            for number, stop in enumerate(cancelled):
                for _ in range(turns[number] if number < len(turns) else 0):
                    await asyncio.sleep(0.001)
                if stop:
                    tasks[number].cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(one == 3 or isinstance(one, asyncio.CancelledError) for one in done)
            await index.add(**documents("last"))  # The next call works.
            return {number for number, one in enumerate(done) if one == 3}

    acknowledged = asyncio.run(main())
    with Index.open(folder, made.encoder()) as index:
        stored = {document.id for document in index.documents()} - {"last"}
        assert "last" in index
    batches = {int(name.partition("-")[0]) for name in stored}
    assert acknowledged <= batches
    assert stored == {f"{number}-{part}" for number in batches for part in range(3)}
    assert {number for number, stop in enumerate(cancelled) if not stop} <= acknowledged


def test_a_program_that_ends_early_still_has_what_was_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        index = await AsyncIndex.create(tmp_path / "index", made.encoder())
        await index.add(**documents("a"))
        await asyncio.wait_for(index.close(), 30)

    async def timed_out() -> None:
        index = await AsyncIndex.open(tmp_path / "index", made.encoder())
        end = threading.Event()
        with pytest.raises(TimeoutError):
            async with index:
                holding = asyncio.create_task(index.write(lambda one: (end.wait(30), one.add(**documents("b")))))
                await asyncio.sleep(0.01)
                threading.Timer(0.2, end.set).start()
                async with asyncio.timeout(0.05):
                    await holding

    asyncio.run(main())
    asyncio.run(timed_out())  # Closing waits for the write that has begun.
    with Index.open(tmp_path / "index", made.encoder()) as index:
        assert "a" in index and "b" in index


def test_too_many_calls_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        Index.create(tmp_path / "index", made.encoder()).close()
        handle = Handle(lambda: Index.open(tmp_path / "index", made.encoder()), readers=1, most_writes=1)
        async with handle:
            begun, end = threading.Event(), threading.Event()
            holding = asyncio.create_task(handle.write(lambda index: (begun.set(), end.wait(30))))
            await asyncio.to_thread(begun.wait, 30)
            waiting = asyncio.create_task(handle.write(len))
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="too many writes are waiting"):
                await handle.write(len)
            end.set()
            await holding
            assert await waiting == 0

    asyncio.run(main())
