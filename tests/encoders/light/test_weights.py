"""Weights in few bits as arrays, against the way back in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.weights import StoredWeights
from mlret.encoders.quantised import load_quantised, save_quantised
from mlret.errors import MlretError

NAMES = {8: "embeddings.position_embeddings.weight", 4: "layer.weight", 2: "word_embeddings.weight"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(96, 256, generator=generator) for name in NAMES.values()}
    state["layer.weight"][3] = 0  # a row whose scales are zero
    state["layer.bias"] = torch.randn(96, generator=generator)
    state["whole.weight"] = torch.randn(8, 33, generator=generator)
    save_quantised(state, tmp_path / "quantised.safetensors", layers=4, embeddings=2)
    return tmp_path / "quantised.safetensors"


@pytest.mark.parametrize("bits", NAMES)
def test_matrices_and_rows_are_those_that_torch_restores(file: Path, bits: int) -> None:
    expected = load_quantised(file)[NAMES[bits]].numpy()
    weights = StoredWeights(MappedTensors(file))
    assert weights.bits(NAMES[bits]) == bits
    assert np.array_equal(weights.matrix(NAMES[bits]), expected)
    rows = np.array([[5, 0, 95], [5, 7, 3]])
    assert np.array_equal(weights.rows(NAMES[bits], rows), expected[rows])


def test_what_is_not_quantised_is_as_it_was(file: Path) -> None:
    expected = load_quantised(file)
    weights = StoredWeights(MappedTensors(file))
    assert np.array_equal(weights.vector("layer.bias"), expected["layer.bias"].numpy())
    assert np.array_equal(weights.matrix("whole.weight"), expected["whole.weight"].numpy())
    assert weights.bits("whole.weight") is None
    with pytest.raises(MlretError, match="no weight 'other'"):
        weights.bits("other")


@pytest.mark.parametrize("largest", [127, 63])
def test_integers_are_off_by_half_a_step_at_most(file: Path, largest: int) -> None:
    weights = StoredWeights(MappedTensors(file))
    matrix = weights.matrix("layer.weight")
    generator = np.random.default_rng(1)
    centre, columns = generator.normal(size=(2, 256)).astype(np.float32)
    numbers, scale, product = weights.integers("layer.weight", largest, centre=centre, columns=columns)
    assert numbers.dtype == np.int8 and np.abs(numbers.astype(int)).max() == largest
    assert (np.abs(numbers * scale[:, None] - matrix * columns) <= scale[:, None] * 0.5001).all()
    assert np.allclose(product, matrix @ centre, rtol=1e-4, atol=1e-4)
    plain = weights.integers("layer.weight", largest)
    assert (np.abs(plain.numbers * plain.scale[:, None] - matrix) <= plain.scale[:, None] * 0.5001).all()
    assert not plain.centre.any()
