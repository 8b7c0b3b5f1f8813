"""Test an index whose encoder has changed since it was built: what needs no encoder works, the rest says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.loading import load_encoder
from mlret.errors import FingerprintError, InputError
from mlret.index.index import Index
from mlret.index.reembedding import reembed_index
from mlret.index.settings import IndexSettings
from mlret.memory.maintenance.upkeep import reembed
from mlret.memory.memory import Memory
from tests.index.made import encoder, vectors_of

DOCUMENTS = [
    {"id": "cat", "text": "the cat sat on a mat", "lang": "en", "page": 1},
    {"id": "dogs", "text": "seven dogs ran home", "lang": "en", "page": 2},
    {"id": "hello", "text": "你好世界", "lang": "zh", "page": 3},
]
ME = {"user": "me"}


@pytest.fixture
def model(tiny_encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder_folder, tmp_path / "model"))


def change(model: Path) -> None:
    """Give an encoder a prompt for documents, so that its vectors are others."""
    path = model / "config_sentence_transformers.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["prompts"] = {"query": "", "document": "rice "}
    path.write_text(json.dumps(settings), encoding="utf-8")


def test_an_index_is_read_searched_by_words_and_brought_along(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "i"
    with Index.create(path, model, settings=IndexSettings(lexical=True)) as index:
        index.add(DOCUMENTS)
        vectors = index.vectors(["cat", "dogs", "hello"])
        before = index.search("mat", mode="lexical")
    change(model)
    with Index.open(path) as index:
        assert index.info().documents == 3 and index.get("hello").text == "你好世界"  # type: ignore[union-attr]
        assert [hit.id for [hit] in index.search_vectors(vectors, k=1)] == ["cat", "dogs", "hello"]
        [hit] = index.search("mat", mode="lexical")
        assert (hit.id, hit.score, hit.cosine) == ("cat", before[0].score, None) and before[0].cosine is not None
        again = f"encode its texts again: mlret index reembed {path} -o NEW --model {model}"
        for act in (
            lambda: index.search("mat"),
            lambda: index.search("mat", mode="dense"),
            lambda: index.encode_queries(["mat"]),
            lambda: index.add(["a fish"]),
            lambda: index.update([{"id": "cat", "text": "a fish"}]),
        ):
            with pytest.raises(FingerprintError) as caught:
                act()
            assert str(caught.value).endswith(again) and "\n" not in str(caught.value)
        assert index.update([DOCUMENTS[0] | {"page": 9}]).replaced == 1  # The vector stays.
        assert index.delete(["dogs"]) == 1
    reembed_index(path, tmp_path / "new", model)
    with Index.open(tmp_path / "new") as index:
        assert {one.id: one.metadata for one in index.documents()} == {"hello": {"page": 3}, "cat": {"page": 9}}
        expected = load_encoder(model).encode_document(["the cat sat on a mat"])
        np.testing.assert_allclose(index.vectors(["cat"]), expected, atol=1e-5)
        assert index.search("the cat sat on a mat", k=1)[0].cosine is not None
        index.add(["a fish"])


def test_a_memory_is_read_searched_by_words_and_brought_along(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "m"
    with Memory.open(path, model) as memory:
        cat, dogs = (memory.add(text, ME, language="en").id for text in ("the cat sat on a mat", "seven dogs ran home"))
        before = memory.search("the mat", ME, mode="lexical")
    change(model)
    with Memory.open(path) as memory:
        found = memory.search("the mat", ME, mode="lexical")
        assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in before]
        vector = memory._index.vectors([next(iter(memory._index.documents())).id])[0]
        assert memory.search("anything", ME, 1, mode="dense", vector=vector)[0].id == cat
        again = f"encode its texts again: mlret memory reembed --store {path} -o NEW --model {model}"
        for act in (lambda: memory.search("the mat", ME), lambda: memory.add("a fish", ME)):
            with pytest.raises(FingerprintError) as caught:
                act()
            assert str(caught.value).endswith(again)
        memory.delete(dogs, ME)
        assert [record.id for record in memory.list(ME)] == [cat]
    reembed(path, tmp_path / "new", model)
    with Memory.open(tmp_path / "new") as memory:
        assert [record.id for record in memory.list(ME)] == [cat]
        assert memory.search("the cat sat on a mat", ME, language="en")[0].id == cat
        memory.add("a fish", ME)


@pytest.mark.parametrize("missing", ["given vectors", "folder"])
def test_words_are_searched_without_an_encoder(tmp_path: Path, model: Path, missing: str) -> None:
    texts = [str(one["text"]) for one in DOCUMENTS]
    chosen = encoder() if missing == "given vectors" else load_encoder(model)
    vectors = vectors_of(texts, "cosine") if missing == "given vectors" else None
    with Index.create(tmp_path / "i", chosen, settings=IndexSettings(lexical=True)) as index:
        index.add(DOCUMENTS, vectors=vectors)
    shutil.rmtree(model)
    with Index.open(tmp_path / "i") as index:
        [hit] = index.search("mat", mode="lexical")
        assert hit.id == "cat" and hit.cosine is None
        with pytest.raises(InputError):
            index.search("mat")
