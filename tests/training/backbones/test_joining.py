"""Test bags of words that are joined into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.backbones.joining import join_words
from mlret.training.recipe import NewBackbone, Recipe
from mlret.training.run import train

TEXTS = [f"{a} {b} {c}" for a in ("sun", "jua", "rain") for b in ("mvua", "tree", "mti") for c in ("fish", "samaki")]


@pytest.fixture
def bags(small_recipe: Recipe, world: Path, tmp_path: Path) -> list[Encoder]:
    found = []
    for seed in (1, 2):
        recipe = small_recipe.model_copy(update={"stages": small_recipe.stages[:1], "seed": seed})
        folder = tmp_path / str(seed)
        if seed == 2:  # the same vocabulary
            recipe = recipe.model_copy(update={"seed": 1})
            recipe = Recipe.model_validate(recipe.model_dump() | {"stages": [
                recipe.stages[0].model_dump() | {"steps": 12, "learning_rate": 5e-3}]})  # fmt: skip
        found.append(load_encoder(train(recipe, world, folder, say=str), device="cpu"))
    return found


def test_with_all_dimensions_cosines_are_those_of_the_sums_side_by_side(bags: list[Encoder], tmp_path: Path) -> None:
    many = [f"{text} {other}" for text in TEXTS for other in TEXTS[:8]]
    backbone = NewBackbone(layers=1, hidden=66, heads=2, feed_forward=32, max_length=32)
    joined = Encoder(join_words(bags, [0.5, 0.5], many, backbone=backbone, folder=tmp_path / "b", seed=0))
    parts = [bag.encode(TEXTS, calibrate=False) for bag in bags]
    mean = sum(part @ part.T for part in parts) / 2
    found = joined.encode(TEXTS)
    assert np.corrcoef((found @ found.T).ravel(), mean.ravel())[0, 1] > 0.99
    # The first dimensions carry the most.
    energy = (found**2).mean(axis=0)
    assert energy[:22].sum() > 2 * energy[-22:].sum()
    saved = tmp_path / "saved"
    joined.model.save(str(saved))
    assert np.allclose(load_encoder(saved, device="cpu").encode(TEXTS), found, atol=1e-5)


def test_other_vocabularies_and_too_few_texts_are_refused(
    bags: list[Encoder], tiny_encoder: Encoder, tmp_path: Path
) -> None:
    backbone = NewBackbone(layers=1, hidden=32, heads=2, feed_forward=32, max_length=32)
    with pytest.raises(InputError, match="has another vocabulary"):
        join_words([bags[0], tiny_encoder], [0.5, 0.5], TEXTS, backbone=backbone, folder=tmp_path / "b", seed=0)
    with pytest.raises(InputError, match="texts are too few to find the axes of 64 dimensions"):
        join_words(bags, [0.5, 0.5], TEXTS, backbone=backbone, folder=tmp_path / "b", seed=0)
    with pytest.raises(InputError, match="a share above 0 for each"):
        join_words(bags, [1.0, 0.0], TEXTS, backbone=backbone, folder=tmp_path / "b", seed=0)
