"""Language codes come to one form; nonsense is refused."""

from __future__ import annotations

import pytest

from mlret.data.detection import detect_language
from mlret.data.languages import language_autonym, language_name, normalise_language
from mlret.data.sentences import split_sentences
from mlret.errors import InputError


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "en"), ("eng", "en"), ("pt_BR", "pt"), ("es-419", "es"), ("swh", "sw"), ("cmn", "zh"), ("arb", "ar"),
        ("zh_TW", "zh-Hant"), ("zh-CN", "zh"), ("sr@latin", "sr-Latn"), ("srp-Cyrl", "sr"), ("lvs", "lv"),
        ("iw", "he"), (" de ", "de"), ("yue", "yue"), ("kmr", "ku"),
    ],
)  # fmt: skip
def test_codes_are_brought_to_one_form(code: str, expected: str) -> None:
    assert normalise_language(code) == expected
    assert normalise_language(expected) == expected


@pytest.mark.parametrize("code", ["", "english", "xx", "e", "12", "de de"])
def test_unknown_codes_are_named(code: str) -> None:
    with pytest.raises(InputError, match="unknown language code") as error:
        normalise_language(code)
    assert repr(code) in str(error.value)


def test_languages_have_names() -> None:
    assert language_name("sw") == "Swahili"
    assert language_autonym("de") == "Deutsch"


def test_languages_are_detected_or_left_open() -> None:
    assert detect_language("Ich habe heute Morgen Brot und Milch gekauft.") == "de"
    assert detect_language("私は毎朝お茶を飲みます。") == "ja"
    assert detect_language("42 + 1 = 43") is None


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "It rains. Take a coat!\nNow.", ["It rains.", "Take a coat!", "Now."]),
        ("zh", "我喜欢茶。你呢？", ["我喜欢茶。", "你呢？"]),
        ("hi", "पानी गरम है। चाय बनाओ।", ["पानी गरम है।", "चाय बनाओ।"]),
        ("zh-Hant", " \n ", []),
    ],
)
def test_text_is_split_into_sentences(language: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences
