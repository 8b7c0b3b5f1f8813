"""Contrastive context prediction: roles of the sides, the bank, what is differentiated."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.training.ccp import AsymmetricBatchNorm, ContextPredictionLoss


def _features(model: SentenceTransformer, texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(model.preprocess(texts))


def _loss(model: SentenceTransformer, **options: object) -> ContextPredictionLoss:
    torch.manual_seed(0)
    return ContextPredictionLoss(model, languages=2, projection=8, **options)  # type: ignore[arg-type]


def test_sides_swap_roles_at_each_optimizer_step_not_at_each_batch(tiny_encoder: Encoder) -> None:
    loss = _loss(tiny_encoder.model, bank=4, batch_norm_warmup=2)
    features = [_features(tiny_encoder.model, ["the cat sat", "dogs ran"]) for _ in range(2)]
    labels = torch.tensor([[0, 1], [0, 2]])
    roles = []
    for _ in range(6):
        for _ in range(2):  # two batches are accumulated into one step
            loss(features, labels)
            roles.append(loss.sides_with_batch_statistics())
        loss.on_optimizer_step()
    assert roles[::2] == roles[1::2]
    assert roles[::2] == [(True, True), (True, True), (True, False), (False, True), (True, False), (False, True)]


def test_symmetric_batch_norm_uses_batch_statistics_on_both_sides(tiny_encoder: Encoder) -> None:
    loss = _loss(tiny_encoder.model, asymmetric_batch_norm=False, batch_norm_warmup=0)
    for _ in range(3):
        assert loss.sides_with_batch_statistics() == (True, True)
        loss.on_optimizer_step()


def test_running_statistics_move_only_with_batch_statistics() -> None:
    norm = AsymmetricBatchNorm(4)
    rows = torch.randn(16, 4) * 3 + 5
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    norm.normalise(rows, batch_statistics=False)
    assert torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    normalised = norm.normalise(rows, batch_statistics=True)
    assert torch.allclose(normalised.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * rows.mean(0), atol=1e-5)  # type: ignore[arg-type]


def test_both_sides_enter_the_bank_of_their_language_without_gradient(tiny_encoder: Encoder) -> None:
    loss = _loss(tiny_encoder.model, bank=6)
    centre = _features(tiny_encoder.model, ["the cat sat", "dogs ran"])
    context = _features(tiny_encoder.model, ["on a mat", "run home now"])
    value = loss([centre, context], torch.tensor([[1, 7], [1, 8]]))["ccp"]
    value.backward()
    vectors, documents = loss.bank.rows(1)
    assert documents.tolist() == [7, 8, 7, 8]
    assert not vectors.requires_grad
    assert len(loss.bank.rows(0)[0]) == 0
    assert loss.head.first.weight.grad is not None


def test_the_bank_changes_the_loss_only_for_its_language(tiny_encoder: Encoder) -> None:
    tiny_encoder.model.eval()
    loss = _loss(tiny_encoder.model, bank=8, batch_norm_warmup=100)
    features = [_features(tiny_encoder.model, texts) for texts in (["the cat", "dogs ran"], ["a mat", "run home"])]
    first = float(loss(features, torch.tensor([[0, 1], [0, 2]]))["ccp"].detach())
    other_language = float(loss(features, torch.tensor([[1, 1], [1, 2]]))["ccp"].detach())
    same_language = float(loss(features, torch.tensor([[0, 11], [0, 12]]))["ccp"].detach())
    assert other_language == first
    assert same_language > first
