"""Test pairs of Tatoeba without English, joined on the English side, against a loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.eval.benchmarks.tatoeba_joined import evaluate_joined
from mlret.eval.readers.tatoeba_data import TatoebaPairs
from mlret.eval.scorers import EncodedTexts
from tests.conftest import WORDS


class _Hashed:
    """An encoder whose vectors are random but determined by the text."""

    name, dims = "hashed", 6

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        rows = [np.random.default_rng([ord(c) for c in text]).normal(size=self.dims) for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class _OneVector(_Hashed):
    """An encoder that has collapsed to a single random vector."""

    dims = 256

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        vector = np.random.default_rng(self._seed).normal(size=(1, self.dims)).astype(np.float32)
        return np.tile(vector / np.linalg.norm(vector), (len(texts), 1))


def _pairs(label: str, english: Sequence[str]) -> TatoebaPairs:
    return TatoebaPairs(label, label[:2], tuple(f"{label} {i} {e}" for i, e in enumerate(english)), tuple(english))


def _encoded(pairs: Sequence[TatoebaPairs]) -> EncodedTexts:
    return EncodedTexts(_Hashed(), [text for pair in pairs for text in pair.sentences])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9), min_size=2, max_size=4))
def test_it_equals_the_loop(sides: list[list[str]]) -> None:
    pairs = [_pairs(label, english) for label, english in zip(("fra", "deu", "swh", "jpn"), sides, strict=False)]
    texts = _encoded(pairs)
    expected = {}
    for i, first in enumerate(pairs):
        for second in pairs[i + 1 :]:
            shared = set(first.english) & set(second.english)
            if not shared:
                continue
            right = []
            for asked, found in ((first, second), (second, first)):
                for english in shared:
                    query = texts.raw([asked.sentences[asked.english.index(english)]])[0]
                    scores = [float(query @ row) for row in texts.raw(found.sentences)]
                    right.append(found.english[int(np.argmax(scores))] == english)
            expected[first.label, second.label] = (len(shared), np.mean(right))
    if not expected:
        with pytest.raises(InputError, match="choose more languages"):
            evaluate_joined(texts, pairs, min_queries=1)
        return
    result = evaluate_joined(texts, pairs, min_queries=1)
    assert {(row.first, row.second): (row.queries, pytest.approx(row.raw)) for row in result.rows} == expected
    assert result.raw == pytest.approx(np.mean([accuracy for _, accuracy in expected.values()]))
    assert result.calibrated is None


def test_pairs_of_languages_with_few_queries_are_skipped() -> None:
    pairs = [_pairs("fra", "abcd"), _pairs("deu", "abcx"), _pairs("swh", "az")]
    result = evaluate_joined(_encoded(pairs), pairs, min_queries=2)
    assert [(row.first, row.second, row.queries) for row in result.rows] == [("fra", "deu", 3)]
    assert result.queries == 3


def test_any_translation_of_the_same_english_is_right() -> None:
    first, second = _pairs("fra", "a"), _pairs("deu", "aa")
    assert evaluate_joined(_encoded([first, second]), [first, second], min_queries=1).raw == 1.0


def test_an_encoder_that_has_collapsed_finds_nothing_by_luck() -> None:
    # Of equal candidates the first counts, which is never right here. A plain matrix product of these sizes rounds some
    # columns up, and finds some of the repeated English sentences.
    english = [f"shared {i % 37}" for i in range(746)]
    first, second = (_pairs(label, [label, *english]) for label in ("fra", "deu"))
    for seed in range(10):
        texts = EncodedTexts(_OneVector(seed), [*first.sentences, *second.sentences])
        assert evaluate_joined(texts, [first, second]).raw == 0.0


def test_calibration_is_that_of_each_sides_language(calibrated_encoder: Encoder) -> None:
    words = [" ".join(WORDS[i : i + 3]) for i in range(12)]
    swahili = TatoebaPairs("swh", "sw", tuple(f"{w} {WORDS[-1]}" for w in words), tuple(words))
    german = TatoebaPairs("deu", "de", tuple(f"{WORDS[-2]} {w}" for w in words), tuple(words))
    texts = EncodedTexts(calibrated_encoder, [*swahili.sentences, *german.sentences])
    own, other = (calibrated_encoder.encode(list(side.sentences), language=side.language) for side in (swahili, german))
    cosines = np.asarray(own, dtype=np.float64) @ np.asarray(other, dtype=np.float64).T
    gold = np.arange(len(words))
    expected = (np.mean(cosines.argmax(1) == gold) + np.mean(cosines.argmax(0) == gold)) / 2
    result = evaluate_joined(texts, [swahili, german])
    assert result.calibrated == result.rows[0].calibrated == pytest.approx(expected)
    assert result.calibrated != result.raw
