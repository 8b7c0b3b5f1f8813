"""Test a second head over an encoder's backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlret.encoders.encoder import Encoder
from mlret.encoders.head import load_head, save_head
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import BUNDLED_TOKENS, load_any_encoder, load_token_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.index.index import Index

SETTINGS = {"dims": 16, "query_length": "dynamic 8", "punctuation": "all", "seed": 3}
TEXTS = ["the cat sat on a mat", "seven dogs ran home by night, to eat rice", "привет мир"]


def test_a_head_alone_gives_the_same_tokens_over_its_backbone(tiny_encoder: Encoder, tmp_path: Path) -> None:
    model = multi_vector_encoder(tiny_encoder.model, **SETTINGS)
    torch.nn.init.normal_(model[1].linear.weight, std=0.2)
    save_head(model, tiny_encoder.model, tmp_path / "head", SETTINGS)
    assert sum(file.stat().st_size for file in (tmp_path / "head").iterdir()) < 4000
    again = TokenEncoder(load_head(tmp_path / "head", tiny_encoder.model))
    for one, other in zip(TokenEncoder(model).encode_query(TEXTS), again.encode_query(TEXTS), strict=True):
        assert one.shape == other.shape and np.allclose(one, other, atol=2e-3)  # stored as float16


def test_a_head_with_a_backbone_of_its_own_and_a_damaged_one_are_refused(tiny_encoder: Encoder, tmp_path: Path) -> None:
    model = multi_vector_encoder(tiny_encoder.model, **SETTINGS)
    save_head(model, tiny_encoder.model, tmp_path / "head", SETTINGS)
    with torch.no_grad():
        model[0].model.encoder.layer[0].output.dense.weight += 1
    with pytest.raises(InputError, match="train the head with freeze: backbone"):
        save_head(model, tiny_encoder.model, tmp_path / "other", SETTINGS)
    (tmp_path / "head" / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="has no head"):
        load_head(tmp_path / "head", tiny_encoder.model)
    with pytest.raises(InputError, match="has no head"):
        load_head(tmp_path / "nowhere", tiny_encoder.model)


@pytest.mark.thorough
def test_the_bundled_encoder_has_a_head_for_tokens() -> None:
    encoder = load_token_encoder()
    assert encoder.name == BUNDLED_TOKENS and encoder.dims <= 128
    assert isinstance(load_any_encoder(BUNDLED_TOKENS), TokenEncoder)
    (query,) = encoder.encode_query(["Where is the dog?"])
    right, wrong = encoder.encode_document(["Der Hund ist im Garten.", "Das Brot ist frisch."])
    assert (query @ right.T).max(axis=1).sum() > (query @ wrong.T).max(axis=1).sum()
    assert load_encoder().dims > encoder.dims


@pytest.mark.thorough
def test_an_index_of_the_bundled_head_is_opened_by_its_name(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", load_token_encoder())
    index.add(
        [{"id": "1", "text": "Der Zug fährt ab.", "lang": "de"}, {"id": "2", "text": "Samaki wawili", "lang": "sw"}]
    )
    index.close()
    with Index.open(tmp_path / "index") as again:
        assert [hit.id for hit in again.search("The train leaves.", k=2)] == ["1", "2"]
