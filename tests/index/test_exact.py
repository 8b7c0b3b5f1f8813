"""Test that exact search equals brute force on every device."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.index.vectors import exact
from mlret.index.vectors.exact import CpuExact, TorchExact, exact_search, faiss_has_gpus
from mlret.index.vectors.scan import View, search_views
from mlret.index.vectors.segments import Segment


def unit(seed: int, count: int, dims: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 400),
    queries=st.integers(1, 7),
    k=st.integers(1, 450),
    dims=st.integers(2, 64),
    dtype=st.sampled_from(["float16", "bfloat16"]),
    seed=st.integers(0, 99),
)
def test_half_precision_scores_keep_their_margin_and_lose_no_hit(
    rows: int, queries: int, k: int, dims: int, dtype: Literal["float16", "bfloat16"], seed: int
) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(exact, "_BLOCK", 97)
    patch.setattr(exact, "_QUERIES", 3)
    matrix, some = unit(seed, rows, dims), unit(seed + 1, queries, dims)
    on_device = TorchExact(matrix, "cpu", dtype)
    scores, positions = on_device.search(some, k)
    assert scores.shape == positions.shape == (queries, k)
    for mine, found, query in zip(scores, positions, some, strict=True):
        there = found[found >= 0]
        assert len(set(there.tolist())) == len(there) == min(k, rows)
        assert np.all(np.abs(mine[: len(there)] - matrix[there] @ query) <= on_device.margin)
    segment, plain = Segment(np.arange(rows), matrix), Segment(np.arange(rows), matrix)
    segment.exact = on_device
    visible = None if seed % 2 else np.arange(0, rows, 2)
    for one, other in zip(
        search_views([View(segment, visible)], some, k), search_views([View(plain, visible)], some, k), strict=True
    ):
        assert np.array_equal(one[0], other[0]) and set(one[1].tolist()) == set(other[1].tolist())
    patch.undo()


def test_without_a_gpu_the_cpu_is_used_and_requesting_a_gpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() or faiss_has_gpus():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(exact, "_NVIDIA", tmp_path)
    monkeypatch.setattr(exact, "_ON_DEVICE", 1)
    assert isinstance(exact_search(unit(0, 10, 4), "auto"), CpuExact)
    with Index.create(tmp_path / "i", ExternalEncoder("x", 4)) as index:
        index.add([{"id": str(n), "text": "t", "lang": "en"} for n in range(10)], vectors=unit(0, 10, 4))
        index.seal()
    with pytest.raises(InputError, match="no GPU is seen"):
        Index.open(tmp_path / "i", device="cuda")


@pytest.mark.gpu
def test_one_folder_gives_the_same_hits_on_cpu_and_gpu(tmp_path: Path) -> None:
    matrix, queries = unit(0, 60_000, 64), unit(1, 50, 64)
    documents = ({"id": str(n), "text": "t", "lang": "en"} for n in range(len(matrix)))
    with Index.create(tmp_path / "i", ExternalEncoder("x", 64)) as index:
        index.add(documents, vectors=matrix, batch_size=10_000)
        index.seal()
    with Index.open(tmp_path / "i", device="cpu") as on_cpu, Index.open(tmp_path / "i", device="cuda") as on_gpu:
        assert not isinstance(on_gpu.store.segments[0].exact, CpuExact)
        assert on_gpu.search_vectors(queries, 20) == on_cpu.search_vectors(queries, 20, exact=True)
