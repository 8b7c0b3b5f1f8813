"""Test ranking terms against sentence-transformers' losses and the papers' formulas, for both kinds of encoder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.multi_vector_encoder.losses import (
    MultiVectorDistillKLDivLoss,
    MultiVectorMarginMSELoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import pairwise_cos_sim
from torch import Tensor

from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.training.backbones.backbone import in_mini_batches
from mlret.training.objectives.ranking import (
    PASSAGE,
    POSITIVES,
    RankingLoss,
    in_batch,
    kl,
    margin_mse,
    min_max,
    pairwise,
    rank_aware,
)
from tests.encoders.test_adapters import plain

QUERIES = ["when does the train leave", "which fish", "who is the cat"]
COLUMNS = [
    ["The train to the sea leaves at seven.", "Two fish and bananas.", "The cat sat there."],
    ["The bus.", "A banana.", "A dog, and a very long sentence about it that goes on."],
    ["Late.", "From the market in the morning.", "It is."],
]
TEACHER = torch.tensor([[3.0, 1.0, 0.5], [2.0, 2.5, -1.0], [0.9, 0.2, 0.1]])


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    model = plain(tmp_path_factory.mktemp("dense")).eval()
    # An untrained model gives all texts about the same vector, so rounding would determine the order.
    torch.manual_seed(0)
    torch.nn.init.normal_(model[0].model.embeddings.word_embeddings.weight)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()
    return model


@pytest.fixture(scope="module")
def tokens(dense: SentenceTransformer) -> MultiVectorEncoder:
    return multi_vector_encoder(dense, dims=16, query_length=None, device="cpu").eval()


def features(model: Any) -> list[dict[str, Any]]:
    columns = [model.preprocess(QUERIES, task="query"), *(model.preprocess(some, task="document") for some in COLUMNS)]
    return [dict(column) for column in columns]


@pytest.mark.parametrize("kind", ["dense", "tokens"])
@pytest.mark.parametrize(
    ("terms", "references"),
    [
        (
            {"in_batch": 1.0},
            (
                lambda model: MultipleNegativesRankingLoss(model, scale=10.0),
                lambda model: MultiVectorMultipleNegativesRankingLoss(model, scale=10.0),
            ),
        ),
        (
            {"kl": 1.0},
            (
                lambda model: DistillKLDivLoss(model, similarity_fct=pairwise_cos_sim),
                lambda model: MultiVectorDistillKLDivLoss(model),
            ),
        ),
        (
            {"margin_mse": 1.0},
            (
                lambda model: MarginMSELoss(model, similarity_fct=pairwise_cos_sim),
                lambda model: MultiVectorMarginMSELoss(model),
            ),
        ),
    ],
)
def test_a_term_alone_is_the_loss_of_sentence_transformers(
    kind: str, terms: Any, references: Any, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    ours = RankingLoss(model, terms, temperature=0.1, normalise=False)
    theirs = references[kind == "tokens"](model)
    (loss,) = ours(features(model), TEACHER).values()
    torch.testing.assert_close(loss, theirs(features(model), TEACHER), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "tokens"])
def test_one_forward_pass_serves_a_sum_of_terms(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    weights = {"pairwise": 1.0, "in_batch": 0.2, "kl": 3.0, "margin_mse": 0.5, "rank_aware": 2.0}
    together = RankingLoss(model, weights, temperature=0.5)(features(model), TEACHER)
    assert together.keys() == weights.keys()
    for term, weight in weights.items():
        (alone,) = RankingLoss(model, {term: 1.0}, temperature=0.5)(features(model), TEACHER).values()
        torch.testing.assert_close(together[term], weight * alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "tokens"])
def test_a_passage_that_answers_another_query_is_not_its_negative(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    loss = RankingLoss(model, {"in_batch": 1.0}, temperature=0.5)
    columns = features(model)[:2]
    # The second query's passage answers the first, too.
    columns[1][PASSAGE] = torch.tensor([7, 8, 9])
    columns[0][POSITIVES] = torch.tensor([[7, 8], [8, -1], [9, -1]])
    found = loss(columns)["in_batch"]
    scores = torch.from_numpy(np.asarray(model.similarity(*_encoded(model)))).float() / 0.5
    scores[0, 1] = -math.inf
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _encoded(model: Any) -> tuple[Any, Any]:
    options = {} if isinstance(model, MultiVectorEncoder) else {"normalize_embeddings": True}
    return model.encode_query(QUERIES, prompt="", **options), model.encode_document(COLUMNS[0], prompt="", **options)


@pytest.mark.parametrize("kind", ["dense", "tokens"])
def test_mini_batches_change_neither_loss_nor_gradient(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    loss = RankingLoss(model, {"in_batch": 1.0, "kl": 1.0}, temperature=0.5)

    def gradients() -> tuple[Tensor, dict[str, Tensor]]:
        model.zero_grad()
        total = torch.stack(list(loss(features(model), TEACHER).values())).sum()
        total.backward()
        return total.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    whole, whole_gradients = gradients()
    with in_mini_batches(model, 2):
        parts, part_gradients = gradients()
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    assert part_gradients.keys() == whole_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(part_gradients[name], gradient, rtol=1e-3, atol=1e-5)


scores = arrays.arrays(np.float64, (4, 5), elements=st.floats(-20, 20, width=32))


@given(scores, scores, st.floats(0.1, 50), st.floats(-30, 30))
def test_normalised_distillation_does_not_see_the_scale_of_the_teacher(
    own: Any, teacher: Any, scale: float, shift: float
) -> None:
    own, teacher = torch.from_numpy(own), torch.from_numpy(teacher)
    one, other = (kl(own, some, normalise=True) for some in (teacher, teacher * scale + shift))
    if float((teacher.amax(1) - teacher.amin(1)).min()) > 1e-2:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    normal = min_max(teacher)
    assert float(normal.min()) >= 0 and float(normal.max()) <= 1
    torch.testing.assert_close(kl(teacher, teacher, normalise=True), torch.zeros((), dtype=torch.float64))


@given(scores, scores, arrays.arrays(np.float64, (4, 3), elements=st.floats(-20, 20, width=32)))
def test_rank_aware_distillation_is_the_papers_sum(own: Any, rewards: Any, others: Any) -> None:
    found = rank_aware(*map(torch.from_numpy, (own, rewards, others)))
    total = 0.0
    for query in range(4):
        order = np.argsort(-rewards[query], kind="stable")
        weights = np.exp(rewards[query] - rewards[query].max())
        weights /= weights.sum()
        for place, i in enumerate(order):
            below = [own[query, j] for j in order[place:]] + list(others[query])
            total += weights[i] * (np.logaddexp.reduce(below) - own[query, i]) / 4
    if len(np.unique(rewards)) == rewards.size:  # ties may be ranked either way
        assert float(found) == pytest.approx(total, rel=1e-6, abs=1e-6)
    # Without other queries there are no further negatives.
    assert math.isfinite(float(rank_aware(torch.from_numpy(own), torch.from_numpy(rewards), torch.empty(4, 0))))


def test_what_compares_a_querys_own_documents_leaves_the_others_alone() -> None:
    own = torch.randn(3, 4)
    torch.testing.assert_close(pairwise(own), -own.log_softmax(1)[:, 0].mean())
    torch.testing.assert_close(in_batch(own, torch.full((3, 2), -math.inf)), pairwise(own))
    torch.testing.assert_close(margin_mse(own, own + 5), torch.zeros(()))


def test_an_unknown_term_and_a_missing_teacher_are_refused(dense: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no ranking terms \['listwise'\]"):
        RankingLoss(dense, {"listwise": 1.0})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"'kl' needs a teacher"):
        RankingLoss(dense, {"kl": 1.0})(features(dense))


@pytest.mark.parametrize("terms", [("pairwise",), ("pairwise", "in_batch")], ids=["own", "across"])
def test_an_answer_among_a_querys_own_scored_documents_is_not_its_negative(
    dense: SentenceTransformer, terms: tuple[Any, ...]
) -> None:
    columns = features(dense)
    for place, column in enumerate(columns[1:]):
        column[PASSAGE] = 10 * torch.arange(3) + place
    # The third document of the second query answers it, too.
    columns[0][POSITIVES] = torch.tensor([[0, -1], [10, 12], [20, -1]])
    found = RankingLoss(dense, dict.fromkeys(terms, 1.0), temperature=0.5)(columns)["pairwise"]
    queries = dense.encode(QUERIES, normalize_embeddings=True, convert_to_tensor=True)
    documents = torch.stack([dense.encode(some, normalize_embeddings=True, convert_to_tensor=True) for some in COLUMNS])
    own = torch.einsum("bd,nbd->bn", queries, documents) / 0.5
    expected = [own[0].logsumexp(0) - own[0, 0], own[1, :2].logsumexp(0) - own[1, 0], own[2].logsumexp(0) - own[2, 0]]
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
