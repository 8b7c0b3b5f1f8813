"""One stage of training, run by sentence-transformers' trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from mlret.training.batches import LanguageBatchSampler
from mlret.training.ccp import ContextPredictionLoss
from mlret.training.pack import PackedTexts, PairCollator, TextPairs
from mlret.training.recipe import StageSettings

_LOSS_STATE = "loss.safetensors"


class _LossState(TrainerCallback):
    """Tell the objective of optimizer steps, and keep its state (head, banks, step count) in checkpoints."""

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if isinstance(self.loss, ContextPredictionLoss):
            self.loss.on_optimizer_step()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        own = {k: v.contiguous() for k, v in self.loss.state_dict().items() if not k.startswith("model.")}
        if own:
            save_file(own, Path(args.output_dir) / f"checkpoint-{state.global_step}" / _LOSS_STATE)


def _last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer's state comes last."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


class _Trainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer with batches of our own."""

    def __init__(self, batches: LanguageBatchSampler, **options: Any) -> None:
        self._batches = batches
        super().__init__(**options)

    def get_batch_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return self._batches


def train_stage(
    stage: StageSettings,
    model: SentenceTransformer,
    loss: nn.Module,
    texts: PackedTexts,
    pairs: TextPairs,
    tokenizer: PreTrainedTokenizerFast,
    checkpoints: Path,
    seed: int,
) -> list[dict[str, float]]:
    """Train ``model`` in place, from the last checkpoint in ``checkpoints`` where there is one.

    Parameters
    ----------
    stage
        Steps, batch size, learning rate.
    model
        The encoder.
    loss
        A sentence-transformers loss over ``model``.
    texts, pairs
        What the batches are made of.
    tokenizer
        For the ids of the special tokens.
    checkpoints
        Folder of the trainer's checkpoints and logs.
    seed
        Of batches and dropout.

    Returns
    -------
    list of dict
        What the trainer logged on the way, oldest first: step, loss and its parts, learning rate, gradient norm.
    """
    on_gpu = torch.cuda.is_available()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        learning_rate_mapping={r"word_embeddings|token_weights": stage.embedding_learning_rate},
        weight_decay=stage.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=int(stage.warmup * stage.steps),
        optim="adamw_torch_fused",
        bf16=stage.bfloat16,
        use_cpu=not on_gpu,
        seed=seed,
        logging_steps=max(1, min(100, stage.steps // 10)),
        save_steps=max(1, stage.steps // 10),
        save_total_limit=1,
        report_to="none",
        dataloader_num_workers=0,
    )
    state = _LossState(loss)
    trainer = _Trainer(
        LanguageBatchSampler(texts, pairs, batch_size=stage.batch_size, steps=stage.steps, seed=seed),
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"row": range(len(pairs))}),
        loss=loss,
        data_collator=PairCollator(texts, pairs, tokenizer),
        callbacks=[state],
    )
    last = _last_whole_checkpoint(checkpoints)
    if last and (Path(last) / _LOSS_STATE).is_file():
        loss.load_state_dict(load_file(Path(last) / _LOSS_STATE), strict=False)
    trainer.train(resume_from_checkpoint=last)
    model.eval()
    return [{key: float(value) for key, value in entry.items()} for entry in trainer.state.log_history]
