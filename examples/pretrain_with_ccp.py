"""Pretrain a tiny encoder with contrastive context prediction (CCP) on a folder of text.

CCP needs no translations and no labels: it learns that sentences near each other in a document belong together. The
run here takes seconds and is far too short to give a useful encoder; it shows the whole path from text to encoder. The
recipes in ``training/`` have settings for real runs.

Run it with ``python examples/pretrain_with_ccp.py``; it needs ``pip install "mlret[train]"``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlret
from mlret.data.sample import load_parallel_sentences
from mlret.training.recipe import read_recipe
from mlret.training.run import train

RECIPE = """
name: tiny
description: A tiny encoder from nothing, in a few steps.
sources:
  - {kind: documents, files: ["*.jsonl"]}
tokenizer: {vocab_size: 800, sentences: 10000}
backbone: {layers: 1, hidden: 32, heads: 2, feed_forward: 64, max_length: 64, dropout: 0.0}
stages:
  - {name: ccp, objective: ccp, steps: 20, batch_size: 16, learning_rate: 1.0e-3, window: 2, bank: 64,
     batch_norm_warmup: 5, max_length: 64, bfloat16: false, monitor_documents: 4}
calibration: {sentences: 100, min_sentences: 10}
"""


def write_documents(folder: Path) -> None:
    """Write the bundled sample as ordered sentences: one document a line, as a recipe's source reads them."""
    sample = load_parallel_sentences()
    for language in ("en", "sw", "de"):
        documents: dict[str, list[str]] = {}
        for topic, sentence in zip(sample.topics, sample.texts[language], strict=True):
            documents.setdefault(topic, []).append(sentence)
        lines = [json.dumps({"lang": language, "sents": sents}, ensure_ascii=False) for sents in documents.values()]
        (folder / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text").mkdir()
        write_documents(folder / "text")
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")

        # The same as `mlret train recipe.yaml --data text --output run`. A stopped run resumes at its last checkpoint.
        trained = train(read_recipe(folder / "recipe.yaml"), folder / "text", folder / "run", say=print)

        # The result is a sentence-transformers folder, which mlret and sentence-transformers both load.
        encoder = mlret.load_encoder(trained)
        vectors = encoder.encode(["Habari ya asubuhi", "Guten Morgen"], language=["sw", "de"])
        print(f"encoder of {vectors.shape[1]} dimensions, calibrated for {', '.join(encoder.calibration_languages)}")


if __name__ == "__main__":
    main()
