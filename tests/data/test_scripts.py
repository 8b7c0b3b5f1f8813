"""Test the scripts of texts against the script property of the regex package."""

from __future__ import annotations

import gzip
import unicodedata
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.languages import normalise_language
from mlret.data.sample import load_sample
from mlret.data.scripts import script_of, scripts_of, scripts_of_language, share_script
from tests.shared import shared_data

ONE_SCRIPT = {
    "ar": {"ARABIC"},
    "en": {"LATIN"},
    "hi": {"DEVANAGARI"},
    "ko": {"HANGUL"},
    "ru": {"CYRILLIC"},
    "th": {"THAI"},
    "zh": {"HAN"},
}


SCRIPTS = """
    Latin Greek Cyrillic Arabic Hebrew Han Hiragana Katakana Bopomofo Hangul Thai Lao Khmer Myanmar Devanagari Bengali
    Tamil Telugu Georgian Armenian Ethiopic Tibetan Mongolian Tai_Le Tai_Tham Old_Turkic
"""


def test_letters_of_a_script_get_its_name_and_no_others_do() -> None:
    regex = pytest.importorskip("regex")
    characters = map(chr, [*range(0xD800), *range(0xE000, 0x18000), *range(0x20000, 0x20100)])
    letters = [c for c in characters if unicodedata.category(c)[0] == "L" and unicodedata.normalize("NFKC", c) == c]
    joined = "".join(letters)
    named: dict[str | None, set[str]] = defaultdict(set)
    for letter in letters:
        named[script_of(letter)].add(letter)
    for script in SCRIPTS.split():
        true = set(regex.findall(rf"\p{{Script={script}}}", joined))
        ours = named[script.upper().replace("_", " ")]
        assert len(true) > 20
        assert len(true & ours) >= 0.98 * len(true), script
        assert len(ours - true) <= 0.1 * len(true), script  # the prolonged sound mark, and others of several scripts


@pytest.mark.parametrize("character", [*"0٣५!。 ·-\n\x00", "\u0301", "\ud800", "😀"])
def test_characters_that_are_not_letters_have_no_script(character: str) -> None:
    assert script_of(character) is None


def test_texts_of_the_sample_have_the_script_of_their_language() -> None:
    passages = [passage for passage in load_sample().passages if passage.language in ONE_SCRIPT]
    assert len(passages) > 100
    assert all(scripts_of(passage.text) == ONE_SCRIPT[passage.language or ""] for passage in passages)


def test_japanese_shares_a_script_with_chinese_by_its_kanji_only() -> None:
    chinese = scripts_of("东京有很多相机商店")
    assert share_script(scripts_of("東京の相機店"), chinese)
    assert not share_script(scripts_of("カメラ"), chinese)


def test_a_foreign_name_in_a_text_does_not_make_it_share_a_script() -> None:
    russian = scripts_of("Вчера вечером телеканал CNN показал большой репортаж о выборах")
    assert russian == {"CYRILLIC"}
    assert not share_script(scripts_of("last night's election"), russian)


def test_a_number_shares_a_script_with_every_text() -> None:
    assert share_script(scripts_of("1789"), scripts_of("ปารีส"))
    assert share_script(scripts_of("ปารีส"), scripts_of("!?"))


def test_full_width_letters_are_latin() -> None:
    assert scripts_of("ＡＢＣ") == {"LATIN"}


@given(st.text(), st.text())
def test_sharing_is_symmetric_and_a_text_shares_with_itself(one: str, other: str) -> None:
    a, b = scripts_of(one), scripts_of(other)
    assert share_script(a, b) == share_script(b, a)
    assert share_script(a, a)


@pytest.mark.parametrize(
    ("language", "scripts"),
    [
        ("sw", {"LATIN"}), ("bn", {"BENGALI"}), ("or", {"ORIYA"}), ("zh", {"HAN"}), ("zh-Hant", {"HAN"}),
        ("ja", {"HAN", "HIRAGANA", "KATAKANA"}), ("ko", {"HANGUL"}), ("sr", {"CYRILLIC"}), ("sr-Latn", {"LATIN"}),
        ("mni", {"BENGALI"}), ("nqo", {"NKO"}), ("iu", {"CANADIAN"}), ("sat", {"OL"}), ("am", {"ETHIOPIC"}),
    ],
)  # fmt: skip
def test_the_scripts_of_a_language(language: str, scripts: set[str]) -> None:
    assert scripts_of_language(language) == scripts


def test_texts_are_in_the_scripts_of_their_language() -> None:
    texts: dict[str, list[str]] = {}
    with gzip.open(shared_data("ntrex128", "ntrex128.long.tsv.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            code, _, text = line.rstrip("\n").split("\t")
            if code in ("lang", "spa-ref2"):
                continue
            texts.setdefault(code, []).append(text)
    assert len(texts) > 120
    others = {
        code
        for code, some in texts.items()
        if not scripts_of(" ".join(some[:200])) <= scripts_of_language(normalise_language(code))
    }
    # For Hassaniya CLDR has the Latin script of Senegal and for Tachelhit Tifinagh, but these texts are Arabic. The
    # Chinese text has many Latin names.
    assert others == {"mey", "shi", "zho-TW"}
