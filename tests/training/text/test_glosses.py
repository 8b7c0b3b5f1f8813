"""Test sentences that are translated into other languages word by word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.text.glosses import Lexicon, glossed
from mlret.training.text.parallel import TextPair
from mlret.training.text.training_text import prepare_text
from tests.training.conftest import retrieval_recipe

WORDS = [("sw", "Dog", "mbwa"), ("sw", "house", "nyumba"), ("sw", "see", "ona"), ("sw", "carry", "beba"),
         ("zh", "dog", "狗"), ("zh", "see", "看"), ("zh", "house", "房子"), ("zh", "house", "家")]  # fmt: skip


def lexicon() -> Lexicon:
    return Lexicon([TextPair("words", "en", en, language, other, en) for language, en, other in WORDS])


def test_words_are_looked_up_with_and_without_their_endings_and_the_rest_stays() -> None:
    random = np.random.default_rng(0)
    assert lexicon().gloss("Dogs carried 3 houses, Anna's.", "sw", random) == ("mbwa beba 3 nyumba, Anna's.", 3 / 4)
    text, share = lexicon().gloss("dog sees dog", "zh", random)
    assert (text, share) == ("狗看狗", 1.0)
    drawn = {lexicon().gloss("house", "zh", np.random.default_rng(seed))[0] for seed in range(20)}
    assert drawn == {"房子", "家"}


def test_pairs_are_of_each_language_and_of_sentences_that_a_lexicon_covers() -> None:
    sentences = ["dogs see houses", "the quick brown fox", "dog", "a dog sees a house", "dogs see houses"]
    options: dict[str, Any] = {"group": "g", "language": "en", "languages": ["sw", "zh"], "seed": 1}
    pairs = list(glossed(sentences, lexicon(), per_language=5, least=0.6, **options))
    assert Counter(pair.language for pair in pairs) == {"sw": 2, "zh": 2}
    assert {pair.source for pair in pairs} == {"dogs see houses", "a dog sees a house"}
    assert pairs == list(glossed(sentences, lexicon(), per_language=5, least=0.6, **options))
    assert len(list(glossed(sentences, lexicon(), per_language=1, least=0.6, **options))) == 2


def test_a_recipe_reads_them_after_its_lexicons_and_leaves_out_what_is_held_out(world: Path, tmp_path: Path) -> None:
    (world / "words.tsv").write_text("sw\tc1\tsun\tjua\nsw\tc2\tmoon\tmwezi\nsw\tc3\train\tmvua\n", encoding="utf-8")
    (world / "stories.txt").write_text("sun moon rain and wind\nrain sun moon today\nno such words at all\n")
    (world / "held-out.tsv").write_text("Rain, sun, moon today!\tx\n", encoding="utf-8")
    made = retrieval_recipe(tmp_path, "dense", {"objective": "mlm"}).model_dump()
    made["held_out"] = ["held-out.tsv"]
    made["sources"] = [
        {"kind": "documents", "files": ["mono.jsonl"]},
        {"kind": "glosses", "files": ["stories.jsonl"], "least": 0.5},
        {"kind": "parallel", "group": "words", "files": ["words.tsv"],
         "columns": ["language", "concept", "source", "target"]},
    ]  # fmt: skip
    lines = (world / "stories.txt").read_text().splitlines()
    (world / "stories.jsonl").write_text("".join(f'{{"lang": "en", "sents": ["{line}"]}}\n' for line in lines))
    (tmp_path / "text").mkdir()
    text = prepare_text(Recipe.model_validate(made), world, tmp_path / "text")
    found = [(pair.source, pair.target) for pair in text.pairs if pair.group == "glosses"]
    assert found == [("sun moon rain and wind", "jua mwezi mvua and wind")]
    made["sources"][1]["lexicons"] = "dictionaries"
    with pytest.raises(ValueError, match="no parallel source is of the group 'dictionaries'"):
        Recipe.model_validate(made)
    made["sources"][1]["files"] = ["missing.jsonl"]
    with pytest.raises((InputError, ValueError)):
        prepare_text(Recipe.model_validate(made), world, tmp_path / "text")
