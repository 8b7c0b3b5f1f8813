"""Asymmetric batch normalisation, and the projection head that it belongs to (CCP, arXiv 2206.03281)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AsymmetricBatchNorm(nn.Module):
    """Batch normalisation whose caller says which statistics a forward pass uses.

    Batch statistics on both sides would let the model recognise the positive as "normalised like me": all rows
    of a batch share their mean and variance, and the rows of the memory bank have those of other batches. One side
    therefore uses running statistics.

    Parameters
    ----------
    dims
        Length of a row, ``d``.
    groups
        How many running statistics there are, ``G``: 1, or one a language.
    affine
        Whether a scale and a shift are learned.
    momentum
        Weight of the newest batch in the running statistics. The first batches of a group weigh ``1 / n``, so that
        its statistics are the plain mean over batches until that would be slower.
    eps
        Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor
    batches: Tensor

    def __init__(
        self, dims: int, *, groups: int = 1, affine: bool = True, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dims)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dims)) if affine else None
        self.register_buffer("running_mean", torch.zeros(groups, dims))
        self.register_buffer("running_var", torch.ones(groups, dims))
        self.register_buffer("batches", torch.zeros(groups, dtype=torch.int64))

    def normalise(self, rows: Tensor, *, batch_statistics: bool, group: int = 0) -> Tensor:
        """Normalise ``(n, d)`` rows in float32; a group's running statistics move only with batch statistics."""
        momentum = self.momentum
        if batch_statistics:
            self.batches[group] += 1
            momentum = max(momentum, 1 / int(self.batches[group]))
        return functional.batch_norm(
            rows.float(),
            self.running_mean[group],
            self.running_var[group],
            self.weight,
            self.bias,
            training=batch_statistics,
            momentum=momentum,
            eps=self.eps,
        )


class ProjectionHead(nn.Module):
    """Linear, batch norm, ReLU, linear, perhaps a last batch norm: used in training and thrown away afterwards.

    The paper is said to have two linear layers with a batch norm between; the code of the same authors' later work
    ends in another one, without scale and shift. Hence the switch.

    Parameters
    ----------
    dims
        Length of an embedding.
    projection
        Length of a projected vector.
    groups
        Running statistics: 1, or one a language.
    final_batch_norm
        Whether a batch norm without scale and shift ends the head.
    """

    def __init__(self, dims: int, projection: int, *, groups: int = 1, final_batch_norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(dims, projection, bias=False)
        self.norm = AsymmetricBatchNorm(projection, groups=groups)
        self.last = nn.Linear(projection, projection, bias=False)
        self.final_norm = AsymmetricBatchNorm(projection, groups=groups, affine=False) if final_batch_norm else None

    def batches(self, group: int = 0) -> int:
        """How many batches a group's running statistics come from."""
        return int(self.norm.batches[group])

    def forward(self, embedding: Tensor, *, batch_statistics: bool, group: int = 0) -> Tensor:
        """Project ``(n, dims)`` embeddings to ``(n, projection)`` unit vectors, in float32."""
        hidden = self.norm.normalise(self.first(embedding), batch_statistics=batch_statistics, group=group)
        projected = self.last(functional.relu(hidden))
        if self.final_norm is not None:
            projected = self.final_norm.normalise(projected, batch_statistics=batch_statistics, group=group)
        return functional.normalize(projected.float(), dim=-1, eps=1e-4)
