"""Building an index from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError, MlretError
from mlret.index.build import build_index, extend_index
from mlret.index.index import Index


def write(path: Path, names: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": f"cat {name}", "lang": "en"}) + "\n" for name in names))
    return path


def test_build_reads_all_files_and_seals(tmp_path: Path, tiny_encoder: Encoder) -> None:
    tsv = tmp_path / "b.tsv"
    tsv.write_text("id\ttext\tlang\nx\tdogs\tsw\n")
    seen: list[int] = []
    report = build_index(
        tmp_path / "i",
        [write(tmp_path / "a.jsonl", list("abc")), tsv],
        tiny_encoder,
        batch_size=2,
        progress=seen.append,
    )
    assert (report.added, report.index.documents, report.index.segments, report.index.unsealed) == (
        4,
        4,
        1,
        0,
    )
    assert report.index.languages == {"en": 3, "sw": 1}
    assert seen == [2, 4]


@pytest.mark.parametrize("bad", ["nothing.jsonl", "bad.jsonl", "twice.jsonl", None])
def test_bad_input_leaves_no_index(tmp_path: Path, tiny_encoder: Encoder, bad: str | None) -> None:
    good = write(tmp_path / "good.jsonl", list("abc"))
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "text": "dogs"}\n{"id": "y"}\n')
    write(tmp_path / "twice.jsonl", ["b"])
    before = sorted(tmp_path.iterdir())
    message = {
        "nothing.jsonl": r"nothing\.jsonl: no such file",
        "bad.jsonl": r"bad\.jsonl:2: the key 'text' is missing; [^(]*\(or 'sents'\)$",
        "twice.jsonl": r"twice\.jsonl:1: the id 'b' is in",
        None: "no files to read",
    }[bad]
    with pytest.raises(InputError, match=message):
        build_index(tmp_path / "i", [good, tmp_path / bad] if bad else [], tiny_encoder, batch_size=2)
    assert sorted(tmp_path.iterdir()) == before


def test_build_refuses_an_index_that_exists(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abc"))
    build_index(tmp_path / "i", [file], tiny_encoder)
    with pytest.raises(InputError, match="is an index of 3 documents already: add to it with"):
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
        progress=lambda _: seen.append((tmp_path / "i").exists()),
    )
    assert seen == [False] * 3
    assert report.index.path == str(tmp_path / "i")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "i"]


def test_two_builds_of_one_path_do_not_touch_each_other(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abcdef"))
    refusals: list[str] = []

    def build_again(stored: int) -> None:
        with pytest.raises(InputError) as caught:
            build_index(tmp_path / "i", [file], tiny_encoder)
        refusals.append(str(caught.value))

    report = build_index(tmp_path / "i", [file], tiny_encoder, batch_size=3, progress=build_again)
    assert report.index.documents == 6
    assert len(refusals) == 2 and all("is another build of" in refusal for refusal in refusals)
    with Index.open(tmp_path / "i", tiny_encoder) as index:
        assert len(index) == 6


def test_an_index_that_appears_during_a_build_is_left_alone(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abc"))

    def make_another(stored: int) -> None:
        with Index.create(tmp_path / "i", tiny_encoder) as other:
            other.add(["seven dogs"])

    with pytest.raises(MlretError, match=r"what was stored is in .*\.i\.building"):
        build_index(tmp_path / "i", [file], tiny_encoder, progress=make_another)
    for path, count in ((tmp_path / "i", 1), (tmp_path / ".i.building", 3)):
        with Index.open(path, tiny_encoder) as index:
            assert len(index) == count


def test_interrupted_build_keeps_what_it_stored(tmp_path: Path, tiny_encoder: Encoder) -> None:
    file = write(tmp_path / "a.jsonl", list("abcdef"))

    def interrupt(stored: int) -> None:
        if stored == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(tmp_path / "i", [file], tiny_encoder, batch_size=2, progress=interrupt)
    report = extend_index(tmp_path / "i", [file], tiny_encoder, skip_existing=True)
    assert (report.added, report.index.documents) == (2, 6)


def test_extending_says_what_is_stored_when_it_fails(tmp_path: Path, tiny_encoder: Encoder) -> None:
    build_index(tmp_path / "i", [write(tmp_path / "a.jsonl", ["a"])], tiny_encoder)
    more = write(tmp_path / "b.jsonl", ["b", "c", "d", "a"])
    with pytest.raises(InputError, match=r"b\.jsonl:4: the id 'a' is in .*2 documents before it are stored"):
        extend_index(tmp_path / "i", [more], tiny_encoder, batch_size=2)
    report = extend_index(tmp_path / "i", [more], tiny_encoder, batch_size=2, skip_existing=True)
    assert (report.added, report.index.documents) == (1, 4)
