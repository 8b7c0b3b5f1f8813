"""Test distillation across languages: distance to the teacher, contrast with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.batches.packed import PackedTexts
from mlret.training.batches.pairs import TranslationPairs
from mlret.training.objectives.distillation import TranslationDistillationLoss
from mlret.training.recipe import Recipe
from mlret.training.run import train
from mlret.training.stages import TranslationDistillationStage
from mlret.training.text.tokenizer import with_tokens_missing
from mlret.training.text.training_text import prepare_text
from tests.training.conftest import retrieval_recipe


class Given(nn.Module):
    """Returns the vectors that it is given."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features

    def get_embedding_dimension(self) -> int:
        return 6


def test_the_contrast_is_the_cross_entropy_of_picking_the_teachers_vector_both_ways() -> None:
    random = torch.Generator().manual_seed(0)
    teacher = functional.normalize(torch.randn(5, 6, generator=random), dim=1)
    teacher[3] = teacher[1]  # the same text twice: neither is the other's negative
    student = torch.randn(5, 6, generator=random)
    features = [{"sentence_embedding": student}]
    model: Any = Given()
    plain = TranslationDistillationLoss(model)(features, teacher)
    assert plain == pytest.approx(float((1 - functional.cosine_similarity(student, teacher)).mean()), abs=1e-6)
    cosines = functional.normalize(student, dim=1) @ teacher.T / 0.1
    expected = []
    for scores in (cosines, cosines.T):
        for i in range(5):
            others = [j for j in range(5) if j == i or {i, j} != {1, 3}]
            expected.append(-float(scores[i, i] - torch.logsumexp(scores[i, others], 0)))
    whole = TranslationDistillationLoss(model, contrast=2.0, temperature=0.1)(features, teacher)
    assert float(whole - plain) == pytest.approx(2 * np.mean(expected), abs=1e-5)


def _recipe(folder: Path, **stage: Any) -> Recipe:
    settings = {"objective": "translation-distillation", "teacher": str(folder), "steps": 60, "batch_size": 16,
                "learning_rate": 3e-3} | stage  # fmt: skip
    return retrieval_recipe(folder, "dense", settings)


@pytest.mark.thorough
def test_one_side_in_several_segmentations_is_learned_at_every_length(
    data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    made = _recipe(tiny_encoder_folder, contrast=1.0, source_share=0.2, segmentations=3, matryoshka=[16, 8], steps=120)
    trained = load_encoder(train(made, data, tmp_path / "run", say=str))
    before = load_encoder(tiny_encoder_folder)
    lines = [line.split("\t") for line in (data / "pairs.tsv").read_text().splitlines()]
    sources, targets = [line[1] for line in lines], [line[2] for line in lines]
    wanted = before.encode(sources, language="en")
    for dims in (32, 16, 8):
        margins = []
        for encoder in (before, trained):
            found = encoder.encode(targets, language="sw", calibrate=False)[:, :dims]
            lengths = np.linalg.norm(found, axis=1)[:, None] * np.linalg.norm(wanted[:, :dims], axis=1)
            cosines = found @ wanted[:, :dims].T / lengths
            margins.append((np.diag(cosines) - cosines.mean(axis=1)).mean())
        assert margins[1] > margins[0] + 0.005
    history = json.loads((tmp_path / "run" / "stages" / "stage-0" / "done.json").read_text())["history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert np.mean(losses[-2:]) < 0.9 * losses[0]


def test_the_ways_of_cutting_are_of_the_same_texts(data: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    made = _recipe(tmp_path)
    text = prepare_text(made, data, tmp_path / "text")
    tokenizer: Any = tiny_encoder.model.tokenizer
    stage = TranslationDistillationStage(
        name="s", objective="translation-distillation", steps=1, teacher="t", segmentations=4, source_share=0.5
    )
    pairs = TranslationPairs(text, tokenizer, stage)
    keys = np.concatenate([pairs.draw(pairs.rows[0], np.random.default_rng(seed)) for seed in range(5)])
    count = len(pairs.strings)
    assert len(pairs.texts) == 4 * count and (keys // count).max() == 3
    for key in keys[:50].ravel():
        ids = pairs.texts.ids[pairs.texts.offsets[key] : pairs.texts.offsets[key + 1]]
        assert tokenizer.decode(ids).strip() == tokenizer.decode(tokenizer(pairs.strings[key % count])["input_ids"],
                                                                 skip_special_tokens=True).strip()  # fmt: skip
    own = keys[:, 0] == keys[:, 1]
    assert 0.4 < own.mean() < 0.6
    assert (pairs.document(keys[:, 0]) < count).all()
    # A share of the tokens is disabled, the same for each seed; the others split words more finely.
    coarse = PackedTexts.of(pairs.strings, tokenizer, max_length=64)
    fine = PackedTexts.of(pairs.strings, with_tokens_missing(tokenizer, 0.5, seed=1), max_length=64)
    again = PackedTexts.of(pairs.strings, with_tokens_missing(tokenizer, 0.5, seed=1), max_length=64)
    assert fine.lengths.sum() > coarse.lengths.sum() and (fine.ids == again.ids).all()


def test_shorter_lengths_must_be_shorter(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"matryoshka \[64, 8\] must be less than the encoder's 32 dims"):
        train(_recipe(tiny_encoder_folder, matryoshka=[64, 8]), data, tmp_path / "run", say=str)
