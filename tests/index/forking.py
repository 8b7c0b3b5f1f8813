"""Programs that fork and start processes, for test_processes.py: each runs in an interpreter of its own.

``python -m tests.index.forking NAME FOLDER`` prints ``done`` at its end. A child that hangs prints where, and is ended.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mlret import AsyncIndex, ExternalEncoder, Index, IndexSettings, Memory, MlretError
from tests.index import made
from tests.memory import made as made_memory

ANNA = {"user": "anna"}
TEXTS = [f"text {number}" for number in range(60)]
SECONDS = 120


def in_fork(work: Callable[[], object], *, end: Callable[[int], None] = os._exit) -> None:
    """Do work in a forked process, and wait until it is done."""
    wait(start_fork(work, end=end))


def start_fork(work: Callable[[], object], *, end: Callable[[int], None] = os._exit) -> int:
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            work()
        except BaseException as error:
            print(f"the child failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        end(0)
    return child


def wait(child: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def refused(work: Callable[[], object]) -> None:
    try:
        work()
    except MlretError as error:
        assert "was forked from it" in str(error) and str(os.getppid()) in str(error), error
    else:
        raise AssertionError("the child used what its parent had open")


def new_index(folder: Path) -> Index:
    index = Index.create(folder / "index", made.encoder(), settings=made.settings("cosine"))
    index.add([{"id": text, "text": text, "lang": "en"} for text in TEXTS], vectors=made.vectors_of(TEXTS, "cosine"))
    return index


def best(index: Index, text: str = "text 7") -> str:
    return index.search_vectors(made.vectors_of([text], "cosine"), k=1)[0][0].id


def in_threads(work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=lambda: [work() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fork_after_searching_in_threads(folder: Path) -> None:
    index, memory = new_index(folder), made_memory.open_memory(folder / "memory")
    made_memory.add(memory, "a memory", ANNA, id="a")
    in_threads(lambda: (best(index), memory.list(ANNA)))
    documents = index.documents()
    next(documents)

    def child() -> None:
        uses: list[Callable[[], object]] = [
            lambda: best(index),
            lambda: len(index),
            lambda: index.get("text 1"),
            lambda: index.delete(["text 1"]),
            lambda: Index.open(folder / "index", made.encoder()),
            lambda: memory.list(ANNA),
            lambda: memory.delete("a", ANNA),
            lambda: len(memory),
            lambda: Memory.open(folder / "memory", made.encoder()),
        ]
        for use in uses:
            refused(use)
        index.close()
        memory.close()
        with new_index(folder / "child") as own:
            assert best(own) == "text 7"

    (folder / "child").mkdir()
    in_fork(child)
    # Objects of the parent are removed when the child's interpreter ends in the usual way.
    in_fork(lambda: None, end=sys.exit)
    assert best(index) == "text 7" and index.delete(["text 7"]) == 1 and memory.delete("a", ANNA).ids == ("a",)
    with Index.open(folder / "child" / "index", made.encoder()) as own:
        assert len(own) == len(TEXTS)


def fork_while_a_thread_holds_the_lock(folder: Path) -> None:
    index = new_index(folder)
    begun, end = threading.Event(), threading.Event()

    def write() -> None:
        with index.store.writing():
            begun.set()
            end.wait(SECONDS)

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    release, held = os.pipe()

    def child() -> None:
        refused(lambda: best(index))
        index.close()
        os.close(held)
        os.read(release, 1)

    started = start_fork(child)
    os.close(release)
    end.set()
    writer.join()
    # The child still runs, and does not keep the lock of the writer.
    with Index.open(folder / "index", made.encoder()) as other:
        assert other.delete(["text 1"]) == 1
    os.close(held)
    wait(started)


def fork_after_closing(folder: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((3_000, 16)).astype(np.float32)
    encoder = ExternalEncoder("test", 16)
    with Index.create(folder / "graph", encoder, settings=IndexSettings(kind="hnsw")) as graph:
        graph.add(({"id": str(n), "text": f"text {n}"} for n in range(len(vectors))), vectors=vectors, batch_size=3000)
        assert [choice.kind for choice in graph.compact()] == ["hnsw"]
        expected = [hits[0].id for hits in graph.search_vectors(vectors[:256], k=1)]
        in_threads(lambda: graph.search_vectors(vectors[:256], k=1))
    many = [np.random.default_rng(n).standard_normal((20, 16)).astype(np.float32) for n in range(300)]
    tokens = ExternalEncoder("tokens", 16, "maxsim")
    with Index.create(folder / "tokens", tokens) as multi:
        multi.add(({"id": str(n), "text": f"text {n}"} for n in range(len(many))), vectors=many)
        multi.compact()
        best_of_tokens = [hits[0].id for hits in multi.search_vectors(many[:4], k=1)]
        in_threads(lambda: multi.search_vectors(many[:4], k=1))

    def child() -> None:
        def search() -> None:
            with Index.open(folder / "graph", encoder) as one:
                assert [hits[0].id for hits in one.search_vectors(vectors[:256], k=1)] == expected
            with Index.open(folder / "tokens", tokens) as one:
                assert [hits[0].id for hits in one.search_vectors(many[:4], k=1)] == best_of_tokens

        search()
        in_threads(search)

    in_fork(child)


def fork_with_an_event_loop(folder: Path) -> None:
    new_index(folder).close()

    async def main() -> None:
        async with await AsyncIndex.open(folder / "index", made.encoder()) as index:
            await index.count()

            def child() -> None:
                async def use() -> None:
                    try:
                        await index.count()
                    except MlretError as error:
                        assert "was forked" in str(error)
                    else:
                        raise AssertionError("the child used the threads of its parent")
                    await index.close()

                asyncio.set_event_loop(None)
                asyncio._set_running_loop(None)
                asyncio.run(use())

            in_fork(child)
            assert await index.count() == len(TEXTS)

    asyncio.run(main())


def use_index(index: Index) -> tuple[int, str]:
    """Use an index that was sent to another process; there it can be written to as well."""
    index.add([{"id": f"from {os.getpid()}", "text": "more"}], vectors=made.vectors_of(["more"], "cosine"))
    return os.getpid(), best(index)


def use_memory(memory: Memory) -> list[str]:
    return [record.text for record in memory.list(ANNA)]


def start_processes(folder: Path) -> None:
    with new_index(folder) as index, made_memory.open_memory(folder / "memory") as memory:
        made_memory.add(memory, "a memory", ANNA, id="a")
        in_threads(lambda: best(index))
        for number, method in enumerate(("spawn", "forkserver"), start=1):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
                there, found = pool.submit(use_index, index).result(SECONDS)
                assert there != os.getpid() and found == "text 7"
                assert pool.submit(use_memory, memory).result(SECONDS) == ["a memory"]
            index.refresh()
            assert len(index) == len(TEXTS) + number
        # A forked process refuses, and says so to the one that waits for the result.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            error = pool.submit(use_index, index).exception(SECONDS)
            assert isinstance(error, MlretError) and "'spawn'" in str(error), error


class Found:
    """A data set for torch whose items are found in an index."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> str:
        return best(self.index, f"text {place}")


def load_data(folder: Path) -> None:
    from torch.utils.data import DataLoader

    with new_index(folder) as index:
        in_threads(lambda: best(index))
        data: Any = Found(index)
        assert [item for [item] in DataLoader(data, num_workers=1, multiprocessing_context="spawn")] == TEXTS[:8]
        try:
            list(DataLoader(data, num_workers=1, multiprocessing_context="fork"))
        except MlretError as error:
            assert "'spawn'" in str(error)
        else:
            raise AssertionError("forked workers used the index")


PROGRAMS = {
    program.__name__: program
    for program in (
        fork_after_searching_in_threads,
        fork_while_a_thread_holds_the_lock,
        fork_after_closing,
        fork_with_an_event_loop,
        start_processes,
        load_data,
    )
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]))
    print("done")
