"""Segments and the exact search over them, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlret.index.vectors import (
    DECIMALS,
    Segment,
    TornSegmentError,
    read_segment,
    search_segments,
    write_segment,
)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def segment(rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> Segment:
    made = Segment.empty(vectors.shape[1])
    made.add(rows, vectors)
    return made


def brute_force(
    rows: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> list[tuple[float, int]]:
    """Score everything in float64; the k best and all that tie with the k-th."""
    scores = np.round((vectors.astype(np.float64) * query.astype(np.float64)).sum(1), DECIMALS)
    ranked = sorted(zip(-scores, rows.tolist(), strict=True))
    return [(-s, row) for s, row in ranked if len(ranked) <= k or s <= ranked[k - 1][0]]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_search_equals_brute_force(data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    dims = data.draw(st.sampled_from([1, 3, 16, 33]), label="dims")
    n = data.draw(st.integers(1, 120), label="n")
    k = data.draw(st.integers(1, 130), label="k")
    # Few distinct vectors: many ties, also across segments and across the cut.
    pool = unit(generator.standard_normal((data.draw(st.sampled_from([1, 3, 200]), label="pool"), dims)))
    vectors = pool[generator.integers(len(pool), size=n)]
    rows = np.cumsum(generator.integers(1, 4, size=n)).astype(np.int64)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3), label="cuts"))
    parts = [segment(r, v) for r, v in zip(np.split(rows, cuts), np.split(vectors, cuts), strict=True)]
    allowed = None
    keep = np.ones(n, dtype=bool)
    if data.draw(st.booleans(), label="filtered"):
        keep = generator.random(n) < generator.random()
        allowed = rows[keep]
    queries = unit(generator.standard_normal((data.draw(st.sampled_from([1, 2, 40]), label="queries"), dims)))
    for query, (scores, found) in zip(queries, search_segments(parts, queries, k, allowed), strict=True):
        expected = brute_force(rows[keep], vectors[keep], query, k)
        assert sorted(zip(-scores, found.tolist(), strict=True)) == [(-s, row) for s, row in expected]


def test_thousand_equal_vectors_all_tie() -> None:
    vectors = np.repeat(unit(np.ones((1, 8), dtype=np.float32)), 1000, axis=0)
    [(scores, rows)] = search_segments([segment(np.arange(1, 1001), vectors)], vectors[:1], 3, None)
    assert sorted(rows.tolist()) == list(range(1, 1001))
    assert len(set(scores.tolist())) == 1


def test_segment_file_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    rows = np.array([3, 5, 9], dtype=np.int64)
    vectors = unit(np.random.default_rng(0).standard_normal((3, 7)))
    info = write_segment(tmp_path, segment(rows, vectors))
    assert (info.first_row, info.last_row, info.rows) == (3, 9, 3)
    again = read_segment(tmp_path, info, 7)
    np.testing.assert_array_equal(again.rows, rows)
    np.testing.assert_array_equal(again.matrix, vectors)
    assert [p.name for p in (tmp_path / "vectors").iterdir()] == [Path(info.file).name]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "extended"])
def test_torn_file_is_noticed(tmp_path: Path, damage: str) -> None:
    (tmp_path / "vectors").mkdir()
    info = write_segment(tmp_path, segment(np.arange(1, 4), unit(np.eye(3, 5, dtype=np.float32))))
    path = tmp_path / info.file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        flipped = bytes([*content[:-3], content[-3] ^ 1, *content[-2:]])
        path.write_bytes({"empty": b"", "cut": content[:-1], "flipped": flipped, "extended": content + b"\0"}[damage])
    with pytest.raises(TornSegmentError, match=info.file):
        read_segment(tmp_path, info, 5)


def test_segment_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    info = write_segment(tmp_path, segment(np.arange(1, 4), unit(np.eye(3, 5, dtype=np.float32))))
    with pytest.raises(TornSegmentError, match="5 dimensions"):
        read_segment(tmp_path, info, 6)
