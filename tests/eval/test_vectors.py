from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers.base.modules import Normalize

from mlret.encoders.encoder import Encoder
from mlret.eval.vectors import EncodedTexts

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
    assert texts.has_calibration
    expected = calibrated_encoder.encode(TEXTS, language=language, calibrate=True)
    np.testing.assert_allclose(texts.calibrated(TEXTS, language), expected, atol=1e-6)


def test_vectors_of_any_length_before_calibration_give_the_same(calibrated_encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    modules = [module for module in calibrated_encoder.model.children() if not isinstance(module, Normalize)]
    encoder = Encoder(SentenceTransformer(modules=modules, device="cpu"))
    texts = EncodedTexts(encoder, TEXTS)
    np.testing.assert_allclose(texts.calibrated(TEXTS, "sw"), encoder.encode(TEXTS, language="sw"), atol=1e-6)
    np.testing.assert_allclose(texts.raw(TEXTS), encoder.encode(TEXTS, calibrate=False), atol=1e-6)


def test_calibration_before_other_modules_is_encoded_anew(calibrated_encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = Encoder(SentenceTransformer(modules=[*calibrated_encoder.model.children(), Normalize()], device="cpu"))
    texts = EncodedTexts(encoder, TEXTS)
    np.testing.assert_allclose(texts.calibrated(TEXTS, "sw"), encoder.encode(TEXTS, language="sw"), atol=1e-6)


def test_an_encoder_without_calibration_has_none(tiny_encoder: Encoder) -> None:
    assert not EncodedTexts(tiny_encoder, TEXTS).has_calibration
