"""Test filters on folders of format 2, whose tables had no names for nested metadata."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from mlret.encoders.encoder import Similarity
from mlret.index.index import Index
from mlret.index.verify import verify_index
from tests.index.made import SIMILARITIES, encoder, vectors_of
from tests.index.test_filters import meets

OLD = Path(__file__).parent / "old"
FILTERS: list[dict[str, Any]] = [
    {"place.town": "harbour"},
    {"place.town": {"$nin": ["harbour", "river"]}},
    {"place": {"$exists": True}},
    {"tags": {"$contains": "river"}},
    {"tags": {"$contains": "riv"}},
    {"place.town": {"$contains": "riv"}},
    {"tags": "garden", "year": {"$gte": 2005}},
]


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_nested_names_and_contains_work_on_an_old_folder(tmp_path: Path, similarity: Similarity) -> None:
    with tarfile.open(OLD / f"index-{similarity}-format-2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    with Index.open(folder, encoder(similarity)) as index:
        documents = list(index.documents())
        query = vectors_of(["query"], similarity)
        for where in FILTERS:
            found = {hit.id for hit in index.search_vectors(query, 100, where=where)[0]}
            expected = {d.id for d in documents if meets(d.metadata, d.language, d.text, where)}
            assert found == expected and (expected or where == {"tags": {"$contains": "riv"}})
        gone = {d.id for d in documents if d.metadata["place"]["town"] == "harbour"}
        assert index.delete(where={"place.town": "harbour"}) == len(gone)
        assert {document.id for document in index.documents()} == {d.id for d in documents} - gone
    assert [problem.what for problem in verify_index(folder, encoder(similarity))] == []
