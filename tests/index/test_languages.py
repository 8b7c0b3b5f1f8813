"""Test that a filter on the language finds all documents in it, whatever code they were added with."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mlret import Index
from mlret.index.storage.records import checksum_of
from tests.index.made import encoder, vector_of

STORED = {
    "flores": "nob_Latn",
    "hand": "no",
    "old": "no",  # stored as nb, as earlier versions did
    "nynorsk": "nn",
    "egyptian": "arz_Arab",
    "arabic": "arb",
    "iraqi": "acm_Arab",
    "mandarin": "cmn",
    "taiwan": "zh_TW",
    "cantonese": "yue",
    "indonesian": "ind_Latn",
    "malay": "zsm_Latn",
    "serbian": "sr@latin",
    "croatian": "hrv",
    "none": None,
}


@pytest.fixture
def index(tmp_path: Path):  # type: ignore[no-untyped-def]
    path = tmp_path / "index"
    rows = [{"id": name, "text": f"text {name}", **({"lang": code} if code else {})} for name, code in STORED.items()]
    with Index.create(path, encoder()) as index:
        index.add(rows, vectors=[vector_of(row["text"]) for row in rows])
    with sqlite3.connect(path / "records.db") as database:
        ((text, metadata),) = database.execute("SELECT text, metadata FROM records WHERE id = 'old'").fetchall()
        database.execute(
            "UPDATE records SET language = 'nb', crc = ? WHERE id = 'old'", (checksum_of("old", text, "nb", metadata),)
        )
    database.close()
    with Index.open(path, encoder()) as index:
        yield index


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("no", "flores hand old nynorsk"),
        ("nb", "flores hand old"),
        ("nob_Latn", "flores hand old"),
        ("nn", "nynorsk"),
        ("ar", "arabic egyptian iraqi"),
        ("arz", "egyptian"),
        ("acm", "iraqi"),
        ("zh", "mandarin taiwan cantonese"),
        ("zh-Hant", "taiwan"),
        ("zho_Hans", "mandarin"),
        ("yue", "cantonese"),
        ("id", "indonesian"),
        ("ms", "malay"),
        ("sr", "serbian"),
        ("sh", "serbian croatian"),
        (None, "none"),
        (["nb", None, "id"], "flores hand old none indonesian"),
    ],
)
def test_codes_of_one_language_find_each_other(index: Index, asked: object, found: str) -> None:
    def ids(where: object) -> set[str]:
        (hits,) = index.search_vectors([vector_of("text")], len(STORED), where={"lang": where})
        return {hit.id for hit in hits}

    assert ids(asked) == {*found.split()}
    inverse = {"$nin": asked} if isinstance(asked, list) else {"$ne": asked}
    assert ids(inverse) == STORED.keys() - {*found.split()}


def test_a_deletion_by_language_takes_the_same(index: Index) -> None:
    assert index.delete(where={"lang": "nb"}) == 3
    assert index.get("nynorsk") is not None and index.get("old") is None
