"""Train the adapters of one language for a number of steps; an interrupted training resumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mlret.data.durable import write_atomically
from mlret.errors import Corrupt
from mlret.training.adaptation.upper_layers import UpperLayers

_STEPS_BETWEEN_CHECKPOINTS = 20
_WARMUP = 0.1
_LONGEST_GRADIENT = 1.0
# Weights that are discarded after training, such as a projection head, start at random and are trained faster.
_HEAD_LEARNING_RATE = 1e-3

_Batch = TypeVar("_Batch")


class AdapterTraining(Generic[_Batch]):
    """AdamW on the adapters and on the objective's own weights, with a linear schedule.

    Parameters
    ----------
    upper
        The layers whose adapters are trained.
    objective
        The module whose own weights are trained, too; part of a checkpoint.
    loss
        Returns the loss of a batch, a scalar.
    steps
        The number of steps.
    learning_rate
        The highest learning rate of the adapters.
    seed
        Seed of dropout.
    """

    def __init__(
        self,
        upper: UpperLayers,
        objective: nn.Module,
        loss: Callable[[_Batch], Tensor],
        *,
        steps: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self._upper, self._objective, self._loss, self._steps = upper, objective, loss, steps
        own = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": list(upper.adapters), "lr": learning_rate}]
        if own:
            groups.append({"params": own, "lr": _HEAD_LEARNING_RATE})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        warmup = max(1, int(_WARMUP * steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / warmup) * (1 - step / steps)
        )
        self._done = 0
        torch.manual_seed(seed)

    def run(
        self,
        batches: Iterator[_Batch],
        *,
        checkpoint: Path | None = None,
        on_step: Callable[[int, float], None] = lambda step, loss: None,
    ) -> None:
        """Take the remaining steps.

        Parameters
        ----------
        batches
            The batches from the first one on, the same in each run.
        checkpoint
            The file that a training resumes from and that is written every few steps; ``None`` for none.
        on_step
            Called after each step with its number and loss.

        Raises
        ------
        Corrupt
            If the checkpoint cannot be read.
        """
        if checkpoint is not None and checkpoint.is_file():
            self._load(checkpoint)
        for batch in itertools.islice(batches, self._done, self._steps):
            value = self._loss(batch)
            self._optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._upper.adapters, _LONGEST_GRADIENT)
            self._optimizer.step()
            self._schedule.step()
            self._done += 1
            on_step(self._done, float(value.detach()))
            if checkpoint is not None and self._done % _STEPS_BETWEEN_CHECKPOINTS == 0 and self._done < self._steps:
                self._save(checkpoint)

    def _save(self, checkpoint: Path) -> None:
        state = {
            "done": self._done,
            "adapters": [parameter.detach() for parameter in self._upper.adapters],
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": {"last_epoch": self._schedule.last_epoch},
            "random": torch.get_rng_state(),
        }
        write_atomically(checkpoint, lambda target: torch.save(state, target))

    def _load(self, checkpoint: Path) -> None:
        try:
            state = torch.load(checkpoint, weights_only=True)
            self._objective.load_state_dict(state["objective"])
            with torch.no_grad():
                for parameter, stored in zip(self._upper.adapters, state["adapters"], strict=True):
                    parameter.copy_(stored)
        except Exception as error:
            raise Corrupt(f"{checkpoint} cannot be read: remove it, and training starts again") from error
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.last_epoch = state["schedule"]["last_epoch"]
        torch.set_rng_state(state["random"])
        self._done = state["done"]
