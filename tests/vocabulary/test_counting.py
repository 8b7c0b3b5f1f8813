"""Test counting tokens by language."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mlret.data.detection import detect_language
from mlret.errors import InputError
from mlret.vocabulary.attribution import Attribution
from mlret.vocabulary.counting import Histogram, count_tokens, splits_at_white_space
from tests.vocabulary import made


def test_counts_and_held_out_texts_make_up_the_corpus() -> None:
    tokenizer = made.tokenizer_of("unigram")
    corpus = {code: [f"{text} {i}" for i in range(20) for text in made.corpus()[code]] for code in ("sw", "ja")}
    found = count_tokens(tokenizer, corpus)
    assert found.languages == ["sw", "ja"]
    for row, code in enumerate(found.languages):
        held_out = set(found.held_out[code])
        assert 0 < len(held_out) < len(corpus[code]) / 8
        counted = [text for text in corpus[code] if text not in held_out]
        assert found.texts[code] == len(counted)
        expected = np.zeros(tokenizer.get_vocab_size(), np.int64)
        for text in counted:
            np.add.at(expected, tokenizer.encode(text, add_special_tokens=False).ids, 1)
        assert np.array_equal(found.counts[row], expected)
        assert found.examples(code) == (found.held_out[code], True)
    assert found.shares.sum(axis=1) == pytest.approx([1, 1])


def test_a_handful_of_texts_is_counted_though_all_would_be_held_out() -> None:
    tokenizer = made.tokenizer_of("unigram")
    many = [f"habari {number}" for number in range(60)]
    some = count_tokens(tokenizer, {"sw": many}).held_out["sw"]
    assert some
    for languages in (None, ["sw"]):
        found = count_tokens(tokenizer, {"sw": some}, languages)
        assert found.texts == {"sw": len(some)}
        assert found.counts.sum() == sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in some)
        assert found.examples("sw") == (some, False)


def test_pairs_mappings_and_plain_texts_count_alike() -> None:
    tokenizer = made.tokenizer_of("byte-bpe")
    some = made.corpus()["sw"]
    expected = count_tokens(tokenizer, {"swh": some}).counts
    assert np.array_equal(count_tokens(tokenizer, (("sw", text) for text in some)).counts, expected)
    assert np.array_equal(count_tokens(tokenizer, some, ["sw"]).counts, expected)


def test_the_language_of_plain_texts_is_detected_where_there_are_several() -> None:
    tokenizer = made.tokenizer_of("unigram")
    texts = [*made.corpus()["sw"], *made.corpus()["ru"], *made.corpus()["ja"]]
    with pytest.warns(UserWarning, match=r"26 of 78 texts of the corpus are excluded.*not in ru, ja \(26 sw\)"):
        found = count_tokens(tokenizer, texts, ["ru", "ja"])
    assert found.languages == ["ru", "ja"]
    assert sum(found.texts.values()) + sum(map(len, found.held_out.values())) == 52
    assert found.left_out == found.detected_otherwise == {"sw": 26}


def test_short_texts_count_for_the_requested_languages_whatever_is_detected() -> None:
    short = [
        "Asante sana",
        "Bei gani?",
        "Tutaonana kesho",
        "Nakupenda",
        "Habari gani",
        "Chai na maziwa",
        "12 + 5",
        "…!",
    ]
    assert {detect_language(text) for text in short} - {"sw"}, "the detector takes some for another language"
    tokenizer = made.tokenizer_of("unigram")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = count_tokens(tokenizer, [*short, "Доброе утро"], ["sw", "ru"])
    assert found.texts["sw"] + len(found.held_out.get("sw", [])) == len(short)
    assert found.left_out == {}


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        (["sw", "en"], "Bei gani?", "sw"),
        (["sw", "en"], "Доброе утро", None),  # another script, however short
        (["sw", "en"], "La bibliothèque est fermée le dimanche et tous les jours fériés de l'année.", None),
        (["sw", "en"], "Ninapenda Москва", "sw"),
        (["zh-Hant", "en"], "今天天氣很好，我們去公園散步吧。", "zh-Hant"),
        # The detector does not support Bambara, and names other languages at any length.
        (["bm", "ru"], "Dunuya bɛɛ ye kelen ye, mɔgɔ bɛɛ ka kan ka ɲɔgɔn bonya ani ka ɲɔgɔn dɛmɛ tuma bɛɛ.", "bm"),
        (["ru", "bm"], "Все люди рождаются свободными и равными в своём достоинстве и правах.", "ru"),
        (["ar", "en"], "إزيك عامل إيه النهارده يا صاحبي", "ar"),  # detected as Egyptian Arabic
        (["en", "sw"], "12,345 — ???", "en"),
        (["en", "sw"], "", "en"),
    ],
)
def test_a_text_counts_for_the_likeliest_language_and_is_skipped_if_it_is_clearly_in_none(
    wanted: list[str], text: str, expected: str | None
) -> None:
    assert Attribution(wanted).language(text)[0] == expected


def test_no_fragment_of_a_requested_language_is_skipped() -> None:
    for one, other in (("sw", "fr"), ("es", "sw"), ("ru", "ja"), ("hi", "ar")):
        attribution = Attribution([one, other])
        for text in made.corpus()[one]:
            fragments = [text[start : start + 20] for start in range(0, len(text), 20)]
            assert all(attribution.language(fragment)[0] is not None for fragment in fragments)


def test_texts_without_languages_are_all_counted_together() -> None:
    tokenizer = made.tokenizer_of("unigram")
    texts = [*made.corpus()["sw"], *made.corpus()["ru"], "Bei gani?"]
    found = count_tokens(tokenizer, texts)
    assert found.languages == ["und"] and found.left_out == {}
    assert np.array_equal(found.counts, count_tokens(tokenizer, texts, ["sw"]).counts)


def test_texts_of_languages_that_the_corpus_names_are_skipped_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = count_tokens(made.tokenizer_of("unigram"), made.corpus(), ["sw"])
    assert found.left_out == {code: len(texts) for code, texts in made.corpus().items() if code != "sw"}
    assert found.detected_otherwise == {}


@pytest.mark.parametrize("kind", ["bpe-suffix", "wordpiece", *made.REAL, "unigram", "byte-bpe"])
def test_counting_each_word_once_equals_counting_the_texts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = made.tokenizer_of(kind)
    # The other tokenizers join words to the blanks before them.
    by_words = splits_at_white_space(tokenizer)
    assert by_words == (kind not in ("unigram", "byte-bpe"))
    monkeypatch.setattr("mlret.vocabulary.counting._MOST_WORDS", 50)
    monkeypatch.setattr("mlret.vocabulary.counting._BATCH_WORDS", 7)
    texts = [*made.texts(), "  two  blanks\tand\na line\u3000 ", "´ ̈a ﷺ İ ½\u00a0x", ""]
    histogram = Histogram(tokenizer, tokenizer.get_vocab_size(), by_words=by_words)
    for start in range(0, len(texts), 20):
        histogram.add(texts[start : start + 20])
    expected = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for text in texts:
        np.add.at(expected, tokenizer.encode(text, add_special_tokens=False).ids, 1)
    assert np.array_equal(histogram.counts(), expected)


def test_a_token_across_words_forbids_counting_words() -> None:
    tokenizer = made.tokenizer_of("wordpiece")
    tokenizer.add_tokens(["New York"])
    assert not splits_at_white_space(tokenizer)
    assert count_tokens(tokenizer, {"en": ["in New York"]}).counts[0, tokenizer.token_to_id("New York")] == 1


def test_truncation_and_padding_do_not_count_and_come_back() -> None:
    tokenizer = made.tokenizer_of("unigram")
    plain = count_tokens(tokenizer, {"sw": made.corpus()["sw"]}).counts
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    assert np.array_equal(count_tokens(tokenizer, {"sw": made.corpus()["sw"]}).counts, plain)
    assert tokenizer.truncation["max_length"] == 4
    assert tokenizer.padding["length"] == 9


@pytest.mark.parametrize(
    ("corpus", "languages", "message"),
    [
        ({"sw": ["a"]}, ["sw", "en"], r"no text in en"),
        ({"sw": [1]}, None, r"text 0 of the corpus is neither"),
        ({"xx-nowhere": ["a"]}, None, r"unknown language code"),
        ("a text", ["sw"], r"is one string"),
        (b"a text", ["sw"], r"is of type bytes"),
        (5, ["sw"], r"is of type int"),
        ({"sw": "a text"}, None, r"the corpus of 'sw' is one string"),
        ({"sw": None}, None, r"the corpus of 'sw' is of type NoneType"),
        ({}, None, r"corpus is empty"),
        (["  ", "\n"], ["sw"], r"no text in sw"),
        ({"sw": ["a \ud800 b"]}, None, r"text 0 of the corpus holds half a surrogate pair"),
        ({"de": ["wort"]}, ["sw"], r"no text in sw.*1 de are in no language asked for"),
    ],
)
def test_bad_corpora_are_refused(corpus: object, languages: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        count_tokens(made.tokenizer_of("unigram"), corpus, languages)  # type: ignore[arg-type]
