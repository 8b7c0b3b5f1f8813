"""Encode with sentence-transformers' ONNX backend an encoder that mlret exported; see encoding.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from encoding import Encode, serve
from sentence_transformers import SentenceTransformer


def load(job: dict[str, Any]) -> Encode:
    """Load the export."""
    torch.set_num_threads(job["threads"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    model = SentenceTransformer(
        job["model"],
        backend="onnx",
        device="cpu",
        model_kwargs={"provider": "CPUExecutionProvider", "session_options": options},
    )

    def encode(texts: Sequence[str], batch: int | None) -> np.ndarray:
        options = {} if batch is None else {"batch_size": batch}
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False, **options)

    return encode


serve(load)
