"""Test that a compaction shows its progress, and that one that was stopped leaves a good folder and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.cli.index import compact
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.vectors import begun_graph, faiss_index
from mlret.index.vectors.faiss_index import Graph
from mlret.index.verify import verify_index

DIMS, ROWS = 16, 4_000


def made(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", ExternalEncoder("test", DIMS), settings=IndexSettings(kind="hnsw")) as index:
        index.add(({"id": f"d{n}", "text": f"text {n}", "lang": "en"} for n in range(ROWS)), vectors=made(ROWS, 0))
        index.delete(["d7"])
    return tmp_path / "i"


@pytest.fixture
def each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the graph after each block, and not once a minute."""
    monkeypatch.setattr(begun_graph, "_SECONDS", 0.0)


def begun_in(folder: Path) -> list[str]:
    return sorted(path.name.partition(".npy")[2] for path in folder.glob("vectors/*.begun*"))


def stopped(folder: Path, step: str, least: int) -> None:
    """Stop a compaction when so much of a step is done."""

    def stop(what: str, done: int, total: int) -> None:
        if what == step and done >= least:
            raise KeyboardInterrupt

    with Index.open(folder) as index, pytest.raises(KeyboardInterrupt):
        index.compact(stop)


def compacted(folder: Path) -> list[tuple[str, int, int]]:
    """Compact an index, check that its graph finds what comparing all vectors finds, and return the steps."""
    steps: list[tuple[str, int, int]] = []
    with Index.open(folder) as index:
        index.compact(lambda *step: steps.append(step))
        [segment] = index.store.segments
        assert isinstance(segment.accelerator, Graph) and segment.accelerator.index.ntotal == len(segment) == ROWS - 1
        queries = made(50, 1)
        found, right = (index.search_vectors(queries, 10, exact=exact) for exact in (False, True))
        shared = [
            len({hit.id for hit in one} & {hit.id for hit in all_}) for one, all_ in zip(found, right, strict=True)
        ]
        assert np.mean(shared) > 9.5
    assert verify_index(folder) == []
    return steps


def test_progress_is_reported_for_each_part_of_the_work(folder: Path) -> None:
    steps = compacted(folder)
    for name in ("writing vectors", "building hnsw"):
        done = [done for what, done, _ in steps if what == name]
        assert done == sorted(done) and done[-1] == ROWS - 1
        assert {total for what, _, total in steps if what == name} == {ROWS - 1}
    assert len([what for what, _, _ in steps if what == "building hnsw"]) == 4


@pytest.mark.parametrize("step", ["writing vectors", "building hnsw"])
def test_stopped_compaction_leaves_a_good_folder(folder: Path, step: str) -> None:
    stopped(folder, step, 1)
    assert verify_index(folder) == []
    with Index.open(folder) as index:
        assert len(index) == len(index.search_vectors(made(1, 1), ROWS)[0]) == ROWS - 1
    compacted(folder)


@pytest.mark.usefixtures("each_block")
def test_next_compaction_goes_on_with_the_graph(folder: Path) -> None:
    stopped(folder, "building hnsw", 3 * faiss_index._LEAST_BLOCK)
    assert begun_in(folder) == [".begun", ".begun.json"]
    assert verify_index(folder) == []
    with Index.open(folder, ExternalEncoder("test", DIMS)) as index:  # Other changes leave the graph alone.
        index.add([{"id": "new", "text": "new", "lang": "en"}], vectors=made(1, 2))
        index.delete(["new"])
    done = [done for what, done, _ in compacted(folder) if what == "building hnsw"]
    # The block at which it was stopped was reported before it was kept.
    assert done == [3 * faiss_index._LEAST_BLOCK, ROWS - 1]
    assert begun_in(folder) == []


@pytest.mark.usefixtures("each_block")
@pytest.mark.parametrize("change", ["damaged", "other settings", "other vectors"])
def test_graph_that_does_not_belong_to_the_vectors_is_begun_anew(folder: Path, change: str) -> None:
    stopped(folder, "building hnsw", 3 * faiss_index._LEAST_BLOCK)
    [graph] = folder.glob("vectors/*.begun")
    if change == "damaged":
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
    elif change == "other settings":
        note = graph.with_name(f"{graph.name}.json")
        note.write_text(note.read_text().replace('"m": 32', '"m": 16'))
    else:
        with Index.open(folder) as index:
            index.delete(["d8"])
            stopped_before = begun_in(folder)
            index.compact()
        assert stopped_before and begun_in(folder) == [] and verify_index(folder) == []
        return
    done = [done for what, done, _ in compacted(folder) if what == "building hnsw"]
    assert done[0] == faiss_index._LEAST_BLOCK and done[-1] == ROWS - 1 and begun_in(folder) == []


def test_command_line_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "compact", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compact(folder)
    assert "what is done is kept, and the same command goes on from there" in capsys.readouterr().err


def test_command_line_compacts_at_low_priority(folder: Path) -> None:
    code = (
        "import os, sys; from mlret.cli.main import app; "
        "app(['index', 'compact', sys.argv[1], '--low-priority'], standalone_mode=False); print(os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "1 segment" in done.stdout or "became 1" in done.stdout
    assert done.stdout.split()[-1] == "19"
