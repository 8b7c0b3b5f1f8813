"""Asymmetric batch normalisation, and the projection head that uses it (CCP, arXiv 2206.03281)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# The weight of the newest batch in the running statistics. The n-th batch of a group has weight 1 / n while that is
# larger, so the statistics start as the plain mean over batches.
_MOMENTUM = 0.1
# Added to the variance.
_EPSILON = 1e-5


class AsymmetricBatchNorm(nn.Module):
    """Batch normalisation whose caller chooses the statistics that a forward pass uses.

    With batch statistics on both sides, the model could recognise the positive by its normalisation: all rows of a
    batch share their mean and variance, while the rows of the memory bank were normalised with those of other batches.
    One side therefore uses running statistics.

    Parameters
    ----------
    dims
        The length of a row, ``d``.
    groups
        The number of sets of running statistics, ``G``: 1, or one for each language.
    affine
        Whether a scale and a shift are learned.
    """

    running_mean: Tensor
    running_var: Tensor
    batches: Tensor

    def __init__(self, dims: int, *, groups: int = 1, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dims)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dims)) if affine else None
        self.register_buffer("running_mean", torch.zeros(groups, dims))
        self.register_buffer("running_var", torch.ones(groups, dims))
        self.register_buffer("batches", torch.zeros(groups, dtype=torch.int64))

    def normalise(self, rows: Tensor, *, batch_statistics: bool, group: int = 0) -> Tensor:
        """Normalise rows in float32.

        Parameters
        ----------
        rows
            ``(n, d)``.
        batch_statistics
            Whether to use the statistics of the rows, which also updates the group's running statistics. Otherwise the
            running statistics are used and left unchanged.
        group
            The number of the set of running statistics.

        Returns
        -------
        torch.Tensor
            ``(n, d)`` float32.
        """
        momentum = _MOMENTUM
        if batch_statistics:
            self.batches[group] += 1
            momentum = max(_MOMENTUM, 1 / int(self.batches[group]))
        return functional.batch_norm(
            rows.float(),
            self.running_mean[group],
            self.running_var[group],
            self.weight,
            self.bias,
            training=batch_statistics,
            momentum=momentum,
            eps=_EPSILON,
        )


class ProjectionHead(nn.Module):
    """A linear layer, batch norm, ReLU, a linear layer and optionally a final batch norm.

    The head is used in training only and discarded afterwards. According to reports, the paper's head has two linear
    layers with a batch norm between them; the code of the same authors' later work adds a final batch norm without
    scale and shift. Hence ``final_batch_norm``.

    Parameters
    ----------
    dims
        The number of dimensions of an embedding.
    projection
        The number of dimensions of a projected vector.
    groups
        The number of sets of running statistics: 1, or one for each language.
    final_batch_norm
        Whether the head ends in a batch norm without scale and shift.
    """

    def __init__(self, dims: int, projection: int, *, groups: int = 1, final_batch_norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(dims, projection, bias=False)
        self.norm = AsymmetricBatchNorm(projection, groups=groups)
        self.last = nn.Linear(projection, projection, bias=False)
        self.final_norm = AsymmetricBatchNorm(projection, groups=groups, affine=False) if final_batch_norm else None

    def batches(self, group: int = 0) -> int:
        """Return the number of batches that a group's running statistics were computed from."""
        return int(self.norm.batches[group])

    def forward(self, embedding: Tensor, *, batch_statistics: bool, group: int = 0) -> Tensor:
        """Project ``(n, dims)`` embeddings to ``(n, projection)`` unit vectors, in float32."""
        hidden = self.norm.normalise(self.first(embedding), batch_statistics=batch_statistics, group=group)
        projected = self.last(functional.relu(hidden))
        if self.final_norm is not None:
            projected = self.final_norm.normalise(projected, batch_statistics=batch_statistics, group=group)
        return functional.normalize(projected.float(), dim=-1, eps=1e-4)
