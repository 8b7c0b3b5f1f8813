"""Test distillation of layers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.backbones.layers import keep_layers
from mlret.training.objectives.layer_distillation import LayerDistillationLoss
from mlret.training.recipe import Recipe
from mlret.training.run import train
from tests.training.conftest import retrieval_recipe

TEXTS = ["the cat sat on a mat", "seven dogs ran home", "warm rain by night"]


@pytest.fixture
def teacher(tiny_encoder: Encoder) -> SentenceTransformer:
    return copy.deepcopy(tiny_encoder.model).eval()


def test_the_loss_is_the_share_of_the_variance_that_is_not_explained(teacher: SentenceTransformer) -> None:
    student = copy.deepcopy(teacher)
    keep_layers(student, [1])
    loss = LayerDistillationLoss(student, teacher)
    assert loss.targets == [1]
    features = teacher.preprocess(TEXTS)
    found = loss([features])
    inside = features["attention_mask"].bool()
    inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
    wanted = teacher[0].model(**inputs).last_hidden_state[inside].detach()
    own = student[0].model(**inputs).last_hidden_state[inside].detach()
    expected = [
        float(((own[:, d] - wanted[:, d]) ** 2).mean() / wanted[:, d].var(unbiased=False)) for d in range(own.shape[1])
    ]
    assert float(found["layers"]) == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    vectors = [model(model.preprocess(TEXTS))["sentence_embedding"] for model in (student, teacher)]
    assert float(found["vectors"]) == pytest.approx(float((1 - torch.cosine_similarity(*vectors)).mean()), abs=1e-5)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(teacher: SentenceTransformer) -> None:
    loss = LayerDistillationLoss(copy.deepcopy(teacher), teacher)
    assert loss.targets == [0, 1]
    found = loss([teacher.preprocess(TEXTS)])
    assert float(found["layers"]) < 1e-9 and float(found["vectors"]) < 1e-6
    # The teacher is neither trained nor written into checkpoints.
    assert not [name for name in loss.state_dict() if not name.startswith("model.")]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_needs_as_many_layers(teacher: SentenceTransformer) -> None:
    student = copy.deepcopy(teacher)
    keep_layers(teacher, [0])
    with pytest.raises(ValueError, match=r"the encoder has 2 layers, its teacher only 1: keep fewer of them"):
        LayerDistillationLoss(student, teacher)


def recipe(folder: Path, layers: list[int], **stage: Any) -> Recipe:
    settings = {"objective": "layer-distillation", "teacher": str(folder), "steps": 80, "batch_size": 16,
                "learning_rate": 3e-3, "passages": 0.3, "freeze": "embeddings"} | stage  # fmt: skip
    made = retrieval_recipe(folder, "dense", settings).model_dump()
    made["backbone"] |= {"layers": layers, "dropout": 0.0}
    return Recipe.model_validate(made)


def test_one_layer_learns_to_do_the_work_of_two(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    run = train(recipe(tiny_encoder_folder, [0]), data, tmp_path / "run", say=str)
    history = json.loads((run.parent / "stages" / "stage-0" / "done.json").read_text())["history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    tables = [load_encoder(f).model[0].model.embeddings.word_embeddings.weight for f in (run, tiny_encoder_folder)]
    assert torch.equal(*tables)


def test_a_teacher_of_another_vocabulary_is_refused(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stage 'stage-0': the encoder has .* of width 32, its teacher 200,000"):
        train(recipe(tiny_encoder_folder, [0], teacher="bundled"), data, tmp_path / "run", say=str)
