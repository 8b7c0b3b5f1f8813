"""Packing and batching: contexts stay in their window, batches in their language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from mlret.training.batches import LanguageBatchSampler
from mlret.training.pack import PairCollator, pack_documents, pack_pairs
from mlret.training.recipe import AlignmentStage, ContextStage, Recipe
from mlret.training.text import TrainingText, read_training_text
from mlret.training.tokenizer import train_tokenizer


@pytest.fixture
def text(world: Path, small_recipe: Recipe) -> TrainingText:
    return read_training_text(small_recipe, world)


@pytest.fixture
def tokenizer(text: TrainingText, small_recipe: Recipe, tmp_path: Path) -> PreTrainedTokenizerFast:
    return train_tokenizer(text, small_recipe.tokenizer, folder=tmp_path, max_length=32, seed=0)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_contexts_lie_in_the_window_and_never_are_the_centre(
    text: TrainingText, tokenizer: PreTrainedTokenizerFast, window: int
) -> None:
    stage = ContextStage(name="s", objective="ccp", steps=200, batch_size=16, window=window)
    _, pairs = pack_documents(text, tokenizer, stage, seed=1)
    distance = np.abs(pairs.anchor - pairs.positive)
    assert distance.min() == 1
    assert distance.max() == window
    # Every document here has five sentences.
    assert (pairs.anchor // 5 == pairs.positive // 5).all()
    assert (pairs.document == pairs.anchor // 5).all()
    # Both directions and all distances occur about equally often where the document has room for both.
    middle = pairs.anchor % 5 == 2
    assert (pairs.positive[middle] > pairs.anchor[middle]).mean() == pytest.approx(0.5, abs=0.1)


def test_batches_are_of_one_group_and_cover_it_before_repeating(
    text: TrainingText, tokenizer: PreTrainedTokenizerFast
) -> None:
    stage = ContextStage(name="s", objective="ccp", steps=30, batch_size=10)
    texts, pairs = pack_documents(text, tokenizer, stage, seed=1)
    sampler = LanguageBatchSampler(texts, pairs, batch_size=10, steps=60, seed=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 60
    assert batches == list(sampler)
    seen: dict[int, list[int]] = {0: [], 1: []}
    for batch in batches:
        (group,) = set(pairs.group[batch].tolist())
        seen[group] += batch
    assert all(len(set(rows)) == len(rows) for rows in seen.values())


def test_a_batch_decodes_to_its_texts(text: TrainingText, tokenizer: PreTrainedTokenizerFast) -> None:
    stage = AlignmentStage(name="s", objective="alignment", steps=1, batch_size=8, max_length=32)
    texts, pairs = pack_pairs(text, tokenizer, stage)
    batch = PairCollator(texts, pairs, tokenizer)([{"row": row} for row in range(8)])
    for row in range(8):
        assert tokenizer.decode(batch["anchor_input_ids"][row], skip_special_tokens=True) == text.pairs[row].source
        expected = tokenizer(text.pairs[row].target)["input_ids"]
        width = int(batch["positive_attention_mask"][row].sum())
        assert batch["positive_input_ids"][row, :width].tolist() == expected
        assert (batch["positive_input_ids"][row, width:] == tokenizer.pad_token_id).all()


def test_texts_are_cut_at_the_maximum_length(text: TrainingText, tokenizer: PreTrainedTokenizerFast) -> None:
    stage = AlignmentStage(name="s", objective="alignment", steps=1, batch_size=8, max_length=8)
    texts, pairs = pack_pairs(text, tokenizer, stage)
    batch = PairCollator(texts, pairs, tokenizer)([{"row": row} for row in range(8)])
    assert batch["anchor_input_ids"].shape[1] <= 8
    assert (batch["anchor_input_ids"] == tokenizer.eos_token_id).sum() == 8


def test_the_tokenizer_ignores_case_width_and_spacing(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("Sun  MOON")["input_ids"] == tokenizer("ｓｕｎ moon ")["input_ids"]
    assert tokenizer.tokenize("sun moon") == ["▁sun", "▁moon"]
