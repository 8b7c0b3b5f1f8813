"""Test indexes of folders of files and of data frames: resumed builds, updates, given vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import AlreadyExists, InputError
from mlret.index.build import build_index, extend_index
from mlret.index.hits import Updated
from mlret.index.index import Index
from tests.index.made import encoder, vector_of

WORDS = ["mvua", "kubwa", "ilinyesha", "usiku", "kucha", "barabara", "ikafungwa", "soko", "asubuhi", "jioni"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    for number, word in enumerate(WORDS):
        place = tmp_path / "docs" / ("deep" if number % 2 else "")
        front = f"---\ntitle: {word}\nyear: {2000 + number}\n---\n"
        (place / f"{number}.md").write_text(f"{front}# {word}\n\nthe {word} page\n")
    pl.DataFrame({"id": ["t1", "t2"], "text": ["one", "two"], "year": [1, None]}).write_parquet("docs/table.parquet")
    return tmp_path / "docs"


def test_a_build_of_a_folder_that_was_interrupted_continues(folder: Path, tiny_encoder: Encoder) -> None:
    def stop(done: Updated, part: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index("i", ["docs"], tiny_encoder, batch_size=5, progress=stop)
    (folder / "9.txt").write_text("")  # It cannot be read: the build goes on all the same.
    with pytest.warns(match=r"docs/9\.txt: no text in it"):
        report = build_index("i", ["docs"], tiny_encoder, batch_size=5)
    assert report.documents == Updated(added=7, skipped=5)
    assert report.unread == ["docs/9.txt"]
    whole = build_index("j", ["docs"], tiny_encoder).index
    assert report.index.documents == whole.documents == 12
    with Index.open("i", tiny_encoder) as one, Index.open("j", tiny_encoder) as other:
        assert list(one.documents()) == list(other.documents())
        assert one.get("docs/0.md") is not None
        [hit] = one.search("the mvua page", 1, where={"year": {"$gte": 2000}})
        assert hit.id == "docs/0.md" and hit.metadata["title"] == "mvua"


def test_only_changed_files_are_stored_again(folder: Path, tiny_encoder: Encoder) -> None:
    build_index("i", ["docs"], tiny_encoder)
    (folder / "0.md").write_text("# mvua\n\nchanged\n")
    (folder / "new.txt").write_text("new")
    report = extend_index("i", ["docs"], tiny_encoder, existing="replace")
    assert report.documents == Updated(added=1, replaced=1, skipped=11)
    with pytest.raises(AlreadyExists, match=r"'docs/0\.md' is in the index already"):
        extend_index("i", ["docs/0.md"], tiny_encoder)


def test_data_frames_and_files_are_added_in_one_line(folder: Path, tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder) as index:
        frame = pd.DataFrame({"sku": [1, 2], "body": ["apple", "pear"], "price": [0.5, float("nan")]})
        assert index.add(frame, columns={"sku": "id", "body": "text"}) == 2
        assert [document.metadata for document in index.documents()] == [{"price": 0.5}, {}]
        changed = pl.DataFrame({"id": ["2", "3"], "text": ["pear tree", "plum"]})
        assert index.update(changed) == Updated(added=1, replaced=1)
        assert sum(done.added for done in index.add_batches(pa.table({"text": ["fig"] * 5}), batch_size=2)) == 5
        assert index.add(folder, skip_existing=True) == 12
        assert {f"auto-{number}" for number in range(5, 10)} <= {document.id for document in index.documents()}


def test_what_is_no_document_stores_nothing(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", encoder()) as index:
        frames = [pd.DataFrame({"a": ["x"]}), pl.DataFrame({"a": ["x"]}), pa.table({"a": ["x"]})]
        for bad in (*frames, [["a"]], "text", {"a": "x"}, tmp_path / "no"):
            with pytest.raises(InputError):
                index.add(bad)  # type: ignore[arg-type]
        assert len(index) == 0


def test_vectors_are_paired_with_the_rows_of_a_table(tmp_path: Path) -> None:
    texts = ["one", "two", "three"]
    vectors = np.array([vector_of(text) for text in texts])
    frames = (pd.DataFrame({"text": texts}), pl.DataFrame({"text": texts}), pa.table({"text": texts}).to_reader())
    for number, frame in enumerate(frames):
        with Index.create(tmp_path / f"i{number}", encoder()) as index:
            with pytest.raises(InputError, match=r"vectors"):
                index.add(frame if number < 2 else pa.table({"text": texts}).to_reader(), vectors=vectors[:2])
            assert len(index) == 0
            index.add(frame, vectors=vectors)
            assert index.search_vectors(vectors[1:2], 1)[0][0].text == "two"


def test_vectors_are_paired_with_the_documents_of_paths_and_not_with_the_paths(folder: Path, tmp_path: Path) -> None:
    paths = sorted(folder.glob("*.parquet")) + sorted(folder.glob("*.md"))
    with Index.create(tmp_path / "i", encoder()) as index:
        with pytest.raises(InputError, match="vectors"):
            index.add(paths, vectors=np.ones((len(paths), 8)))
        assert len(index) == 0 and index.add(paths, vectors=np.ones((len(paths) + 1, 8))) == len(paths) + 1
