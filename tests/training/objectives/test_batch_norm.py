"""Test asymmetric batch normalisation: which statistics a pass uses, and which it updates."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlret.training.objectives.batch_norm import AsymmetricBatchNorm, ProjectionHead


def test_batch_statistics_normalise_the_batch_itself() -> None:
    rows = torch.randn(16, 4) * 3 + 5
    normalised = AsymmetricBatchNorm(4).normalise(rows, batch_statistics=True)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.var(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)


def test_running_statistics_move_only_with_batch_statistics_and_only_in_their_group() -> None:
    norm = AsymmetricBatchNorm(4, groups=3)
    rows = torch.randn(16, 4) * 3 + 5
    norm.normalise(rows, batch_statistics=False, group=1)
    assert norm.running_mean.eq(0).all()
    norm.normalise(rows, batch_statistics=True, group=1)
    torch.testing.assert_close(norm.running_mean[1], rows.mean(0))
    assert norm.running_mean[[0, 2]].eq(0).all()
    assert norm.batches.tolist() == [0, 1, 0]


@settings(max_examples=25, deadline=None)
@given(batches=st.integers(1, 25), seed=st.integers(0, 999))
def test_running_statistics_begin_as_the_plain_mean_and_continue_as_in_torch(batches: int, seed: int) -> None:
    torch.manual_seed(seed)
    norm, reference = AsymmetricBatchNorm(3), nn.BatchNorm1d(3, momentum=None)  # None: the plain mean
    rows = [torch.randn(8, 3) + i for i in range(batches)]
    for position, some in enumerate(rows):
        if position == 10:
            reference.momentum = 0.1
        torch.testing.assert_close(norm.normalise(some, batch_statistics=True), reference(some))
    torch.testing.assert_close(norm.running_mean[0], reference.running_mean)
    torch.testing.assert_close(norm.running_var[0], reference.running_var)
    reference.eval()
    torch.testing.assert_close(norm.normalise(rows[0], batch_statistics=False), reference(rows[0]))


def test_a_head_may_end_in_a_batch_norm_without_scale_and_shift() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, 5, final_batch_norm=True)
    assert head.final_norm is not None
    assert not list(head.final_norm.parameters())
    assert len(list(ProjectionHead(6, 5).parameters())) == len(list(head.parameters())) == 4
    projected = head(torch.randn(64, 6), batch_statistics=True)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(64))
    # The rows were centred before normalisation, so they have no common direction.
    assert float(projected.detach().mean(0).norm()) < 0.2
