"""A small world for training: two made-up languages, ordered documents, a dictionary."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.training.recipe import Recipe

SHAPE = {"steps": 4, "batch_size": 8, "max_length": 24, "bfloat16": False}
# "en" and "sw" are two made-up languages whose words translate one to one.
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
    """Write a data folder with ``mono.jsonl``, ``pairs.tsv`` and ``held-out.tsv``."""
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
    """Return a recipe with every kind of stage, a few steps each: CCP as a bag of words, CCP with layers, alignment."""
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


@pytest.fixture
def data(world: Path) -> Path:
    """Add questions to the small world: each English word asks for a text that contains it."""
    random = np.random.default_rng(0)
    with (world / "questions.jsonl").open("w", encoding="utf-8") as file:
        for number in range(40):
            words = random.permutation(len(ENGLISH))[:6]
            passages = [" ".join(ENGLISH[i] for i in words[start : start + 3]) for start in (0, 3)]
            record = {
                "query": f"where is {ENGLISH[words[0]]}",
                "positive": passages[0],
                "negatives": [passages[1], f"no {ENGLISH[words[5]]}"],
                "scores": [9.0 + number, 3.0, 1.0],
                "lang": "en",
            }
            file.write(json.dumps(record) + "\n")
    (world / "words.tsv").write_text(
        "".join(f"sw\tc{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(zip(ENGLISH, OTHER, strict=True))), encoding="utf-8"
    )
    return world


def retrieval_recipe(backbone: Path, kind: str, *stages: dict[str, Any], **more: Any) -> Recipe:
    """Return stages of a few steps on ``data``, for one vector for each text or for each token (``"tokens"``)."""
    settings: dict[str, Any] = {
        "name": "small",
        "description": "for tests",
        "sources": [
            {"kind": "ranking", "files": ["questions.jsonl"], "query_instruction": "find: "},
            {"kind": "documents", "files": ["mono.jsonl"]},
            {"kind": "parallel", "files": ["pairs.tsv"], "columns": ["language", "source", "target"]},
            {"kind": "parallel", "group": "words", "files": ["words.tsv"],
             "columns": ["language", "concept", "source", "target"]},
        ],
        "backbone": {"kind": "pretrained", "model": str(backbone), "max_length": 32},
        "calibration": {"sentences": 40, "min_sentences": 10},
        "stages": [{"name": f"stage-{place}", **SHAPE, **stage} for place, stage in enumerate(stages)],
    }  # fmt: skip
    if kind == "tokens":
        settings["multi_vector"] = {"dims": 16, "query_length": "dynamic 8"}
    return Recipe.model_validate(settings | more)
