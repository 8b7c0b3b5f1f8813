"""Test packing and batching: contexts stay in their window, batches have one language, no row is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from mlret.data.monolingual import MonolingualDocument
from mlret.errors import InputError
from mlret.training.batches.by_language import LanguageBatchSampler
from mlret.training.batches.packed import PackedDocuments, PackedTexts
from mlret.training.batches.pairs import ContextPairs, PairCollator, TranslationPairs, sampling_weights
from mlret.training.recipe import Recipe, TokenizerSettings
from mlret.training.stages import AlignmentStage, ContextStage
from mlret.training.text.tokenizer import train_tokenizer
from mlret.training.text.training_text import TrainingText, prepare_text


@pytest.fixture
def text(world: Path, small_recipe: Recipe, tmp_path: Path) -> TrainingText:
    (tmp_path / "text").mkdir()
    recipe = small_recipe.model_copy(update={"repeated_sentences": "keep"})  # five sentences in every document
    return prepare_text(recipe, world, tmp_path / "text")


@pytest.fixture
def tokenizer(text: TrainingText, small_recipe: Recipe, tmp_path: Path) -> PreTrainedTokenizerFast:
    settings = small_recipe.tokenizer
    assert isinstance(settings, TokenizerSettings)
    return train_tokenizer(text, settings, folder=tmp_path, max_length=32, seed=0)


@pytest.fixture
def documents(text: TrainingText, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> PackedDocuments:
    (tmp_path / "tokens").mkdir()
    return PackedDocuments.prepare(
        text.documents, text.statistics.documents, tokenizer, tmp_path / "tokens", max_length=32
    )


def test_packed_documents_decode_to_their_sentences(
    text: TrainingText, tokenizer: PreTrainedTokenizerFast, documents: PackedDocuments
) -> None:
    expected = [sentence for document in text.documents for sentence in document.sentences]
    packed = documents.sentences
    decoded = [tokenizer.decode(packed.ids[a:b]) for a, b in pairwise(packed.offsets)]
    assert decoded == expected
    assert documents.languages == ["en", "sw"]
    assert [documents.languages[row] for row in documents.language] == [d.language for d in text.documents]
    assert isinstance(packed.ids, np.memmap)


def test_packing_again_uses_the_existing_files(
    tokenizer: PreTrainedTokenizerFast, documents: PackedDocuments, tmp_path: Path
) -> None:
    again = PackedDocuments.prepare(iter(()), documents.languages, tokenizer, tmp_path / "tokens", max_length=32)
    np.testing.assert_array_equal(again.sentences.ids, documents.sentences.ids)
    np.testing.assert_array_equal(again.first, documents.first)


def test_sentences_without_a_token_are_skipped(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    documents = [MonolingualDocument("en", ("sun", "\u200b", "moon")), MonolingualDocument("en", ("\u200b",))]
    packed = PackedDocuments.prepare(documents, ["en"], tokenizer, tmp_path, max_length=32)
    assert packed.first.tolist() == [0, 2, 2]
    assert (packed.sentences.lengths > 0).all()


@pytest.mark.parametrize("window", [1, 2, 4])
def test_contexts_lie_in_the_window_and_never_are_the_centre(documents: PackedDocuments, window: int) -> None:
    stage = ContextStage(name="s", objective="ccp", steps=1, window=window)
    pairs = ContextPairs(documents, stage, seed=1)
    random = np.random.default_rng(0)
    anchor, positive = np.concatenate([pairs.draw(pairs.rows[0], random) for _ in range(30)]).T
    distance = np.abs(anchor - positive)
    assert distance.min() == 1
    assert distance.max() == window
    # Every document here has five sentences.
    assert (anchor // 5 == positive // 5).all()
    assert (pairs.document(anchor) == anchor // 5).all()
    # Both directions occur about equally often if the document has sentences on both sides.
    middle = anchor % 5 == 2
    assert (positive[middle] > anchor[middle]).mean() == pytest.approx(0.5, abs=0.1)


def test_held_out_documents_are_not_trained_on(documents: PackedDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContextPairs, "fewest_held_out", 3)
    pairs = ContextPairs(documents, ContextStage(name="s", objective="ccp", steps=1), seed=1)
    for language, held_out in pairs.held_out.pairs.items():
        assert len(held_out) == 6  # a tenth of 60
        apart = set(pairs.document(held_out[:, 0]).tolist())
        assert len(apart) == 6
        assert not apart & set(pairs.document(pairs.rows[language]).tolist())
        assert len(pairs.rows[language]) == 54 * 5
    none = ContextPairs(documents, ContextStage(name="s", objective="ccp", steps=1, monitor_documents=0), seed=1)
    assert none.held_out.pairs == {}
    assert [len(rows) for rows in none.rows] == [300, 300]


def test_batches_are_full_of_one_group_and_cover_it_before_repeating(documents: PackedDocuments) -> None:
    pairs = ContextPairs(documents, ContextStage(name="s", objective="ccp", steps=1), seed=1)
    sampler = LanguageBatchSampler(pairs, batch_size=10, batches=50, seed=3)
    batches = [np.stack(batch) for batch in sampler]
    assert len(batches) == len(sampler) == 50
    assert all((a == b).all() for a, b in zip(batches, (np.stack(b) for b in sampler), strict=True))
    anchors: dict[int, list[int]] = {0: [], 1: []}
    for batch in batches:
        assert batch.shape == (10, 3)
        (group,) = set(batch[:, 0].tolist())
        anchors[group] += batch[:, 1].tolist()
    for group, seen in anchors.items():
        assert len(set(seen)) == len(seen) <= 300
        assert set(seen) <= set(pairs.rows[group].tolist())


def test_a_group_smaller_than_a_batch_fills_it(documents: PackedDocuments) -> None:
    pairs = ContextPairs(documents, ContextStage(name="s", objective="ccp", steps=1), seed=1)
    sampler = LanguageBatchSampler(pairs, batch_size=700, batches=6, seed=3)
    for batch in sampler:
        anchors = np.stack(batch)[:, 1]
        counts = np.unique(anchors, return_counts=True)[1]
        assert len(counts) == 300
        assert counts.max() <= 3


def test_languages_are_drawn_by_a_power_of_their_size() -> None:
    np.testing.assert_allclose(sampling_weights([100, 10_000], 0.5), [10 / 110, 100 / 110])
    assert sampling_weights([1, 5], 0.3).tolist() == [0, 1]
    with pytest.raises(InputError, match="give more text"):
        sampling_weights([1, 0], 0.5)


def test_a_batch_decodes_to_its_texts(text: TrainingText, tokenizer: PreTrainedTokenizerFast) -> None:
    stage = AlignmentStage(name="s", objective="alignment", steps=1, batch_size=8, max_length=32)
    pairs = TranslationPairs(text, tokenizer, stage)
    rows = pairs.draw(np.arange(8), np.random.default_rng(0))
    batch = PairCollator(pairs, tokenizer, max_length=32)([np.array([0, a, p]) for a, p in rows])
    for row in range(8):
        assert tokenizer.decode(batch["anchor_input_ids"][row], skip_special_tokens=True) == text.pairs[row].source
        expected = tokenizer(text.pairs[row].target)["input_ids"]
        width = int(batch["positive_attention_mask"][row].sum())
        assert batch["positive_input_ids"][row, :width].tolist() == expected
        assert (batch["positive_input_ids"][row, width:] == tokenizer.pad_token_id).all()


def test_texts_are_cut_at_the_maximum_length(documents: PackedDocuments, tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = ContextPairs(documents, ContextStage(name="s", objective="ccp", steps=1), seed=1)
    keys = [np.array([0, a, p]) for a, p in pairs.draw(pairs.rows[0][:8], np.random.default_rng(0))]
    batch = PairCollator(pairs, tokenizer, max_length=4)(keys)
    assert batch["anchor_input_ids"].shape == (8, 4)
    assert (batch["anchor_input_ids"][:, -1] == tokenizer.eos_token_id).all()
    assert PackedTexts.of(["sun moon rain"], tokenizer, max_length=4).lengths.tolist() == [2]


def test_the_tokenizer_ignores_case_width_and_spacing(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("Sun  MOON")["input_ids"] == tokenizer("ｓｕｎ moon ")["input_ids"]
    assert tokenizer.tokenize("sun moon") == ["▁sun", "▁moon"]


def test_padding_that_was_left_on_in_the_tokenizer_is_not_packed(tokenizer: PreTrainedTokenizerFast) -> None:
    alone = PackedTexts.of(["sun", "sun moon rain"], tokenizer, max_length=32)
    tokenizer(["sun", "sun moon rain"], padding="max_length", truncation=True, max_length=8)
    packed = PackedTexts.of(["sun", "sun moon rain"], tokenizer, max_length=32)
    np.testing.assert_array_equal(packed.ids, alone.ids)
    np.testing.assert_array_equal(packed.offsets, alone.offsets)
