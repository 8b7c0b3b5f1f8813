"""Encode with fastembed an encoder that mlret exported; see encoding.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from encoding import Encode, serve
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

_NAME = "exported/encoder"


def load(job: dict[str, Any]) -> Encode:
    """Register the export as a model of the user's own."""
    TextEmbedding.add_custom_model(
        model=_NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=_NAME),
        dim=job["dims"],
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding(
        _NAME, specific_model_path=job["model"], threads=job["threads"], providers=["CPUExecutionProvider"]
    )

    def encode(texts: Sequence[str], batch: int | None) -> np.ndarray:
        options = {} if batch is None else {"batch_size": batch}
        return np.stack(list(model.embed(texts, **options)))

    return encode


serve(load)
