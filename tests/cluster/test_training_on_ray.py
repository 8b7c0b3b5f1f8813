"""Test that two processes that Ray starts train the encoder that one process trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlret.cluster.training import train_on_ray
from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.run import train
from tests.training.test_ranks import assert_same

pytestmark = pytest.mark.cluster


@pytest.fixture
def recipe(small_recipe: Recipe) -> Recipe:
    settings = small_recipe.model_dump()
    # Like SGD, because Adam's first steps divide by the size of the gradients and amplify rounding.
    settings["stages"] = [stage | {"adam_epsilon": 1e-2, "gradient_accumulation": 2} for stage in settings["stages"]]
    return Recipe.model_validate(settings)


def test_two_workers_train_the_encoder_that_one_process_trains(
    nodes: Callable[[int], Any], world: Path, recipe: Recipe, tmp_path: Path
) -> None:
    train(recipe, world, tmp_path / "one", say=str)
    cluster = nodes(2)
    trained = train_on_ray(recipe, world, tmp_path / "two", address=cluster.address, workers=2)
    assert (trained / "modules.json").is_file()
    for stage in ("words", "deep", "align"):
        files = ("model.safetensors", "1_TokenWeights/model.safetensors", "4_Calibration/calibration.safetensors")
        assert_same(tmp_path, stage, *files)

    settings = recipe.model_dump()
    settings["stages"][0]["batch_size"] = 15
    with pytest.raises(InputError, match="batch_size 15 cannot be shared by 2 processes"):
        train_on_ray(Recipe.model_validate(settings), world, tmp_path / "odd", address=cluster.address, workers=2)
