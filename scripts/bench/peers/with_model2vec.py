"""Encode with model2vec the mean of an encoder's token embeddings, its ceiling of speed; see encoding.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoding import Encode, serve
from model2vec import StaticModel
from safetensors.numpy import load_file
from tokenizers import Tokenizer


def load(job: dict[str, Any]) -> Encode:
    """Make a static model of the embeddings, without distilling them: that would change the vectors, not the speed."""
    folder = Path(job["model"])
    weights = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    model = StaticModel(weights, Tokenizer.from_file(str(folder / "tokenizer.json")), normalize=True)

    def encode(texts: Sequence[str], batch: int | None) -> np.ndarray:
        options = {} if batch is None else {"batch_size": batch}
        return model.encode(list(texts), **options)

    return encode


serve(load, batches=(None,))
