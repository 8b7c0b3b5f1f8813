"""Help training over several processes: gather rows with their gradient, and run work in one process for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn


def ranks() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main() -> bool:
    """Return whether this process is the one that prints and writes files."""
    return ranks() == 1 or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Block until every process has called this function."""
    if ranks() > 1:
        distributed.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block in the main process before the others run it, so that they find what it left on disk."""
    if not is_main():
        wait_for_all()
    yield
    if is_main():
        wait_for_all()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(ranks())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the loss of all rows, so it has the whole gradient of its own rows. DDP divides the sum
        # over the processes by their number, hence the factor.
        start = distributed.get_rank() * ctx.rows
        return gradients[0][start : start + ctx.rows] * ranks()


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of their ranks.

    The gradient flows back to each process's own rows, provided that all processes then compute the same loss over all
    rows and average the gradients of what made the rows, as DDP does.

    Parameters
    ----------
    rows
        Rows of this process, ``(n, …)``, with the same ``n`` in every process.

    Returns
    -------
    Tensor
        ``(ranks * n, …)``, the same in every process.
    """
    if ranks() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module outside DDP over all processes, from now on, as they are accumulated."""

    def average(parameter: Tensor) -> None:
        if parameter.grad is not None and ranks() > 1:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= ranks()

    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)  # type: ignore[no-untyped-call]
