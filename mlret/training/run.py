"""Run a recipe: read text, train the tokenizer, run the stages, calibrate. Every step resumes after an interruption."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from pydantic import ValidationError
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Normalize
from transformers import PreTrainedTokenizerFast

from mlret.data.durable import write_text_atomically
from mlret.encoders.bag_of_words import token_weights
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import load_any_encoder
from mlret.errors import InputError, MlretError, require
from mlret.training.backbones.backbone import (
    AnyModel,
    as_bag_of_words,
    as_transformer_alone,
    assembled,
    build_backbone,
    in_mini_batches,
    load_backbone,
    restore_embedding_length,
    trainable,
)
from mlret.training.backbones.transplanted import build_transplanted
from mlret.training.batches.examples import RankingExamples, remember_instructions
from mlret.training.calibrate import fit_calibration
from mlret.training.computing import attention_as_products, in_bfloat16
from mlret.training.few_bits import in_few_bits
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.masking import MaskedObjective
from mlret.training.objectives.objective import Objective, ObjectiveBuilder, check_stage
from mlret.training.progress import Say
from mlret.training.ranks import is_main, main_first, ranks, wait_for_all
from mlret.training.recipe import NewBackbone, PretrainedBackbone, Recipe, TokenizerSettings, TransplantedBackbone
from mlret.training.sources import DocumentSource, ExampleSource
from mlret.training.stages import (
    AlignmentStage,
    MaskedStage,
    RankingStage,
    Stage,
    TranslationDistillationStage,
)
from mlret.training.text.own_text import held_out_files, is_own
from mlret.training.text.tokenizer import choose_tokens, train_tokenizer
from mlret.training.text.training_text import TextStatistics, prepare_text, source_files
from mlret.training.trainer import train_stage

_DONE = "done.json"


def train(recipe: Recipe, data: Path, output: Path, *, say: Say) -> Path:
    """Train an encoder from a recipe.

    Under ``torchrun`` every process calls this function; only the first one writes files and reports progress.

    Parameters
    ----------
    recipe
        What to train.
    data
        The folder that the recipe's file patterns are relative to.
    output
        The run's folder. An interrupted run of the same recipe resumes from its last checkpoint.
    say
        Called with each line of progress.

    Returns
    -------
    pathlib.Path
        The folder of the trained encoder, in sentence-transformers' format: ``output/model``. Each stage also leaves
        its encoder, in ``output/stages/NAME/model``.

    Raises
    ------
    InputError
        If the text cannot be read, a model cannot be loaded, or ``output`` contains a run of another recipe.
    """
    for module in ("datasets", "accelerate", "sentencepiece"):
        require(module, extra="train", feature="training")
    # Join the processes that torchrun started. They wait while the first one reads text and trains the tokenizer.
    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))
    return _Run(recipe, data, output, say if is_main() else _print_nothing).train()


def _print_nothing(line: str) -> None:
    """Discard a line of progress; processes other than the first do not report."""


class _Run:
    """State of one run of a recipe, in its own folder."""

    def __init__(self, recipe: Recipe, data: Path, output: Path, say: Say) -> None:
        for stage in recipe.stages:
            if stage.batch_size % ranks():
                raise InputError(
                    f"stage {stage.name!r}: batch_size {stage.batch_size} cannot be shared by {ranks()} processes; "
                    f"make it a multiple of {ranks()}"
                )
        self.recipe, self.data, self.output, self.say = recipe, data, output, say
        with main_first():
            if is_main():
                source_files(recipe, data, excluded=output)
                for line in _own_text(recipe, data):
                    say(line)
            existing = self._pretrained()
            if is_main():
                _claim(output, recipe)
                (output / "text").mkdir(exist_ok=True)
                say("text: reading")
            self.text = prepare_text(recipe, data, output / "text")
            if is_main():
                for line in _describe(self.text.statistics):
                    say(line)
            model = existing or self._new_encoder()
        self.model, self.tail = trainable(model)
        tokenizer = self.model.tokenizer
        assert isinstance(tokenizer, PreTrainedTokenizerFast)
        self.objectives = ObjectiveBuilder(recipe, self.text, tokenizer, output)

    def train(self) -> Path:
        for position, stage in enumerate(self.recipe.stages):
            folder = self.output / "stages" / stage.name
            if (folder / _DONE).is_file():
                self.say(f"stage {stage.name}: done before")
                self.model, self.tail = trainable(load_any_encoder(folder / "model").model)
            else:
                self._train_stage(stage, folder, seed=self.recipe.seed + position)
        final = self.output / "model"
        if is_main():
            shutil.copytree(self.output / "stages" / self.recipe.stages[-1].name / "model", final, dirs_exist_ok=True)
        wait_for_all()
        return final

    def _pretrained(self) -> AnyModel | None:
        """Load the model that the recipe starts from, and check it against all stages before any text is read.

        Returns ``None`` if the recipe does not start from a pretrained model.
        """
        recipe = self.recipe
        if not isinstance(recipe.backbone, PretrainedBackbone):
            return None
        torch.manual_seed(recipe.seed)
        model = load_backbone(recipe.backbone, recipe.multi_vector, seed=recipe.seed)
        if not isinstance(model.tokenizer, PreTrainedTokenizerFast):
            raise InputError(f"backbone.model: {recipe.backbone.model} has no fast tokenizer (tokenizer.json)")
        for stage in recipe.stages:
            check_stage(stage, model)
        return model

    def _new_encoder(self) -> SentenceTransformer:
        recipe = self.recipe
        if isinstance(recipe.backbone, TransplantedBackbone):
            return build_transplanted(recipe.backbone, self.text, self.output / "backbone")
        assert isinstance(recipe.backbone, NewBackbone)
        folder = self.output / "tokenizer"
        if not (folder / "tokenizer.json").is_file():
            started = time.monotonic()
            folder.mkdir(exist_ok=True)
            settings = recipe.tokenizer or TokenizerSettings()
            limits = {"max_length": recipe.backbone.max_length, "seed": recipe.seed}
            if settings.pieces is None:
                trained = train_tokenizer(self.text, settings, folder=folder, **limits)
            else:
                trained = choose_tokens(self.text, settings, self.data / settings.pieces, **limits)
            trained.save_pretrained(folder)
            self.say(f"tokenizer: {len(trained):,} tokens in {(time.monotonic() - started) / 60:.1f} minutes")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise MlretError(f"{folder} holds no fast tokenizer: remove it and train again")
        return build_backbone(recipe.backbone, tokenizer, folder=self.output / "backbone", seed=recipe.seed)

    def _train_stage(self, stage: Stage, folder: Path, *, seed: int) -> None:
        started = time.monotonic()
        torch.manual_seed(seed)
        model, say = self.model, self.say
        with ExitStack() as for_this_stage:
            for_this_stage.enter_context(_frozen_parts_restored(model))
            if stage.layers == "none":
                restore_embedding_length(model)
            if (weights := token_weights(model)) is not None:
                # Train the token weights on translations only: context prediction would give weight to the words of a
                # sentence's topic.
                weights.requires_grad_(isinstance(stage, AlignmentStage | TranslationDistillationStage))
            objective = self.objectives(stage, model)
            say(_outline(stage, objective))
            encoders = [model]
            if isinstance(objective.loss, ContextPredictionLoss) and objective.loss.momentum_model is not None:
                encoders.append(objective.loss.momentum_model)
            if stage.layers == "none":
                for encoder in encoders:
                    for_this_stage.enter_context(as_bag_of_words(encoder))
            with ExitStack() as parts:
                if isinstance(stage, MaskedStage):
                    parts.enter_context(as_transformer_alone(model))
                if in_bfloat16(stage) and not torch.cuda.is_available():
                    parts.enter_context(attention_as_products(model))
                if stage.few_bits is not None:
                    parts.enter_context(in_few_bits(model, **stage.few_bits.model_dump()))
                if stage.mini_batch_size is not None:
                    for encoder in encoders:
                        parts.enter_context(in_mini_batches(encoder, stage.mini_batch_size))
                history, warnings = train_stage(stage, model, objective, folder, seed=seed, say=say)
            if is_main():
                self._finish(stage, objective, folder, started, history, warnings)
        wait_for_all()

    def _finish(
        self,
        stage: Stage,
        objective: Objective,
        folder: Path,
        started: float,
        history: list[dict[str, float]],
        warnings: list[str],
    ) -> None:
        model = self.model
        if isinstance(stage, RankingStage):
            remember_instructions(model, self.recipe.instructions)
        if isinstance(model, SentenceTransformer):
            if not (
                isinstance(stage, MaskedStage) and stage.adapter
            ):  # training one adapter does not change other languages
                calibration = fit_calibration(model, self.text, self.recipe.calibration, seed=self.recipe.seed)
                self.tail = [Normalize(), *([] if calibration is None else [calibration])]
            model = assembled([*model.children(), *self.tail], model)
        if isinstance(objective.loss, MaskedObjective):
            objective.loss.language_model.save(folder / "language-model")
        save_atomically(model, folder / "model")
        minutes = (time.monotonic() - started) / 60
        done = {
            "stage": stage.name,
            "minutes": round(minutes, 1),
            "processes": ranks(),
            "calibration": [] if isinstance(model, MultiVectorEncoder) else Encoder(model).calibration_languages,
            "warnings": warnings,
            "history": history,
        }
        write_text_atomically(folder / _DONE, json.dumps(done, indent=1))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        self.say(f"stage {stage.name}: done in {minutes:.1f} minutes, encoder in {folder / 'model'}")


@contextmanager
def _frozen_parts_restored(model: BaseModel) -> Iterator[None]:
    """Restore every parameter's ``requires_grad`` on exit, so that a stage freezes parameters for itself only."""
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    yield
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(before.get(name, True))


