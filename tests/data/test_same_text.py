"""Test which texts count as the same: trivial differences do not matter, signs and vowels do."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.same_text import normalised, text_key, text_number


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Vowel signs, tones and other marks that belong to the spelling.
        ("दिन", "दान"), ("पिता जल गया", "पीता जाल गया"), ("কাল", "কুল"), ("பல்", "பால்"), ("ผัก", "ผีก"), ("ກິນ", "ກັນ"),
        ("ကို", "ကာ"), ("ដី", "ដា"), ("කල", "කාල"), ("ਦਿਨ", "ਦਨ"), ("કાલ", "કુલ"), ("కల", "కాల"), ("ಕಲ", "ಕಾಲ"),
        ("കല", "കാല"), ("ސަލާމް", "ސިލިމް"), ("བོད", "བད"), ("ọkọ́", "ọkọ̀"), ("ɛ́", "ɛ̀"), ("mạ", "mã"), ("año", "ano"),
        # Signs that carry meaning.
        ("C++", "C#"), ("C", "C#"), ("C", "C++"), ("5 €", "5 $"), ("5 €", "5"), (">= 18", "< 18"), (">= 18", "<= 18"),
        ("A+", "A-"), ("A", "A-"), ("blood type A-.", "blood type A."), ("x = 5", "x ≠ 5"), ("5 ± 1", "5 1"),
        ("50 %", "50"), ("50 %", "50 ‰"), ("R&D", "RD"), ("#1", "1"), ("a@b", "ab"), ("20 °C", "20 C"), ("👍", "👎"),
        # Characters between and before digits.
        ("1.5", "15"), ("1,5", "15"), ("1.5", "1 5"), ("1, 5", "1,5"), ("1 5", "15"), ("3:1", "31"), ("24/7", "247"),
        ("10-12", "1012"), ("-5 °C", "5 °C"), ("−5", "5"), ("It is -5 outside.", "It is 5 outside."), ("(-5)", "(5)"),
        (".5", "5"), ("costs .5", "costs 5"), ("10²", "102"), ("x²", "x2"), ("5 * 3", "5 3"), ("٢٫٥", "٢٥"),
    ],
)  # fmt: skip
def test_vowels_and_signs_distinguish_texts(first: str, second: str) -> None:
    assert normalised(first) != normalised(second)
    assert text_number(first) != text_number(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Hello, World!", "hello world"), ("“Quoted”", '"quoted"'), ("it's", "it’s"), ("Straße", "STRASSE"),
        ("école", "e\u0301cole"), ("क़लम", "क\u093cलम"), ("ａｂｃ", "abc"), ("ﬁne", "fine"), ("น้ำ", "น\u0e49\u0e4dา"),
        ("مُحَمَّد", "محمد"), ("محـــمد", "محمد"), ("שָׁלוֹם", "שלום"), ("ܫܠܳܡܳܐ", "ܫܠܡܐ"), ("می‌خواهم", "میخواهم"),
        ("co-op", "coop"), ("soft\u00adhyphen", "softhyphen"), ("Yes — no", "Yes, no"), ("word— he", "word - he"),
        ("end…", "end..."), ("The end.", "the end"), ("किताब।", "किताब"), ("他来了。", "他来了"), ("¿Qué?", "qué"),
        ("50 %", "50%"), ("5 kg", "5kg"), ("10 – 12", "10-12"), ("10—12", "10-12"), ("• item", "item"), ("❤️", "❤"),
        ("l´eau", "l'eau"), ("In 2010. 5 people", "In 2010: 5 people"), ("(in 2010) 5", "in 2010, 5"), ("H₂O", "H2O"),
        ("in “2020”.", "in 2020"), ("Covid-19", "covid 19"), ("1\u00a02", "1 2"), ("a\u200bb\ufeff", "ab"),
    ],
)  # fmt: skip
def test_trivial_differences_do_not_count(first: str, second: str) -> None:
    assert normalised(first) == normalised(second)
    assert text_number(first) == text_number(second)


words = st.text(st.sampled_from("aBé́ßदिानेகால்ผัน้ำကိုমুশুনיָוحَبّ漢ガ5²-+#.,$€%'\u00a0 \n"), max_size=20)


@settings(max_examples=200, deadline=None)
@given(words)
def test_composition_case_and_what_surrounds_a_text_do_not_count(text: str) -> None:
    once = normalised(text)
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text)) == once
    assert normalised(f" “{text}”\r\n") == normalised(f"“{text}”") == normalised(f"({text})")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["दिन", "काम", "จีน", "นำ", "பால்", "கல்", "মা", "কুল"]), min_size=2, max_size=6), st.data())
def test_another_mark_is_another_text(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(parts)
    places = [place for place, sign in enumerate(text) if unicodedata.category(sign) in ("Mn", "Mc")]
    place = data.draw(st.sampled_from(places)) if places else None
    if place is not None:
        assert normalised(text[:place] + text[place + 1 :]) != normalised(text)


def test_mere_punctuation_is_compared_literally() -> None:
    assert normalised("?!") == ""
    assert text_key("?!") == "?!" != text_key("…")
