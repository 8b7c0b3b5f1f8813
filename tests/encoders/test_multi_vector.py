"""Test encoders with a vector for each token against sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_any_encoder, load_token_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError

TEXTS = ["the cat sat on the warm mat", "rain", "the river runs by the old house at night"]


def test_tokens_are_those_of_sentence_transformers(
    tiny_token_encoder: TokenEncoder, tiny_token_encoder_folder: Path
) -> None:
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(tiny_token_encoder_folder), device="cpu")
    for ours, theirs in (
        (tiny_token_encoder.encode_query(TEXTS), model.encode_query(TEXTS, convert_to_numpy=True)),
        (tiny_token_encoder.encode_document(TEXTS), model.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        assert [len(tokens) for tokens in ours] == [len(tokens) for tokens in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == np.float32 and np.allclose(one, other, atol=1e-6)
    assert tiny_token_encoder.dims == 128 and tiny_token_encoder.similarity == "maxsim"
    assert tiny_token_encoder.encode_document([]) == []
    assert len(tiny_token_encoder.encode_query(TEXTS)[1]) != len(tiny_token_encoder.encode_document(TEXTS)[0])


def test_the_kind_of_encoder_is_read_from_its_folder(
    tiny_token_encoder: TokenEncoder, tiny_token_encoder_folder: Path, tiny_encoder_folder: Path
) -> None:
    again = load_any_encoder(tiny_token_encoder_folder)
    assert isinstance(again, TokenEncoder) and again.fingerprint == tiny_token_encoder.fingerprint
    assert load_any_encoder(tiny_encoder_folder).similarity == "cosine"
    with pytest.raises(InputError, match=r"load it with mlret\.load_token_encoder"):
        load_encoder(tiny_token_encoder_folder)
    with pytest.raises(InputError, match="runs in float32 alone"):
        load_any_encoder(tiny_token_encoder_folder, precision="bfloat16")


def test_what_cannot_be_encoded_or_loaded_is_named(tiny_token_encoder: TokenEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="text 1 is int"):
        tiny_token_encoder.encode_query(["a", 7])  # type: ignore[list-item]
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="cannot be loaded as a multi-vector encoder"):
        load_token_encoder(tmp_path / "model")
    with pytest.raises(InputError, match="no encoder folder at"):
        load_token_encoder(tmp_path / "none")
