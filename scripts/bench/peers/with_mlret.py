"""Encode with mlret: in torch, with the light runtime, or an export; see encoding.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoding import Encode, serve


def load(job: dict[str, Any]) -> Encode:
    """Return the encoder that the job names."""
    if job["kind"] == "torch":
        import torch

        from mlret.encoders.loading import load_in_torch

        torch.set_num_threads(job["threads"])
        encoder = load_in_torch(job["model"], device="cpu")
    else:
        from mlret.encoders.light.light_encoder import load_light_encoder

        light = load_light_encoder(Path(job["model"]))
        assert light is not None, job["model"]
        encoder = light

    def encode(texts: Sequence[str], batch: int | None) -> np.ndarray:
        vectors = encoder.embed(texts) if batch is None else encoder.embed(texts, batch_size=batch)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return encode


serve(load)
