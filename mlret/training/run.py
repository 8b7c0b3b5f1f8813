"""Run a recipe: text, tokenizer, stages, calibration. Every step resumes where it was interrupted."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import nn
from transformers import PreTrainedTokenizerFast

from mlret.data.durable import write_text_atomically
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.errors import InputError, MlretError, require
from mlret.training.alignment import TranslationRankingLoss
from mlret.training.backbone import (
    as_bag_of_words,
    build_backbone,
    in_mini_batches,
    load_backbone,
    restore_embedding_length,
    token_weights,
    trainable,
)
from mlret.training.calibrate import fit_calibration
from mlret.training.ccp import ContextPredictionLoss
from mlret.training.masking import MaskedLanguageModel
from mlret.training.monitors import ContextMonitor
from mlret.training.pack import PackedDocuments
from mlret.training.pairs import ContextPairs, Padding, Pairs, TranslationPairs
from mlret.training.progress import Say
from mlret.training.ranks import is_main, main_first, ranks, wait_for_all
from mlret.training.recipe import AlignmentStage, ContextStage, PretrainedBackbone, Recipe, Stage, TokenizerSettings
from mlret.training.text import TextStatistics, prepare_text, source_files
from mlret.training.tokenizer import train_tokenizer
from mlret.training.trainer import train_stage

_DONE = "done.json"


def train(recipe: Recipe, data: Path, output: Path, *, say: Say) -> Path:
    """Train an encoder from a recipe.

    Under ``torchrun`` every process calls this; the first one reads, writes and speaks.

    Parameters
    ----------
    recipe
        What to train.
    data
        The folder that the recipe's file patterns start from.
    output
        The run's folder. An interrupted run of the same recipe goes on from its last checkpoint.
    say
        Takes a line of progress.

    Returns
    -------
    pathlib.Path
        The trained encoder, a sentence-transformers folder: ``output/model``. Each stage leaves one too, in
        ``output/stages/NAME/model``.

    Raises
    ------
    InputError
        If the text cannot be read, a model cannot be loaded, or ``output`` holds a run of another recipe.
    """
    for module in ("datasets", "accelerate", "sentencepiece"):
        require(module, extra="train", feature="training")
    # Joins the processes that torchrun started; they wait while the first one reads text and trains the tokenizer.
    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))
    return _Run(recipe, data, output, say if is_main() else _say_nothing).train()


def _say_nothing(line: str) -> None:
    """The other processes do the same and need not say so."""


class _Run:
    """One recipe on its way, in a folder of its own."""

    def __init__(self, recipe: Recipe, data: Path, output: Path, say: Say) -> None:
        for stage in recipe.stages:
            if stage.batch_size % ranks():
                raise InputError(
                    f"stage {stage.name!r}: batch_size {stage.batch_size} cannot be shared by {ranks()} processes; "
                    f"make it a multiple of {ranks()}"
                )
        self.recipe, self.output, self.say = recipe, output, say
        with main_first():
            if is_main():
                source_files(recipe, data)
                _claim(output, recipe)
                (output / "text").mkdir(exist_ok=True)
                say("text: reading")
            self.text = prepare_text(recipe, data, output / "text")
            if is_main():
                for line in _describe(self.text.statistics):
                    say(line)
            self.model, self.tokenizer = self._encoder()

    def train(self) -> Path:
        for position, stage in enumerate(self.recipe.stages):
            folder = self.output / "stages" / stage.name
            if (folder / _DONE).is_file():
                self.say(f"stage {stage.name}: done before")
                self.model = trainable(load_encoder(folder / "model").model)
            else:
                self._train_stage(stage, folder, seed=self.recipe.seed + position)
        final = self.output / "model"
        if is_main():
            shutil.copytree(self.output / "stages" / self.recipe.stages[-1].name / "model", final, dirs_exist_ok=True)
        wait_for_all()
        return final

    def _encoder(self) -> tuple[SentenceTransformer, PreTrainedTokenizerFast]:
        recipe = self.recipe
        if isinstance(recipe.backbone, PretrainedBackbone):
            torch.manual_seed(recipe.seed)
            model = load_backbone(recipe.backbone)
            if not isinstance(model.tokenizer, PreTrainedTokenizerFast):
                raise InputError(f"backbone.model: {recipe.backbone.model} has no fast tokenizer (tokenizer.json)")
            return model, model.tokenizer
        folder = self.output / "tokenizer"
        if not (folder / "tokenizer.json").is_file():
            started = time.monotonic()
            folder.mkdir(exist_ok=True)
            trained = train_tokenizer(
                self.text,
                recipe.tokenizer or TokenizerSettings(),
                folder=folder,
                max_length=recipe.backbone.max_length,
                seed=recipe.seed,
            )
            trained.save_pretrained(folder)
            self.say(f"tokenizer: {len(trained):,} pieces in {(time.monotonic() - started) / 60:.1f} minutes")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise MlretError(f"{folder} holds no fast tokenizer: remove it and train again")
        return build_backbone(recipe.backbone, tokenizer, folder=self.output / "backbone", seed=recipe.seed), tokenizer

    def _train_stage(self, stage: Stage, folder: Path, *, seed: int) -> None:
        started = time.monotonic()
        torch.manual_seed(seed)
        model, say = self.model, self.say
        if stage.layers == "none":
            restore_embedding_length(model)
        if (weights := token_weights(model)) is not None:
            # How much a token matters is learned from translations: what predicts a sentence's neighbours is its topic.
            weights.requires_grad_(isinstance(stage, AlignmentStage))
        pairs, loss, monitor = self._objective(stage, seed)
        say(
            f"stage {stage.name}: {sum(map(len, pairs.rows)):,} pairs in {len(pairs.languages)} groups, "
            f"{stage.steps:,} steps of {stage.batch_size * stage.gradient_accumulation:,}"
        )
        encoders = [model]
        if isinstance(loss, ContextPredictionLoss) and loss.momentum_model is not None:
            encoders.append(loss.momentum_model)
        with ExitStack() as words:
            if stage.layers == "none":
                for encoder in encoders:
                    words.enter_context(as_bag_of_words(encoder))
            with ExitStack() as parts:
                if stage.mini_batch_size is not None:
                    for encoder in encoders:
                        parts.enter_context(in_mini_batches(encoder, stage.mini_batch_size))
                history, warnings = train_stage(
                    stage, model, loss, pairs, self.tokenizer, folder, seed=seed, monitor=monitor, say=say
                )
            if is_main():
                self._finish(stage, folder, started, history, warnings)
        wait_for_all()

    def _finish(
        self, stage: Stage, folder: Path, started: float, history: list[dict[str, float]], warnings: list[str]
    ) -> None:
        calibration = fit_calibration(self.model, self.text, self.recipe.calibration, seed=self.recipe.seed)
        steps = [] if calibration is None else [calibration]
        encoder = Encoder(SentenceTransformer(modules=[*self.model.children(), Normalize(), *steps]))
        _save(encoder.model, folder / "model")
        minutes = (time.monotonic() - started) / 60
        done = {
            "stage": stage.name,
            "minutes": round(minutes, 1),
            "processes": ranks(),
            "calibration": encoder.calibration_languages,
            "warnings": warnings,
            "history": history,
        }
        write_text_atomically(folder / _DONE, json.dumps(done, indent=1))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self.say(f"stage {stage.name}: done in {minutes:.1f} minutes, encoder in {folder / 'model'}")

    def _objective(self, stage: Stage, seed: int) -> tuple[Pairs, nn.Module, ContextMonitor | None]:
        if isinstance(stage, AlignmentStage):
            loss = TranslationRankingLoss(self.model, temperature=stage.temperature)
            return TranslationPairs(self.text, self.tokenizer, stage), loss, None
        folder = self.output / "tokens"
        with main_first():
            folder.mkdir(exist_ok=True)
            documents = PackedDocuments.prepare(
                self.text.documents,
                self.text.statistics.documents,
                self.tokenizer,
                folder,
                max_length=self.recipe.backbone.max_length,
            )
        pairs = ContextPairs(documents, stage, seed=self.recipe.seed)
        loss_ = self._context_loss(stage, len(pairs.languages))
        monitor = ContextMonitor(
            loss_,
            self.model,
            pairs.held_out,
            Padding(self.tokenizer, max_length=stage.max_length),
            warmup=max(stage.batch_norm_warmup, int(stage.warmup * stage.steps)),
        )
        return pairs, loss_, monitor

    def _context_loss(self, stage: ContextStage, languages: int) -> ContextPredictionLoss:
        backbone = self.recipe.backbone
        pretrained = backbone.model if isinstance(backbone, PretrainedBackbone) else None
        return ContextPredictionLoss(
            self.model,
            languages=languages,
            bank=stage.bank,
            bank_per_language=stage.bank_per_language,
            bank_dtype=getattr(torch, stage.bank_dtype),
            own_side_negatives=stage.own_side_negatives,
            other_side_negatives=stage.other_side_negatives,
            projection=stage.projection,
            final_batch_norm=stage.final_batch_norm,
            temperature=stage.temperature,
            learn_temperature=stage.learn_temperature,
            asymmetric_batch_norm=stage.asymmetric_batch_norm,
            statistics_per_language=stage.statistics_per_language,
            batch_norm_warmup=stage.batch_norm_warmup,
            momentum=stage.momentum,
            masked_language_model=(
                MaskedLanguageModel(self.model, pretrained=pretrained) if stage.mlm_weight else None
            ),
            masked_language_model_weight=stage.mlm_weight,
        )


def _claim(output: Path, recipe: Recipe) -> None:
    """Mark a folder as the run of a recipe; a run of another recipe is never overwritten."""
    mark = output / "recipe.json"
    wanted = recipe.model_dump_json(indent=1)
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != wanted:
            raise InputError(f"{output} holds a run of another recipe: name another --output, or remove it")
        return
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty and holds no run: name another --output")
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(mark, wanted)


def _describe(statistics: TextStatistics) -> list[str]:
    """A table of the text by language, and what the filters dropped."""
    columns = {name: getattr(statistics, name) for name in ("documents", "sentences", "characters", "pairs")}
    codes = sorted(
        statistics.documents.keys() | statistics.pairs.keys(),
        key=lambda code: [-column[code] for column in columns.values()],
    )
    rows = [(code, [column[code] for column in columns.values()]) for code in codes]
    rows.append((f"all {len(codes)}", [column.total() for column in columns.values()]))
    lines = [f"text: {'language':<10}" + "".join(f"{name:>14}" for name in columns)]
    lines += [f"      {name:<10}" + "".join(f"{value:>14,}" for value in values) for name, values in rows]
    lines.append(
        f"text: dropped {statistics.removed_held_out:,} that occur in held-out text; repeated "
        f"{statistics.removed_documents:,} documents, {statistics.removed_sentences:,} sentences, "
        f"{statistics.removed_pairs:,} pairs"
    )
    return lines


def _save(model: SentenceTransformer, folder: Path) -> None:
    """Write a model beside its place and move it there, so that a folder is whole or absent."""
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save(str(beside), create_model_card=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)
