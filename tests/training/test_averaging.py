"""Test the mean of models against the mean of the tensors that PyTorch loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_token_encoder
from mlret.errors import InputError
from mlret.training.averaging import average_models

Change = Callable[[str, torch.Tensor], torch.Tensor]


def changed(folder: Path, target: Path, change: Change) -> Path:
    """Write a copy whose tensors are changed."""
    shutil.copytree(folder, target)
    for path in target.rglob("*.safetensors"):
        save_file({key: change(key, tensor) for key, tensor in load_file(path).items()}, path)
    return target


def noise(seed: int) -> Change:
    generator = torch.Generator().manual_seed(seed)

    def change(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor + 1
        return tensor + 0.1 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    return change


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict()


def check_mean(states: list[dict[str, torch.Tensor]], mean: dict[str, torch.Tensor], weights: list[float]) -> None:
    assert states[0].keys() == mean.keys()
    for key, tensor in mean.items():
        if tensor.is_floating_point():
            expected = sum(weight * state[key].double() for weight, state in zip(weights, states, strict=True))
            torch.testing.assert_close(tensor.double(), expected / sum(weights), rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(tensor, states[0][key])


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 0.0]])
def test_encoders_with_one_vector_a_text(
    tiny_encoder_folder: Path, tmp_path: Path, weights: list[float] | None
) -> None:
    models = [tiny_encoder_folder, *(changed(tiny_encoder_folder, tmp_path / f"{n}", noise(n)) for n in range(2))]
    report = average_models(models, tmp_path / "mean", weights=weights)
    encoders = [load_encoder(model, device="cpu").model.state_dict() for model in models]
    mean = load_encoder(tmp_path / "mean", device="cpu")
    check_mean(encoders, mean.model.state_dict(), weights or [1.0, 1.0, 1.0])
    assert sum(report.weights) == pytest.approx(1)
    assert report.parameters == sum(tensor.numel() for tensor in encoders[0].values() if tensor.is_floating_point())
    assert mean.encode(["the cat"]).shape == (1, 32)
    assert sorted(path.name for path in (tmp_path / "mean").iterdir()) == sorted(
        path.name for path in tiny_encoder_folder.iterdir()
    )


def test_encoders_with_a_vector_for_each_token(tiny_token_encoder_folder: Path, tmp_path: Path) -> None:
    other = changed(tiny_token_encoder_folder, tmp_path / "other", noise(0))
    average_models([tiny_token_encoder_folder, other], tmp_path / "mean")
    models = [load_token_encoder(path, device="cpu") for path in (tiny_token_encoder_folder, other, tmp_path / "mean")]
    states = [model.model.state_dict() for model in models]
    check_mean(states[:2], states[2], [1, 1])
    assert models[2].model.prompts == models[0].model.prompts


def test_plain_models_whose_weights_are_divided_otherwise(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    backbone = tiny_encoder_folder.parent / "backbone"
    other = changed(backbone, tmp_path / "other", noise(0))
    parts = tmp_path / "parts"
    AutoModel.from_pretrained(other, add_pooling_layer=False).save_pretrained(parts, max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(backbone / name, parts / name)
    assert len(list(parts.glob("*.safetensors"))) > 1
    average_models([backbone, other], tmp_path / "whole")
    states = [
        AutoModel.from_pretrained(path, add_pooling_layer=False).state_dict()
        for path in (backbone, other, tmp_path / "whole")
    ]
    check_mean(states[:2], states[2], [1, 1])
    for models, name in (([backbone, parts], "mean-1"), ([parts, backbone], "mean-2")):
        average_models(models, tmp_path / name)
        check_mean([states[2]], state_of(tmp_path / name), [1])


@pytest.mark.thorough
def test_the_mean_of_a_model_with_itself_is_the_model_bit_for_bit(tmp_path: Path) -> None:
    bundled = load_encoder()
    folder = Path(str(load_encoder.__globals__["BUNDLED"]))
    report = average_models([folder, folder, folder], tmp_path / "mean", weights=[0.1, 0.7, 3])
    mean = load_encoder(tmp_path / "mean")
    assert mean.fingerprint == bundled.fingerprint
    assert np.array_equal(mean.encode(["habari"]), bundled.encode(["habari"]))
    assert report.distance == (0, 0, 0)
    assert not report.calibrated
    assert "made with `mlret average`" in (tmp_path / "mean" / "README.md").read_text()


def test_integers_and_dtypes_are_those_of_the_first_model(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    def with_more(key: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(torch.bfloat16)

    first = changed(tiny_encoder_folder, tmp_path / "first", with_more)
    for folder, value in ((first, 3), (second := shutil.copytree(tiny_encoder_folder, tmp_path / "second"), 7)):
        path = Path(folder) / "model.safetensors"
        save_file(load_file(path) | {"steps": torch.tensor([value])}, path)
    report = average_models([first, second], tmp_path / "mean")
    mean = load_file(tmp_path / "mean" / "model.safetensors")
    assert report.copied == 1
    assert mean.pop("steps").tolist() == [3]
    assert {tensor.dtype for tensor in mean.values()} == {torch.bfloat16}


def test_a_trainer_s_checkpoint_leaves_its_optimizer_behind(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    first = shutil.copytree(tiny_encoder_folder, tmp_path / "checkpoint-1")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin"):
        (first / name).write_text("x")
    shutil.copytree(tiny_encoder_folder, first / "checkpoint-7")
    (first / "pytorch_model.bin").write_text("x")
    (first / ".cache").mkdir()
    average_models([first, tiny_encoder_folder], tmp_path / "mean")
    assert sorted(path.name for path in (tmp_path / "mean").iterdir()) == sorted(
        path.name for path in tiny_encoder_folder.iterdir()
    )


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_models_that_do_not_match_are_refused_with_the_difference(
    tiny_encoder_folder: Path, tiny_token_encoder_folder: Path, tmp_path: Path
) -> None:
    def refused(message: str, prepare: Callable[[Path], object]) -> None:
        other = tmp_path / f"other-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(tiny_encoder_folder, other)
        prepare(other)
        with pytest.raises(InputError, match=message):
            average_models([tiny_encoder_folder, other], tmp_path / "mean")
        assert not (tmp_path / "mean").exists()

    def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        path = folder / "model.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path)

    def tokenizer(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["vocab"][7][0] += "x"
        (folder / "tokenizer.json").write_text(json.dumps(content))

    refused(
        r"config.json .* differ \(num_attention_heads: 2 and 4\)",
        lambda f: edit(f / "config.json", num_attention_heads=4),
    )
    refused("different tokenizers", tokenizer)
    refused("1 are in the first alone, 1 in the other alone", lambda f: tensors(f, lambda t: t.update(x=t.pop(min(t)))))
    refused(
        r"is \(\d+, 32\) in .* and \(5, 32\)",
        lambda f: tensors(f, lambda t: t.update({k: v[:5].clone() for k, v in t.items() if "word_emb" in k})),
    )
    refused("no weights in safetensors", lambda f: (f / "model.safetensors").unlink())
    refused("is a low-rank adapter", lambda f: (f / "model.safetensors").rename(f / "adapter_model.safetensors"))
    refused("modules.json is in .* and not in", lambda f: (f / "modules.json").unlink())
    with pytest.raises(InputError, match=r"differ|is in"):
        average_models([tiny_encoder_folder, tiny_token_encoder_folder], tmp_path / "mean")


def test_what_cannot_be_averaged(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    two = [tiny_encoder_folder, tiny_encoder_folder]
    for models, weights, message in (
        (two[:1], None, "at least two"),
        (two, [1.0], "1 weights for 2 models"),
        (two, [1.0, -1.0], "are not valid"),
        (two, [0.0, 0.0], "are not valid"),
        ([*two, tmp_path / "none"], None, "no encoder folder at"),
    ):
        with pytest.raises(InputError, match=message):
            average_models(models, tmp_path / "mean", weights=weights)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="already exists"):
        average_models(two, tmp_path / "full")
