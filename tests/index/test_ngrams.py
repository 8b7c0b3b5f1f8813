"""Test the n-grams of texts."""

from __future__ import annotations

import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.index.lexical.ngrams import ngrams, normalise

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The cats", ["·the", "the·", "¤the", "·cat", "cats", "ats·", "¤cats"]),
        ("is a", ["·is·", "¤a"]),
        ("東京都", ["東", "京", "都", "東京", "京都"]),
        ("น้ำ", ["น้", "\u0e49\u0e4d", "\u0e4dา", "น้\u0e4d", "\u0e49\u0e4dา"]),
        ("학교", ["·학", "학교", "교·"]),
        ("42", ["·42·"]),
        ("1789", ["·178", "1789", "789·", "¤1789"]),
        ("px4417", ["·px4", "px44", "x441", "4417", "417·", "¤px4417", "¤4417"]),
        ("Tokyo東京2024年", [*ngrams("tokyo"), "東", "京", "東京", *ngrams("2024"), "年"]),
        ("", []),
        ("…!? \x00 😀", []),
    ],
)
def test_tokens_of_a_text(text: str, tokens: list[str]) -> None:
    assert sorted(ngrams(text)) == sorted(tokens)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café Zürich", "CAFE ZURICH"),
        ("Việt Nam", "viet nam"),
        ("Straße", "STRASSE"),
        ("ﬁne Ａ１", "fine a1"),
        ("مُحَمَّد", "محمد"),
        ("١٧٨٩ १७८९ ๑๗๘๙", "1789 1789 1789"),
        ("می‌خواهم", "میخواهم"),
        ("ｶﾒﾗ", "カメラ"),
        ("서울", unicodedata.normalize("NFD", "서울")),
        ("co\xadoperate", "cooperate"),
    ],
)
def test_spellings_of_the_same_word_are_one(one: str, other: str) -> None:
    assert ngrams(one) == ngrams(other) != []


@pytest.mark.parametrize(("one", "other"), [("が", "か"), ("हिन्दी", "हनद"), ("ก้า", "กา")])
def test_marks_that_make_another_sound_are_kept(one: str, other: str) -> None:
    assert set(ngrams(one)) != set(ngrams(other))


@given(TEXTS)
def test_normalising_twice_changes_no_ngrams(text: str) -> None:
    assert ngrams(normalise(text)) == ngrams(text)


@given(TEXTS)
def test_tokens_survive_the_tokenizer_of_fts5(text: str) -> None:
    tokens = sorted(set(ngrams(text)))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, detail = none, tokenize = 'ascii')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'row')")
    connection.execute("INSERT INTO t VALUES (?)", (" ".join(tokens),))
    assert sorted(term for (term,) in connection.execute("SELECT term FROM v")) == tokens
    connection.close()
