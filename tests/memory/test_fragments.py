"""Searching files for many byte strings at once, compared with Python's own search."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.index.sqlite.raw import views
from mlret.memory.ingest import erase, fragments
from mlret.memory.ingest.fragments import Fragments
from tests.conftest import examples
from tests.memory.made import add, open_memory


def found(pieces: list[bytes], content: bytes) -> set[bytes]:
    return Fragments(pieces).found_in(np.frombuffer(content, dtype=np.uint8))


@given(
    st.binary(max_size=300),
    st.lists(st.binary(min_size=2, max_size=40), max_size=6),
    st.lists(st.tuples(st.integers(0, 300), st.integers(2, 60)), max_size=6),
)
@settings(max_examples=examples(300))
def test_exactly_the_fragments_that_occur_are_found(
    content: bytes, others: list[bytes], cuts: list[tuple[int, int]]
) -> None:
    pieces = [*others, *(piece for start, size in cuts if len(piece := content[start : start + size]) > 1)]
    assert found(pieces, content) == {piece for piece in pieces if piece in content}


def test_a_fragment_is_found_wherever_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "_CHUNK", 24)
    for size in (4, 14, 15, 16, 36):
        piece = random.Random(size).randbytes(size)
        for start in range(100):
            content = bytes(start) + piece + bytes(70)
            assert found([piece, b"is not there, and long"], content) == {piece}
            assert not found([piece], content.replace(piece, piece[:-1]))


def test_a_fragment_is_found_across_the_blocks_of_a_file(tmp_path: Path) -> None:
    search = Fragments([b"a fragment that is long", b"short"])
    for start in range(90, 140):
        (tmp_path / "file").write_bytes(bytes(start) + b"a fragment that is long" + bytes(55) + b"short")
        there: set[bytes] = set()
        for _, block in views(tmp_path / "file", 100, overlap=search.overlap):
            there |= search.found_in(np.frombuffer(block, dtype=np.uint8))
        assert there == {b"a fragment that is long", b"short"}


@pytest.mark.parametrize("name", ["records.db", "records.db-wal", "writer.lock", "vectors/left.npy"])
def test_a_proof_reports_text_that_is_left_in_any_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_memory(tmp_path / "m") as memory:
        text = "the secret is a heron with one leg"
        done = add(memory, text, {"user": "u"})
        add(memory, "another", {"user": "u"})
        before = erase._FileSearch.places

        def places(search: erase._FileSearch) -> dict[str, list[str]]:
            file = tmp_path / "m" / name
            file.parent.mkdir(exist_ok=True)
            with file.open("ab") as handle:  # As a fault would leave it, after the database was examined.
                handle.write(b"\1" * 5 + text.encode()[:20])
            return before(search)

        monkeypatch.setattr(erase._FileSearch, "places", places)
        proof = memory.erase(done.id, {"user": "u"})
        assert not proof.complete
        assert proof.files[name.split("/")[0]]["places"] > 0
