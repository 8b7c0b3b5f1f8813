"""Transformers stored in few bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from mlret.encoders.encoder import Encoder, load_encoder
from mlret.encoders.quantised import WEIGHTS, dequantise, quantise, quantise_folder
from mlret.errors import InputError


@pytest.mark.parametrize(("bits", "steps"), [(8, 127), (4, 7)])
@given(seed=st.integers(0, 1000), rows=st.integers(1, 5), blocks=st.integers(1, 4), scale=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_no_value_moves_by_more_than_its_blocks_step(
    bits: int, steps: int, seed: int, rows: int, blocks: int, scale: float
) -> None:
    weight = torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (rows, 32 * blocks))).float()
    numbers, scales = quantise(weight, bits=bits)
    assert numbers.numel() * 8 == weight.numel() * bits * (numbers.element_size())
    moved = (dequantise(numbers, scales) - weight).abs().unflatten(1, (-1, 32)).amax(dim=2)
    largest = weight.abs().unflatten(1, (-1, 32)).amax(dim=2)
    # In 4 bits the extremes of a block may be clipped to 0.7 of the largest.
    allowed = largest * (0.31 if bits == 4 else 0.51 / steps)
    assert (moved <= allowed + 1e-6).all()


def test_four_bits_leave_a_tenth_of_the_length_as_error() -> None:
    weight = torch.randn(200, 128, generator=torch.Generator().manual_seed(0))
    error = (dequantise(*quantise(weight, bits=4)) - weight).norm() / weight.norm()
    plain = weight.unflatten(1, (-1, 32))
    step = plain.abs().amax(dim=2, keepdim=True) / 7
    without_clipping = ((plain / step).round() * step - plain).norm() / weight.norm()
    assert error < without_clipping < 0.13


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_encoder_loads_as_a_plain_one_and_says_next_to_the_same(
    bits: int, tiny_encoder: Encoder, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    shutil.copytree(tiny_encoder_folder, folder)
    quantise_folder(folder, embedding_bits=bits)
    assert not (folder / "model.safetensors").exists()
    loaded = load_encoder(folder, device="cpu")
    assert type(loaded.model[0]) is Transformer
    assert load_encoder(folder, device="cpu").fingerprint == loaded.fingerprint
    texts = ["the cat sat on a mat", "seven dogs", "привет мир"]
    cosines = (loaded.encode(texts) * tiny_encoder.encode(texts)).sum(axis=1)
    assert (cosines > (0.999 if bits == 8 else 0.95)).all()
    # sentence-transformers loads it too, and what it saves again is whole.
    again = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    again.save(str(tmp_path / "whole"))
    assert np.allclose(load_encoder(tmp_path / "whole", device="cpu").encode(texts), loaded.encode(texts), atol=1e-5)
    modules = json.loads((tmp_path / "whole" / "modules.json").read_text())
    assert modules[0]["type"].startswith("sentence_transformers.")


def test_damage_and_another_models_weights_are_told(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(tiny_encoder_folder, folder)
    quantise_folder(folder, embedding_bits=8)
    (folder / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"quantised\.safetensors: no quantised weights"):
        load_encoder(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"no weights"):
        load_encoder(folder)
