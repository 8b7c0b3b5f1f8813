"""An index that is divided into shards does what one index does, and names the shard where something is wrong."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.errors import AlreadyExists, Corrupt, FilterWarning, InputError, NotFound
from mlret.index.async_index import AsyncIndex
from mlret.index.build import build_index, extend_index
from mlret.index.check import check_index
from mlret.index.export import export_index
from mlret.index.index import Index
from mlret.index.reembedding import reembed_index
from mlret.index.settings import IndexSettings
from mlret.index.sharding.placement import by_shard, shard_of
from mlret.index.sharding.resharding import reshard_index
from mlret.index.sharding.shards_manifest import read_shards, shard_name
from mlret.index.verify import verify_index
from tests.index.made import encoder, vectors_of
from tests.index.reading import WordEncoder

SHARDS = 3
SETTINGS = IndexSettings(lexical=True)


def documents(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"d{number}", "text": f"Zug {number} nach Berlin", "lang": "de", "n": number}
        for number in range(first, first + count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", WordEncoder(20), settings=SETTINGS, shards=SHARDS) as index:
        index.add(documents(30))
    return tmp_path / "i"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    with Index.open(path, WordEncoder(20)) as opened:
        yield opened


def damage(path: Path, number: int) -> None:
    (path / shard_name(number) / "records.db").write_bytes(b"damaged" * 1000)


def test_a_document_is_in_the_shard_of_its_id_and_each_shard_is_an_index(path: Path) -> None:
    places = by_shard([f"d{number}" for number in range(30)], SHARDS)
    for number in range(SHARDS):
        with Index.open(path / shard_name(number), WordEncoder(20)) as shard:
            assert [document.id for document in shard] == [f"d{place}" for place in places[number]]


def test_placement_does_not_change() -> None:
    # As `printf ID | b2sum -l 64` states the hash, read from the last byte to the first.
    assert [shard_of(id, 16) for id in ("", "a", "d1", "日本")] == [4, 0, 12, 8]


def test_all_that_an_index_does(index: Index) -> None:
    assert len(index) == 30 and "d7" in index and "x" not in index
    assert index.get("d7").text == "Zug 7 nach Berlin" and index.get("x") is None  # type: ignore[union-attr]
    assert sorted(document.id for document in index) == sorted(f"d{number}" for number in range(30))
    assert index.update(
        [{"id": "d7", "text": "Regen", "lang": "de"}, {"id": "new", "text": "Schnee", "lang": "de"}]
    ) == (type(index.update([]))(added=1, replaced=1))
    assert index.add(documents(3) + documents(2, 50), skip_existing=True) == 2
    assert index.delete(["d0", "d1"]) == 2 and index.delete(where={"n": {"$gte": 50}}) == 2
    info = index.info()
    assert (info.documents, info.shards, info.languages, info.fields) == (29, SHARDS, {"de": 29}, ["n"])
    assert index.vectors(["new", "d9"]).shape == (2, 12)  # type: ignore[union-attr]
    index.seal()
    assert {choice.kind for choice in index.compact()} == {"flat"} and index.compact_if_due() == []
    assert index.info().unsealed == 0
    again = pickle.loads(pickle.dumps(index))
    assert len(again) == 29 and [hit.id for hit in again.search_batch(["Schnee"], 1, vectors=[[1.0] * 12])[0]]
    again.close()
    assert index.search("Schnee", 1)[0].id == "new"
    with pytest.raises(InputError, match="divided into 3 shards"):
        _ = index.store


def test_strings_get_ids_that_are_not_used_yet(index: Index) -> None:
    assert index.add(["one", "two"]) == 2
    assert index.add(["three"]) == 1
    assert {"auto-31", "auto-32", "auto-33"} <= {document.id for document in index}


def test_an_id_that_is_stored_is_found_before_any_shard_stores_its_part(index: Index) -> None:
    with pytest.raises(AlreadyExists, match="'d3' is in the index already"):
        index.add([*documents(20, 100), *documents(1, 3)])
    with pytest.raises(AlreadyExists, match="'d100'"):
        index.add([*documents(20, 100), *documents(1, 100)])
    assert len(index) == 30
    with pytest.raises(NotFound, match="1 id, the first of which is 'x'; nothing was deleted"):
        index.delete(["d1", "x"])
    assert len(index) == 30


def test_vectors_are_divided_with_their_documents(tmp_path: Path) -> None:
    some = documents(40)
    vectors = vectors_of([one["text"] for one in some], "cosine")
    with Index.create(tmp_path / "v", encoder(), shards=SHARDS) as index:
        index.add(iter(some), vectors=vectors, batch_size=4)
        np.testing.assert_allclose(index.vectors([one["id"] for one in some]), vectors, atol=1e-6)
        with pytest.raises(InputError, match=r"'d41'.* has a NaN"):
            index.add(documents(2, 40), vectors=np.stack([vectors[0], np.full(8, np.nan, dtype=np.float32)]))
        assert len(index) == 40


def test_a_filter_that_matches_nothing_in_any_shard_is_warned_of(index: Index) -> None:
    with pytest.warns(FilterWarning, match=r"no document has the field 'nn' \(of 30\).* there is 'n'"):
        index.search("Zug", where={"nn": 3})
    assert [hit.id for hit in index.search("Zug", where={"n": 3})] == ["d3"]


def test_a_shard_that_does_not_answer_is_named_or_missing_from_a_partial_answer(path: Path) -> None:
    damage(path, 1)
    with Index.open(path, WordEncoder(20)) as index:
        for call in (lambda: index.search("Zug"), lambda: len(index), lambda: index.add(documents(5, 90))):
            with pytest.raises(Corrupt, match="shard-00001 does not answer"):
                call()
        for mode in ("dense", "lexical", "hybrid"):
            hits = index.search("Zug nach Berlin", 30, mode=mode, partial=True)  # type: ignore[arg-type]
            assert hits.missing == ("shard-00001",) and hits[:2].missing == hits.missing
            assert {hit.id for hit in hits} == {f"d{place}" for place in range(30) if shard_of(f"d{place}", 3) != 1}


def test_a_missing_shard_and_one_of_another_index_are_named(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "copy")
    shutil.rmtree(path / shard_name(2))
    with Index.open(path, WordEncoder(20)) as index, pytest.raises(Corrupt, match="shard-00002 is missing"):
        index.search("Zug")
    Index.create(tmp_path / "other", WordEncoder(20), settings=SETTINGS).close()
    shutil.move(tmp_path / "other", path / shard_name(2))
    with Index.open(path, WordEncoder(20)) as index:
        with pytest.raises(Corrupt, match="shard-00002 is a shard of another index"):
            index.search("Zug")
        shutil.rmtree(path / shard_name(2))
        shutil.copytree(tmp_path / "copy" / shard_name(2), path / shard_name(2))
        index.refresh()
        assert len(index.search("Zug", 30)) == 30
    assert verify_index(path) == []


def test_a_damaged_manifest_is_written_again_only_if_all_shards_are_there(path: Path) -> None:
    manifest = path / "shards.json"
    before = read_shards(path)
    for content in ("{", manifest.read_text().replace("cosine", "maxsim"), json.dumps({"format_version": 1}), None):
        if content is None:
            manifest.unlink()
        else:
            manifest.write_text(content)
            with pytest.raises(Corrupt, match=r"shards\.json is damaged.*verify --repair"):
                Index.open(path)
        [problem] = verify_index(path)
        assert problem.file == "shards.json" and not problem.repaired and problem.repairable
        [problem] = verify_index(path, repair=True)
        assert problem.repaired and verify_index(path) == []
        after = read_shards(path)
        assert [one.identity for one in after.shards] == [one.identity for one in before.shards]
        assert sum(one.contents.documents for one in after.shards) == 30
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(InputError, match="format version 9"):
        Index.open(path)
    manifest.unlink()
    shutil.rmtree(path / shard_name(2))
    [problem] = verify_index(path, repair=True)
    assert not problem.repairable and "shards are missing" in problem.what


def test_verify_finds_what_is_wrong_with_the_shards(path: Path, tmp_path: Path) -> None:
    assert verify_index(path) == []
    with Index.open(path / shard_name(0), WordEncoder(20)) as shard:
        shard.add([next(one for one in documents(9, 100) if shard_of(one["id"], SHARDS) != 0)])
    [problem] = verify_index(path)
    assert problem.file == "shard-00000" and "1 documents belong to other shards" in problem.what
    reshard_index(path, SHARDS)
    assert verify_index(path) == []
    shutil.copytree(path, tmp_path / "old")
    with Index.open(path, WordEncoder(20)) as index:
        index.update(documents(30))
        index.update([one | {"n": -1} for one in documents(30)])
    reshard_index(path, SHARDS)
    name = read_shards(path).shards[1].folder
    with Index.open(path / name, WordEncoder(20)) as shard:
        assert shard.delete(where={"n": -1}) > 0
    assert verify_index(path) == []  # Changes after the build are what an index is for.


def test_build_extend_export_check_and_reembed(tmp_path: Path) -> None:
    source = tmp_path / "documents.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in documents(40)))
    report = build_index(tmp_path / "b", [source], WordEncoder(20), settings=SETTINGS, shards=4)
    assert report.documents.added == 40 and report.index.shards == 4
    stated = read_shards(tmp_path / "b")
    assert sum(info.contents.documents for info in stated.shards) == 40
    assert stated.settings == SETTINGS and verify_index(tmp_path / "b") == []
    with pytest.raises(AlreadyExists, match="index of 40 documents already"):
        build_index(tmp_path / "b", [source], WordEncoder(20), shards=4)
    source.write_text("".join(json.dumps(one) + "\n" for one in documents(45)))
    done = extend_index(tmp_path / "b", [source], WordEncoder(20), existing="replace").documents
    assert (done.added, done.replaced, done.skipped) == (5, 0, 40)
    reembed_index(tmp_path / "b", tmp_path / "c", WordEncoder(30))
    for name, model in (("b", WordEncoder(20)), ("c", WordEncoder(30))):
        with Index.open(tmp_path / name, model) as index:
            assert len(index) == 45 and len(index.shards) == 4
            assert index.search("Zug 44", 1, mode="lexical")[0].id == "d44"
            assert check_index(index, size=20).queries == 20
            assert export_index(index, tmp_path / f"{name}.jsonl", vectors=True) == 45
    assert verify_index(tmp_path / "c") == []
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {f"d{number}" for number in range(45)}


def test_an_unfinished_build_resumes_only_with_as_many_shards(tmp_path: Path) -> None:
    source = tmp_path / "documents.jsonl"
    lines = [json.dumps(one) for one in documents(40)]
    source.write_text("\n".join([*lines, "{"]) + "\n")
    with pytest.raises(InputError):
        build_index(tmp_path / "b", [source], WordEncoder(20), shards=4, batch_size=4)
    source.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="another number of shards"):
        build_index(tmp_path / "b", [source], WordEncoder(20), shards=3)
    with pytest.raises(InputError, match="another number of shards"):
        build_index(tmp_path / "b", [source], WordEncoder(20))
    assert build_index(tmp_path / "b", [source], WordEncoder(20), shards=4).index.documents == 40


async def _through_threads(path: Path) -> list[str]:
    async with await AsyncIndex.open(path, WordEncoder(20), readers=2) as index:
        await index.add(documents(5, 30))
        return [hit.id for hit in await index.search("Zug 31", 1, mode="lexical")]


def test_an_event_loop_uses_shards(path: Path) -> None:
    import asyncio

    assert asyncio.run(_through_threads(path)) == ["d31"]


def test_an_index_is_divided_again_in_place(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", WordEncoder(20), settings=SETTINGS) as index:
        index.add(documents(50))
        index.delete(["d4"])
        expected = [(hit.id, hit.score) for hit in index.search("Zug 7 Berlin", 60)]
    calls: list[tuple[int, int]] = []
    for shards in (4, 2, 1, 3):
        reshard_index(tmp_path / "i", shards, progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (49, 49)
        with Index.open(tmp_path / "i", WordEncoder(20)) as index:
            found = [(hit.id, hit.score) for hit in index.search("Zug 7 Berlin", 60)]
            assert [id for id, _ in found] == [id for id, _ in expected]
            assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)
        assert verify_index(tmp_path / "i") == []
        names = sorted(one.name for one in (tmp_path / "i").iterdir())
        assert names == sorted(
            [*(info.folder for info in read_shards(tmp_path / "i").shards), "shards.json", "writer.lock"]
        )


_RESHARD = """
import sys
from mlret.index.sharding.resharding import reshard_index
print("ready", flush=True)
for shards in (3, 2, 4, 1, 5) * 100:
    reshard_index(sys.argv[1], shards)
