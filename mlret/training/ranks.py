"""Training over several processes: rows gathered with their gradient, work that one process does for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn


def ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return ranks() == 1 or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if ranks() > 1:
        distributed.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run a block before the others do, which then find what it left on disk."""
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
        # Every process computes the loss of all rows, so it holds the whole gradient of its own; DDP will divide the
        # sum over processes by their number.
        start = distributed.get_rank() * ctx.rows
        return gradients[0][start : start + ctx.rows] * ranks()


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in their order: ``(n, …)`` on each to ``(ranks * n, …)`` on all.

    The gradient flows back to each process's own rows, on condition that all processes then compute the same loss
    over all rows and average the gradients of what made the rows, as DDP does.
    """
    if ranks() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module outside DDP over the processes, from now on, as they are accumulated."""

    def average(parameter: Tensor) -> None:
        if parameter.grad is not None and ranks() > 1:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= ranks()

    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)  # type: ignore[no-untyped-call]
