"""Test that a script that a vocabulary lacks is spelled, and that no other text is read otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mlret.encoders.encoder import Encoder
from mlret.encoders.fingerprint import fingerprint_of
from mlret.encoders.loading import load_encoder, load_in_torch
from mlret.errors import InputError, MissingExtraError
from mlret.vocabulary.spelling import (
    Spelling,
    characters_of,
    spell_unknown_script,
    spelled_tokenizer,
    unknown_scripts,
    with_replacements,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
THAANA = ["ދިވެހި ބަސް", "ދިވެހި ރާއްޖެ"]


def unigram(extra: dict[str, float] | None = None) -> Tokenizer:
    vocabulary = [("<unk>", 0.0), ("▁", -3.0), *((letter, -5.0) for letter in LETTERS), *(extra or {}).items()]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def test_a_word_is_split_as_its_spelling_is_and_marks_between_syllables_divide() -> None:
    tokenizer = unigram({"▁dhi": -4.0, "ve": -4.0, "▁bod": -4.0, "▁skd": -4.0})
    spelled, report = spelled_tokenizer(tokenizer, ["ދިވެހި", "བོད་སྐད"])
    assert spelled is not None
    assert report.scripts == ("thaana", "tibetan")
    assert spelled.encode("ދިވެހި").tokens == tokenizer.encode("dhivehi").tokens == ["▁dhi", "ve", "h", "i"]
    assert spelled.encode("བོད་སྐད").tokens == ["▁bod", "▁skd"]


def test_the_report_has_the_shares_of_unknown_tokens_and_the_lengths() -> None:
    spelled, report = spelled_tokenizer(unigram(), ["ab ދި", "cd"])
    assert spelled is not None
    # Before: ▁ a b ▁ unknown, ▁ c d. After: ▁ a b ▁ d h i, ▁ c d.
    assert (report.unknown_before, report.unknown_after) == (1 / 8, 0)
    assert (report.per_text_before, report.per_text_after) == (4, 5)
    assert "thaana is spelled in Latin letters; 12.5% of the text's tokens were unknown, now 0.0%" in str(report)


_SPELLED = spelled_tokenizer(unigram({"▁ba": -4.0, "sa": -3.0}), THAANA)[0]


@given(st.text(st.sampled_from(LETTERS + "  éṱ中བོ་.1\u0301"), max_size=30))
def test_texts_without_a_character_of_the_script_are_split_as_before(text: str) -> None:
    assert _SPELLED is not None
    assert _SPELLED.encode(text).ids == unigram({"▁ba": -4.0, "sa": -3.0}).encode(text).ids


@given(st.text(st.sampled_from(characters_of({"THAANA"})), min_size=1, max_size=12))
def test_no_letter_of_the_script_is_unknown_even_if_the_texts_lack_it(word: str) -> None:
    assert _SPELLED is not None
    assert 0 not in _SPELLED.encode(word).ids


def test_only_scripts_of_which_most_letters_are_missing_are_spelled() -> None:
    assert unknown_scripts(["ṱhoho ḽa ṱanu"], LETTERS) == set()
    assert unknown_scripts(["ދިވެހި abc ½"], LETTERS) == {"THAANA"}
    assert spelled_tokenizer(unigram(), ["ṱhoho ḽa ṱanu"])[0] is None
    # A sign for each word or syllable is no letter.
    assert spelled_tokenizer(unigram(), ["你好世界", "안녕"])[0] is None


def test_a_spelling_has_known_characters_alone() -> None:
    spelling = Spelling("abdehikmnostuv")
    assert [spelling(one) for one in ("ދ", "އ", "་", "ߒ", "a", "ޝ")] == ["dh", "", " ", "n", "a", "sh"]


def test_replacements_come_before_spaces_are_joined() -> None:
    tokenizer = unigram()
    joined = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), joined])
    found = with_replacements(tokenizer, {"་": " ", "བ": "b"}).normalizer
    assert found is not None
    assert found.normalize_str("བ་ ་བ") == "b b"


@pytest.mark.parametrize("kind", ["byte-bpe", "unigram-bytes"])
def test_a_vocabulary_of_bytes_lacks_nothing(kind: str) -> None:
    from tests.vocabulary.made import trained

    assert spelled_tokenizer(Tokenizer.from_str(trained(kind)), THAANA)[0] is None


def test_an_encoder_keeps_all_other_vectors_and_is_stored(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    encoder = load_in_torch(tiny_encoder_folder, device="cpu")
    others = ["the cat sat", "привет мир", "ṱ ḽ ♞", "你好"]
    before, fingerprint = encoder.encode(others), encoder.fingerprint
    found, report = spell_unknown_script(encoder, THAANA)
    assert report.unknown_before > 0.3
    assert report.unknown_after == 0
    assert fingerprint_of(encoder.model, encoder.dims) == fingerprint != found.fingerprint
    assert np.array_equal(found.encode(others), before)
    assert np.array_equal(found.encode(["ދިވެ"]), encoder.encode(["dhive"]))
    found.model.save(str(tmp_path / "spelled"))
    stored = load_encoder(tmp_path / "spelled", device="cpu")
    assert stored.fingerprint == found.fingerprint
    assert np.array_equal(stored.encode([*others, *THAANA]), found.encode([*others, *THAANA]))


def test_an_encoder_that_knows_the_script_is_returned_itself(tiny_encoder_folder: Path) -> None:
    encoder = load_in_torch(tiny_encoder_folder, device="cpu")
    found, report = spell_unknown_script(encoder, ["привет мир"])
    assert found is encoder
    assert "the vocabulary has its script" in str(report)


def test_bad_input_is_refused_and_a_missing_package_is_named(
    tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="at least one"):
        spell_unknown_script(tiny_encoder, [])
    with pytest.raises(InputError, match="a list of texts"):
        spell_unknown_script(tiny_encoder, "ދިވެހި")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="anyascii"):
        spell_unknown_script(tiny_encoder, THAANA)
