"""Train with weights rounded to a few bits, so that storing the encoder in these bits loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from sentence_transformers.base.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional

from mlret.encoders.quantised import Bits, bits_of, fits, rounded, scales


@contextmanager
def in_few_bits(model: BaseModel, *, layers: Bits, embeddings: Bits) -> Iterator[None]:
    """Round the transformer's matrices in every forward pass within this context, and permanently at its end.

    The gradient ignores the rounding (straight-through estimator; Jacob et al. 2018, "Quantization and Training of
    Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv 1712.05877, section 3). The scales are
    computed once, from the weights at the start.

    Parameters
    ----------
    model
        The encoder; the transformer must be its first module.
    layers, embeddings
        Number of bits, as for :func:`mlret.encoders.quantised.quantise_folder`.
    """
    first = next(iter(model.children()))
    changed: list[tuple[nn.Module, Tensor, Bits]] = []
    try:
        for name, module in first.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            bits = bits_of(name, layers=layers, embeddings=embeddings)
            if not fits(module.weight, bits):
                continue
            scale = scales(module.weight.detach(), bits)
            changed.append((module, scale, bits))
            forward: Any = _linear if isinstance(module, nn.Linear) else _embedding
            module.forward = partial(forward, module, scale, bits)  # type: ignore[method-assign]
        yield
        with torch.no_grad():
            for module, scale, bits in changed:
                weight: Tensor = module.weight  # type: ignore[assignment]
                weight.copy_(rounded(weight, scale, bits))
    finally:
        for module, _, _ in changed:
            del module.forward


def _linear(module: nn.Linear, scale: Tensor, bits: Bits, inputs: Tensor) -> Tensor:
    return functional.linear(inputs, _straight_through(module.weight, scale, bits), module.bias)


def _embedding(module: nn.Embedding, scale: Tensor, bits: Bits, ids: Tensor) -> Tensor:
    used, places = ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    rows = functional.embedding(used, module.weight, padding_idx=None)
    return functional.embedding(places, _straight_through(rows, scale.to(rows.device)[used], bits))


def _straight_through(weight: Tensor, scale: Tensor, bits: Bits) -> Tensor:
    return weight + (rounded(weight.detach(), scale.to(weight.device), bits) - weight.detach())
