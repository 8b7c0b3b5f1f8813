"""Test in which precision a stage computes, and attention by products."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.encoder import Encoder
from mlret.encoders.precision_speed import bfloat16_speed
from mlret.training.computing import attention_as_products, in_bfloat16
from mlret.training.stages import AlignmentStage

TEXTS = ["the cat sat on a mat", "seven dogs ran home"]


def test_bfloat16_is_used_where_it_is_asked_for_and_fast() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stage = AlignmentStage(name="s", objective="alignment", steps=1)
    assert in_bfloat16(stage) == bfloat16_speed(device).fast
    assert not in_bfloat16(stage.model_copy(update={"bfloat16": False}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides")
def test_a_processor_without_bfloat16_computes_in_float32() -> None:
    program = (
        "from mlret.training.computing import in_bfloat16; from mlret.training.stages import AlignmentStage;"
        "print(in_bfloat16(AlignmentStage(name='s', objective='alignment', steps=1)))"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["False"]


def test_attention_by_products_has_the_gradients_of_fused_attention(tiny_encoder: Encoder) -> None:
    model: SentenceTransformer = copy.deepcopy(tiny_encoder.model)
    config = model[0].model.config
    assert config._attn_implementation == "sdpa"

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(model.preprocess(TEXTS))["sentence_embedding"][:, 0].sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    fused = gradients()
    with pytest.raises(RuntimeError, match="stopped"), attention_as_products(model):
        assert config._attn_implementation == "eager"
        products = gradients()
        raise RuntimeError("stopped")
    assert config._attn_implementation == "sdpa"
    assert len(fused) == len(products) > 10
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(fused, products, strict=True))
