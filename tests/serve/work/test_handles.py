"""Handles: reads and writes of many tasks have the results of some order, nothing waits without bound, none is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import MlretError, NotFound
from mlret.index.concurrency.crew import Crew
from mlret.index.index import Index
from mlret.memory.memory import Memory
from mlret.serve.problems import Problem
from mlret.serve.work.handles import IndexHandle, MemoryHandle, Wanted
from tests.conftest import examples
from tests.index import made

ANNA = {"user": "anna"}


def new_index(folder: Path) -> Path:
    Index.create(folder, made.encoder()).close()
    return folder


def put(id: str, text: str) -> Callable[[Index], object]:
    def write(index: Index) -> object:
        document = {"id": id, "text": text, "lang": "en"}
        return index.update([document], vectors=made.vectors_of([text], "cosine"))

    return write


def stored(index: Index) -> dict[str, str]:
    return {document.id: document.text for document in index.documents()}


def nearest(index: Index) -> set[str]:
    [hits] = index.search_vectors(made.vectors_of(["anything"], "cosine"), k=100)
    return {hit.id for hit in hits}


WRITES = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from("abcd"), st.integers(0, 99)), min_size=1, max_size=12
)


@settings(max_examples=examples(60), deadline=None)
@given(writes=WRITES, reads=st.lists(st.integers(0, 12), max_size=12), readers=st.integers(1, 3))
def test_concurrent_reads_and_writes_are_those_of_a_serial_order(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, str, int]], reads: list[int], readers: int
) -> None:
    # The state after each write, applied one after the other to a dictionary.
    states: list[dict[str, str]] = [{}]
    for verb, id, number in writes:
        after = dict(states[-1])
        if verb == "put":
            after[id] = f"text {number}"
        else:
            after.pop(id, None)
        states.append(after)
    submitted = acknowledged = 0

    async def main(folder: Path) -> dict[str, str]:
        handle = await IndexHandle.open(folder, made.encoder(), readers=readers)

        async def write(verb: str, id: str, number: int) -> None:
            nonlocal submitted, acknowledged
            submitted += 1
            if verb == "put":
                await handle.write(put(id, f"text {number}"))
            else:
                await handle.write(lambda index: index.delete([id], ignore_missing=True))
            acknowledged += 1

        async def read(after: int) -> None:
            while acknowledged < min(after, len(writes)):
                await asyncio.sleep(0)
            least = acknowledged
            found = await handle.read(stored)
            # Writes were submitted in order, so the state must be one between what was acknowledged and submitted.
            assert found in states[least : submitted + 1]
            assert await handle.read(nearest) in [set(state) for state in states[least : submitted + 1]]

        await asyncio.gather(*(write(*one) for one in writes), *map(read, reads))
        await handle.close()
        with Index.open(folder, made.encoder()) as index:
            return stored(index)

    assert asyncio.run(main(new_index(tmp_path_factory.mktemp("serial") / "index"))) == states[-1]


def test_a_read_does_not_wait_for_a_write_and_sees_it_once_it_is_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        handle = await IndexHandle.open(new_index(tmp_path / "index"), made.encoder())
        begun, end = threading.Event(), threading.Event()

        def write(index: Index) -> None:
            put("a", "one")(index)
            begun.set()
            assert end.wait(30)

        writing = asyncio.create_task(handle.write(write))
        await asyncio.to_thread(begun.wait, 30)
        assert await asyncio.wait_for(handle.read(len), 30) in (0, 1)
        assert not writing.done()
        end.set()
        await writing
        assert await handle.read(len) == 1
        await handle.close()

    asyncio.run(main())


def test_what_another_process_writes_is_seen_soon(tmp_path: Path) -> None:
    async def main() -> int:
        handle = await IndexHandle.open(new_index(tmp_path / "index"), made.encoder())
        assert await handle.read(len) == 0
        with Index.open(tmp_path / "index", made.encoder()) as other:
            put("a", "one")(other)
        for _ in range(200):
            if found := await handle.read(len):
                break
            await asyncio.sleep(0.05)
        await handle.close()
        return found

    assert asyncio.run(main()) == 1


def test_a_full_queue_refuses_with_429_and_a_cancelled_call_never_begins(tmp_path: Path) -> None:
    async def main() -> None:
        folder = new_index(tmp_path / "index")
        handle = IndexHandle(lambda: Index.open(folder, made.encoder()), readers=1, most_writes=2)
        begun, end = threading.Event(), threading.Event()
        ran = []

        def hold(index: Index) -> None:
            begun.set()
            assert end.wait(30)

        holding = asyncio.create_task(handle.write(hold))
        await asyncio.to_thread(begun.wait, 30)
        waiting = [asyncio.create_task(handle.write(lambda index, n=n: ran.append(n))) for n in range(2)]
        await asyncio.sleep(0)
        assert handle.waiting == (0, 2)
        with pytest.raises(Problem) as refused:
            await handle.write(lambda index: ran.append(9))
        assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) >= 1
        waiting[0].cancel()
        await asyncio.sleep(0)
        end.set()
        await holding
        await waiting[1]
        assert ran == [1]
        await handle.close()

    asyncio.run(main())


def test_an_error_reaches_the_caller_and_the_thread_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        handle = await IndexHandle.open(new_index(tmp_path / "index"), made.encoder())
        with pytest.raises(NotFound, match="'a'"):
            await handle.write(lambda index: index.delete(["a"]))
        with pytest.raises(ZeroDivisionError):
            await handle.read(lambda index: 1 // len(index))
        await handle.write(put("a", "one"))
        assert await handle.read(len) == 1
        await handle.close()

    asyncio.run(main())


def test_closing_finishes_what_waits_and_refuses_what_comes_later(tmp_path: Path) -> None:
    async def main() -> list[object]:
        handle = await IndexHandle.open(new_index(tmp_path / "index"), made.encoder())
        writes = [asyncio.create_task(handle.write(put(str(number), "one"))) for number in range(20)]
        await asyncio.sleep(0)
        await handle.close()
        with pytest.raises(Problem) as refused:
            await handle.read(len)
        assert refused.value.status == 503
        return await asyncio.gather(*writes)

    assert len(asyncio.run(main())) == 20
    with Index.open(tmp_path / "index", made.encoder()) as index:
        assert len(index) == 20


def test_a_folder_that_cannot_be_opened_fails_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(MlretError, match="no-index"):
        asyncio.run(IndexHandle.open(tmp_path / "no-index"))
    assert threading.active_count() <= before + 1  # asyncio keeps a thread of its own.


def test_a_folder_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    async def main() -> int:
        folder = new_index(tmp_path / "index")
        handle = await IndexHandle.open(folder, made.encoder())
        folder.rename(tmp_path / "old")
        with Index.open(new_index(folder), made.encoder()) as other:
            put("a", "one")(other)
        for _ in range(200):
            if found := await handle.read(len):
                break
            await asyncio.sleep(0.05)
        await handle.close()
        return found

    assert asyncio.run(main()) == 1


def test_erasing_alone_leaves_no_trace_though_readers_had_the_record_open(tmp_path: Path) -> None:
    def add(memory: Memory) -> Any:
        text = "A secret that goes."
        return memory.add(text, ANNA, id="secret", vector=made.vector_of(text), language="en", dedupe=False)

    async def main() -> tuple[bool, int, int]:
        Memory.open(tmp_path / "memory", made.encoder()).close()
        handle = await MemoryHandle.open(tmp_path / "memory", made.encoder(), readers=2)
        await handle.write(add)
        before = await asyncio.gather(*(handle.read(lambda memory: len(memory.list(ANNA))) for _ in range(20)))
        reading = [asyncio.create_task(handle.read(lambda memory: len(memory.list(ANNA)))) for _ in range(20)]
        proof = await handle.write(lambda memory: memory.erase("secret", ANNA), alone=True)
        assert set(await asyncio.gather(*reading)) <= {0, 1}
        after = await handle.read(lambda memory: len(memory.list(ANNA)))
        await handle.close()
        return proof.complete, before[0], after

    assert asyncio.run(main()) == (True, 1, 0)


QUERIES = ["the first query", "another one", "words that documents share", "the last"]
SEARCHES: list[dict[str, Any]] = [
    {"k": 3},
    {"k": 3, "mode": "dense"},
    {"k": 3, "where": {"lang": "en"}},
    {"k": 3, "where": {"number": {"$lt": 20}}},
    {"k": 2, "ids": ["d1", "d5", "d30"]},
    {"k": 3, "exact": True, "mode": "lexical"},
]


@pytest.mark.parametrize("similarity", made.SIMILARITIES)
def test_searches_that_run_together_find_what_each_finds_alone(tmp_path: Path, similarity: Any) -> None:
    texts = [f"{QUERIES[number % 4]} document {number}" for number in range(40)]
    documents = [{"id": f"d{place}", "text": text, "lang": "en", "number": place} for place, text in enumerate(texts)]
    encoder = made.encoder(similarity)
    with Index.create(tmp_path / "index", encoder, settings=made.settings(similarity)) as index:
        index.add(documents, vectors=made.vectors_of(texts, similarity))
        cases = [(text, how) for how in SEARCHES for text in QUERIES]
        alone = [
            index.search_batch([text], language="en", vectors=made.vectors_of([text], similarity), **how)
            for text, how in cases
        ]
        by_vector = [index.search_vectors(made.vectors_of([text], similarity), 3) for text in QUERIES]

    async def main() -> tuple[Any, Any]:
        handle = IndexHandle(lambda: Index.open(tmp_path / "index", encoder), readers=1)
        begun, end = threading.Event(), threading.Event()

        def hold(index: Index) -> None:
            begun.set()
            assert end.wait(30)

        holding = asyncio.create_task(handle.read(hold))
        await asyncio.to_thread(begun.wait, 30)
        searches = [
            handle.search(Wanted(made.vectors_of([text], similarity), [text], ["en"], **how)) for text, how in cases
        ]
        searches += [handle.search(Wanted(made.vectors_of([text], similarity), k=3)) for text in QUERIES]
        bad = handle.search(Wanted(made.vectors_of(["bad"], similarity), ["bad"], ["en"], k=0))
        found = asyncio.gather(*searches, bad, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        end.set()
        await holding
        *good, refused = await found
        assert isinstance(refused, MlretError)
        await handle.close()
        return good[: len(cases)], good[len(cases) :]

    texted, vectored = asyncio.run(main())
    for found, expected in zip([*texted, *vectored], [*alone, *by_vector], strict=True):
        assert [hit.id for hit in found[0]] == [hit.id for hit in expected[0]]
        assert [hit.score for hit in found[0]] == pytest.approx([hit.score for hit in expected[0]], abs=1e-6)


def test_one_failing_call_does_not_fail_those_that_run_with_it(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        crew: Crew[Index] = Crew("reads", lambda: Index.open(new_index(tmp_path / "index"), made.encoder()))
        sizes = []

        def invert(index: Index, numbers: Any) -> list[float]:
            sizes.append(len(numbers))
            return [1 / number for number in numbers]

        end = threading.Event()
        holding = asyncio.create_task(crew.run(lambda index: end.wait(30)))
        calls = [asyncio.create_task(crew.run_together("invert", number, invert)) for number in (1, 0, 2)]
        await asyncio.sleep(0)
        other = asyncio.create_task(crew.run_together("other", 4, invert))
        await asyncio.sleep(0)
        end.set()
        await holding
        found = await asyncio.gather(*calls, other, return_exceptions=True)
        await asyncio.to_thread(crew.close)
        assert sizes == [3, 1, 1, 1, 1]
        return found

    one, failed, half, quarter = asyncio.run(main())
    assert (one, half, quarter) == (1, 0.5, 0.25) and isinstance(failed, ZeroDivisionError)
