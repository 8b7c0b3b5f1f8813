"""Test indexes of colbert-ai that are written and read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.integrations import colbert_index
from mlret.integrations.colbert_index import read_colbert_index, write_colbert_index

DIMS = 32


def documents(count: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, DIMS))
    found = []
    for _ in range(count):
        tokens = centres[rng.integers(0, 20, rng.integers(3, 12))]
        tokens = tokens + 0.3 * rng.standard_normal(tokens.shape)
        found.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return found


def stored(path: Path, tokens: list[NDArray[np.float32]]) -> Index:
    index = Index.create(path, ExternalEncoder("made", DIMS, "maxsim"))
    index.add([{"id": f"d{n}", "text": f"text\t{n}", "lang": "en"} for n in range(len(tokens))], vectors=tokens)
    return index


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(colbert_index, "_CHUNK", 120)
    monkeypatch.setattr(colbert_index, "_BATCH", 50)
    tokens = documents(300)
    seen: list[int] = []
    with stored(tmp_path / "i", tokens) as index:
        assert write_colbert_index(index, tmp_path / "c", bits=bits, progress=seen.append) == 300
    assert seen[-1] == 300
    found = read_colbert_index(tmp_path / "c")
    assert found.lengths.tolist() == [len(one) for one in tokens]
    cosines = (found.values.astype(np.float32) * np.concatenate(tokens)).sum(axis=1)
    assert cosines.mean() > {1: 0.95, 2: 0.98, 4: 0.995, 8: 0.999}[bits]
    assert json.loads((tmp_path / "c" / "ids.json").read_text()) == [f"d{n}" for n in range(300)]
    lines = (tmp_path / "c" / "collection.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[7] == "7\ttext 7" and len(lines) == 300
    metadata = json.loads((tmp_path / "c" / "metadata.json").read_text())
    assert metadata["num_chunks"] == 3 and metadata["num_embeddings"] == len(found.values)


def test_what_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    tokens = documents(5)
    with stored(tmp_path / "i", tokens) as index:
        with pytest.raises(InputError, match="3 bits of 32 dimensions"):
            write_colbert_index(index, tmp_path / "c", bits=3)
        (tmp_path / "there").mkdir()
        with pytest.raises(InputError, match="already exists"):
            write_colbert_index(index, tmp_path / "there")
        index.add([{"id": "none", "text": "x"}], vectors=[np.empty((0, DIMS), np.float32)])
        with pytest.raises(InputError, match="'none' has no token"):
            write_colbert_index(index, tmp_path / "c")
        assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".c*"))
        index.delete(["none"])
        write_colbert_index(index, tmp_path / "c")
    (tmp_path / "c" / "0.codes.pt").unlink()
    with pytest.raises(InputError, match="is not a complete index of colbert-ai"):
        read_colbert_index(tmp_path / "c")
    with (
        Index.create(tmp_path / "j", ExternalEncoder("x", DIMS)) as index,
        pytest.raises(InputError, match="one vector per text"),
    ):
        write_colbert_index(index, tmp_path / "d")
