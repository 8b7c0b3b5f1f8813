"""Test that the monitors measure what they state, and detect planted faults."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from mlret.training.batches.pairs import HeldOutPairs
from mlret.training.objectives.bank import MemoryBank
from mlret.training.objectives.batch_norm import ProjectionHead
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.monitors import ContextMonitor, effective_rank, mean_cosine, uniformity


def test_mean_cosine_and_uniformity_equal_their_loops() -> None:
    vectors = torch.randn(9, 5)
    unit = nn.functional.normalize(vectors, dim=1)
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    assert mean_cosine(vectors) == pytest.approx(sum(float(unit[i] @ unit[j]) for i, j in pairs) / len(pairs), abs=1e-5)
    spread = sum(math.exp(-2 * float((unit[i] - unit[j]).square().sum())) for i, j in pairs) / len(pairs)
    assert uniformity(vectors) == pytest.approx(math.log(spread), abs=1e-4)


def test_effective_rank_counts_directions() -> None:
    basis = torch.linalg.qr(torch.randn(64, 64)).Q
    codes = torch.eye(16).repeat(4, 1)[:, :15]  # 15 orthogonal directions of equal length around their mean
    for directions in (1, 3, 7):
        signs = torch.cat([torch.eye(directions), -torch.eye(directions)])
        assert effective_rank(signs @ basis[:directions]) == pytest.approx(directions, rel=1e-4)
    assert effective_rank(torch.ones(5, 3)) == 0.0
    assert effective_rank(codes) <= 15


class _Lookup(SentenceTransformer):
    """An encoder that gives each token id a vector of its own, so that its knowledge is planted."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(modules=[nn.Identity()], device="cpu")
        self.table = nn.Parameter(table)

    def forward(self, features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:  # type: ignore[override]
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}

    def get_embedding_dimension(self) -> int:
        return self.table.shape[1]


class _Ids:
    """Rows of held-out pairs that are token ids themselves."""

    def features(self, texts: object, rows: np.ndarray) -> dict[str, Tensor]:
        return {"input_ids": torch.from_numpy(rows)[:, None]}


DOCUMENTS, DIMS = 64, 16


def _monitor(table: Tensor, *, warmup: int = 0, **options: object) -> tuple[ContextPredictionLoss, ContextMonitor]:
    """Return a monitor: documents 0-63 are trained on, 64-127 are held out; document d has the tokens 2d and 2d + 1."""
    torch.manual_seed(0)
    model = _Lookup(table)
    loss = ContextPredictionLoss(model, languages=1, projection=32, batch_norm_warmup=0, **options)  # type: ignore[arg-type]
    rows = np.arange(DOCUMENTS, 2 * DOCUMENTS)
    held_out = HeldOutPairs(None, {0: np.stack([2 * rows, 2 * rows + 1], axis=1)})  # type: ignore[arg-type]
    return loss, ContextMonitor(loss, model, held_out, _Ids(), warmup=warmup)  # type: ignore[arg-type]


