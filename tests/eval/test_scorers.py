from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers.base.modules import Normalize

from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.eval.scorers import Bm25Scorer, EncodedTexts, EncodedTokens, Side, bitext_scorers, maxsim_matrix

TEXTS = [
    "the cat sat on a mat",
    "seven dogs ran home",
    "rice",
    "привет мир",
    "rice and fish in warm rain by night",
]


def test_raw_vectors_equal_the_encoders(tiny_encoder: Encoder, calibrated_encoder: Encoder) -> None:
    for encoder in (tiny_encoder, calibrated_encoder):
        texts = EncodedTexts(encoder, [*TEXTS, *TEXTS])
        assert len(texts) == len(TEXTS)
        np.testing.assert_allclose(texts.raw(TEXTS), encoder.encode(TEXTS, calibrate=False), atol=1e-6)


@pytest.mark.parametrize("language", ["en", "sw", "de"])
def test_calibrating_vectors_equals_encoding_with_calibration(calibrated_encoder: Encoder, language: str) -> None:
    texts = EncodedTexts(calibrated_encoder, TEXTS)
    assert texts.modes == ("raw", "calibrated")
    expected = calibrated_encoder.encode(TEXTS, language=language, calibrate=True)
    np.testing.assert_allclose(texts.calibrated(TEXTS, language), expected, atol=1e-6)


def test_vectors_of_any_length_before_calibration_give_the_same(calibrated_encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    modules = [module for module in calibrated_encoder.model.children() if not isinstance(module, Normalize)]
    encoder = Encoder(SentenceTransformer(modules=modules, device="cpu"))
    texts = EncodedTexts(encoder, TEXTS)
    np.testing.assert_allclose(texts.calibrated(TEXTS, "sw"), encoder.encode(TEXTS, language="sw"), atol=1e-6)
    np.testing.assert_allclose(texts.raw(TEXTS), encoder.encode(TEXTS, calibrate=False), atol=1e-6)


def test_calibration_before_other_modules_is_encoded_again(calibrated_encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = Encoder(SentenceTransformer(modules=[*calibrated_encoder.model.children(), Normalize()], device="cpu"))
    texts = EncodedTexts(encoder, TEXTS)
    np.testing.assert_allclose(texts.calibrated(TEXTS, "sw"), encoder.encode(TEXTS, language="sw"), atol=1e-6)


def test_an_encoder_without_calibration_has_none(tiny_encoder: Encoder) -> None:
    assert EncodedTexts(tiny_encoder, TEXTS).modes == ("raw",)


def test_maxsim_is_the_sum_of_each_query_tokens_best_product(tiny_token_encoder: TokenEncoder) -> None:
    queries, documents = tiny_token_encoder.encode_query(TEXTS), tiny_token_encoder.encode_document(TEXTS)
    expected = [[float((query @ tokens.T).max(axis=1).sum()) for tokens in documents] for query in queries]
    scorer = EncodedTokens(tiny_token_encoder, [*TEXTS, *TEXTS])
    found = scorer.similarities("raw", Side(TEXTS, "en"), Side(TEXTS, "en"))
    assert len(scorer) == len(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_document_without_tokens_scores_nothing() -> None:
    query, empty = np.ones((2, 3), np.float32), np.empty((0, 3), np.float32)
    assert maxsim_matrix([query], [empty, query, empty]).tolist() == [[0.0, 6.0, 0.0]]
    assert maxsim_matrix([query], [empty]).tolist() == [[0.0]]


def test_bm25_is_of_the_candidates_it_is_asked_about() -> None:
    scorer = Bm25Scorer()
    first, second = Side(["rice and fish", "seven dogs"], "en"), Side(["dogs", "rice"], "en")
    for _ in range(2):
        assert scorer.similarities("raw", Side(["dog"], "en"), first).argmax() == 1
        assert scorer.similarities("raw", Side(["dog"], "en"), second).argmax() == 0


def test_encoders_come_first_and_baselines_after(tiny_encoder: Encoder, tiny_token_encoder: TokenEncoder) -> None:
    scorers = bitext_scorers([tiny_encoder, tiny_token_encoder], TEXTS, floors=True)
    names = [tiny_encoder.name, tiny_token_encoder.name, "random vectors", "character n-grams", "BM25"]
    assert [scorer.name for scorer in scorers] == names
    side = Side(TEXTS, "en")
    for scorer in scorers:
        assert scorer.similarities("raw", side, side).shape == (len(TEXTS), len(TEXTS))
    assert len(bitext_scorers([tiny_encoder], TEXTS, floors=False)) == 1
