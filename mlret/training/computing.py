"""How a stage computes on this machine: in which precision, and attention by which operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Transformer

from mlret.encoders.precision_speed import bfloat16_speed
from mlret.training.stages import StageSettings


def in_bfloat16(stage: StageSettings) -> bool:
    """Return whether a stage computes in bfloat16: if its settings say so and this machine is faster at it.

    A processor without instructions for bfloat16 emulates it in several times the time of float32.
    """
    return stage.bfloat16 and bfloat16_speed("cuda" if torch.cuda.is_available() else "cpu").fast


@contextmanager
def attention_as_products(model: BaseModel) -> Iterator[None]:
    """Compute attention as two matrix products and a softmax within this context.

    In bfloat16 on a CPU and without dropout, the backward pass of PyTorch's fused attention takes several times as long
    (version 2.13; see ``findings/torch_fused_attention_backward.sh``).

    Parameters
    ----------
    model
        The encoder. Nothing is changed unless its first module is a transformer.
    """
    first = model[0]
    if not isinstance(first, Transformer):
        yield
        return
    config = first.model.config
    was = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = was