def _outline(stage: Stage, objective: Objective) -> str:
    examples = objective.examples
    groups = sum(1 for rows in examples.rows if len(rows))
    dropped = examples.dropped if isinstance(examples, RankingExamples) else 0
    return (
        f"stage {stage.name}: {sum(map(len, examples.rows)):,} {objective.unit} in {groups} groups, "
        f"{stage.steps:,} steps of {stage.batch_size * stage.gradient_accumulation:,}"
        + (f"; {dropped:,} skipped with too few scored passages" if dropped else "")
    )


def _claim(output: Path, recipe: Recipe) -> None:
    """Mark a folder as the run of a recipe, creating it if necessary; never overwrite a run of another recipe."""
    mark = output / "recipe.json"
    wanted = recipe.model_dump_json(indent=1)
    if mark.is_file():
        if not _is_recipe(mark.read_text(encoding="utf-8"), recipe):
            raise InputError(f"{output} holds a run of another recipe: name another output folder, or remove it")
        return
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty and holds no run: name another output folder")
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(mark, wanted)


def _is_recipe(written: str, recipe: Recipe) -> bool:
    """Whether the recipe stored by a run equals ``recipe``; keys added by a later version take their defaults."""
    try:
        return Recipe.model_validate_json(written) == recipe
    except ValidationError:
        return False


def _own_text(recipe: Recipe, root: Path) -> list[str]:
    """Return warnings and notes for a recipe that runs on other data than it was written for."""
    lines = []
    _, missing = held_out_files(recipe, root)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        lines.append(
            f"warning: {root} does not have the held-out {missing[0]}{more}: skipped, so that text of these test sets "
            "may be trained on; put the files there before you measure on them"
        )
    for source in recipe.sources:
        if isinstance(source, DocumentSource | ExampleSource) and is_own(source, root):
            what = "text file" if isinstance(source, DocumentSource) else "file of examples"
            lines.append(f"text: {root} has no {source.files[0]}: taking every {what} in it")
    return lines


def _describe(statistics: TextStatistics) -> list[str]:
    """Return the lines of a table of the text by language, followed by what the filters removed."""
    columns = {
        name: getattr(statistics, name) for name in ("documents", "sentences", "characters", "pairs", "examples")
    }
    codes = sorted(
        columns["documents"].keys() | columns["pairs"].keys() | columns["examples"].keys(),
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


def save_atomically(model: BaseModel, folder: Path) -> None:
    """Save an encoder to a temporary folder and then move it into place, so that ``folder`` is never incomplete."""
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save(str(beside), create_model_card=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)
