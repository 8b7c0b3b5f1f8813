from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.eval.readers.tatoeba_data import XTREME_36, read_tatoeba
from tests.shared import shared_data

HEADER = "lang\tid\txxx\teng\n"


def test_both_layouts_give_the_same_pairs(table_folder: Path, laser_folder: Path, bitext: dict) -> None:
    table = read_tatoeba(table_folder)
    assert table == read_tatoeba(laser_folder) == read_tatoeba(table_folder / "tatoeba.v1.tsv.gz")
    assert [(pair.label, pair.language, pair.name) for pair in table] == [
        ("deu", "de", "German"),
        ("swh", "sw", "Swahili"),
    ]
    assert list(zip(table[1].sentences, table[1].english, strict=True)) == bitext["swh"]


@pytest.mark.parametrize("codes", [["swh"], ["sw"], ["swa"], ["sw", "swh"]])
def test_languages_are_chosen_by_label_or_code(table_folder: Path, codes: list[str]) -> None:
    assert [pair.label for pair in read_tatoeba(table_folder, languages=codes)] == ["swh"]


def test_a_missing_language_is_named(table_folder: Path) -> None:
    with pytest.raises(InputError, match="no language 'fr'; choose from deu, swh"):
        read_tatoeba(table_folder, languages=["sw", "fr"])
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        read_tatoeba(table_folder, languages=["xx"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty"),
        (HEADER.encode(), r"no pairs"),
        (b"lang\tid\teng\txxx\nswh\t0\ta\tb\n", r":1: the header is not lang"),
        (f"{HEADER}swh\t0\ta\tb\nswh\t1\ta\n".encode(), r":3: 3 columns, not 4"),
        (f"{HEADER}swh\t0\ta\t \n".encode(), r":2: one side of the pair is empty"),
        (f"{HEADER}swh\t0\ta\tb\nswh\t0\tc\td\n".encode(), r":3: swh 0 is on line 2 too"),
        (f"{HEADER}zzq\t0\ta\tb\n".encode(), r":2: unknown language code 'zzq'"),
        (HEADER.encode() + b"swh\t0\t\xff\xfe\tb\n", r":2: not UTF-8"),
    ],
)
def test_a_bad_table_is_an_error_that_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tatoeba.v1.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_tatoeba(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_file_is_an_error(tmp_path: Path) -> None:
    content = gzip.compress(f"{HEADER}swh\t0\ta\tb\n".encode())
    (tmp_path / "tatoeba.v1.tsv.gz").write_bytes(content[:-9])
    with pytest.raises(InputError, match="damaged gzip"):
        read_tatoeba(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds neither"),
        ({"tatoeba.swh-eng.swh": "a\n"}, r"tatoeba\.swh-eng\.eng is not in the same folder"),
        ({"tatoeba.swh-eng.eng": "a\n"}, r"tatoeba\.swh-eng\.swh is not in the same folder"),
        (
            {"tatoeba.swh-eng.swh": "a\nb\n", "tatoeba.swh-eng.eng": "a\n"},
            "2 lines, tatoeba.swh-eng.eng has 1",
        ),
        ({"tatoeba.swh-eng.swh": "a\n\nb\n", "tatoeba.swh-eng.eng": "a\nb\nc\n"}, r"swh:2: blank line"),
        ({"tatoeba.swh-eng.swh": "", "tatoeba.swh-eng.eng": ""}, "is empty"),
        ({"tatoeba.zzq-eng.zzq": "a\n", "tatoeba.zzq-eng.eng": "a\n"}, "unknown language code 'zzq'"),
        ({"sw-en.sw": "a\n", "sw-en.en": "a\n"}, "XTREME's files sort the English side"),
    ],
)
def test_a_bad_laser_folder_is_an_error(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_tatoeba(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_tatoeba(tmp_path / "nowhere")


def test_a_separator_within_a_sentence_does_not_end_the_line(tmp_path: Path) -> None:
    (tmp_path / "tatoeba.swh-eng.swh").write_text("a\u2028b\u0085c\nd\n", encoding="utf-8")
    (tmp_path / "tatoeba.swh-eng.eng").write_text("e\nf\n", encoding="utf-8")
    assert read_tatoeba(tmp_path)[0].sentences == ("a\u2028b\u0085c", "d")


def test_the_real_test_set_has_112_languages_and_xtremes_36() -> None:
    pairs = read_tatoeba(shared_data("tatoeba"))
    assert len(pairs) == 112
    assert sum(map(len, pairs)) == 88_877
    assert len(XTREME_36) == 36
    assert set(XTREME_36) <= {pair.label for pair in pairs}
