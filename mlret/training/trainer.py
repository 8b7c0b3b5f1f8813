"""Train one stage with sentence-transformers' trainer."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.trainer import BaseTrainer
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME

from mlret.errors import MlretError, require
from mlret.training.batches.by_language import LanguageBatchSampler
from mlret.training.batches.pairs import PairDataset
from mlret.training.computing import in_bfloat16
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.monitors import ContextMonitor
from mlret.training.objectives.objective import Objective
from mlret.training.progress import Say, TrainingProgress
from mlret.training.ranks import is_main, ranks
from mlret.training.stages import StageSettings

_LOSS_STATE = "loss.safetensors"


class LossState(TrainerCallback):
    """Callback that reports optimizer steps to the objective and stores its state in checkpoints.

    The state comprises the projection head, the memory banks and the step count.
    """

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Inform a context prediction loss that an optimizer step was taken."""
        if isinstance(self.loss, ContextPredictionLoss):
            self.loss.on_optimizer_step()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the objective's own state into the checkpoint that was just written."""
        own = {key: value.contiguous() for key, value in self._own().items()}
        if own and state.is_world_process_zero:
            save_file(own, Path(args.output_dir) / f"checkpoint-{state.global_step}" / _LOSS_STATE)

    def load(self, checkpoint: Path) -> None:
        """Restore the objective's state from a checkpoint.

        Raises
        ------
        MlretError
            If the checkpoint lacks a part of the objective's state.
        """
        own = self._own()
        if not own:
            return
        path = checkpoint / _LOSS_STATE
        stored = load_file(path) if path.is_file() else {}
        if missing := sorted(own.keys() - stored.keys()):
            raise MlretError(f"{path} lacks {missing}: remove {checkpoint} to resume from an earlier checkpoint")
        self.loss.load_state_dict(stored, strict=False)

    def _own(self) -> dict[str, torch.Tensor]:
        """Return the objective's tensors without the encoder's, which the trainer stores.

        Of tensors that share memory only the first is returned, and none that shares memory with the encoder.
        """
        state = self.loss.state_dict()
        kept = {value.data_ptr() for key, value in state.items() if key.startswith("model.")}
        own = {}
        for key, value in state.items():
            if not key.startswith("model.") and (not value.numel() or value.data_ptr() not in kept):
                kept.add(value.data_ptr())
                own[key] = value
        return own


class _Averaged(TrainerCallback):
    """Callback that leaves the averaged weights in the model at the end of schedule-free training."""

    def on_train_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        optimizer.eval()


class _Pace(TrainerCallback):
    """Callback that measures sentences per second and the share of time spent waiting for the next batch."""

    def __init__(self, sentences_per_step: int) -> None:
        self._sentences = sentences_per_step
        self._start = self._step_end = time.perf_counter()
        self._steps = 0
        self._waited = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.restart()

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        # The time that it takes to write a checkpoint does not count as waiting for data.
        self._step_end = time.perf_counter()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._waited += time.perf_counter() - self._step_end

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._steps += 1
        self._step_end = time.perf_counter()

    def take(self) -> dict[str, float]:
        """Return the measurements since the last call, and start a new measurement."""
        now = time.perf_counter()
        elapsed, steps, waited = now - self._start, self._steps, self._waited
        self._start, self._steps, self._waited = now, 0, 0.0
        return {"sentences_per_second": steps * self._sentences / elapsed, "data_wait": waited / elapsed}

    def restart(self) -> None:
        """Restart the clock, so that the time spent on evaluation does not count."""
        self._start = self._step_end = time.perf_counter()


class _Ours(BaseTrainer):
    """Mixin for sentence-transformers' trainers that adds mlret's batches, monitors and progress reports."""

    def __init__(
        self,
        dataset: PairDataset,
        batches: LanguageBatchSampler,
        monitor: ContextMonitor | None,
        pace: _Pace,
        say: Say,
        **options: Any,
    ) -> None:
        self._pair_dataset = dataset
        self._batches = batches
        self._monitor = monitor
        self._pace = pace
        self._say = say
        self.warnings: list[str] = []
        super().__init__(**options)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no callback: the model card is written for the finished encoder, not for a stage."""

    def get_train_dataloader(self) -> Any:
        """Return a loader of the sampler's batches; with several processes, each takes its part of every batch."""
        self.accelerator.even_batches = False
        loader = DataLoader(
            self._pair_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the monitor's metrics to the log entry, and report the monitor's warnings."""
        if "loss" in logs and is_main():
            logs = logs | self._pace.take()
            if self._monitor is not None:
                metrics = self._monitor.measure()
                logs |= {name: round(value, 4) for name, value in metrics.items()}
                for warning in self._monitor.judge(metrics):
                    self.warnings.append(f"step {self.state.global_step}: {warning.message}")
                    self._say(f"warning, {self.warnings[-1]}")
        super().log(logs, start_time)
        self._pace.restart()


class _Trainer(_Ours, SentenceTransformerTrainer):
    """Trainer of encoders with one vector per text."""


class _TokenTrainer(_Ours, MultiVectorEncoderTrainer):
    """Trainer of encoders with one vector per token."""


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder, or ``None``.

    A checkpoint is complete if it contains the trainer's state, which is written last.
    """
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2])) if whole else None


