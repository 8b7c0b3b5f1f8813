"""Test with the bundled encoder that texts with different statements are never merged, and equal ones are."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.encoders.loading import load_encoder
from mlret.memory.memory import Memory
from mlret.memory.text.wording import exact_wording, same_words

PAIRS: dict[str, list[tuple[str, str]]] = json.loads(
    Path(__file__).with_name("contradictions.json").read_text(encoding="utf-8")
)
# Different statements in two languages, for which a guard must prevent a merge.
ACROSS = [
    ("en", "It costs 5 €", "de", "Es kostet 5 $"),
    ("en", "It costs 5 dollars", "fr", "Ça coûte 5 euros"),
    ("en", "I am allergic to nuts", "es", "No soy alérgico a las nueces"),
    ("en", "Alice likes Bob", "de", "Bob mag Alice"),
    ("en", "Alice called Bob", "ru", "Боб позвонил Алисе"),
    ("en", "Alice likes Bob", "ja", "ボブはアリスが好きです"),
    ("en", "The room is 5 m wide", "de", "Das Zimmer ist 5 km breit"),
    ("en", "It weighs 5 kg", "ru", "Весит 5 г"),
    ("en", "Is Ana a doctor?", "de", "Ana ist Ärztin."),
    ("en", "He is a doctor.", "ja", "彼は医者ですか。"),
    ("en", "You must take the tablet", "fr", "Tu peux prendre le comprimé"),
    ("en", "All children passed the test", "de", "Einige Kinder haben den Test bestanden"),
    ("en", "He came yesterday.", "ru", "Он придёт завтра."),
    ("en", "I no longer live in Paris.", "de", "Ich wohne in Paris."),
    ("en", "Only Ana eats meat.", "es", "Ana come carne."),
    ("en", "Wake me at 7 am", "zh", "下午7点叫我起床"),
    ("en", "I have seven cats", "fr", "J'ai neuf chats"),
    ("en", "I have three cats", "zh", "我有四只猫"),
    ("en", "We meet on Monday", "de", "Wir treffen uns am Dienstag"),
    ("en", "From 5 to 10 o'clock", "de", "Von 10 bis 5 Uhr"),
    ("en", "I eat meat", "is", "Ég borða ekki kjöt"),
    ("en", "I eat meat", "th", "ฉันไม่กินเนื้อ"),
    ("de", "Gift", "en", "Gift"),
]
SAME = [
    ("en", "Ana is allergic to nuts.", "ana is allergic to nuts"),
    ("en", "Ana is allergic to nuts", "ANA IS ALLERGIC TO NUTS!"),
    ("en", "Ana  is allergic\nto nuts", "Ana is allergic to nuts…"),
    ("en", "I don't eat meat", "I don’t eat meat."),
    ("en", "It costs 5 €", "It costs 5 €."),
    ("en", 'He said "no"', "He said “no”"),
    ("de", "Ich wohne in München.", unicodedata.normalize("NFD", "Ich wohne in München")),
    ("fr", "J'habite à Lyon.", "J’habite à Lyon"),
    ("es", "Vivo en Madrid.", "vivo en madrid"),
    ("it", "Vivo a Roma.", "Vivo a Roma"),
    ("ru", "Я живу в Москве.", "Я живу в Москве"),
    ("tr", "İstanbul'da yaşıyorum.", "istanbul'da yaşıyorum"),
    ("ar", "أسكن في القاهرة.", "أسكن في القاهرة"),
    ("ar", "عندي ٣ قطط", "عندي 3 قطط"),
    ("hi", "मैं दिल्ली में रहता हूँ।", "मैं दिल्ली में रहता हूँ"),
    ("th", "ฉันอยู่ที่กรุงเทพ", "ฉันอยู่ที่กรุงเทพ "),
    ("zh", "我住在北京。", "我住在北京"),
    ("ja", "私は東京に住んでいます。", "私は東京に住んでいます"),
    ("ja", "ﾃﾚﾋﾞを見ます", "テレビを見ます"),
    ("ko", "나는 서울에 산다.", "나는 서울에 산다"),
    ("sw", "Ninaishi Nairobi.", "ninaishi nairobi"),
    ("el", "Μένω στην Αθήνα.", "Μένω στην Αθήνα"),
]
TRANSLATIONS = [
    ("en", "My door is red.", "de", "Meine Tür ist rot."),
    ("en", "I live in Paris.", "de", "Ich wohne in Paris."),
    ("en", "My brother is a doctor.", "fr", "Mon frère est médecin."),
    ("en", "She hates dogs.", "ru", "Она ненавидит собак."),
    ("en", "He came yesterday.", "ru", "Он пришёл вчера."),
    ("en", "I like tea.", "ja", "私はお茶が好きです。"),
    ("en", "I drink coffee in the morning.", "zh", "我早上喝咖啡。"),
    ("en", "The shop is open on Sundays.", "fr", "Le magasin est ouvert le dimanche."),
    ("en", "I have 3 cats.", "de", "Ich habe drei Katzen."),
]


EVERY = [
    *(
        (text, language)
        for code, pairs in PAIRS.items()
        for pair in pairs
        for text in pair
        for language in (code, None)
    ),
    *((text, language) for code, *texts in SAME for text in texts for language in (code, None)),
    *(each for one, text, other, more in (*ACROSS, *TRANSLATIONS) for each in ((text, one), (more, other))),
]


@pytest.fixture(scope="module")
def vectors() -> dict[tuple[str, str | None], Any]:
    """Encode all texts at once, which takes a tenth of the time."""
    texts = list(dict.fromkeys(EVERY))
    encoder = load_encoder(device="cpu")
    found = encoder.encode_document([text for text, _ in texts], language=[code for _, code in texts])
    return dict(zip(texts, found, strict=True))


@pytest.fixture(scope="module")
def memory(
    tmp_path_factory: pytest.TempPathFactory, vectors: dict[tuple[str, str | None], Any]
) -> Iterator[Callable[..., Any]]:
    """Return a function that adds texts to a scope of their own and returns the result of the last."""
    with Memory.open(tmp_path_factory.mktemp("contradictions") / "m", load_encoder(device="cpu")) as opened:
        scopes = count()

        def add(*contents: tuple[str, str | None]) -> Any:
            items = [{"text": text, "language": code, "vector": vectors[text, code]} for text, code in contents]
            return opened.add_batch(items, {"user": f"u{next(scopes)}"})[-1]

        yield add


@pytest.mark.parametrize("given_language", [True, False])
@pytest.mark.parametrize("language", PAIRS)
def test_different_texts_are_separate_records_whether_or_not_the_language_is_known(
    memory: Callable[..., Any], language: str, given_language: bool
) -> None:
    code = language if given_language else None
    pairs = [pair for one in PAIRS[language] for pair in (one, one[::-1])]
    merged = [pair for pair in pairs if memory(*((text, code) for text in pair)).verdict == "duplicate"]
    assert merged == []


@pytest.mark.parametrize(("language", "text", "other", "second"), ACROSS)
def test_different_texts_are_separate_records_across_languages(
    memory: Callable[..., Any], language: str, text: str, other: str, second: str
) -> None:
    assert memory((text, language), (second, other)).verdict != "duplicate"
    assert memory((second, other), (text, language)).verdict != "duplicate"


@pytest.mark.parametrize("given_language", [True, False])
@pytest.mark.parametrize(("language", "text", "second"), SAME)
def test_what_differs_in_form_alone_is_one(
    memory: Callable[..., Any], language: str, text: str, second: str, given_language: bool
) -> None:
    code = language if given_language else None
    assert memory((text, code), (second, code)).verdict == "duplicate"
    assert memory((second, code), (text, code)).verdict == "duplicate"


@pytest.mark.parametrize(("language", "text", "other", "second"), TRANSLATIONS)
def test_translations_that_every_guard_could_check_are_one(
    memory: Callable[..., Any], language: str, text: str, other: str, second: str
) -> None:
    assert memory((text, language), (second, other)).verdict == "duplicate"


@given(st.text(), st.text(), st.sampled_from([None, "en", "tr", "de"]))
def test_wordings_are_compared_the_same_way_round_and_keep_every_sign(
    one: str, other: str, language: str | None
) -> None:
    first, second_ = exact_wording(one, language), exact_wording(other, language)
    assert exact_wording(first, language) == first
    assert same_words(first, second_, language) == same_words(second_, first, language)
    assert same_words(first, first, language)
    for sign in "$€+-<>=?#%":
        assert (sign in exact_wording(f"x {sign} y", language)) and not same_words(
            exact_wording(f"x {sign} y", language), "x y", language
        )
