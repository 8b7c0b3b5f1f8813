"""What building an index keeps in memory of the vectors that it reads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.vectors import writing
from mlret.index.vectors.faiss_index import build_accelerator
from mlret.index.vectors.mapped import release_pages
from mlret.index.vectors.ragged import Ragged
from mlret.index.vectors.rounding import Rounded
from mlret.index.vectors.vector_files import load_vectors
from mlret.index.verify import verify_index

linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
DIMS, ROWS = 2048, 4096  # 34 MB in float32


def kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition(f"{name}:")[2].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@linux
@pytest.mark.parametrize("part", ["array", "rounded", "tokens"])
def test_released_pages_leave_the_process_and_are_read_again(tmp_path: Path, part: str) -> None:
    right = np.random.default_rng(0).standard_normal((ROWS, DIMS)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", right)
    mapped = np.asarray(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    parts = {"array": mapped[1:], "rounded": Rounded(mapped[1:]), "tokens": Ragged(mapped, np.array([0, 2, ROWS]))}
    before = kilobytes("RssFile")
    assert float(mapped.sum()) == pytest.approx(float(right.sum()), abs=10)
    assert kilobytes("RssFile") - before > 30_000
    release_pages(parts[part])
    assert kilobytes("RssFile") - before < 3_000
    assert np.array_equal(mapped, right)


def test_changes_of_a_map_and_arrays_in_memory_are_kept(tmp_path: Path) -> None:
    right = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", right)
    changed = np.load(tmp_path / "vectors.npy", mmap_mode="c")
    changed[7] = 3
    for matrix in (changed, np.asarray(changed)[1:], Rounded(np.asarray(changed)), right, right.tolist()):
        release_pages(matrix)
    assert (changed[7] == 3).all() and np.array_equal(np.delete(changed, 7, axis=0), np.delete(right, 7, axis=0))


@linux
def test_vectors_of_a_mapped_file_are_added_without_staying_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).standard_normal((ROWS, DIMS)).astype(np.float32))
    vectors = load_vectors(tmp_path / "vectors.npy")
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS)) as index:
        before = kilobytes("RssFile")
        index.add(({"id": str(n), "text": "t", "lang": "en"} for n in range(ROWS)), vectors=vectors, batch_size=512)
        assert kilobytes("RssFile") - before < 6_000
        assert len(index) == ROWS


@linux
def test_sealing_and_merging_keep_no_more_than_a_few_blocks_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_BLOCK", 512)  # 4 MB
    rng = np.random.default_rng(0)
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS)) as index:
        for part in range(3):
            vectors = rng.standard_normal((2_000, DIMS)).astype(np.float32)
            documents = [{"id": f"{part}-{n}", "text": "t", "lang": "en"} for n in range(len(vectors))]
            index.add(documents, vectors=vectors)
            index.seal()
        forget_peak()
        before = kilobytes("VmRSS")
        index.compact()
        assert kilobytes("VmHWM") - before < 25_000  # of segments of 48 MB that are written as one
        assert len(index.store.segments) == 1
    assert verify_index(tmp_path / "i") == []


def test_codes_of_a_graph_span_all_values() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((3000, 8)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix[2999] = -np.eye(8, dtype=np.float32)[0]  # the lowest value there can be, in the last row alone
    codes = Rounded(np.rint(127 * matrix).astype(np.int8), np.full(3000, 1 / 127, dtype=np.float32))
    graph = build_accelerator("hnsw", codes, IndexSettings(kind="hnsw"))
    _, found = graph.search(matrix[2999:], 1)
    assert found.tolist() == [[2999]]
    decoded = graph.index.reconstruct(2999)
    assert np.allclose(decoded, matrix[2999], atol=0.01)
