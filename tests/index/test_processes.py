"""An open index in other processes: sent to them it works, in a fork it is refused; nothing hangs or is lost."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlret import AsyncIndex, InputError, Memory, MlretError
from mlret.integrations.mem0 import Memory as Mem0Memory
from tests.index import made
from tests.index.forking import ANNA, PROGRAMS, TEXTS, best, new_index
from tests.memory import made as made_memory

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"fork_after_searching_in_threads", "fork_while_a_thread_holds_the_lock"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough) for name in PROGRAMS]
)
def test_a_program_with_several_processes_ends_as_it_should(tmp_path: Path, name: str) -> None:
    if name == "load_data":
        pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-m", "tests.index.forking", name, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_pickled_or_copied_index_is_another_handle_of_the_same_folder(tmp_path: Path) -> None:
    with new_index(tmp_path) as index:
        for handle in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index), copy.copy(index)):
            again = pickle.loads(pickle.dumps(handle))  # Before it is used for the first time.
            assert best(handle) == best(again) == "text 7" and handle.path.is_absolute()
            handle.close()
            again.close()
        other = pickle.loads(pickle.dumps(index))
        assert other.delete(["text 7"]) == 1
        assert "text 7" in index
        index.refresh()
        assert "text 7" not in index
        other.close()


def test_a_closed_index_is_closed_after_pickling_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    index = new_index(tmp_path)
    closed = copy.copy(index)
    closed.close()
    data = pickle.dumps(index)
    index.close()
    for handle in (pickle.loads(pickle.dumps(index)), pickle.loads(pickle.dumps(closed))):
        with pytest.raises(MlretError, match="is closed"):
            len(handle)
    (tmp_path / "index").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="index"):
        len(pickle.loads(data))


def test_a_pickled_index_that_threads_use_first_is_opened_once(tmp_path: Path) -> None:
    with new_index(tmp_path) as index:
        handle = pickle.loads(pickle.dumps(index))
    stores: list[object] = []
    together = threading.Barrier(4)

    def use() -> None:
        together.wait()
        assert best(handle) == "text 7"
        stores.append(handle.store)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4 and len(set(map(id, stores))) == 1
    handle.close()


def test_a_pickled_memory_reads_and_writes(tmp_path: Path) -> None:
    with made_memory.open_memory(tmp_path / "memory") as memory:
        made_memory.add(memory, "a memory", ANNA, id="a")
        other: Memory = pickle.loads(pickle.dumps(memory))
        assert [record.id for record in copy.deepcopy(memory).list(ANNA)] == ["a"]
        made_memory.add(other, "another", ANNA, id="b")
        assert other.thresholds() == memory.thresholds()
        memory.refresh()
        assert list(memory.ids(ANNA)) == ["a", "b"] and len(other) == 2
        other.close()
    with pytest.raises(MlretError, match="is closed"):
        pickle.loads(pickle.dumps(memory)).list(ANNA)


def test_a_pickled_memory_with_mem0s_interface_is_opened_again(tmp_path: Path) -> None:
    made_memory.open_memory(tmp_path / "memory").close()
    with Mem0Memory(path=tmp_path / "memory", encoder=made.encoder()) as m:
        made_memory.add(m.store, "a memory", ANNA, id="a")
        other = pickle.loads(pickle.dumps(m))
        assert other.get_all(filters={"user_id": "anna"}) == m.get_all(filters={"user_id": "anna"})
        other.close()


def test_what_belongs_to_an_event_loop_is_not_pickled(tmp_path: Path) -> None:
    import asyncio

    new_index(tmp_path).close()

    async def main() -> None:
        async with await AsyncIndex.open(tmp_path / "index", made.encoder()) as index:
            with pytest.raises(InputError, match="pickle the path"):
                pickle.dumps(index)
            assert await index.count() == len(TEXTS)

    asyncio.run(main())
