"""Train the recipe `ccp-small` for a fixed number of steps; measure its pace and its use of the device's peak.

    python scripts/bench/train_gpu.py [--scale 1] [--device cuda] [--json FILE]

The recipe is taken as it is, but for its steps and, with a scale below 1, the numbers of a batch and of the bank. Text
is made: sentences of 8 to 48 words from 64,000, each of which is one token, so that no tokenizer need be trained. All
that a step needs is part of its time: waiting for the batch, forward, backward and AdamW.

The model's FLOPs of a step are those of `train.py`, 6 for each weight of the layers and token and 12 for each layer,
dimension and pair of tokens of a text (forward and backward, with no padding), summed over the passes of the step, and
6 for each weight of the prediction head at each masked token. Its utilisation is this over the seconds of the median
step, divided by the peak of the device for bfloat16 (`PEAKS` in `train.py`); on a device that is not listed it is not
computed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from gpu import DeviceName, JsonFile, Scale, Target, save
from train import PEAK_SOURCE, flops, peak_of
from transformers import XLMRobertaModel

from mlret.recipes import find_recipe
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.masking import MaskedLanguageModel
from mlret.training.recipe import Recipe, TokenizerSettings, read_recipe
from mlret.training.run import train
from mlret.training.text.tokenizer import fast_tokenizer

WORDS, SENTENCES, IN_A_DOCUMENT = 64_000, 120_000, 20
LENGTHS = (8, 48)
STEPS = {"ccp-words": 40, "ccp": 60}
_MASKED = 0.15  # the share of tokens that are predicted
_WARM = 3  # steps that are not counted


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """Return the recipe with few steps, and with smaller batches and banks below a scale of 1."""
    stages = [
        stage.model_copy(
            update={
                "steps": max(_WARM + 2, int(STEPS[stage.name] * min(1.0, 10 * scale))),
                "batch_size": max(16, int(stage.batch_size * scale)),
                "bank": max(32, int(stage.bank * scale)),
            }
        )
        for stage in recipe.stages
    ]
    assert recipe.calibration is not None
    calibration = recipe.calibration.model_copy(update={"sentences": max(50, int(2000 * scale))})
    return recipe.model_copy(update={"stages": stages, "calibration": calibration})


def write_text(folder: Path, words: list[str], sentences: int) -> None:
    """Write documents of random sentences whose words follow Zipf's law."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(10, len(words) + 10)
    folder.mkdir(parents=True)
    with (folder / "made.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(sentences // IN_A_DOCUMENT):
            lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, IN_A_DOCUMENT)
            drawn = iter(rng.choice(len(words), lengths.sum(), p=weights / weights.sum()).tolist())
            texts = [" ".join(words[next(drawn)] for _ in range(length)) for length in lengths]
            file.write(json.dumps({"sents": texts, "lang": "en"}) + "\n")


