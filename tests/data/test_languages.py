"""Test that language codes are normalised and unknown ones are refused."""

from __future__ import annotations

import pytest
from langcodes import standardize_tag
from langcodes.data_dicts import MACROLANGUAGES

from mlret.data import languages
from mlret.data.detection import detect_language, language_probabilities
from mlret.data.language_names import NAMES
from mlret.data.languages import (
    cldr_code,
    codes_found_by,
    language_name,
    narrowed_language,
    normalise_language,
)
from mlret.data.sentences import split_sentences
from mlret.errors import InputError
from tests.data.test_detection_guards import ADDED


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "en"), ("eng", "en"), ("pt_BR", "pt"), ("es-419", "es"), ("swh", "sw"), ("cmn", "zh"), ("arb", "ar"),
        ("zh_TW", "zh-Hant"), ("zh-CN", "zh"), ("sr@latin", "sr-Latn"), ("srp-Cyrl", "sr"), ("lvs", "lv"),
        ("iw", "he"), (" de ", "de"), ("yue", "yue"), ("kmr", "ku"), ("no", "no"), ("nb", "no"), ("nob", "no"),
        ("nor", "no"), ("nob_Latn", "no"), ("nb-NO", "no"), ("no_NO", "no"), ("nn", "nn"), ("nno_Latn", "nn"),
        ("tl", "fil"), ("tgl_Latn", "fil"), ("pes_Arab", "fa"), ("zsm_Latn", "ms"), ("ekk", "et"), ("ory_Orya", "or"),
        ("als_Latn", "sq"), ("npi_Deva", "ne"), ("khk_Cyrl", "mn"), ("uzn_Latn", "uz"), ("azj_Latn", "az"),
        ("plt_Latn", "mg"), ("gaz_Latn", "om"), ("in", "id"), ("ji", "yi"), ("mo", "ro"),
        ("acm_Arab", "acm"), ("pbt_Arab", "pbt"), ("azb_Arab", "azb"), ("kor_Hang", "ko"), ("arb_Latn", "ar-Latn"),
        ("ace_Arab", "ace-Arab"), ("zh-HK", "zh-Hant"), ("yue_Hant", "yue"),
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


# The codes in NTREX-128, FLORES-200, Tatoeba and GNOME's catalogues for the languages of a macro-language, and for
# other languages that occur with several codes.
CODES = (  # noqa: SIM905
    "no nb nob nor nno nn nob_Latn nno_Latn ara arb ar acm_Arab acq_Arab aeb_Arab ajp_Arab apc_Arab ars_Arab "
    "ary_Arab arz_Arab zho cmn zh yue wuu zho-CN zho-TW zho_Hans zho_Hant yue_Hant zh_HK msa zsm ms ind id in "
    "id_ID min_Latn bjn_Latn swa swh sw fas pes prs fa pes_Arab prs_Arab est ekk et vro lav lvs lv ltg_Latn uzb "
    "uzn uz uzb-Latn uz@cyrillic aze azj azb az azb_Arab mon khk mn khk_Cyrl nep npi ne ori ory or pus pbt ps "
    "pbt_Arab que quy qu quy_Latn srp-Latn srp-Cyrl srp sr sr@latin hrv bos hr bs fil tgl tl heb iw yid ydd ji "
    "ron mo sqi als sq kur kmr ku ckb ckb-Arab mlg plt mg orm gaz om ful fuv fuc ff kok gom lah pnb ayr_Latn grn "
    "gug twi_Latn aka dik_Latn din knc_Latn kas_Deva kas_Arab ydd_Hebr"
).split()


def detected_codes() -> list[str]:
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    return [*LanguageIdentifier.from_model_file(MODEL_DIR / MODEL_FILE).nb_classes]


def finds(asked: str, stored: str) -> bool:
    """Return whether a filter for one code finds a text that is stored with another."""
    return any(stored == one or (one.endswith("-*") and stored.startswith(one[:-1])) for one in codes_found_by(asked))


