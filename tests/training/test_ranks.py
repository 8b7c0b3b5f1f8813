"""Test that two processes train the same encoder as one with the whole batch."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mlret.training.recipe import Recipe
from mlret.training.run import train
from tests.training.conftest import retrieval_recipe

pytestmark = pytest.mark.thorough  # each starts two processes of its own, which load torch


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _by_two(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as two processes of torchrun."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(_free_port()),
        *arguments,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def trained_by_two(recipe: Recipe, data: Path, folder: Path) -> None:
    """Train into ``folder`` / "two" under torchrun."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    finished = _by_two("-m", "mlret", "train", str(path), "--data", str(data), "--output", str(folder / "two"))
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stderr.count("text: reading") == 1  # only one process prints


def assert_same(folder: Path, stage: str, *names: str) -> None:
    """Check that the runs "one" and "two" have the same weights."""
    for name in names:
        one, two = (load_file(folder / run / "stages" / stage / "model" / name) for run in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_two_processes_train_the_encoder_that_one_trains(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    settings = small_recipe.model_dump()
    # Like SGD, because Adam's first steps divide by the size of the gradients and amplify rounding.
    for stage in settings["stages"]:
        stage |= {"adam_epsilon": 1e-2, "gradient_accumulation": 2}
    settings["stages"][1] |= {"mlm_weight": 0.0, "mini_batch_size": 4}
    recipe = Recipe.model_validate(settings)
    alone = train(recipe, world, tmp_path / "one", say=str)
    trained_by_two(recipe, world, tmp_path)
    for stage in ("words", "deep", "align"):
        files = ("model.safetensors", "1_TokenWeights/model.safetensors", "4_Calibration/calibration.safetensors")
        assert_same(tmp_path, stage, *files)
    assert (alone / "modules.json").is_file()


@pytest.mark.parametrize("kind", ["dense", "tokens"])
def test_two_processes_rank_as_one_does(kind: str, data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    stage = {
        "objective": "ranking", "losses": {"in_batch": 1.0, "kl": 1.0}, "negatives": 1, "temperature": 1.0, "steps": 3,
        "adam_epsilon": 1e-2, "learning_rate": 1e-2,
    }  # fmt: skip
    # Two processes would drop other units than one.
    still = shutil.copytree(tiny_encoder_folder, tmp_path / "still")
    config = json.loads((still / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    made = retrieval_recipe(still, kind, stage)
    train(made, data, tmp_path / "one", say=str)
    trained_by_two(made, data, tmp_path)
    assert_same(tmp_path, "stage-0", "model.safetensors", *(["1_Dense/model.safetensors"] if kind == "tokens" else []))


_MASKED = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mlret.encoders.loading import load_encoder
from mlret.training.backbones.backbone import as_transformer_alone
from mlret.training.objectives.masking import MaskedLanguageModel, MaskedObjective

distributed.init_process_group("gloo")
rank = distributed.get_rank()
model = load_encoder(sys.argv[1], device="cpu").model.train()
torch.manual_seed(0)
loss = MaskedObjective(model, MaskedLanguageModel(model))
torch.manual_seed(rank)  # other masks, other texts
with as_transformer_alone(model):
    loss.model = DistributedDataParallel(model, find_unused_parameters=True)
    texts = (["hello world"] * 20, ["one two three four"] * 20)[rank]
    loss([model.preprocess(texts)], None)["mlm"].backward()
for name, parameter in loss.named_parameters():
    if parameter.grad is not None:
        parts = [torch.empty_like(parameter.grad) for _ in range(2)]
        distributed.all_gather(parts, parameter.grad)
        assert torch.allclose(*parts, atol=1e-6) and parts[0].any(), name
print("averaged")
"""


def test_two_processes_average_the_gradients_of_masked_words(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "masked.py").write_text(_MASKED, encoding="utf-8")
    finished = _by_two(str(tmp_path / "masked.py"), str(tiny_encoder_folder))
    assert finished.stdout.count("averaged") == 2, finished.stderr[-3000:]
