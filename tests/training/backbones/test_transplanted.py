"""Test recipes whose backbone has another encoder's layers and a multilingual vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentence_transformers.base.modules import Normalize

from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.run import train
from tests.training.conftest import ENGLISH, SHAPE
from tests.vocabulary.made import english_encoder


def test_a_bag_of_words_an_english_encoder_and_its_lessons_make_an_encoder(
    small_recipe: Recipe, world: Path, tmp_path: Path
) -> None:
    words = train(
        small_recipe.model_copy(update={"stages": small_recipe.stages[:1]}), world, tmp_path / "words", say=str
    )
    donor = english_encoder(tmp_path, ENGLISH)
    donor.append(Normalize())
    donor.save(str(tmp_path / "donor"))
    settings = small_recipe.model_dump()
    settings["tokenizer"] = None
    settings["backbone"] = {
        "kind": "transplanted", "model": str(tmp_path / "donor"), "vocabulary": str(words), "max_length": 24,
        "neighbours": 3,
    }  # fmt: skip
    settings["stages"] = [
        {"name": "taught", "objective": "translation-distillation", "teacher": str(tmp_path / "donor"), **SHAPE}
    ]
    made = load_encoder(train(Recipe.model_validate(settings), world, tmp_path / "run", say=str))
    assert made.dims == 32 and len(made.model[0].model.encoder.layer) == 2
    assert made.model.tokenizer.get_vocab() == load_encoder(words).model.tokenizer.get_vocab()
    assert made.calibration_languages == ["en", "sw"]
    settings["backbone"]["neighbours"] = 21
    with pytest.raises(InputError, match="20 words of the donor's language are too few"):
        train(Recipe.model_validate(settings), world, tmp_path / "other", say=str)
