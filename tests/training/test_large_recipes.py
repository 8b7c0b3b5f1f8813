"""Test that the recipes for XLM-R base and large start, checkpoint and resume on a small backbone of that shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback, XLMRobertaConfig, XLMRobertaForMaskedLM

from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.recipes import find_recipe
from mlret.training import trainer
from mlret.training.recipe import read_recipe
from mlret.training.run import train
from mlret.training.text.tokenizer import fast_tokenizer

SHAPES = {
    "ccp-xlmr-base": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "ccp-xlmr-large": {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
}


@pytest.fixture
def xlm_roberta(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Write a folder like that of the hub: a random XLM-R with its language-model head, two layers and a few tokens."""
    pieces = [*"abcdefghijklmnopqrstuvwxyz", *(f"▁{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    specials = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer = fast_tokenizer([*specials, *((p, -2.0) for p in pieces), ("▁", -3.0), ("<mask>", 0.0)], max_length=512)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        **SHAPES[request.param],
    )
    folder = tmp_path / "xlm-roberta"
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class _Interrupt(TrainerCallback):
    """Raises Ctrl-C in the third step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "xlm_roberta"), [(name, name) for name in SHAPES], indirect=["xlm_roberta"])
def test_a_large_recipe_starts_steps_checkpoints_and_resumes(
    name: str, xlm_roberta: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "mono.jsonl").rename(world / "documents.jsonl")
    recipe = read_recipe(
        find_recipe(name, "training"),
        [
            f"backbone.model={xlm_roberta}", "sources.0.files=[documents.jsonl]", "calibration.sentences=60",
            "stages.ccp.steps=4", "stages.ccp.batch_size=8", "stages.ccp.mini_batch_size=4", "stages.ccp.bank=16",
            "stages.ccp.batch_norm_warmup=1", "stages.ccp.mlm_weight=0.5",
        ],
    )  # fmt: skip
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        progress = trainer.TrainingProgress
        patch.setattr(trainer, "TrainingProgress", lambda *a: type("P", (progress, _Interrupt), {})(*a))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, world, output, say=str)
    lines: list[str] = []
    model = train(recipe, world, output, say=lines.append)
    assert "stage ccp: resuming from checkpoint 2" in lines
    history = json.loads((output / "stages" / "ccp" / "done.json").read_text())["history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4]
    assert all(entry["mlm"] > 0 for entry in history if "mlm" in entry)

    encoder = load_encoder(model)
    assert encoder.dims == SHAPES[name]["hidden_size"]
    assert encoder.calibration_languages == ["en", "sw"]
    before = load_file(xlm_roberta / "model.safetensors")
    after = load_file(model / "model.safetensors")
    key = "encoder.layer.1.output.dense.weight"
    # The given weights were loaded and changed a little.
    change = (after[key] - before[f"roberta.{key}"]).abs().max()
    assert 0 < float(change) < 1e-3


def test_missing_weights_are_reported_with_how_to_fix_it(world: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        find_recipe("ccp-xlmr-base", "training"), ["sources.0.files=[mono.jsonl]", "backbone.model=no/such"]
    )
    with pytest.raises(InputError, match=r"backbone\.model: 'no/such' cannot be loaded .*give a folder"):
        train(recipe, world, tmp_path / "run", say=str)