@pytest.mark.parametrize("code", [*CODES, *(code for code in detected_codes() if code != "zxx")])
def test_what_is_stored_under_a_code_is_found_by_it_and_by_its_macro_language(code: str) -> None:
    own = normalise_language(code)
    assert normalise_language(own) == own
    assert finds(code, own)
    assert finds(own, own)
    assert finds(own.partition("-")[0], own)
    assert codes_found_by(narrowed_language(code)) == codes_found_by(code)
    macro = MACROLANGUAGES.get(standardize_tag(own.partition("-")[0]))
    if macro is not None and own.partition("-")[0] not in ("id", "sr", "hr", "bs"):
        assert finds(macro, own)


@pytest.mark.parametrize("asked", ["no", "nb", "nob", "nob_Latn", "nor", "nb_NO"])
def test_norwegian_has_one_code_whatever_it_is_called(asked: str) -> None:
    assert {normalise_language(code) for code in ("no", "nb", "nob", "nor", "nob_Latn")} == {"no"}
    assert finds(asked, "no") and finds(asked, "nb")  # the latter occurs in an index of an earlier version
    assert finds(asked, "nn") == (asked in ("no", "nor"))
    assert not finds("nn", "no")
    assert not finds(asked, "da")


@pytest.mark.parametrize(
    ("asked", "found", "not_found"),
    [
        ("ar", "arz ary acm ar ar-Latn", "fa"), ("arz", "arz", "ar ary"), ("arb", "ar", "arz"),
        ("zh", "zh zh-Hant yue wuu", "ja"), ("zh-Hant", "zh-Hant", "zh yue"), ("zh-Hans", "zh", "zh-Hant yue"),
        ("cmn", "zh zh-Hant", "yue"), ("yue", "yue", "zh"), ("ms", "ms zlm", "id"), ("id", "id", "ms"),
        ("sr", "sr sr-Latn", "hr bs"), ("hr", "hr", "sr"), ("sh", "sr sr-Latn hr bs", "sl"), ("hbs", "hr", "mk"),
        ("sr@latin", "sr-Latn", "sr hr"), ("ku", "ku ckb sdh", "fa"), ("ckb", "ckb", "ku"),
        ("uz", "uz uz-Cyrl uzs", "kk"), ("fa", "fa", "ps"), ("et", "et vro", "fi"), ("lv", "lv ltg", "lt"),
        ("az", "az azb", "tr"),        ("tl", "fil", "ceb"),
    ],
)  # fmt: skip
def test_which_codes_find_each_other(asked: str, found: str, not_found: str) -> None:
    assert [code for code in found.split() if not finds(asked, code)] == []
    assert [code for code in not_found.split() if finds(asked, code)] == []


def test_text_in_no_language_has_none() -> None:
    assert "zxx" in detected_codes()  # the model has a class for it
    texts = ["<a href=x></a> 0x7fffe3 0x7ffe3 0xdeadbeef;;", "a;b;c;d;e", "lorem"]
    assert all(detect_language(text, confidence=0) != "zxx" for text in texts)


def test_libraries_that_read_cldr_know_every_code() -> None:
    from dateparser.languages.loader import default_loader

    assert (cldr_code("no"), cldr_code("nn"), cldr_code("zh-Hant")) == ("nb", "nn", "zh-Hant")
    assert default_loader.get_locale(cldr_code("no")).info["name"] == "nb"


def test_tables_by_language_have_norwegian() -> None:
    from mlret.data.abbreviations import abbreviations
    from mlret.eval.bm25 import Analyzer
    from mlret.memory.text.calendar_names import calendar_names
    from mlret.memory.text.negation_words import negation_pattern
    from mlret.memory.text.number_words import number_words

    for code in map(normalise_language, ("nb", "no", "nob_Latn")):
        assert "f.eks" in abbreviations(code)
        assert Analyzer()("guttene", code) == ["gutt"]
        assert negation_pattern(code) is not None
        assert number_words(code) is not None
        assert calendar_names(code) is not None


def test_the_table_of_common_languages_says_what_langcodes_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NAMES.keys() == language_probabilities("a few words").keys() | set(ADDED)
    monkeypatch.setattr(languages, "NAMES", {})
    for code, name in NAMES.items():
        assert normalise_language.__wrapped__(code) == code
        assert language_name.__wrapped__(code) == name
