"""Test a vocabulary that is chosen from an existing one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.run import train
from mlret.training.text.tokenizer import choose_tokens, fast_tokenizer
from mlret.training.text.training_text import prepare_text


def _source(folder: Path) -> Path:
    """Write a tokenizer.json with tokens in capitals, tokens that the text lacks, and single letters."""
    words = ["▁Sun", "▁sun", "▁rain", "▁jua", "▁mvua", "▁zebra", "un", "ain", "▁"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["字"]
    vocabulary = [(token, -1.0 - row) for row, token in enumerate([*words, *letters])]
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    whole = fast_tokenizer([*specials, *vocabulary, ("<mask>", 0.0)], max_length=32)
    path = folder / "pieces.json.gz"
    path.write_bytes(gzip.compress(whole.backend_tokenizer.to_str().encode()))
    return path


def test_tokens_are_normalised_counted_and_the_most_frequent_kept(
    small_recipe: Recipe, world: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    text = prepare_text(small_recipe, world, tmp_path / "text")
    assert small_recipe.tokenizer is not None
    settings = small_recipe.tokenizer.model_copy(update={"vocab_size": 100, "min_count": 2})
    chosen = choose_tokens(text, settings, _source(tmp_path), max_length=32, seed=0)
    pieces = json.loads(chosen.backend_tokenizer.to_str())["model"]["vocab"]
    names = [token for token, _ in pieces]
    assert names[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and names[-1] == "<mask>"
    assert {"▁sun", "▁jua", "▁mvua"} <= set(names)
    assert not {"▁Sun", "▁zebra", "字"} & set(names)  # merged with another by normalisation, or not in the text
    assert dict(map(tuple, pieces))["▁sun"] > -1.0  # the sum of two probabilities
    assert chosen.tokenize("SUN mvua") == ["▁sun", "▁mvua"]
    few = choose_tokens(text, settings.model_copy(update={"vocab_size": 30}), _source(tmp_path), max_length=32, seed=0)
    # Every letter in the text's tokens is kept, so that nothing of it becomes unknown.
    assert few.unk_token_id not in few("sun rain jua mvua")["input_ids"]


def test_a_recipe_trains_with_them_and_other_files_are_refused(
    small_recipe: Recipe, world: Path, tmp_path: Path
) -> None:
    _source(world)
    made = small_recipe.model_dump()
    made["tokenizer"] |= {"pieces": "pieces.json.gz", "vocab_size": 40}
    made["stages"] = made["stages"][-1:]
    assert (train(Recipe.model_validate(made), world, tmp_path / "run", say=str) / "model.safetensors").is_file()
    (world / "pieces.json.gz").write_bytes(gzip.compress(b'{"model": {}}'))
    with pytest.raises(InputError, match=r"pieces\.json\.gz is not a tokenizer\.json of Unigram kind"):
        train(Recipe.model_validate(made), world, tmp_path / "other", say=str)
