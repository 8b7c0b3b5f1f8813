"""Two processes train as one does with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from mlret.training.recipe import Recipe
from mlret.training.run import train


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_train_the_encoder_that_one_trains(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    settings = small_recipe.model_dump()
    # SGD-like: Adam's first steps divide by the gradients' own size and blow rounding up.
    for stage in settings["stages"]:
        stage |= {"adam_epsilon": 1e-2, "gradient_accumulation": 2}
    settings["stages"][1] |= {"mlm_weight": 0.0, "mini_batch_size": 4}
    recipe = Recipe.model_validate(settings)
    alone = train(recipe, world, tmp_path / "one", say=str)

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(_free_port()),
        "-m", "mlret", "train", str(path), "--data", str(world), "--output", str(tmp_path / "two"),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stderr.count("text: reading") == 1  # one process speaks

    for stage in ("words", "deep", "align"):
        for name in ("model.safetensors", "1_TokenWeights/model.safetensors", "4_Calibration/calibration.safetensors"):
            paths = [tmp_path / run / "stages" / stage / "model" / name for run in ("one", "two")]
            one, two = (load_file(path) for path in paths)
            for key, value in one.items():
                torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    assert (alone / "modules.json").is_file()