def train_stage(
    stage: StageSettings,
    model: BaseModel,
    objective: Objective,
    folder: Path,
    *,
    seed: int,
    say: Say,
) -> tuple[list[dict[str, float]], list[str]]:
    """Train ``model`` in place, resuming from the last complete checkpoint if there is one.

    Parameters
    ----------
    stage
        Settings such as the number of steps, the batch size and the learning rate.
    model
        The encoder.
    objective
        The batches, the loss and the monitor.
    folder
        Receives ``checkpoints/`` and, if TensorBoard is installed, its ``logs/``.
    seed
        Seed of the batches and of dropout.
    say
        Called with each line of progress.

    Returns
    -------
    history : list of dict
        The log entries, oldest first: step, loss and its parts, learning rate, gradient norm, metrics.
    warnings : list of str
        The monitor's warnings.

    Raises
    ------
    InputError
        If the batches cannot be shared between the processes.
    """
    on_gpu = torch.cuda.is_available()
    tokens = isinstance(model, MultiVectorEncoder)
    schedule_free = stage.optimizer == "schedule-free"
    if schedule_free:
        require("schedulefree", extra="train", feature="schedule-free AdamW")
    embeddings = {r"word_embeddings|token_weights": stage.embedding_learning_rate or stage.learning_rate}
    arguments = (MultiVectorEncoderTrainingArguments if tokens else SentenceTransformerTrainingArguments)(
        output_dir=str(folder / "checkpoints"),
        max_steps=stage.steps,
        per_device_train_batch_size=max(1, stage.batch_size // ranks()),
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        learning_rate_mapping=embeddings if stage.embedding_learning_rate is not None else {},
        weight_decay=stage.weight_decay,
        adam_beta2=stage.adam_beta2,
        adam_epsilon=stage.adam_epsilon,
        # The schedule-free optimizer implements its own warm-up.
        lr_scheduler_type="constant" if schedule_free else "linear",
        warmup_steps=int(stage.warmup * stage.steps),
        optim="schedule_free_adamw" if schedule_free else "adamw_torch_fused",
        bf16=in_bfloat16(stage),
        use_cpu=not on_gpu,
        seed=seed,
        logging_steps=max(1, min(100, stage.steps // 10)),
        save_steps=max(1, stage.steps // 10),
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=2 if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        accelerator_config={"split_batches": True},
    )
    loss, examples = objective.loss, objective.examples
    state, pace = LossState(loss), _Pace(objective.texts * stage.batch_size * stage.gradient_accumulation)
    progress = TrainingProgress(stage.name, say)
    callbacks: list[TrainerCallback] = [state, pace, progress, *([_Averaged()] if schedule_free else [])]
    writer = _tensorboard_writer(folder / "logs")
    if writer is not None:
        callbacks.append(TensorBoardCallback(writer))  # type: ignore[no-untyped-call]
    trainer = (_TokenTrainer if tokens else _Trainer)(
        PairDataset(examples),
        LanguageBatchSampler(
            examples, batch_size=stage.batch_size, batches=stage.steps * stage.gradient_accumulation, seed=seed
        ),
        objective.monitor,
        pace,
        say,
        model=model,
        args=arguments,
        loss=loss,
        data_collator=objective.collator,
        callbacks=callbacks,
    )
    for unwanted in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unwanted)
    last = last_complete_checkpoint(folder / "checkpoints")
    if last is not None:
        state.load(last)
        say(f"stage {stage.name}: resuming from {last.name.replace('-', ' ')}")
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    finally:
        progress.close()
        if writer is not None:
            writer.close()
    model.eval()
    history = [{key: float(value) for key, value in entry.items()} for entry in trainer.state.log_history]
    return history, trainer.warnings


def _tensorboard_writer(folder: Path) -> Any:
    """Return a writer of event files, or ``None`` without TensorBoard or in a process other than the first."""
    if not is_main() or importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(folder))
