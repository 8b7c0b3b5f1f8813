"""Test keeping some of a transformer's layers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.training.backbones.backbone import load_backbone
from mlret.training.backbones.layers import keep_layers, set_dropout, transformer_layers
from mlret.training.recipe import PretrainedBackbone

TEXTS = ["the cat sat on a mat", "seven dogs ran home"]


@pytest.fixture
def model(tiny_encoder: Encoder) -> SentenceTransformer:
    return copy.deepcopy(tiny_encoder.model)


def test_the_layers_that_are_kept_are_applied_in_their_order(model: SentenceTransformer) -> None:
    layers = list(transformer_layers(model))
    assert len(layers) == 2
    features = model.preprocess(TEXTS)
    states = model[0].model(**{k: features[k] for k in ("input_ids", "attention_mask")}, output_hidden_states=True)
    keep_layers(model, [0])
    assert list(transformer_layers(model)) == layers[:1] and model[0].model.config.num_hidden_layers == 1
    assert torch.equal(model[0](model.preprocess(TEXTS))["token_embeddings"], states.hidden_states[1])


def test_an_encoder_of_fewer_layers_is_written_and_read(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    model = load_backbone(PretrainedBackbone(kind="pretrained", model=str(tiny_encoder_folder), layers=[1]))
    assert isinstance(model, SentenceTransformer)
    model.save(str(tmp_path / "fewer"))
    again = SentenceTransformer(str(tmp_path / "fewer"), device="cpu")
    assert len(transformer_layers(again)) == 1
    assert torch.allclose(again.encode(TEXTS, convert_to_tensor=True), model.encode(TEXTS, convert_to_tensor=True))


def test_without_dropout_two_passes_in_training_are_equal(model: SentenceTransformer) -> None:
    def passes() -> list[torch.Tensor]:
        return [model(model.preprocess(TEXTS))["sentence_embedding"] for _ in range(2)]

    model.train()
    set_dropout(model, 0.5)
    first, second = passes()
    assert not torch.equal(first, second)
    set_dropout(model, 0.0)
    first, second = passes()
    assert torch.equal(first, second)


def test_layers_that_do_not_exist_are_named(tiny_encoder_folder: Path) -> None:
    settings = PretrainedBackbone(kind="pretrained", model=str(tiny_encoder_folder), layers=[0, 2])
    with pytest.raises(InputError, match=r"backbone\.layers: the model has 2 layers, 0 to 1; got 2"):
        load_backbone(settings)
    for wrong in ([1, 0], [1, 1]):
        with pytest.raises(ValidationError, match="not in ascending order"):
            PretrainedBackbone(kind="pretrained", model="m", layers=wrong)
