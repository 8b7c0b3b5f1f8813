"""Test transformers that are stored in few bits."""

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

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.quantised import WEIGHTS, Bits, dequantise, quantise, quantise_folder, rounded, scales
from mlret.errors import InputError

BITS: list[Bits] = [8, 4, 2]


def matrix(seed: int, rows: int, blocks: int, scale: float) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (rows, 128 * blocks))).float()


made = given(seed=st.integers(0, 1000), rows=st.integers(1, 5), blocks=st.integers(1, 3), scale=st.floats(1e-2, 1e2))


@pytest.mark.parametrize("bits", BITS)
@made
@settings(max_examples=40, deadline=None)
def test_numbers_take_their_bits_and_the_scale_is_no_worse_than_the_largest_values(
    bits: Bits, seed: int, rows: int, blocks: int, scale: float
) -> None:
    weight = matrix(seed, rows, blocks, scale)
    numbers, scales = quantise(weight, bits=bits)
    assert numbers.numel() * numbers.element_size() * 8 == weight.numel() * bits
    error = (dequantise(numbers, scales, bits=bits) - weight).square().sum()
    # The simple scale: the block's largest magnitude is the end of the grid.
    length = weight.shape[1] // scales.shape[1]
    parts = weight.unflatten(1, (-1, length))
    largest = parts.abs().amax(dim=2, keepdim=True)
    ends = {8: 127.0, 4: 7.0, 2: 1.5}[bits]
    shift = 0.5 if bits == 2 else 0.0
    step = largest / ends
    plain = ((parts / step - shift).round().clamp(-ends - shift, ends - shift) + shift) * step
    assert error <= (plain - parts).square().sum() * 1.05


@pytest.mark.parametrize("bits", BITS)
@made
@settings(max_examples=40, deadline=None)
def test_what_was_rounded_once_is_stored_without_a_loss(
    bits: Bits, seed: int, rows: int, blocks: int, scale: float
) -> None:
    weight = matrix(seed, rows, blocks, scale)
    once = dequantise(*quantise(weight, bits=bits), bits=bits)
    assert torch.equal(once, rounded(weight, scales(weight, bits), bits))
    assert torch.equal(dequantise(*quantise(once, bits=bits), bits=bits), once)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.006), (4, 0.085), (2, 0.35)])
def test_the_error_is_this_share_of_a_normal_matrix(bits: Bits, share: float) -> None:
    weight = torch.randn(200, 384, generator=torch.Generator().manual_seed(0))
    assert (dequantise(*quantise(weight, bits=bits), bits=bits) - weight).norm() / weight.norm() < share


def test_zeros_stay_next_to_zero() -> None:
    for bits in BITS:
        assert dequantise(*quantise(torch.zeros(2, 128), bits=bits), bits=bits).abs().max() < 1e-6


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_encoder_loads_as_a_plain_one_with_nearly_the_same_vectors(
    bits: Bits, tiny_encoder: Encoder, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    shutil.copytree(tiny_encoder_folder, folder)
    quantise_folder(folder, layers=8, embeddings=bits)
    assert not (folder / "model.safetensors").exists()
    loaded = load_encoder(folder, device="cpu")
    assert type(loaded.model[0]) is Transformer
    assert load_encoder(folder, device="cpu").fingerprint == loaded.fingerprint
    texts = ["the cat sat on a mat", "seven dogs", "привет мир"]
    cosines = (loaded.encode(texts) * tiny_encoder.encode(texts)).sum(axis=1)
    assert (cosines > (0.999 if bits == 8 else 0.95)).all()
    # sentence-transformers loads it, too, and saves a complete folder.
    again = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    again.save(str(tmp_path / "whole"))
    assert np.allclose(load_encoder(tmp_path / "whole", device="cpu").encode(texts), loaded.encode(texts), atol=1e-5)
    modules = json.loads((tmp_path / "whole" / "modules.json").read_text())
    assert modules[0]["type"].startswith("sentence_transformers.")


def test_damage_and_weights_of_another_model_are_reported(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(tiny_encoder_folder, folder)
    quantise_folder(folder, layers=8, embeddings=8)
    (folder / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"quantised\.safetensors: no quantised weights"):
        load_encoder(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"no weights"):
        load_encoder(folder)
