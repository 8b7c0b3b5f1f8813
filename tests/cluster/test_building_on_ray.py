"""Test that Ray builds the index that one process builds: after a lost node and an interruption too."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret import ExternalEncoder, Index, IndexSettings
from mlret.cluster.build import build_on_ray
from mlret.cluster.copying import download_index
from mlret.errors import AlreadyExists, InputError, NotFound
from mlret.index.build import build_index
from mlret.index.hits import Hit, Updated
from mlret.index.sharding.shards_manifest import read_shards

pytestmark = pytest.mark.cluster

WORDS = [
    "river",
    "bridge",
    "train",
    "station",
    "winter",
    "harvest",
    "letter",
    "garden",
    "music",
    "window",
    "doctor",
    "market",
    "travel",
    "stone",
    "bread",
]
QUERIES = ["a train on the bridge", "bread and music", "stone 17", "winter garden"]


def write_documents(folder: Path, count: int, files: int = 3) -> list[Path]:
    """Write documents, of which a few have the same text and so the same score."""
    chosen = random.Random(0)
    folder.mkdir()
    paths = [folder / f"documents-{number}.jsonl" for number in range(files)]
    lines: list[list[str]] = [[] for _ in paths]
    for number in range(count):
        words = chosen.choices(WORDS, k=12) if number % 10 else WORDS[:12]
        record = {"id": f"d{number}", "text": f"{' '.join(words)} {number % 50}", "year": 2000 + number % 7}
        lines[number % files].append(json.dumps(record) + "\n")
    for path, some in zip(paths, lines, strict=True):
        path.write_text("".join(some), encoding="utf-8")
    return paths


def assert_same_hits(one: Path, other: Path, **options: Any) -> None:
    """Check that two indexes give the same documents and scores, in every mode that they have."""
    with Index.open(one) as first, Index.open(other) as second:
        assert len(first) == len(second)
        assert {document.id for document in first} == {document.id for document in second}
        modes = ("dense", "lexical", "hybrid") if first.manifest.settings.lexical else ("dense",)
        for mode in modes:
            for filters in ({}, {"where": {"year": 2003}}):
                found = [index.search_batch(QUERIES, 25, mode=mode, **filters) for index in (first, second)]
                assert [ids_of(hits) for hits in found[0]] == [ids_of(hits) for hits in found[1]], (mode, filters)
                for hits, others in zip(*found, strict=True):
                    np.testing.assert_allclose([h.score for h in hits], [h.score for h in others], atol=1e-6)


def ids_of(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def kill_the_tally() -> None:
    """Kill the process that counts for the progress, as Ray does where memory is short."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Tally"):
                os.kill(int(folder.name), signal.SIGKILL)


def test_a_lost_node_loses_and_doubles_nothing(nodes: Callable[[int], Any], tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "texts", 3000)
    settings = IndexSettings(lexical=True)
    build_index(tmp_path / "plain.index", paths, settings=settings)
    cluster = nodes(3)
    lost: list[float] = []
    counted: list[int] = []

    def lose_a_node(done: Updated, part: float | None) -> None:
        assert part is not None
        counted.append(done.added + done.skipped)
        if part > 0.1 and not lost:
            lost.append(part)
            cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
            kill_the_tally()

    report = build_on_ray(
        tmp_path / "ray.index", paths, address=cluster.address, shards=5, settings=settings, batch_size=64,
        progress=lose_a_node,
    )  # fmt: skip
    assert lost and lost[0] < 0.9  # it was lost in the middle
    assert report.index.documents == sum(counted) == 3000
    assert len(read_shards(tmp_path / "ray.index").shards) == 5
    assert_same_hits(tmp_path / "plain.index", tmp_path / "ray.index")


def test_a_build_that_stopped_resumes(nodes: Callable[[int], Any], tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "texts", 400)
    place = tmp_path / "ray.index"
    how: dict[str, Any] = {"address": nodes(1).address, "shards": 3, "batch_size": 50}

    # Bad input is found before anything is encoded, and named as by a build without Ray.
    good = paths[1].read_text(encoding="utf-8")
    paths[1].write_text(f'{good}{{"id": "d1000"}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"documents-1\.jsonl:134: .*text"):
        build_on_ray(place, paths, **how)
    paths[1].write_text(good + good.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(AlreadyExists, match=r"documents-1\.jsonl:134: the id 'd1' is in the index already"):
        build_on_ray(place, paths, **how)
    paths[1].write_text(good, encoding="utf-8")

    class StoppedError(Exception):
        pass

    # The first shards are complete when the build is stopped, as by Ctrl-C.
    building = tmp_path / ".ray.index.building"
    build_on_ray(tmp_path / "whole.index", paths, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlret.cluster.build._finish", lambda job, reports: (_ for _ in ()).throw(StoppedError))
        with pytest.raises(StoppedError):
            build_on_ray(place, paths, **how)
    (building / "work" / "shard-00001.json").unlink()
    (building / "shard-00001").rename(building / ".shard-00001.building")
    times = {number: (building / f"shard-0000{number}" / "manifest.json").stat().st_mtime_ns for number in (0, 2)}
    with pytest.raises(InputError, match="another number of shards was begun here"):
        build_on_ray(place, paths, **how | {"shards": 4})
    report = build_on_ray(place, paths, **how)
    assert report.index.documents == 400
    assert times == {number: (place / f"shard-0000{number}" / "manifest.json").stat().st_mtime_ns for number in (0, 2)}
    assert not building.exists() and not (place / "work").exists()
    assert_same_hits(tmp_path / "whole.index", place)
    with pytest.raises(AlreadyExists, match="is an index already"):
        build_on_ray(place, paths, **how)


def test_given_vectors_reach_their_documents_on_any_file_system(nodes: Callable[[int], Any], tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "texts", 300)
    vectors = np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    encoder = ExternalEncoder("tests", 16)
    build_index(tmp_path / "plain.index", paths, encoder, vectors=vectors)
    address = nodes(1).address
    how: dict[str, Any] = {"address": address, "shards": 3, "vectors": tmp_path / "vectors.npy"}
    with pytest.raises(InputError, match="300 vectors but 200 documents"):
        build_on_ray(tmp_path / "few.index", paths[:2], encoder, **how)
    url = f"file://{tmp_path}/bucket/ray.index"
    report = build_on_ray(url, paths, encoder, **how)
    assert report.documents.added == 300
    assert not (tmp_path / "bucket" / "ray.index.building").exists()
    download_index(url, tmp_path / "copy.index")
    with Index.open(tmp_path / "plain.index") as one, Index.open(tmp_path / "copy.index") as other:
        for vector in vectors[:20]:
            found = [index.search_vectors(vector[None], 7)[0] for index in (one, other)]
            assert ids_of(found[0]) == ids_of(found[1])
    with pytest.raises(AlreadyExists, match="is an index already"):
        build_on_ray(url, paths, encoder, **how)
    (tmp_path / "bucket" / "ray.index" / "shards.json").unlink()
    with pytest.raises(NotFound, match=r"not a complete index: shards\.json is missing"):
        download_index(url, tmp_path / "none.index")
