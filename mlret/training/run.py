"""Run a recipe: text, tokenizer, stages, calibration. Every step resumes where it was interrupted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import nn
from transformers import PreTrainedTokenizerFast

from mlret.data.durable import write_text_atomically
from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.errors import InputError, MlretError, require
from mlret.training.alignment import TranslationRankingLoss
from mlret.training.backbone import as_bag_of_words, build_backbone, fix_embedding_norm, restore_embedding_length
from mlret.training.ccp import ContextPredictionLoss
from mlret.training.pack import PackedTexts, TextPairs, pack_documents, pack_pairs
from mlret.training.recipe import AlignmentStage, CalibrationSettings, ContextStage, Recipe, Stage
from mlret.training.text import TrainingText, is_sentence, read_training_text
from mlret.training.tokenizer import train_tokenizer
from mlret.training.trainer import train_stage

_DONE = "done.json"

Say = Callable[[str], None]


def train(recipe: Recipe, data: Path, output: Path, *, say: Say) -> Path:
    """Train an encoder from a recipe.

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
        If the text cannot be read, or ``output`` holds a run of another recipe.
    """
    for module in ("datasets", "accelerate", "sentencepiece"):
        require(module, extra="train", feature="training")
    text = read_training_text(recipe, data)
    say(
        f"text: {len(text.documents):,} documents, {len(text.pairs):,} pairs; dropped {text.removed_held_out:,} "
        f"that occur in held-out text and {text.removed_duplicates:,} repeated"
    )
    _claim(output, recipe)
    write_text_atomically(output / "text.json", json.dumps(_statistics(text), indent=1))
    tokenizer = _tokenizer(recipe, text, output, say)
    model = build_backbone(recipe.backbone, tokenizer, folder=output / "backbone", seed=recipe.seed)
    for position, stage in enumerate(recipe.stages):
        folder = output / "stages" / stage.name
        if (folder / _DONE).is_file():
            say(f"stage {stage.name}: done before")
            trained = load_encoder(folder / "model").model
            model = fix_embedding_norm(SentenceTransformer(modules=list(trained.children())[:-2]))
            continue
        started = time.monotonic()
        torch.manual_seed(recipe.seed + position)
        texts, pairs, loss = _prepare(stage, text, tokenizer, model, seed=recipe.seed + position)
        say(f"stage {stage.name}: {len(pairs):,} pairs in {len(pairs.languages)} groups, {stage.steps:,} steps")
        depth = as_bag_of_words if stage.layers == "none" else nullcontext
        if stage.layers == "none":
            restore_embedding_length(model)
        # How much a token matters is learned from translations: what predicts a sentence's neighbours is its topic.
        model[1].requires_grad_(isinstance(stage, AlignmentStage))
        with depth(model):
            history = train_stage(
                stage, model, loss, texts, pairs, tokenizer, folder / "checkpoints", recipe.seed + position
            )
            calibration = fit_calibration(model, text, recipe.calibration, seed=recipe.seed)
        encoder = Encoder(SentenceTransformer(modules=[*model.children(), Normalize(), calibration]))
        _save(encoder.model, folder / "model")
        minutes = (time.monotonic() - started) / 60
        done = {
            "stage": stage.name,
            "minutes": round(minutes, 1),
            "calibration": encoder.calibration_languages,
            "history": history,
        }
        write_text_atomically(folder / _DONE, json.dumps(done, indent=1))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        say(f"stage {stage.name}: done in {minutes:.1f} minutes, encoder in {folder / 'model'}")
    final = output / "model"
    shutil.copytree(output / "stages" / recipe.stages[-1].name / "model", final, dirs_exist_ok=True)
    return final


def fit_calibration(
    model: SentenceTransformer, text: TrainingText, settings: CalibrationSettings, *, seed: int
) -> Calibration:
    """The calibration of a trained backbone, fitted on monolingual text."""
    sentences = monolingual_sentences(text, settings, seed=seed)
    vectors = Encoder(model).encode([line for lines in sentences.values() for line in lines], batch_size=256)
    ends = np.cumsum([len(lines) for lines in sentences.values()])
    embeddings = dict(zip(sentences, np.split(vectors, ends[:-1]), strict=True))
    return Calibration.fit(embeddings, shift=settings.shift, scale=settings.scale)


def monolingual_sentences(text: TrainingText, settings: CalibrationSettings, *, seed: int) -> dict[str, list[str]]:
    """At most ``settings.sentences`` different sentences of each language, drawn at random, whatever their source."""
    pools: dict[str, set[str]] = {}
    for document in text.documents:
        pools.setdefault(document.language, set()).update(document.sentences)
    for pair in text.pairs:
        # Single words lie elsewhere than sentences; the mean is wanted of sentences.
        if is_sentence(pair.target):
            pools.setdefault(pair.language, set()).add(pair.target)
    random = np.random.default_rng(seed)
    drawn = {}
    for language, pool in sorted(pools.items()):
        if len(pool) >= settings.min_sentences:
            lines = sorted(pool)
            rows = random.choice(len(lines), min(len(lines), settings.sentences), replace=False)
            drawn[language] = [lines[row] for row in rows]
    return drawn


def _prepare(
    stage: Stage,
    text: TrainingText,
    tokenizer: PreTrainedTokenizerFast,
    model: SentenceTransformer,
    *,
    seed: int,
) -> tuple[PackedTexts, TextPairs, nn.Module]:
    loss: nn.Module
    if isinstance(stage, ContextStage):
        texts, pairs = pack_documents(text, tokenizer, stage, seed=seed)
        loss = ContextPredictionLoss(
            model,
            languages=len(pairs.languages),
            bank=stage.bank,
            projection=stage.projection,
            temperature=stage.temperature,
            asymmetric_batch_norm=stage.asymmetric_batch_norm,
            batch_norm_warmup=stage.batch_norm_warmup,
        )
    else:
        texts, pairs = pack_pairs(text, tokenizer, stage)
        loss = TranslationRankingLoss(model, temperature=stage.temperature)
    return texts, pairs, loss


def _tokenizer(recipe: Recipe, text: TrainingText, output: Path, say: Say) -> PreTrainedTokenizerFast:
    folder = output / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        started = time.monotonic()
        folder.mkdir(exist_ok=True)
        tokenizer = train_tokenizer(
            text, recipe.tokenizer, folder=folder, max_length=recipe.backbone.max_length, seed=recipe.seed
        )
        tokenizer.save_pretrained(folder)
        say(f"tokenizer: {len(tokenizer):,} pieces in {(time.monotonic() - started) / 60:.1f} minutes")
    loaded = PreTrainedTokenizerFast.from_pretrained(folder)
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise MlretError(f"{folder} holds no fast tokenizer: remove it and train again")
    return loaded


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


def _statistics(text: TrainingText) -> dict[str, Any]:
    sentences: dict[str, int] = {}
    pairs: dict[str, int] = {}
    for document in text.documents:
        sentences[document.language] = sentences.get(document.language, 0) + len(document.sentences)
    for pair in text.pairs:
        pairs[pair.language] = pairs.get(pair.language, 0) + 1
    return {
        "documents": len(text.documents),
        "sentences": dict(sorted(sentences.items())),
        "pairs": dict(sorted(pairs.items())),
        "removed_held_out": text.removed_held_out,
        "removed_duplicates": text.removed_duplicates,
    }


def _save(model: SentenceTransformer, folder: Path) -> None:
    """Write a model beside its place and move it there, so that a folder is whole or absent."""
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save(str(beside), create_model_card=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)
