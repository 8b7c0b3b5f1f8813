"""Test contrastive context prediction: roles of the sides, the bank, gradients, variants."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.training.backbones.backbone import in_mini_batches
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.contrast import info_nce
from tests.conftest import WORDS

CENTRES, CONTEXTS = ["the cat sat", "dogs ran"], ["on a mat", "run home now"]


def _features(model: SentenceTransformer, *sides: list[str]) -> list[dict[str, torch.Tensor]]:
    return [dict(model.preprocess(texts)) for texts in sides]


def _labels(language: int, *documents: int) -> torch.Tensor:
    return torch.tensor([[language, document] for document in documents])


@pytest.fixture
def model(tiny_encoder_folder) -> SentenceTransformer:  # type: ignore[no-untyped-def]
    """Return a copy for each test, without dropout."""
    return SentenceTransformer(str(tiny_encoder_folder), device="cpu").eval()


def _loss(model: SentenceTransformer, **options: object) -> ContextPredictionLoss:
    torch.manual_seed(0)
    return ContextPredictionLoss(model, languages=2, projection=8, **options)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_of_both_directions(model: SentenceTransformer) -> None:
    loss = _loss(model, bank=8)
    features = _features(model, CENTRES, CONTEXTS)
    value = loss(features, _labels(0, 1, 2))["ccp"]
    query, key = (
        _loss(model).head(model(dict(side))["sentence_embedding"], batch_statistics=True) for side in features
    )
    document = torch.tensor([1, 2])
    directions = [info_nce(a, b, document, temperature=0.1, own_side=True)[0] for a, b in ((query, key), (key, query))]
    torch.testing.assert_close(value, (directions[0] + directions[1]) / 2)


def test_sides_swap_roles_at_each_optimizer_step_not_at_each_batch(model: SentenceTransformer) -> None:
    loss = _loss(model, bank=4, batch_norm_warmup=4)
    features = _features(model, CENTRES, CENTRES)
    roles = []
    for _ in range(6):
        for _ in range(2):  # two batches are accumulated into one step
            roles.append(loss.sides_with_batch_statistics())
            loss(features, _labels(0, 1, 2))
        loss.on_optimizer_step()
    assert roles[::2] == roles[1::2]
    assert roles[::2] == [(True, True), (True, True), (True, False), (False, True), (True, False), (False, True)]


def test_each_language_warms_its_own_statistics_first(model: SentenceTransformer) -> None:
    loss = _loss(model, statistics_per_language=True, batch_norm_warmup=1)
    loss(_features(model, CENTRES, CONTEXTS), _labels(1, 1, 2))
    assert loss.sides_with_batch_statistics(0) == (True, True)
    assert loss.sides_with_batch_statistics(1) == (True, False)
    assert loss.head.norm.batches.tolist() == [0, 2]


def test_symmetric_batch_norm_uses_batch_statistics_on_both_sides(model: SentenceTransformer) -> None:
    loss = _loss(model, asymmetric_batch_norm=False, batch_norm_warmup=0)
    for _ in range(3):
        assert loss.sides_with_batch_statistics() == (True, True)
        loss.on_optimizer_step()


def test_both_sides_enter_the_bank_of_their_language_without_gradient(model: SentenceTransformer) -> None:
    loss = _loss(model, bank=6)
    loss(_features(model, CENTRES, CONTEXTS), _labels(1, 7, 8))["ccp"].backward()
    vectors, documents = loss.bank.rows(1)
    assert documents.tolist() == [7, 7, 8, 8]
    assert not vectors.requires_grad
    assert len(loss.bank.rows(0)[0]) == 0
    assert loss.head.first.weight.grad is not None


def test_a_bank_smaller_than_a_push_keeps_rows_of_both_sides(model: SentenceTransformer) -> None:
    loss = _loss(model, bank=2)
    loss(_features(model, CENTRES, CONTEXTS), _labels(0, 7, 8))
    kept, documents = loss.bank.rows(0)
    assert documents.tolist() == [8, 8]
    assert not torch.equal(kept[0], kept[1])


def test_the_bank_changes_the_loss_only_for_its_language(model: SentenceTransformer) -> None:
    features = _features(model, ["the cat", "dogs ran"], ["a mat", "run home"])
    apart, together = _loss(model, bank=8), _loss(model, bank=8, bank_per_language=False)
    values = [float(apart(features, labels)["ccp"].detach()) for labels in (_labels(0, 1, 2), _labels(1, 1, 2))]
    assert values[0] == values[1]
    assert float(apart(features, _labels(0, 11, 12))["ccp"].detach()) > values[0]
    assert float(together(features, _labels(0, 1, 2))["ccp"].detach()) == values[0]
    assert float(together(features, _labels(1, 11, 12))["ccp"].detach()) > values[0]


def test_without_any_negative_the_loss_is_refused(model: SentenceTransformer) -> None:
    with pytest.raises(InputError, match="no negatives"):
        _loss(model, bank=0, own_side_negatives=False, other_side_negatives=False)
    bank_only = _loss(model, bank=4, own_side_negatives=False, other_side_negatives=False)
    features = _features(model, CENTRES, CONTEXTS)
    assert float(bank_only(features, _labels(0, 1, 2))["ccp"].detach()) == 0.0  # nothing is in the bank yet
    assert float(bank_only(features, _labels(0, 3, 4))["ccp"].detach()) > 0.0


def test_a_learned_temperature_has_a_gradient_and_a_minimum(model: SentenceTransformer) -> None:
    fixed, learned = _loss(model), _loss(model, learn_temperature=True)
    for loss in (fixed, learned):
        loss(_features(model, CENTRES, CONTEXTS), _labels(0, 1, 2))["ccp"].backward()
    assert fixed.log_temperature.grad is None
    assert learned.log_temperature.grad is not None
    assert learned.log_temperature.grad != 0
    with torch.no_grad():
        learned.log_temperature.fill_(-20)
    assert float(learned.temperature) == pytest.approx(0.01)


def test_a_momentum_encoder_makes_the_bank_and_follows_slowly(model: SentenceTransformer) -> None:
    loss = _loss(model, bank=4, momentum=0.9, batch_norm_warmup=0)
    assert loss.momentum_model is not None
    first = [p.clone() for p in loss.momentum_model.parameters()]
    features = _features(model, CENTRES, CONTEXTS)
    loss(features, _labels(0, 1, 2))["ccp"].backward()
    assert all(p.grad is None for p in loss.momentum_model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    loss.on_optimizer_step()
    for old, new in zip(first, loss.momentum_model.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
    # The next push comes from the momentum encoder, in the role that the side has at that step.
    loss.momentum_model.eval()
    expected = loss.momentum_head(  # type: ignore[misc]
        loss.momentum_model(dict(features[0]))["sentence_embedding"], batch_statistics=False
    )
    loss(features, _labels(0, 5, 6))
    torch.testing.assert_close(loss.bank.rows(0)[0][0::2], expected)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_mini_batches_give_the_gradients_of_the_whole_batch(tiny_encoder_folder, size: int) -> None:  # type: ignore[no-untyped-def]
    sides = [[" ".join(WORDS[i : i + 1 + i % 4]) for i in range(first, first + 8)] for first in (0, 8)]
    gradients = []
    for chunked in (False, True):
        model = SentenceTransformer(str(tiny_encoder_folder), device="cpu")
        model.train(size == 8)  # dropout is drawn for each part, so only a single part can draw the same as the whole
        loss = _loss(model, bank=4)
        features = _features(model, *sides)
        torch.manual_seed(3)
        with in_mini_batches(model, size) if chunked else nullcontext():
            value = loss(features, _labels(0, *range(8)))["ccp"]
            value.backward()
        gradients.append([value.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(gradients[0]) > 20
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-3)


def test_encoding_in_mini_batches_needs_no_gradient(tiny_encoder: Encoder) -> None:
    texts = ["the cat sat on a mat", "dogs", "rain by night"]
    whole = tiny_encoder.model.encode(texts)
    with in_mini_batches(tiny_encoder.model, 2):
        torch.testing.assert_close(tiny_encoder.model.encode(texts), whole, atol=1e-6, rtol=0)