"""
_ADD = """
import sys
from mlret.index.hits import Updated
from mlret.index.index import Index
from tests.index.made import encoder, vectors_of
with Index.open(sys.argv[1], encoder()) as index:
    print("ready", flush=True)
    for start in range(0, 100_000, 20):
        some = [{"id": f"n{number}", "text": f"text {number}", "lang": "en"} for number in range(start, start + 20)]
        index.add(some, vectors=vectors_of([one["text"] for one in some], "cosine"), skip_existing=True)
        print(start, flush=True)
"""


def killed(program: str, path: Path, seconds: float) -> list[str]:
    """Run a program, kill it after some seconds, and return the lines that it printed."""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.kill()
    lines = process.stdout.read().splitlines()
    process.wait()
    return lines


@pytest.mark.thorough
def test_an_index_survives_kill_while_it_is_divided_again(tmp_path: Path) -> None:
    some = documents(60)
    vectors = vectors_of([one["text"] for one in some], "cosine")
    with Index.create(tmp_path / "i", encoder()) as index:
        index.add(some, vectors=vectors)
    for round in range(8):
        killed(_RESHARD, tmp_path / "i", 0.05 + 0.17 * round)
        with Index.open(tmp_path / "i", encoder()) as index:
            ids = [one["id"] for one in some]
            np.testing.assert_allclose(index.vectors(ids), vectors, atol=1e-6)
            assert len(index) == 60
        assert all(problem.repaired for problem in verify_index(tmp_path / "i", repair=True))
        assert verify_index(tmp_path / "i") == []


@pytest.mark.thorough
def test_what_was_added_before_a_kill_is_kept_and_adding_again_completes_it(tmp_path: Path) -> None:
    Index.create(tmp_path / "i", encoder(), shards=SHARDS).close()
    for round in range(4):
        acknowledged = [int(line) for line in killed(_ADD, tmp_path / "i", 0.3 + 0.2 * round)]
        assert verify_index(tmp_path / "i") == []
        with Index.open(tmp_path / "i", encoder()) as index:
            stored = {document.id for document in index}
            assert len(stored) == len(index)
            last = max(acknowledged, default=-20) + 20
            assert {f"n{number}" for number in range(last)} <= stored
            # Of the batch that was being stored, each shard has all or nothing.
            for number, places in by_shard([f"n{one}" for one in range(last, last + 20)], SHARDS).items():
                present = {f"n{last + place}" in stored for place in places}
                assert len(present) == 1, (number, present)
