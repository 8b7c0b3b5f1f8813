"""Test building an index from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError, MlretError
from mlret.index.build import build_index, extend_index
from mlret.index.hits import Updated
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.lock import WriterLock
from mlret.index.store import store


def write(path: Path, names: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": f"cat {name}", "lang": "en"}) + "\n" for name in names))
    return path


def test_build_reads_all_files_and_seals(tmp_path: Path, tiny_encoder: Encoder) -> None:
    tsv = tmp_path / "b.tsv"
    tsv.write_text("id\ttext\tlang\nx\tdogs\tsw\n")
    seen: list[Updated] = []
    report = build_index(
        tmp_path / "i",
        [write(tmp_path / "a.jsonl", list("abc")), tsv],
        tiny_encoder,
        batch_size=2,
        progress=lambda done, _: seen.append(done),
    )
    assert report.documents == Updated(added=4)
    assert (report.index.documents, report.index.segments, report.index.unsealed) == (4, 1, 0)
    assert report.index.languages == {"en": 3, "sw": 1}
    assert seen == [Updated(added=2), Updated(added=2)]


def test_blank_passages_of_a_benchmark_are_counted(tmp_path: Path, tiny_encoder: Encoder) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "title": "", "text": "cat"}\n{"_id": "b", "title": "", "text": ""}\n')
    report = build_index(tmp_path / "i", [corpus], tiny_encoder)
    assert (report.documents.added, report.blank, report.index.documents) == (1, 1, 1)


BAD = {
    "nothing.jsonl": r"nothing\.jsonl: no such file",
    "bad.jsonl": r"bad\.jsonl:2: the key 'text' is missing; .*repeat the call to resume",
    "twice.jsonl": r"twice\.jsonl:1: the id 'b' is in",
    None: "no files to read",
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_makes_no_index_and_loses_nothing(tmp_path: Path, tiny_encoder: Encoder, bad: str | None) -> None:
    good = write(tmp_path / "good.jsonl", list("abc"))
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "text": "dogs"}\n{"id": "y"}\n')
    write(tmp_path / "twice.jsonl", ["b"])
    before = sorted(tmp_path.iterdir())
    files = [good, tmp_path / bad] if bad else []
    with pytest.raises(InputError, match=BAD[bad]):
        build_index(tmp_path / "i", files, tiny_encoder, batch_size=2)
    begun = tmp_path / ".i.building"
    assert sorted(tmp_path.iterdir()) == ([begun, *before] if bad in ("bad.jsonl", "twice.jsonl") else before)
    if bad == "bad.jsonl":  # its first document is stored, and not in the files below
        with pytest.raises(MlretError, match=r"the files have 3 documents, .* holds 4: .*\.i\.building to start again"):
            build_index(tmp_path / "i", [good], tiny_encoder)
        (tmp_path / bad).write_text('{"id": "x", "text": "dogs"}\n')
        assert build_index(tmp_path / "i", files, tiny_encoder).documents == Updated(skipped=4)
    else:
        skipped = 2 if bad == "twice.jsonl" else 0
        assert build_index(tmp_path / "i", [good], tiny_encoder).documents == Updated(3 - skipped, 0, skipped)


def test_bad_first_document_leaves_nothing(tmp_path: Path, tiny_encoder: Encoder) -> None:
    (tmp_path / "bad.jsonl").write_text('{"id": "y"}\n')
    with pytest.raises(InputError, match="the key 'text' is missing"):
        build_index(tmp_path / "i", [tmp_path / "bad.jsonl"], tiny_encoder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl"]


def test_build_refuses_an_index_that_exists(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abc"))
    build_index(tmp_path / "i", [file], tiny_encoder)
    with pytest.raises(InputError, match=r"is an index of 3 documents already: add to it \(`extend_index`\)"):
        build_index(tmp_path / "i", [file], tiny_encoder)
    with Index.open(tmp_path / "i", tiny_encoder) as index:
        assert len(index) == 3


def test_half_an_index_is_never_under_its_name(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abcdef"))
    seen: list[bool] = []
    report = build_index(
        tmp_path / "i",
        [file],
        tiny_encoder,
        batch_size=2,
        progress=lambda *_: seen.append((tmp_path / "i").exists()),
    )
    assert seen == [False] * 3
    assert report.index.path == str(tmp_path / "i")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "i"]


def test_two_builds_of_one_path_do_not_touch_each_other(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.jsonl", list("abcdef"))
    refusals: list[str] = []

    monkeypatch.setattr(store, "WriterLock", lambda path, timeout=0.05: WriterLock(path, timeout=0.05))

    def build_again(_: Updated, part: float | None) -> None:
        with pytest.raises(MlretError) as caught:
            build_index(tmp_path / "i", [file], tiny_encoder)
        refusals.append(str(caught.value))

    report = build_index(tmp_path / "i", [file], tiny_encoder, batch_size=3, progress=build_again)
    assert report.index.documents == 6
    assert len(refusals) == 2 and all("is being written by another process" in refusal for refusal in refusals)
    with Index.open(tmp_path / "i", tiny_encoder) as index:
        assert len(index) == 6


def test_an_index_that_appears_during_a_build_is_left_alone(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abc"))

    def make_another(_: Updated, part: float | None) -> None:
        with Index.create(tmp_path / "i", tiny_encoder) as other:
            other.add(["seven dogs"])

    with pytest.raises(MlretError, match=r"what was stored is in .*\.i\.building"):
        build_index(tmp_path / "i", [file], tiny_encoder, progress=make_another)
    for path, count in ((tmp_path / "i", 1), (tmp_path / ".i.building", 3)):
        with Index.open(path, tiny_encoder) as index:
            assert len(index) == count


def test_interrupted_build_resumes(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abcdef"))
    seen = Updated()

    def interrupt(done: Updated, part: float | None) -> None:
        nonlocal seen
        seen += done
        if seen.added == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(tmp_path / "i", [file], tiny_encoder, batch_size=2, progress=interrupt)
    assert not (tmp_path / "i").exists()
    with pytest.raises(InputError, match="a build with other settings was begun here"):
        build_index(tmp_path / "i", [file], tiny_encoder, settings=IndexSettings(dims=4))
    # A file that changed in the meantime is read in its new state.
    content = file.read_text().replace("cat a", "dogs a")
    file.write_text(content)
    report = build_index(tmp_path / "i", [file], tiny_encoder)
    assert report.documents == Updated(added=2, replaced=1, skipped=3)
    with Index.open(tmp_path / "i", tiny_encoder) as index:
        assert len(index) == 6
        found = index.get("a")
        assert found is not None and found.text == "dogs a"


def test_extending_reports_what_is_stored_when_it_fails(tmp_path: Path, tiny_encoder: Encoder) -> None:
    build_index(tmp_path / "i", [write(tmp_path / "a.jsonl", ["a"])], tiny_encoder)
    more = write(tmp_path / "b.jsonl", ["b", "c", "d", "a"])
    with pytest.raises(InputError, match=r"b\.jsonl:4: the id 'a' is in .*stored before it: 2 documents"):
        extend_index(tmp_path / "i", [more], tiny_encoder, batch_size=2)
    report = extend_index(tmp_path / "i", [more], tiny_encoder, batch_size=2, existing="skip")
    assert report.documents == Updated(added=1, skipped=3) and report.index.documents == 4


def test_vectors_made_elsewhere_are_stored_without_their_encoder(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", list("abc"))
    vectors = np.eye(3, 4, dtype=np.float32) * 5
    encoder = ExternalEncoder("their-model", 4)
    with pytest.raises(InputError, match="give one vector for each document"):
        build_index(tmp_path / "j", [file], encoder, vectors=vectors[:2])
    build_index(tmp_path / "i", [file], encoder, vectors=vectors)
    with Index.open(tmp_path / "i") as index:
        assert np.array_equal(index.vectors(["b"]), np.eye(3, 4, dtype=np.float32)[1:2])
        [[hit]] = index.search_vectors(np.eye(4, dtype=np.float32)[1:2], 1)
        assert (hit.id, hit.score) == ("b", 1.0)
        with pytest.raises(InputError, match="'their-model', which mlret does not run"):
            index.search("cat")
        bad = np.full((1, 4), np.nan, dtype=np.float32)
        with pytest.raises(InputError, match="the vector of document 'd' has a NaN"):
            index.add([{"id": "d", "text": "dogs"}], vectors=bad)
        index.add([{"id": "z", "text": "zero"}], vectors=np.zeros((1, 4), dtype=np.float32))
        assert index.search_vectors(np.eye(4, dtype=np.float32)[:1], 9)[0][-1].score == 0.0
