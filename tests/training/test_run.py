"""Test a recipe from text to encoder: it trains, resumes, and refuses what it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import TrainerCallback

from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training import trainer
from mlret.training.backbones.backbone import as_bag_of_words, build_backbone, restore_embedding_length
from mlret.training.recipe import Recipe
from mlret.training.run import train
from mlret.training.text.tokenizer import fast_tokenizer

TEXTS = ["sun moon rain", "jua mwezi mvua", "unseen words"]


def _untrained(folder: Path, recipe: Recipe) -> SentenceTransformer:
    specials = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces = [*specials, ("▁a", -1.0), ("▁b", -1.0), ("▁", -2.0), ("c", -3.0)]
    tokenizer = fast_tokenizer([*pieces, ("<mask>", 0.0)], max_length=32)
    model = build_backbone(recipe.backbone, tokenizer, folder=folder, seed=0).eval()
    with torch.no_grad():
        model[1].token_weights.uniform_(0.1, 2)
    return model


def test_an_untrained_backbone_is_exactly_a_bag_of_words(tmp_path: Path, small_recipe: Recipe) -> None:
    model = _untrained(tmp_path, small_recipe)
    texts = ["a b c", "a", "b b b b c c"]
    deep = model.encode(texts)
    with as_bag_of_words(model):
        bag = model.encode(texts)
    np.testing.assert_allclose(deep, bag, atol=1e-5)
    np.testing.assert_array_equal(model.encode(texts), deep)


def test_restoring_the_length_of_embeddings_leaves_the_vectors_as_they_are(
    tmp_path: Path, small_recipe: Recipe
) -> None:
    model = _untrained(tmp_path, small_recipe)
    table = model[0].model.embeddings.word_embeddings.weight
    with torch.no_grad():
        table.mul_(torch.linspace(5, 90, len(table))[:, None]).add_(1)
    texts = ["a b c", "a", "b b b b c c"]
    before = model.encode(texts, normalize_embeddings=True)
    restore_embedding_length(model)
    padding = model[0].model.embeddings.word_embeddings.padding_idx
    lengths = torch.cat([table[:padding], table[padding + 1 :]]).std(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.02))
    np.testing.assert_allclose(model.encode(texts, normalize_embeddings=True), before, atol=1e-4)


def test_a_recipe_trains_and_its_encoder_loads_anywhere(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    lines: list[str] = []
    model = train(small_recipe, world, tmp_path / "run", say=lines.append)
    encoder = load_encoder(model)
    vectors = encoder.encode(TEXTS, language=["en", "sw", None])
    assert vectors.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.calibration_languages == ["en", "sw"]
    assert any("dropped 1 that occur in held-out text" in line for line in lines)
    statistics = json.loads((tmp_path / "run" / "text" / "statistics.json").read_text())["statistics"]
    assert statistics["pairs"] == {"sw": 59}

    plain = SentenceTransformer(str(model), trust_remote_code=True)
    np.testing.assert_allclose(plain.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)

    again: list[str] = []
    train(small_recipe, world, tmp_path / "run", say=again.append)
    assert sum("done before" in line for line in again) == 3
    assert load_encoder(model).fingerprint == encoder.fingerprint


def test_a_recipe_can_leave_calibration_out(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    recipe = small_recipe.model_copy(update={"calibration": None, "stages": small_recipe.stages[:1]})
    encoder = load_encoder(train(recipe, world, tmp_path / "run", say=lambda _: None))
    assert encoder.calibration_languages == []
    np.testing.assert_array_equal(encoder.encode(TEXTS, language="sw"), encoder.encode(TEXTS))
    assert Recipe.model_validate_json((tmp_path / "run" / "recipe.json").read_text()) == recipe


class _Watched(TrainerCallback):
    """A callback like mlret's own that also counts steps and can interrupt like Ctrl-C."""

    def __init__(self, own: TrainerCallback, interrupt_at: int | None) -> None:
        self.own = own
        self.interrupt_at = interrupt_at
        self.steps = 0

    def on_step_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        if state.global_step == self.interrupt_at:
            raise KeyboardInterrupt

    def on_step_end(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.steps += 1
        self.own.on_step_end(*args, **kwargs)

    def on_save(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.own.on_save(*args, **kwargs)

    def load(self, checkpoint: Path) -> None:
        self.own.load(checkpoint)


@pytest.mark.thorough
def test_an_interrupted_run_goes_on_to_the_same_encoder(
    world: Path, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[_Watched] = []
    own, interrupt_at = trainer.LossState, None

    def watch(loss: nn.Module) -> _Watched:
        watched.append(_Watched(own(loss), interrupt_at))
        return watched[-1]

    monkeypatch.setattr(trainer, "LossState", watch)
    whole = load_encoder(train(small_recipe, world, tmp_path / "whole", say=str))
    interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        train(small_recipe, world, tmp_path / "cut", say=str)
    assert not (tmp_path / "cut" / "model").exists()
    interrupt_at = None
    resumed = load_encoder(train(small_recipe, world, tmp_path / "cut", say=str))
    # The first stage has six steps, four before the interrupt and two after it; the others were not interrupted.
    assert [callback.steps for callback in watched] == [6, 4, 4, 4, 2, 4, 4]
    for at_whole, at_resumed in zip(watched[:3], watched[4:], strict=True):
        expected, state = at_whole.own.loss.state_dict(), at_resumed.own.loss.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in expected.items())
    assert resumed.fingerprint == whole.fingerprint  # bit for bit, calibration included
    for stage in ("words", "deep"):
        logs = [_history(tmp_path / run / "stages" / stage / "done.json") for run in ("whole", "cut")]
        assert logs[0] == logs[1]


def _history(path: Path) -> list[dict[str, float]]:
    """Return the log of a stage without times and without the mean loss since the process began."""
    clock = ("second", "runtime", "data_wait", "train_loss")
    return [
        {key: value for key, value in entry.items() if not any(word in key for word in clock)}
        for entry in json.loads(path.read_text())["history"]
    ]


def test_a_run_of_another_recipe_is_not_overwritten(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "precious").write_text("x")
    with pytest.raises(InputError, match="not empty and holds no run"):
        train(small_recipe, world, output, say=str)
    (output / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="a run of another recipe"):
        train(small_recipe, world, output, say=str)


def test_too_little_text_for_the_vocabulary_is_an_error(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    large = small_recipe.model_copy(
        update={"tokenizer": small_recipe.tokenizer.model_copy(update={"vocab_size": 5000})}
    )
    with pytest.raises(InputError, match=r"too small for 5000 tokens.*lower tokenizer\.vocab_size"):
        train(large, world, tmp_path / "run", say=str)
