"""A small world to train in: two made languages, ordered documents, a dictionary."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mlret.training.recipe import Recipe

# "en" and "sw" stand for two languages whose words translate one to one.
ENGLISH = [
    "sun",
    "moon",
    "rain",
    "wind",
    "tree",
    "leaf",
    "root",
    "seed",
    "bird",
    "fish",
    "milk",
    "bread",
    "salt",
    "fire",
    "road",
    "house",
    "door",
    "stone",
    "sand",
    "river",
]
OTHER = [
    "jua",
    "mwezi",
    "mvua",
    "upepo",
    "mti",
    "jani",
    "mzizi",
    "mbegu",
    "ndege",
    "samaki",
    "maziwa",
    "mkate",
    "chumvi",
    "moto",
    "barabara",
    "nyumba",
    "mlango",
    "jiwe",
    "mchanga",
    "mto",
]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A data folder with ``mono.jsonl``, ``pairs.tsv`` and ``held-out.tsv``."""
    rng = random.Random(0)
    documents, pairs = [], []
    for number in range(60):
        topic = rng.sample(range(len(ENGLISH)), 6)
        for language, words in (("en", ENGLISH), ("sw", OTHER)):
            sentences = [" ".join(words[i] for i in rng.sample(topic, 4)) for _ in range(5)]
            documents.append({"id": f"{language}{number}", "lang": language, "sents": sentences})
        chosen = rng.sample(topic, 5)
        pairs.append(("sw", " ".join(ENGLISH[i] for i in chosen), " ".join(OTHER[i] for i in chosen)))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mono.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    (folder / "pairs.tsv").write_text("".join("\t".join(p) + "\n" for p in pairs), encoding="utf-8")
    (folder / "held-out.tsv").write_text(f"{pairs[0][1].upper()}!\tx\n", encoding="utf-8")
    return folder


@pytest.fixture
def small_recipe() -> Recipe:
    """CCP as a bag of words, then with layers, then alignment: every kind of stage, a few steps each."""
    return Recipe.model_validate(
        {
            "name": "small",
            "description": "for tests",
            "held_out": ["held-out.tsv"],
            "sources": [
                {"kind": "documents", "files": ["*.jsonl"]},
                {"kind": "parallel", "files": ["pairs.tsv"], "columns": ["language", "source", "target"]},
            ],
            "tokenizer": {"vocab_size": 60, "sentences": 2000, "character_coverage": 1.0},
            "backbone": {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "max_length": 32, "dropout": 0.0},
            "stages": [
                {"name": "words", "objective": "ccp", "layers": "none", "steps": 6, "batch_size": 16, "bank": 32,
                 "projection": 16, "max_length": 32, "batch_norm_warmup": 2, "bfloat16": False},
                {"name": "deep", "objective": "ccp", "steps": 4, "batch_size": 16, "bank": 32, "projection": 16,
                 "max_length": 32, "batch_norm_warmup": 2, "bfloat16": False},
                {"name": "align", "objective": "alignment", "steps": 4, "batch_size": 16, "max_length": 32,
                 "bfloat16": False},
            ],
            "calibration": {"sentences": 40, "min_sentences": 10},
        }
    )  # fmt: skip
