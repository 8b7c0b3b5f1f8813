"""Test single texts, drawn from pairs and passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.training.batches.packed import PackedDocuments
from mlret.training.batches.pairs import TranslationPairs
from mlret.training.batches.passages import Passages
from mlret.training.batches.single_texts import SingleTexts
from mlret.training.stages import LayerDistillationStage
from mlret.training.text.training_text import prepare_text
from tests.training.conftest import retrieval_recipe


@pytest.fixture
def parts(data: Path, tiny_encoder: Encoder, tmp_path: Path) -> tuple[TranslationPairs, Passages]:
    stage = LayerDistillationStage(
        name="s", objective="layer-distillation", teacher="t", steps=1, passages=0.25, max_length=16
    )
    recipe = retrieval_recipe(tmp_path, "dense", stage.model_dump())
    (tmp_path / "text").mkdir()
    text = prepare_text(recipe, data, tmp_path / "text")
    tokenizer: Any = tiny_encoder.model.tokenizer
    documents = PackedDocuments.prepare(
        text.documents, text.statistics.documents, tokenizer, tmp_path / "text", max_length=32
    )
    return TranslationPairs(text, tokenizer, stage), Passages(documents, stage)


def test_every_text_is_that_of_its_pair_or_passage(parts: tuple[TranslationPairs, Passages]) -> None:
    pairs, passages = parts
    texts = SingleTexts(pairs, passages, share=0.25)
    assert texts.languages == [*pairs.languages, *passages.languages]
    of_pairs = len(pairs.languages)
    assert texts.weights[:of_pairs].sum() == pytest.approx(0.75) and texts.weights.sum() == pytest.approx(1)
    random = np.random.default_rng(0)
    drawn = np.concatenate([texts.draw(texts.rows[0], random)[:, 0] for _ in range(200)])
    both = pairs.draw(pairs.rows[0], random)
    assert set(drawn.tolist()) == set(both.ravel().tolist())
    assert 0.1 < np.isin(drawn, both[:, 0]).mean() < 0.2  # mostly the translations
    for group, rows in enumerate(passages.rows):
        keys = texts.draw(texts.rows[of_pairs + group], random)[:, 0]
        for key, row in zip(keys.tolist(), rows.tolist(), strict=True):
            there = texts.texts.ids[texts.texts.offsets[key] : texts.texts.offsets[key + 1]]
            assert (there == passages.texts.ids[passages.texts.offsets[row] : passages.texts.offsets[row + 1]]).all()


def test_without_passages_all_texts_are_of_pairs(parts: tuple[TranslationPairs, Passages]) -> None:
    pairs, _ = parts
    texts = SingleTexts(pairs, None, share=0.0)
    assert texts.texts is pairs.texts and texts.weights is pairs.weights and texts.languages == pairs.languages
