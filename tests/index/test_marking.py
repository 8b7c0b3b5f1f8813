"""Marking the words of a text that match a query."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.index.lexical.marking import marks
from mlret.index.lexical.ngrams import ngrams
from tests.conftest import examples


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("teil xk-4711", "Ersatzteil XK-4711 ist ab Lager lieferbar.", ["XK", "4711"]),
        ("verspätung zug", "Die Züge haben Verspätungen; der Zugführer sagt: der Zug kommt.", ["Verspätungen", "Zug"]),
        ("cafe resume", "Café Résumé", ["Café", "Résumé"]),
        ("図書館", "駅前に新しい図書館が開館した。", ["図書館"]),
        ("人", "日本人", ["人"]),
        ("รถไฟ", "วันนี้รถไฟไปเชียงใหม่ล่าช้า", ["รถไฟ"]),
        ("서울 도서관", "서울에 새로운 도서관이", ["서울에", "도서관이"]),
        ("قطار", "القِطارُ متأخر، قطار آخر", ["قطار"]),
        ("train", "Der Zug kommt.", []),
        ("", "text", []),
        ("text", "", []),
    ],
)
def test_words_that_match_are_marked(query: str, text: str, marked: list[str]) -> None:
    found = marks(query, text)
    assert [text[one.start : one.end] for one in found] == marked


@settings(max_examples=examples(300))
@given(st.text(max_size=40), st.text(max_size=40))
def test_marks_are_parts_of_the_text_that_share_n_grams_with_the_query(query: str, text: str) -> None:
    end = 0
    for one in marks(query, text):
        assert end <= one.start < one.end <= len(text) and 0 < one.share <= 1
        assert set(ngrams(text[one.start : one.end])) & set(ngrams(query))
        end = one.end


@settings(max_examples=examples(100))
@given(st.text(alphabet="abc 日本人กขไพ서울", min_size=1, max_size=30))
def test_a_text_that_is_the_query_is_marked_at_every_word(text: str) -> None:
    covered = {place for one in marks(text, text) for place in range(one.start, one.end)}
    assert covered >= {place for place, character in enumerate(text) if character in "abc日本서울"}
