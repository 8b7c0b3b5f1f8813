"""Test that a graph is extended by what is added and loses what is deleted, and what it then finds."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import Dtype, IndexSettings
from mlret.index.store import compaction
from mlret.index.vectors import begun_graph, cosine, faiss_index, graph_extension, graph_level
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.vectors.faiss_index import Graph, build_accelerator, faiss_module
from mlret.index.vectors.graph_removal import remove_nodes
from mlret.index.vectors.graph_storage import compare_in, read_links
from mlret.index.vectors.rounding import rounded
from mlret.index.vectors.space import Part
from mlret.index.verify import verify_index
from tests.conftest import examples
from tests.index.damaging import all_answers
from tests.index.killing import OF_BLOCKS, ROWS, write_until_killed
from tests.index.made import encoder, shrink
from tests.index.test_stored_once import made as made_small

DIMS, FIRST = 16, 3_000
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "int8")
SETTINGS = IndexSettings(kind="hnsw", m=16)


def unit(count: int, seed: int, dims: int = DIMS) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dims))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def add(index: Index, count: int) -> None:
    """Add documents named by their number; the vector of each follows from its number."""
    first = index.store.last_row
    documents = [{"id": f"d{first + place}", "text": f"text {first + place}", "lang": "en"} for place in range(count)]
    index.add(documents, vectors=unit(count, first), batch_size=count)


def graph_steps(index: Index) -> list[int]:
    """Compact an index, and return how many vectors were in its graph after each block of them."""
    steps: list[tuple[str, int]] = []
    index.compact(lambda what, done, total: steps.append((what, done)))
    return [done for what, done in steps if what == "building hnsw"]


def recall(index: Index, queries: NDArray[np.float32]) -> float:
    found, right = (index.search_vectors(queries, 10, exact=exact) for exact in (False, True))
    pairs = zip(found, right, strict=True)
    return float(np.mean([len({hit.id for hit in some} & {hit.id for hit in best}) / 10 for some, best in pairs]))


def check(index: Index) -> None:
    """Check that an index has one segment, whose graph has what is not deleted and finds what comparing all finds."""
    [segment] = index.store.segments
    assert isinstance(segment.accelerator, Graph) and segment.accelerator.index.ntotal == len(segment) == len(index)
    ids = {document.id for document in index.documents()}
    assert {hit.id for hit in index.search_vectors(unit(1, 77), len(ids) + 9)[0]} == ids
    assert recall(index, unit(100, 78)) > 0.99
    assert verify_index(index.path) == []


@pytest.fixture(params=DTYPES)
def index(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Index]:
    settings = SETTINGS.model_copy(update={"dtype": request.param})
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS), settings=settings) as made:
        add(made, FIRST)
        made.compact()
        yield made


def test_what_is_added_goes_into_the_graph_and_what_is_deleted_leaves_it(index: Index) -> None:
    total = FIRST
    for number in range(4):
        gone = [f"d{place}" for place in range(number, total, 47)]
        index.delete([id for id in gone if id in index])
        [before, *_] = index.store.segments
        add(index, 400)
        left = len(before) - index.store.dead_in(before)
        assert left < len(before)
        steps = graph_steps(index)
        assert steps[0] > left and steps[-1] == left + 400 == len(index)
        total += 400
        check(index)
    with Index.open(index.path) as again:
        check(again)
        queries = unit(20, 79)
        assert again.search_vectors(queries, 10) == index.search_vectors(queries, 10)


def test_nothing_but_the_deleted_is_taken_out_if_nothing_was_added(index: Index) -> None:
    index.delete(["d0", "d17", f"d{FIRST - 1}"])
    assert graph_steps(index) == []
    check(index)


def test_an_extended_graph_finds_what_one_built_at_once_finds(tmp_path: Path, index: Index) -> None:
    for _ in range(6):
        add(index, 300)
        assert len(graph_steps(index)) <= 2
    with Index.create(tmp_path / "b", ExternalEncoder("test", DIMS), settings=index.manifest.settings) as built:
        documents = [{"id": one.id, "text": one.text, "lang": "en"} for one in index.documents()]
        built.add(documents, vectors=index.vectors([one["id"] for one in documents]))
        built.compact()
        queries = unit(200, 80)
        assert abs(recall(index, queries) - recall(built, queries)) < 0.01


@pytest.mark.parametrize("why", ["many deleted", "damaged", "other settings"])
def test_a_graph_that_cannot_be_extended_is_built_again(
    index: Index, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "many deleted":
        index.delete([f"d{place}" for place in range(0, FIRST, 9)])
    elif why == "damaged":
        [file] = index.path.glob("vectors/*.faiss")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        links = read_links
        other = IndexSettings(m=8)
        monkeypatch.setattr(graph_extension, "read_links", lambda path, dims, rows, _: links(path, dims, rows, other))
    add(index, 300)
    steps = graph_steps(index)
    assert steps[0] == faiss_index._LEAST_BLOCK and steps[-1] == len(index)
    check(index)


def test_an_index_has_its_graph_until_it_has_the_extended_one(index: Index) -> None:
    add(index, 300)
    kinds: list[str] = []

    def look(what: str, done: int, total: int) -> None:
        with Index.open(index.path) as reader:
            kinds.append(reader.store.segments[0].kind)
            assert len(reader.search_vectors(unit(1, 81), FIRST + 300)[0]) == FIRST + 300

    index.compact(look)
    assert len(kinds) >= 2 and set(kinds) == {"hnsw"}
    check(index)


@pytest.mark.parametrize("meanwhile", ["nothing", "added", "deleted"])
def test_a_stopped_extension_goes_on(index: Index, meanwhile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun_graph, "_SECONDS", 0.0)
    block = faiss_index._LEAST_BLOCK
    index.delete(["d5"])
    add(index, 3 * block)

    def stop(what: str, done: int, total: int) -> None:
        if what == "building hnsw" and done >= FIRST + 2 * block - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.compact(stop)
    assert sorted(path.name.partition(".npy")[2] for path in index.path.glob("vectors/*.begun*")) == [
        ".begun",
        ".begun.json",
    ]
    assert verify_index(index.path) == [] and index.store.segments[0].kind == "hnsw"
    if meanwhile == "added":
        add(index, 200)
    elif meanwhile == "deleted":
        index.delete(["d6"])  # The vectors that were in the graph are then other ones.
    steps = graph_steps(index)
    # The block at which it was stopped was reported before it was kept.
    begun = FIRST - 2 if meanwhile == "deleted" else FIRST - 1 + block
    assert steps[0] == begun + block and steps[-1] == len(index)
    assert not list(index.path.glob("vectors/*.begun*"))
    check(index)


def test_purging_a_document_leaves_the_graph_of_the_others(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    given_graphs: list[bool] = []
    build = build_accelerator

    def watched(*arguments: Any, **named: Any) -> Any:
        given_graphs.append(named["graph"] is not None)
        return build(*arguments, **named)

    monkeypatch.setattr("mlret.index.vectors.writing.build_accelerator", watched)
    [row] = index.store.records.rows_of(["d11"]).values()
    index.delete(["d11"])
    with index.store.writing():
        compaction.purge(index.store, np.array([row]))
    assert given_graphs == [True]
    check(index)


@pytest.mark.parametrize(
    ("part", "seconds", "due"),
    [
        (Part(26_000, 100_000, True), 0.0, True),  # more than a quarter
        (Part(24_000, 100_000, True), 0.0, False),
        (Part(24_000, 100_000, True), 1.0, True),  # slow to compare
        (Part(30_000, 1_000_000, True), 1.0, False),  # less than a thirty-second part
        (Part(40_000, 1_000_000, True), 1.0, True),
        (Part(16_000, 20_000_000, True), 1.0, False),  # the tail alone
        (Part(99_000, 99_000, False), 1.0, False),  # too few for a graph
        (Part(120_000, 120_000, False), 1.0, True),
        (Part(120_000, 120_000, False), 0.0, False),  # quick to compare
    ],
)
def test_compaction_is_due_when_many_are_in_no_graph_or_comparing_them_is_slow(
    tmp_path: Path, part: Part, seconds: float, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosine, "seconds_per_value", lambda: seconds)
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS)) as index:
        assert index.store.space.is_due([part]) == due
        # A part that is complete does not hold up another one.
        assert index.store.space.is_due([Part(0, 2**20, True), part]) == due


def test_compacting_when_it_is_due_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CosineSpace, "largest_segment", 1_000)
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS), settings=SETTINGS) as index:
        outside = []
        for _ in range(30):
            add(index, 100)
            if index.compact_if_due():
                assert index.compact_if_due() == []
            infos = index.manifest.segments
            outside.append(len(index) - sum(info.rows for info in infos if info.accelerator is not None))
        assert [info.rows for info in infos][:2] == [1_000, 1_000] and max(outside) <= 250
        ids = {document.id for document in index.documents()}
        assert {hit.id for hit in index.search_vectors(unit(1, 82), 4_000)[0]} == ids and len(ids) == 3_000


@pytest.mark.parametrize("dtype", DTYPES)
@hypothesis_settings(max_examples=examples(40), deadline=None)
@given(data=st.data())
def test_any_nodes_can_be_removed_and_any_added(dtype: Dtype, data: st.DataObject, tmp_path_factory: Any) -> None:
    count, dims = data.draw(st.integers(1, 150)), data.draw(st.integers(4, 24))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    more = data.draw(st.integers(0, 40))
    vectors = unit(count + more, count, dims)
    path = tmp_path_factory.mktemp("graph") / "graph"
    settings = IndexSettings(m=4)
    build_accelerator("hnsw", rounded(vectors[:count], dtype), settings).write(path)
    links = read_links(path, dims, count, settings)
    assert links is not None and read_links(path, dims, count + 1, settings) is None
    if not remove_nodes(links, kept):
        assert not kept.all()
        return
    assert links.ntotal == kept.sum()
    left = np.concatenate([vectors[:count][kept], vectors[count:]])
    graph = build_accelerator("hnsw", rounded(left, dtype), settings, graph=links)
    assert graph.index.ntotal == len(left)
    found = graph.search(left[:1], len(left), effort=64)[1][0]
    assert len(set(found.tolist())) == len(found) and set(found.tolist()) <= set(range(-1, len(left)))
    assert found[0] == 0 or left[found[0]] @ left[0] >= 0.98


@pytest.mark.parametrize("chosen", ["some", "a neighbourhood", "the entry"])
def test_links_of_a_graph_lead_to_what_is_left_of_it(tmp_path: Path, chosen: str) -> None:
    faiss = faiss_module()
    vectors = unit(4_000, 3)
    build_accelerator("hnsw", vectors, SETTINGS).write(tmp_path / "graph")
    links = read_links(tmp_path / "graph", DIMS, len(vectors), SETTINGS)
    assert links is not None
    kept = np.ones(len(vectors), dtype=np.bool_)
    if chosen == "some":
        kept[::11] = False
    elif chosen == "a neighbourhood":
        kept[np.argsort(-(vectors @ vectors[0]))[:400]] = False
    else:
        levels = faiss.vector_to_array(links.hnsw.levels)
        kept[levels >= levels.max() - 1] = False  # The two highest levels.
        kept[links.hnsw.entry_point] = False
    assert remove_nodes(links, kept)
    left = vectors[kept]
    neighbours, offsets = (faiss.vector_to_array(some) for some in (links.hnsw.neighbors, links.hnsw.offsets))
    levels = faiss.vector_to_array(links.hnsw.levels)
    assert links.ntotal == len(levels) == len(left) and levels[links.hnsw.entry_point] == levels.max()
    assert neighbours.max() < len(left) and len(neighbours) == offsets[-1]
    for node in range(0, len(left), 7):
        lowest = neighbours[int(offsets[node]) :][: 2 * SETTINGS.m]
        size = int((lowest >= 0).sum())
        assert (lowest[:size] >= 0).all() and len(set(lowest[:size].tolist())) == size and node not in lowest
    graph = build_accelerator("hnsw", left, SETTINGS, graph=links)
    best = np.argsort(-(left @ left[:200].T), axis=0)[:10].T
    found = graph.search(left[:200], 10)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)]) > 0.99


def test_nothing_is_left_of_a_graph_of_which_all_is_removed(tmp_path: Path) -> None:
    build_accelerator("hnsw", unit(50, 4), SETTINGS).write(tmp_path / "graph")
    links = read_links(tmp_path / "graph", DIMS, 50, SETTINGS)
    assert links is not None and not remove_nodes(links, np.zeros(50, dtype=np.bool_))


def test_a_way_that_is_lost_is_noticed(tmp_path: Path) -> None:
    """Two groups of nodes that only one node joins: without it, one group cannot be reached."""
    faiss = faiss_module()
    build_accelerator("hnsw", unit(9, 5), IndexSettings(m=4)).write(tmp_path / "graph")
    links = read_links(tmp_path / "graph", DIMS, 9, IndexSettings(m=4))
    assert links is not None
    links.hnsw.entry_point, links.hnsw.max_level = 0, 0
    ways: dict[int, list[int]] = {0: [1], 1: [0, 2], 2: [1, 3], 3: [2, 4], 4: [3, 5], 5: [6], 6: [7], 7: [8], 8: [4]}
    lists = np.full((9, 8), -1, dtype=np.int32)
    for node, some in ways.items():
        lists[node, : len(some)] = some
    faiss.copy_array_to_vector(lists.reshape(-1), links.hnsw.neighbors)
    faiss.copy_array_to_vector(np.ones(9, dtype=np.int32), links.hnsw.levels)
    faiss.copy_array_to_vector(np.arange(10, dtype=np.uint64) * 8, links.hnsw.offsets)
    faiss.write_index(links, str(tmp_path / "made"), faiss.IO_FLAG_SKIP_STORAGE)
    for removed, reached in (([2], True), ([3], True), ([3, 4], False)):
        again = read_links(tmp_path / "made", DIMS, 9, IndexSettings(m=4))
        kept = np.ones(9, dtype=np.bool_)
        kept[removed] = False
        assert again is not None and remove_nodes(again, kept) == reached, removed


def test_freeing_the_vectors_of_a_graph_leaves_faiss_whole() -> None:
    faiss = faiss_module()
    for _ in range(3):
        graph = faiss.IndexHNSWFlat(DIMS, 4)
        graph.storage.add(np.ones((9, DIMS), dtype=np.float32))
        compare_in(graph, None, owned=False)
        assert graph.storage is None
        assert isinstance(faiss.index_factory(DIMS, "Flat"), faiss.IndexFlat)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("segment_size", "bulk_size"):
        monkeypatch.setattr(CosineSpace, name, getattr(CosineSpace, name))
    shrink()
    for module in OF_BLOCKS:
        monkeypatch.setattr(module, "ROWS", ROWS)


@pytest.mark.usefixtures("small")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("act", ["compact", "add"])
def test_killed_at_any_step_of_extending_nothing_is_lost(tmp_path: Path, act: str, dtype: Dtype) -> None:
    begun = made_small(tmp_path / "begun", kind="hnsw", dtype=dtype)
    right = all_answers(begun)
    killed = 0
    for steps in range(200):
        folder = tmp_path / "i"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun, folder)
        done = write_until_killed(folder, steps, act)
        found = all_answers(folder)
        assert right["documents"].items() <= found["documents"].items()
        assert {id for id, _ in found["hits True"]} == {id for id, _ in found["hits False"]} == set(found["documents"])
        with Index.open(folder, encoder()) as index:
            assert index.store.segments[0].kind == "hnsw"
            assert verify_index(folder) == []
            index.compact()
            [segment] = index.store.segments
            assert segment.kind == "hnsw" and len(segment) == len(index)
        assert all_answers(folder) == found and not list(folder.glob("vectors/*.begun*"))
        if done == 0:
            break
        assert done == -signal.SIGKILL
        killed += 1
    assert done == 0 and killed > 15


def test_the_fastest_level_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(faiss_module(), "SIMDConfig", None) is None:
        pytest.skip("this FAISS has no choice of levels")
    monkeypatch.delenv("FAISS_SIMD_LEVEL", raising=False)
    monkeypatch.setattr(graph_level, "_LEAST", 1)
    monkeypatch.setattr(graph_level, "_FOUND", {})
    timed: list[str] = []

    def fastest(faiss: Any, levels: list[Any], vectors: NDArray[np.float32], factory: str) -> Any:
        timed.append(factory)
        return levels[0]

    monkeypatch.setattr(graph_level, "_fastest", fastest)
    for _ in range(2):
        build_accelerator("hnsw", unit(60, 6), SETTINGS)
    assert len(timed) <= 1 and len(graph_level._FOUND) == len(timed)
