"""Add a language to an encoder: train an adapter for it on running text alone."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from mlret.data.languages import normalise_language
from mlret.encoders.adapters import copy_adapter
from mlret.encoders.multi_vector import load_any_in_torch
from mlret.errors import InputError
from mlret.training.adapter_settings import AdapterSettings
from mlret.training.progress import Say
from mlret.training.recipe import PretrainedBackbone, Recipe, problem_of
from mlret.training.run import save_atomically, train
from mlret.training.sources import DocumentSource
from mlret.training.stages import MaskedStage

_DEFAULT = AdapterSettings()


def train_adapter(
    model: str,
    language: str,
    text: Sequence[Path],
    output: Path,
    settings: AdapterSettings = _DEFAULT,
    *,
    held_out: Sequence[Path] = (),
    say: Say,
) -> Path:
    """Add a language to an encoder with language adapters, by masked language modelling on text in that language.

    This follows Pfeiffer and others 2022 (arXiv 2205.06266), as used by ColBERT-XM (arXiv 2402.15059): a new adapter in
    every layer is trained, and all other weights stay the same bit for bit, so that every other language keeps its
    vectors. If the language already has an adapter, that one is trained further.

    Parameters
    ----------
    model
        Folder or hub id of an encoder with one vector for each text or for each token. One without adapters is first
        made modular by :func:`mlret.encoders.adapters.with_adapters`.
    language
        The language to add.
    text
        Files of running text: JSONL, Parquet, or plain text. Documents that name another language are skipped.
    output
        Folder of the run. An interrupted run resumes from its last checkpoint.
    settings
        How the adapter is trained.
    held_out
        Files whose sentences are excluded from training.
    say
        Called with each line of progress.

    Returns
    -------
    pathlib.Path
        Folder of the encoder with the new language: ``output/model``.

    Raises
    ------
    InputError
        If a number is out of range, the encoder has no adapters, ``settings.start`` has none, ``settings.head`` is no
        masked language model for the encoder, or there is no text in the language.
    """
    code = normalise_language(language)
    try:
        recipe = Recipe(
            name=f"adapter-{code}",
            description=f"An adapter for {code}.",
            seed=settings.seed,
            languages=[code],
            held_out=[_from_root(path) for path in held_out],
            sources=[DocumentSource(kind="documents", files=[_from_root(path) for path in text], language=code)],
            backbone=PretrainedBackbone(kind="pretrained", model=settings.base or model),
            stages=[
                MaskedStage(
                    name="mlm",
                    objective="mlm",
                    adapter=code,
                    **settings.model_dump(exclude={"base", "seed"}),
                )
            ],
        )
    except ValidationError as error:
        raise InputError(problem_of(error)) from error
    if settings.base is None:
        return train(recipe, Path("/"), output, say=say)
    encoder = load_any_in_torch(model)  # before hours of training
    trained = load_any_in_torch(train(recipe, Path("/"), output / "base", say=say))
    copy_adapter(trained.model, encoder.model, code)
    save_atomically(encoder.model, output / "model")
    return output / "model"


def _from_root(path: Path) -> str:
    # A recipe names files by patterns relative to its data folder. These files may be anywhere, under any name.
    return glob.escape(str(path.resolve().relative_to("/")))
