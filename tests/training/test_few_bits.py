"""Test weights that are rounded during training."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.quantised import quantise_folder, rounded, scales
from mlret.training.few_bits import in_few_bits
from mlret.training.stages import AlignmentStage

TEXTS = ["the cat sat on a mat", "seven dogs ran home", "warm rain by night"]


@pytest.fixture
def model(tiny_encoder: Encoder) -> SentenceTransformer:
    return copy.deepcopy(tiny_encoder.model)


def embedded(model: SentenceTransformer) -> torch.Tensor:
    return model(model.preprocess(TEXTS))["sentence_embedding"]


def matrices(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.ndim == 2}


def test_the_forward_pass_sees_rounded_weights_and_the_gradient_does_not(model: SentenceTransformer) -> None:
    before = matrices(model)
    with in_few_bits(model, layers=4, embeddings=4):
        inside = embedded(model)
        inside[:, 0].sum().backward()
        assert all(torch.equal(weight, before[name]) for name, weight in matrices(model).items())
    after = matrices(model)
    layers = [name for name in before if "encoder.layer" in name]
    assert layers
    for name in [*layers, next(name for name in before if "word_embeddings" in name)]:
        assert torch.equal(after[name], rounded(before[name], scales(before[name], 4), 4))
        assert not torch.equal(after[name], before[name])
        gradient = dict(model.named_parameters())[name].grad
        assert gradient is not None and gradient.abs().sum() > 0
    # The result is a plain model with the trained, rounded weights.
    assert torch.allclose(embedded(model), inside, atol=1e-6)
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_training_continues_from_the_rounded_weights_and_packing_loses_nothing(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    wanted = torch.nn.functional.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    losses = []
    with in_few_bits(model, layers=4, embeddings=4):
        for _ in range(30):
            loss = (1 - (embedded(model) * wanted).sum(dim=1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    vectors = Encoder(model).encode(TEXTS)
    assert 1 - float((vectors * wanted.numpy()).sum(axis=1).mean()) < 0.4 * losses[0]
    model.save(str(tmp_path / "packed"), create_model_card=False)
    quantise_folder(tmp_path / "packed", layers=4, embeddings=4)
    packed = load_encoder(tmp_path / "packed", device="cpu").encode(TEXTS)
    assert np.abs(packed - vectors).max() < 5e-3  # biases and norms are stored as float16


def test_weights_are_left_alone_when_training_fails(model: SentenceTransformer) -> None:
    before = matrices(model)
    with pytest.raises(KeyboardInterrupt), in_few_bits(model, layers=4, embeddings=4):
        raise KeyboardInterrupt
    assert all(torch.equal(weight, before[name]) for name, weight in matrices(model).items())
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_a_bag_of_words_has_no_layers_to_round() -> None:
    with pytest.raises(ValidationError, match="set layers to 'all'"):
        AlignmentStage(name="s", objective="alignment", steps=1, layers="none", few_bits={"layers": 4})  # type: ignore[arg-type]