def _train(loss: ContextPredictionLoss, steps: int, *, mixed_up: bool = False) -> None:
    """Take steps over all documents; with ``mixed_up`` over half of them, different each time, with wrong contexts."""
    optimizer = torch.optim.Adam([p for p in loss.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        documents = torch.randperm(DOCUMENTS)
        features = [{"input_ids": (2 * documents + side)[:, None]} for side in (0, 1)]
        if mixed_up:
            with torch.no_grad():
                loss.model.table.normal_()
                loss.model.table[1 : 2 * DOCUMENTS : 2] = loss.model.table[0 : 2 * DOCUMENTS : 2]
            documents = documents[: DOCUMENTS // 2]
            features = [{"input_ids": 2 * d[:, None]} for d in (documents, documents.roll(1))]
        labels = torch.stack([torch.zeros_like(documents), documents], dim=1)
        optimizer.zero_grad()
        loss(features, labels)["ccp"].backward()
        optimizer.step()
        loss.on_optimizer_step()


def _pairs_alike(seed: int = 0) -> Tensor:
    """Return vectors in which both sentences of each document are similar, for trained and held-out documents alike."""
    torch.manual_seed(seed)
    centres = torch.randn(2 * DOCUMENTS, DIMS).repeat_interleave(2, dim=0)
    return centres + 0.3 * torch.randn_like(centres)


def test_honest_training_raises_no_warning() -> None:
    loss, monitor = _monitor(_pairs_alike(), bank=128)
    for _ in range(3):
        _train(loss, 10)
        metrics = monitor.measure()
        assert monitor.judge(metrics) == []
    assert metrics["held_out_accuracy"] > 0.8
    assert metrics["languages_seen"] == 1
    assert metrics["bank_age"] == 1.0  # each step fills the bank, and is counted afterwards
    assert math.isnan(loss.take_pretext_accuracy())


def test_a_planted_leak_in_the_text_is_caught() -> None:
    table = torch.randn(4 * DOCUMENTS, DIMS)
    # Trained documents have a common mark on both sides; held-out ones have nothing in common.
    table[: 2 * DOCUMENTS] += 4 * torch.randn(DOCUMENTS, DIMS).repeat_interleave(2, dim=0)
    loss, monitor = _monitor(table, bank=128)
    found = []
    for _ in range(3):
        _train(loss, 10)
        found += monitor.judge(monitor.measure())
    assert [warning.kind for warning in found] == ["leakage"]
    assert "The text gives it away" in found[0].message
    assert "Drop repeated sentences" in found[0].message


class _LeakyHead(ProjectionHead):
    """A head that adds to every row of a batch what the rows have in common."""

    def forward(self, embedding: Tensor, *, batch_statistics: bool, group: int = 0) -> Tensor:
        common = 10 * embedding.detach().mean(dim=0) if batch_statistics else 0.0
        return super().forward(embedding, batch_statistics=False, group=group) + common


def test_a_planted_leak_through_batch_statistics_is_caught_and_asymmetry_stops_it() -> None:
    found = {}
    for asymmetric in (False, True):
        loss, monitor = _monitor(
            torch.zeros(4 * DOCUMENTS, DIMS),
            bank=256,
            own_side_negatives=False,
            other_side_negatives=False,
            asymmetric_batch_norm=asymmetric,
        )
        loss.head = _LeakyHead(DIMS, DIMS)
        loss.bank = MemoryBank(1, 256, DIMS)
        warnings = []
        for _ in range(3):
            _train(loss, 10, mixed_up=True)
            warnings += monitor.judge(monitor.measure())
        found[asymmetric] = [warning.message for warning in warnings]
    assert found[True] == []
    (message,) = found[False]
    assert "the batch's statistics give it away" in message
    assert "Set asymmetric_batch_norm to true" in message


def test_a_planted_collapse_is_caught_with_its_cause() -> None:
    one_point = torch.ones(4 * DOCUMENTS, DIMS) + 0.01 * torch.randn(4 * DOCUMENTS, DIMS)
    for options, fix in (
        ({"bank": 0}, "set bank"),
        ({"bank": 64, "bank_per_language": False}, "set bank_per_language to true"),
        ({"bank": 64}, "Lower learning_rate"),
    ):
        loss, monitor = _monitor(one_point, **options)  # type: ignore[arg-type]
        _train(loss, 1)
        assert monitor.judge(monitor.measure()) == []  # once may be chance
        found = {warning.kind: warning.message for warning in monitor.judge(monitor.measure())}
        assert fix in found["collapse"]
        assert monitor.judge(monitor.measure()) == []  # reported once, not at every log


def test_few_directions_are_a_collapse_too() -> None:
    line = torch.randn(4 * DOCUMENTS, 1) @ torch.randn(1, DIMS)
    loss, monitor = _monitor(line, bank=64)
    _train(loss, 1)
    assert monitor.measure()["effective_rank"] < 1.5
    monitor.judge(monitor.measure())
    assert [w.kind for w in monitor.judge(monitor.measure())] == ["collapse"]


def test_nothing_is_judged_before_the_warm_up() -> None:
    loss, monitor = _monitor(torch.ones(4 * DOCUMENTS, DIMS), bank=64, warmup=5)
    for expected in (0, 0, 0, 0, 1):
        _train(loss, 1)
        if int(loss.optimizer_steps) < 4:
            continue
        warnings = monitor.judge(monitor.measure()) + monitor.judge(monitor.measure())
        assert len(warnings) == expected


def test_measuring_leaves_training_as_it_was() -> None:
    loss, monitor = _monitor(_pairs_alike(), bank=64)
    _train(loss, 3)
    state = {key: value.clone() for key, value in loss.state_dict().items()}
    random = torch.get_rng_state()
    loss.model.train()
    monitor.measure()
    assert loss.model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in loss.state_dict().items())