class Steps:
    """What the steps of each stage took and computed; a stage begins with a new loss."""

    def __init__(self) -> None:
        self.stages: list[dict[str, list[float]]] = []
        self._loss: object = None
        self._passes: list[tuple[Any, torch.Tensor, int, bool]] = []
        self._start = time.perf_counter()

    def passed(self, model: Any, mask: torch.Tensor, *, predicts: bool) -> None:
        """Count a pass that is trained on. Its tokens are counted after the step, so that nothing waits for them."""
        self._passes.append((model, mask.sum(1), mask.numel(), predicts))

    def ended(self, loss: object) -> None:
        """End a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._start
        if loss is not self._loss:
            self._loss = loss
            self.stages.append({"seconds": [], "flops": [], "tokens": [], "padded": []})
        work = tokens = padded = 0.0
        for model, counted, places, predicts in self._passes:
            lengths = counted.double().cpu().numpy()
            work += flops(model, lengths)
            if predicts:
                config = model.config
                head = config.hidden_size * (config.hidden_size + config.vocab_size)
                work += 6 * head * _MASKED * float(lengths.sum())
            tokens, padded = tokens + float(lengths.sum()), padded + places
        for series, value in zip(self.stages[-1].values(), (seconds, work, tokens, padded), strict=True):
            series.append(value)
        self._passes = []
        self._start = time.perf_counter()


@contextmanager
def watched(steps: Steps) -> Iterator[None]:
    """Let ``steps`` see each pass through the layers, and the end of each step."""
    forward, ended = XLMRobertaModel.forward, ContextPredictionLoss.on_optimizer_step
    masked, inside = MaskedLanguageModel.forward, [False]

    def seen(self: Any, *arguments: Any, **given: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            ids, mask = given["input_ids"], given.get("attention_mask")
            steps.passed(self, torch.ones_like(ids) if mask is None else mask, predicts=inside[0])
        return forward(self, *arguments, **given)

    def predicting(self: Any, *arguments: Any, **given: Any) -> Any:
        inside[0] = True
        try:
            return masked(self, *arguments, **given)
        finally:
            inside[0] = False

    def step_ended(self: Any) -> None:
        ended(self)
        steps.ended(self)

    with (
        patch.object(XLMRobertaModel, "forward", seen),
        patch.object(MaskedLanguageModel, "forward", predicting),
        patch.object(ContextPredictionLoss, "on_optimizer_step", step_ended),
    ):
        yield


def run(scale: float) -> tuple[Recipe, Steps]:
    """Train the recipe on made text."""
    recipe = scaled(read_recipe(find_recipe("ccp-small", "training")), scale)
    words = [f"w{number:05d}" for number in range(max(500, int(WORDS * scale)) - 5)]
    pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", -float(np.log(10 + place))) for place, word in enumerate(words)] + [("<mask>", 0.0)]
    steps = Steps()
    with TemporaryDirectory() as folder:
        root, output = Path(folder) / "text", Path(folder) / "run"
        write_text(root, words, max(2_000, int(SENTENCES * scale)))
        # A run that holds its tokenizer trains none.
        assert isinstance(recipe.tokenizer, TokenizerSettings) and recipe.backbone.max_length
        output.mkdir()
        (output / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
        fast_tokenizer(pieces, max_length=recipe.backbone.max_length).save_pretrained(output / "tokenizer")
        with watched(steps):
            train(recipe, root, output, say=print)
    return recipe, steps


def main(device_name: DeviceName = "cuda", scale: Scale = 1.0, json_file: JsonFile = None) -> None:
    """Measure training."""
    device = torch.device(device_name)
    recipe, steps = run(scale)
    peak = peak_of(torch.cuda.get_device_name()) if device.type == "cuda" else None
    unknown = "unknown device: not computed" if device.type == "cuda" else "a CPU has no peak here: not computed"
    figures: dict[str, Any] = {"peak_flop_per_second": peak, "peak_source": PEAK_SOURCE, "stages": {}}
    targets = []
    for stage, taken in zip(recipe.stages, steps.stages, strict=True):
        counted = {name: series[_WARM:] for name, series in taken.items()}
        seconds = statistics.median(counted["seconds"])
        rate = sum(counted["flops"]) / len(counted["flops"]) / seconds
        texts = 2 * stage.batch_size / seconds
        figures["stages"][stage.name] = {
            "steps": len(counted["seconds"]), "batch_size": stage.batch_size, "median_step_seconds": seconds,
            "sentences_per_second": texts, "model_flop_per_second": rate,
            "share_of_padding": 1 - sum(counted["tokens"]) / sum(counted["padded"]) if sum(counted["padded"]) else None,
        }  # fmt: skip
        targets.append(Target(f"ccp-small, {stage.name}: sentences per second", texts))
        if stage.layers != "none":
            used = None if peak is None else rate / peak
            targets.append(
                Target(f"ccp-small, {stage.name}: model FLOPs utilisation", used, reason=None if peak else unknown)
            )
    if device.type == "cuda":
        figures["peak_bytes"] = torch.cuda.max_memory_allocated()
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
