"""Test the trained upper layers against the complete encoder, and the loss against a loop."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder, load_in_torch
from mlret.errors import Corrupt, InputError
from mlret.training.adaptation.adapter_training import AdapterTraining
from mlret.training.adaptation.context_loss import ContextLoss
from mlret.training.adaptation.upper_layers import UpperLayers, add_unchanging_adapter
from mlret.training.run import save_atomically

TEXTS = ["mvua na jua", "ndege", "nyumba ya jiwe na mlango wa mti", "samaki wa mto", "moto"]


@pytest.fixture
def model(tiny_encoder_folder: Path) -> SentenceTransformer:
    found = load_in_torch(tiny_encoder_folder, device="cpu").model
    assert isinstance(found, SentenceTransformer)
    return found


@pytest.mark.parametrize("layers", [1, 2])
def test_an_untrained_adapter_changes_no_vector(model: SentenceTransformer, layers: int) -> None:
    expected = model.encode(TEXTS, normalize_embeddings=True)
    add_unchanging_adapter(model, "sw", reduction=4, seed=0)
    upper = UpperLayers(model, "sw", layers=layers, max_length=64)
    found = upper.encode(upper.lower(upper.token_ids(TEXTS))).numpy()
    # The states of the lower layers are rounded to bfloat16 on processors that compute with it.
    assert (found * expected).sum(1).min() > 0.999


def test_more_layers_than_the_encoder_has_are_refused(model: SentenceTransformer) -> None:
    add_unchanging_adapter(model, "sw", reduction=4, seed=0)
    with pytest.raises(InputError, match="has 2 layers, not 3"):
        UpperLayers(model, "sw", layers=3, max_length=64)


def test_the_loss_equals_a_loop_over_pairs_and_the_bank() -> None:
    random = torch.Generator().manual_seed(0)
    loss = ContextLoss(6, projection=0, bank=8, temperature=0.1)
    first, second, third = (torch.randn(4, 6, generator=random) for _ in range(3))
    document = torch.tensor([0, 0, 1, 2])
    loss(first, second, document)
    found = float(loss(second, third, torch.tensor([1, 2, 2, 3])))

    def unit(rows: torch.Tensor) -> list[list[float]]:
        return torch.nn.functional.normalize(rows, dim=1).tolist()

    bank = list(zip(unit(first), [0, 0, 1, 2], strict=True))
    own = [1, 2, 2, 3]
    total = 0.0
    for queries, keys in ((unit(second), unit(third)), (unit(third), unit(second))):
        for i, query in enumerate(queries):
            candidates = [keys[i]]
            candidates += [row for j, row in enumerate(keys) if own[j] != own[i]]
            candidates += [row for j, row in enumerate(queries) if own[j] != own[i]]
            candidates += [row for row, of in bank if of != own[i]]
            scores = [math.exp(float(np.dot(query, row)) / 0.1) for row in candidates]
            total -= math.log(scores[0] / sum(scores))
    assert found == pytest.approx(total / 8, rel=1e-4)


def test_a_training_that_was_stopped_ends_with_the_same_weights(model: SentenceTransformer, tmp_path: Path) -> None:
    add_unchanging_adapter(model, "sw", reduction=4, seed=0)
    checkpoint = tmp_path / "checkpoint.pt"

    def trained(stop: int | None) -> list[torch.Tensor]:
        own = copy.deepcopy(model)
        upper = UpperLayers(own, "sw", layers=2, max_length=64)
        states = upper.lower(upper.token_ids(TEXTS))
        torch.manual_seed(0)
        objective = ContextLoss(32, projection=8, bank=16)

        def loss(number: int) -> torch.Tensor:
            if number == stop:
                raise KeyboardInterrupt
            upper.train()
            embeddings = upper(states)
            return objective(embeddings, embeddings.roll(1, 0), torch.arange(5) + number)

        training = AdapterTraining(upper, objective, loss, steps=30, learning_rate=1e-2, seed=0)
        training.run(itertools.count(), checkpoint=None if stop is None and not checkpoint.exists() else checkpoint)
        return [parameter.detach().clone() for parameter in upper.adapters]

    whole = trained(None)
    with pytest.raises(KeyboardInterrupt):
        trained(25)
    assert checkpoint.is_file()
    resumed = trained(None)
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))
    assert any(parameter.abs().max() > 0 for parameter in whole)
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(Corrupt, match="remove it"):
        trained(None)


def test_a_trained_adapter_moves_its_language_alone_and_is_stored(model: SentenceTransformer, tmp_path: Path) -> None:
    before = {code: Encoder(model).encode(TEXTS, language=code) for code in ("sw", "en")}
    add_unchanging_adapter(model, "sw", reduction=4, seed=0)
    upper = UpperLayers(model, "sw", layers=1, max_length=64)
    states = upper.lower(upper.token_ids(TEXTS))
    wanted = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(0)), dim=0)

    def loss(_: int) -> torch.Tensor:
        return -(torch.nn.functional.normalize(upper(states), dim=-1) @ wanted).mean()

    AdapterTraining(upper, torch.nn.Identity(), loss, steps=20, learning_rate=1e-2, seed=0).run(itertools.count())
    save_atomically(model, tmp_path / "model")
    stored = load_encoder(tmp_path / "model", device="cpu")
    assert np.array_equal(stored.encode(TEXTS, language="en"), before["en"])
    own = stored.encode(TEXTS, language="sw")
    assert (own @ wanted.numpy()).min() > (before["sw"] @ wanted.numpy()).max()


def test_a_second_language_leaves_the_first_as_it_is(model: SentenceTransformer, tmp_path: Path) -> None:
    def adapt(folder: Path | SentenceTransformer, language: str, seed: int) -> Path:
        own = folder if isinstance(folder, SentenceTransformer) else load_in_torch(folder, device="cpu").model
        assert isinstance(own, SentenceTransformer)
        add_unchanging_adapter(own, language, reduction=4, seed=seed)
        upper = UpperLayers(own, language, layers=1, max_length=64)
        states = upper.lower(upper.token_ids(TEXTS))

        def loss(_: int) -> torch.Tensor:
            return -upper(states)[:, seed].mean()

        AdapterTraining(upper, torch.nn.Identity(), loss, steps=20, learning_rate=1e-2, seed=0).run(itertools.count())
        save_atomically(own, tmp_path / language)
        return tmp_path / language

    first = adapt(model, "sw", 0)
    before = load_encoder(first, device="cpu").encode(TEXTS, language="sw")
    both = load_encoder(adapt(first, "wo", 1), device="cpu")
    assert np.array_equal(both.encode(TEXTS, language="sw"), before)
    assert not np.array_equal(both.encode(TEXTS, language="wo"), both.encode(TEXTS, language="en"))
