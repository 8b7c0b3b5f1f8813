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
from mlret.index.vectors.rounding import Rounded
from mlret.index.verify import verify_index

linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
DIMS, ROWS = 2048, 4096  # 34 MB in float32


def kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition(f"{name}:")[2].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@linux
@pytest.mark.parametrize("part", ["array", "rounded"])
def test_released_pages_leave_the_process_and_are_read_again(tmp_path: Path, part: str) -> None:
    right = np.random.default_rng(0).standard_normal((ROWS, DIMS)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", right)
    mapped = np.asarray(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    matrix = mapped[1:] if part == "array" else Rounded(mapped[1:])
    before = kilobytes("RssFile")
    assert float(mapped.sum()) == pytest.approx(float(right.sum()), abs=10)
    assert kilobytes("RssFile") - before > 30_000
    release_pages(matrix)
    assert kilobytes("RssFile") - before < 3_000
    assert np.array_equal(mapped, right)


def test_matrix_that_is_no_map_is_left_as_it_is() -> None:
    matrix = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    kept = matrix.copy()
    release_pages(matrix)
    release_pages(Rounded(matrix.astype(np.float16)))
    assert np.array_equal(matrix, kept)


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
