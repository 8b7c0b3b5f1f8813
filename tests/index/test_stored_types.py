"""Test indexes that store vectors in float16 or int8: scores are those of what is stored, and never change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import Dtype, IndexSettings
from mlret.index.sharding.resharding import reshard_index
from mlret.index.vectors.cosine import CosineSpace, OneVector
from mlret.index.vectors.exact import CpuExact
from mlret.index.vectors.faiss_index import Graph, build_accelerator, read_accelerator
from mlret.index.vectors.rounding import Rounded, as_floats, rounded
from mlret.index.vectors.scan import View, search_views
from mlret.index.vectors.segments import Segment
from mlret.index.verify import verify_index

DIMS = 24
ROUNDED: tuple[Dtype, ...] = ("float16", "int8")
DTYPES: tuple[Dtype, ...] = ("float32", *ROUNDED)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CosineSpace, "segment_size", 50)
    monkeypatch.setattr(CosineSpace, "bulk_size", 50)


def unit(seed: int, count: int, dims: int = DIMS) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dims)) * 10.0 ** rng.integers(-3, 3, dims)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def by_brute_force(stored: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.round((stored.astype(np.float64) * query).sum(axis=1), 6), -1, 1) + 0.0


@given(count=st.integers(0, 40), dims=st.integers(1, 70), seed=st.integers(0, 999), dtype=st.sampled_from(ROUNDED))
def test_rounding_is_close_and_rounding_again_changes_no_bit(count: int, dims: int, seed: int, dtype: Dtype) -> None:
    vectors = unit(seed, count, dims)
    vectors[: count // 5] = 0
    stored = rounded(vectors, dtype)
    again = rounded(stored[:], dtype)
    assert isinstance(stored, Rounded) and isinstance(again, Rounded)
    assert np.array_equal(stored.codes, again.codes) and np.array_equal(stored[:], again[:])
    assert stored[:].dtype == np.float32 and (stored[:][: count // 5] == 0).all()
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    # Half a step, and what bringing the length back to 1 moves.
    step = largest / 127 * (1 + np.sqrt(dims)) / 2 if dtype == "int8" else 2.0**-11 * np.abs(vectors) + 2.0**-24
    assert (np.abs(stored[:] - vectors) <= step * 1.001 + 1e-7).all()
    if dtype == "int8":
        lengths = np.linalg.norm(stored[:].astype(np.float64), axis=1)[count // 5 :]
        assert np.abs(lengths - 1).max(initial=0) < 2e-7


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 1300),
    queries=st.integers(1, 5),
    k=st.integers(1, 30),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(ROUNDED),
    visible=st.booleans(),
)
def test_comparing_all_is_exact_for_what_is_stored(
    rows: int, queries: int, k: int, seed: int, dtype: Dtype, visible: bool
) -> None:
    vectors, some = unit(seed, rows), unit(seed + 100, queries)
    vectors[rows // 2 :] = vectors[: rows - rows // 2]  # so that there are ties
    matrix = rounded(vectors, dtype)
    among = np.arange(0, rows, 3) if visible else np.arange(rows)
    view = View(Segment(np.arange(rows), matrix), among if visible else None)
    for (scores, found), query in zip(search_views([view], some, k), some, strict=True):
        right = by_brute_force(as_floats(matrix)[among], query)
        least = np.sort(right)[::-1][min(k, len(among)) - 1]
        assert np.array_equal(np.sort(scores)[::-1], np.sort(right[right >= least])[::-1])
        assert set(found.tolist()) == set(among[right >= least].tolist())


def test_many_queries_at_once_find_what_each_finds_alone() -> None:
    matrix, some = rounded(unit(0, 700, 400), "int8"), unit(1, 513, 400)
    together = CpuExact(matrix).search(some, 5)[1]
    assert np.array_equal(together, np.concatenate([CpuExact(matrix).search(one[None], 5)[1] for one in some]))


@given(count=st.integers(1, 9), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
def test_cells_of_the_database_hold_the_same_values_as_segments(count: int, seed: int, dtype: Dtype) -> None:
    blobs = OneVector(DIMS, dtype)
    vectors = as_floats(rounded(unit(seed, count), dtype))
    cells = blobs.write(vectors)
    assert all(map(blobs.fits, cells)) and not blobs.fits(cells[0][:-1])
    assert len(cells[0]) == {"float32": 4 * DIMS, "float16": 2 * DIMS, "int8": DIMS + 4}[dtype]
    assert np.array_equal(blobs.read(cells), vectors)


def answers(index: Index, queries: NDArray[np.float32], **options: Any) -> list[list[tuple[str, float]]]:
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search_vectors(queries, 400, **options)]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "sq8", "ivf-flat"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_those_of_the_stored_vectors_whatever_happens_to_them(
    tmp_path: Path, dtype: Dtype, kind: Any
) -> None:
    vectors, queries = unit(3, 300), unit(4, 5)
    encoder = ExternalEncoder("test", DIMS)
    made = IndexSettings(kind=kind, dtype=dtype)
    with Index.create(tmp_path / "i", encoder, settings=made) as index:
        documents = [{"id": f"d{place:03}", "text": "text", "lang": "en", "n": place} for place in range(300)]
        index.add(documents[:40], vectors=vectors[:40], batch_size=7)
        ids = [one["id"] for one in documents[:40]]
        stored = np.asarray(index.vectors(ids))
        assert np.array_equal(stored, as_floats(rounded(vectors[:40], dtype)))
        before = answers(index, queries)
        for found, query in zip(before, queries, strict=True):
            right = dict(zip(ids, by_brute_force(stored, query).tolist(), strict=True))
            assert found == sorted(right.items(), key=lambda one: (-one[1], one[0]))
        index.seal()
        assert answers(index, queries) == before and np.array_equal(index.vectors(ids), stored)
        index.compact()
        assert index.store.segments[0].kind == kind
        assert answers(index, queries) == before
        index.add(documents[40:], vectors=vectors[40:], batch_size=33)
        index.update([{**documents[3], "n": -1}])  # whose vector is kept
        index.delete([f"d{place:03}" for place in range(0, 300, 5)])
        left = [document.id for document in index.documents()]
        stored, before = np.asarray(index.vectors(left)), answers(index, queries, exact=True)
        index.compact()
        assert np.array_equal(index.vectors(left), stored)
        assert answers(index, queries, exact=True) == answers(index, queries) == before
        assert len(before[0]) == 240
        for query, found in zip(queries, before, strict=True):
            right = dict(zip(left, by_brute_force(stored, query).tolist(), strict=True))
            assert found == sorted(right.items(), key=lambda one: (-one[1], one[0]))
    assert verify_index(tmp_path / "i") == []
    with Index.open(tmp_path / "i") as index:
        assert answers(index, queries) == before
        with Index.create(tmp_path / "j", encoder, settings=made) as other:  # as export and import do
            other.add(list(index.documents()), vectors=np.asarray(index.vectors(left)))
            assert np.allclose(other.vectors(left), stored, atol=1e-7 if dtype != "float16" else 1e-3)
    reshard_index(tmp_path / "i", 3)
    with Index.open(tmp_path / "i") as index:
        assert np.array_equal(index.vectors(left), stored)
        assert answers(index, queries, exact=True) == before


@pytest.mark.parametrize(("dtype", "value"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_bytes_of_the_vectors_and_of_a_graph(tmp_path: Path, dtype: Dtype, value: int) -> None:
    with Index.create(
        tmp_path / "i", ExternalEncoder("test", 96), settings=IndexSettings(kind="hnsw", m=8, dtype=dtype)
    ) as index:
        index.add([f"text {place}" for place in range(400)], vectors=unit(0, 400, 96))
        index.compact()
        [info] = index.store.manifest.segments
        assert (index.info().dtype, index.info().copies) == (dtype, 1)
    assert info.vectors.bytes == 128 + 400 * 96 * value
    assert (info.scales is None) == (dtype != "int8")
    # Links of the lowest level, and those of an eighth of the nodes above it.
    assert info.accelerator.bytes / 400 < 4 * 16 + 30 + (96 if dtype == "int8" else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_graph_compares_the_vectors_of_the_segment_and_reads_one_with_its_own(dtype: Dtype, tmp_path: Path) -> None:
    import faiss

    vectors, queries = unit(5, 900, 32), unit(6, 20, 32)
    matrix = rounded(vectors, dtype)
    built = build_accelerator("hnsw", matrix, IndexSettings())
    built.write(tmp_path / "graph")
    again = read_accelerator("hnsw", tmp_path / "graph", matrix, IndexSettings())
    scores, positions = again.search(queries, 10)
    assert isinstance(again, Graph) and again.has_vectors == (dtype == "int8")
    assert np.array_equal(positions, built.search(queries, 10)[1])
    if dtype != "int8":
        expected = np.take_along_axis(queries @ as_floats(matrix).T, positions, axis=1)
        assert np.allclose(scores, expected, atol=1e-5)
    old = faiss.index_factory(32, "HNSW32_SQ8", faiss.METRIC_INNER_PRODUCT)
    old.train(vectors)
    old.add(vectors)
    faiss.write_index(old, str(tmp_path / "old"))
    whole = read_accelerator("hnsw", tmp_path / "old", matrix, IndexSettings())
    assert isinstance(whole, Graph) and whole.has_vectors
    wide = faiss.SearchParametersHNSW(efSearch=IndexSettings().ef_search)
    assert np.array_equal(whole.search(queries, 10)[1], old.search(queries, 10, params=wide)[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_shards_find_what_an_undivided_index_finds(tmp_path: Path, dtype: Dtype) -> None:
    vectors, queries = unit(1, 400), unit(2, 20)
    documents = [{"id": f"d{n}", "text": f"text {n}", "lang": "en", "n": n % 7} for n in range(len(vectors))]
    given_settings = IndexSettings(dtype=dtype)
    for name, shards in (("one", None), ("many", 3)):
        encoder = ExternalEncoder("test", DIMS)
        with Index.create(tmp_path / name, encoder, settings=given_settings, shards=shards) as index:
            index.add(documents[:350], vectors=vectors[:350])
            index.compact()
            index.add(documents[350:], vectors=vectors[350:])
            index.delete([f"d{n}" for n in range(0, 400, 9)])
    with Index.open(tmp_path / "one") as one, Index.open(tmp_path / "many") as many:
        for where in (None, {"n": 3}, {"n": {"$gte": 1}}):
            for query in queries:  # singly, for which all segments are compared together
                assert many.search_vectors(query[None], 10, where=where) == one.search_vectors(
                    query[None], 10, where=where
                )
            assert many.search_vectors(queries, 10, where=where) == one.search_vectors(queries, 10, where=where)
        ids = [document.id for document in one.documents()]
        assert np.array_equal(many.vectors(ids), one.vectors(ids))
    assert verify_index(tmp_path / "many") == []


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 900), some=st.floats(0, 1), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
def test_products_with_one_query_are_those_of_the_stored_vectors(
    rows: int, some: float, seed: int, dtype: Dtype
) -> None:
    stored, [query] = rounded(unit(seed, rows), dtype), unit(seed + 1, 1)
    among = np.flatnonzero(np.random.default_rng(seed).random(rows) < some)
    right = as_floats(stored).astype(np.float64) @ query
    search = CpuExact(stored)
    assert np.abs(search.products(query) - right).max() < search.margin
    assert np.abs(search.products(query, among) - right[among]).max(initial=0) < search.margin
