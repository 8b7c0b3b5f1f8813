"""Teach an encoder one more language: an adapter of its own, learned from running text alone."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from mlret.data.languages import normalise_language
from mlret.encoders.adapters import copy_adapter
from mlret.encoders.multi_vector import load_any_encoder
from mlret.errors import InputError
from mlret.training.progress import Say
from mlret.training.recipe import PretrainedBackbone, Recipe, problem_of
from mlret.training.run import save_whole, train
from mlret.training.sources import DocumentSource
from mlret.training.stages import MaskedStage


def train_adapter(
    model: str,
    language: str,
    text: Sequence[Path],
    output: Path,
    *,
    base: str | None = None,
    start: str | None = None,
    head: str | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    max_length: int = 128,
    learning_rate: float = 1e-4,
    bfloat16: bool = True,
    held_out: Sequence[Path] = (),
    seed: int = 42,
    say: Say,
) -> Path:
    """Add a language to an encoder with language adapters, by masked language modelling on its text.

    Pfeiffer and others 2022 (arXiv 2205.06266), as ColBERT-XM uses it (arXiv 2402.15059): a fresh adapter in every
    layer learns, all other weights stay bit for bit, so that every other language keeps its vectors. A language
    that has an adapter already is trained further.

    Parameters
    ----------
    model
        A folder or hub id, of one vector a text or a token; one without adapters is made modular by
        :func:`mlret.encoders.adapters.with_adapters` first.
    language
        The new one.
    text
        Files of running text: JSONL, Parquet, or plain text. Documents that name another language are left out.
    output
        The run's folder. An interrupted run goes on from its last checkpoint.
    base
        The encoder that ``model`` was fine-tuned from: the adapter learns on its shared weights, which know masked
        words, and is then put into ``model``, as in ColBERT-XM. By default it learns on the model's own.
    start
        The language whose adapter the new one is copied from; by default it starts at random.
    head
        A masked language model whose prediction head is taken and kept; by default that of the model, if it has one,
        else a new head learns beside the adapter.
    steps, batch_size, max_length, learning_rate, bfloat16
        Of the training; a batch holds passages of ``max_length`` tokens.
    held_out
        Files whose sentences are not trained on.
    seed
        Of the adapter and the batches.
    say
        Takes a line of progress.

    Returns
    -------
    pathlib.Path
        The encoder with the new language: ``output/model``.

    Raises
    ------
    InputError
        If a number is out of range, the encoder has no adapters, ``start`` has none, ``head`` is no masked language
        model for the encoder, or there is no text in the language.
    """
    code = normalise_language(language)
    try:
        recipe = Recipe(
            name=f"adapter-{code}",
            description=f"An adapter for {code}.",
            seed=seed,
            languages=[code],
            held_out=[_from_root(path) for path in held_out],
            sources=[DocumentSource(kind="documents", files=[_from_root(path) for path in text], language=code)],
            backbone=PretrainedBackbone(kind="pretrained", model=base or model),
            stages=[
                MaskedStage(
                    name="mlm",
                    objective="mlm",
                    adapter=code,
                    start=start,
                    head=head,
                    steps=steps,
                    batch_size=batch_size,
                    max_length=max_length,
                    learning_rate=learning_rate,
                    bfloat16=bfloat16,
                )
            ],
        )
    except ValidationError as error:
        raise InputError(problem_of(error)) from error
    if base is None:
        return train(recipe, Path("/"), output, say=say)
    encoder = load_any_encoder(model)
    trained = load_any_encoder(train(recipe, Path("/"), output / "base", say=say))
    copy_adapter(trained.model, encoder.model, code)
    save_whole(encoder.model, output / "model")
    return output / "model"


def _from_root(path: Path) -> str:
    # A recipe names files by patterns below its data folder; these may lie anywhere, under any name.
    return glob.escape(str(path.resolve().relative_to("/")))
