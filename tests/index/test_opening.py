"""What opening an index reads, and what it leaves for the first search."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.errors import Corrupt
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import AcceleratorInfo
from mlret.index.vectors import segments
from mlret.index.vectors.faiss_index import Graph
from mlret.index.verify import verify_index

DIMS, ROWS = 16, 600
QUICK = """
import sys
import numpy as np
from mlret.index.index import Index
with Index.open(sys.argv[1]) as index:
    print("faiss" in sys.modules)
    index.search_vectors(np.ones((1, 16), np.float32), 5)
    print("faiss" in sys.modules, "numpy.ma" in sys.modules)
"""


def made(rows: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, DIMS)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS), settings=IndexSettings(kind="hnsw")) as index:
        documents = [{"id": f"d{n}", "text": f"text {n}", "lang": "en", "tenth": n % 10} for n in range(ROWS)]
        index.add(documents, vectors=made(ROWS, 0))
        index.compact()
        index.delete(["d7"])
    return tmp_path / "i"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of accelerators that were read."""
    found: list[Path] = []
    read = segments.read_accelerator

    def noted(kind: Any, path: Path, *others: Any) -> Any:
        found.append(path)
        return read(kind, path, *others)

    monkeypatch.setattr(segments, "read_accelerator", noted)
    return found


def answers(index: Index, *, exact: bool = False) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in index.search_vectors(made(20, 1), 5, exact=exact)]


def graph_file(folder: Path) -> Path:
    [path] = folder.glob("vectors/*.faiss")
    return path


def test_neither_opening_nor_a_search_of_few_documents_reads_a_graph(folder: Path, reads: list[Path]) -> None:
    with Index.open(folder) as index:
        assert index.info().kinds == {"hnsw": ROWS - 1}
        assert answers(index, exact=True)
        assert len(index.search_vectors(made(1, 1), 5, where={"tenth": 3})[0]) == 5
        index.add([{"id": "new", "text": "new", "lang": "en"}], vectors=made(1, 2))
        assert reads == []
        right = answers(index, exact=True)
        assert answers(index) == right and answers(index) == right
        assert len(reads) == 1
        [segment] = index.store.segments
        assert isinstance(segment.accelerator, Graph)


def test_opening_imports_no_faiss_and_a_search_no_masked_arrays(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", QUICK, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_threads_that_search_first_read_a_graph_once(folder: Path, reads: list[Path]) -> None:
    with Index.open(folder) as index:
        right, found, start = answers(index, exact=True), [], threading.Barrier(8)

        def search() -> None:
            start.wait()
            found.append(answers(index))

        threads = [threading.Thread(target=search) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [right] * 8 and len(reads) == 1


def test_graph_that_another_handle_has_replaced_is_still_read(folder: Path) -> None:
    with Index.open(folder) as index, Index.open(folder) as writer:
        before, right = graph_file(folder), answers(index, exact=True)
        writer.delete(["d8"])
        writer.compact()
        assert not before.exists()
        assert answers(index) == right
        assert isinstance(index.store.segments[0].accelerator, Graph)
        index.refresh()
        assert answers(index) == answers(index, exact=True)
        assert not any("d8" in ids for ids in answers(index))


@pytest.mark.parametrize("change", ["removed", "cut", "changed"])
def test_damaged_graph_is_reported_when_the_index_is_opened(
    folder: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = graph_file(folder)
    content = path.read_bytes()
    path.unlink()
    if change == "cut":
        path.write_bytes(content[:-1])
    elif change == "changed":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    with caplog.at_level(logging.WARNING, logger="mlret.index"), Index.open(folder) as index:
        assert len(caplog.messages) == 1 and path.name in caplog.messages[0]
        assert "searching without it until `mlret index verify --repair` builds it again" in caplog.messages[0]
        assert answers(index) == answers(index, exact=True)
        assert len(caplog.messages) == 1
    assert all(problem.repaired for problem in verify_index(folder, repair=True))
    with Index.open(folder) as index:
        assert isinstance(index.store.segments[0].accelerator, Graph)


def test_graph_that_is_written_to_after_opening_is_reported_and_not_searched(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Index.open(folder) as index, caplog.at_level(logging.WARNING, logger="mlret.index"):
        with graph_file(folder).open("r+b") as file:
            file.write(b"\0" * 100)
        assert answers(index) == answers(index, exact=True)
        assert len(caplog.messages) == 1 and "was written to after the index was opened" in caplog.messages[0]
        assert index.info().kinds == {"flat": ROWS - 1}


def test_graph_that_faiss_cannot_read_is_reported_by_the_first_search_and_compaction_builds_it_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Index.open(folder) as index, index.store.writing():
        [info] = index.store.manifest.segments
        sealed = index.store.files.seal("of-another-faiss.hnsw.faiss", lambda path: path.write_bytes(b"IxHX" * 100))
        stated = AcceleratorInfo.model_validate(sealed.model_dump() | {"kind": "hnsw", "why": "set by the recipe"})
        index.store.switch([info.model_copy(update={"accelerator": stated})])
    with Index.open(folder) as index, caplog.at_level(logging.WARNING, logger="mlret.index"):
        assert caplog.messages == []
        assert answers(index) == answers(index) == answers(index, exact=True)
        assert len(caplog.messages) == 1 and "cannot be read by this faiss" in caplog.messages[0]
    assert [problem.file for problem in verify_index(folder)] != []
    with Index.open(folder) as index:
        index.compact()
        assert isinstance(index.store.segments[0].accelerator, Graph)
    assert verify_index(folder) == []


def test_damaged_list_of_deleted_rows_is_noticed_before_anything_is_searched_or_written(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "records.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM tombstones")
    with Index.open(folder) as index:
        with pytest.raises(Corrupt, match="its list of removed rows is not what was written"):
            answers(index)
        with pytest.raises(Corrupt, match="its list of removed rows is not what was written"):
            index.add([{"id": "new", "text": "new", "lang": "en"}], vectors=made(1, 2))
        with pytest.raises(Corrupt, match="its list of removed rows is not what was written"):
            index.delete(["d1"])
        assert len(index) == ROWS - 1 and "d1" in index and "new" not in index
