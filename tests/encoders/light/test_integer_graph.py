"""Products of 8-bit integers, against float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.light.folder import PACKED, LightFolder
from mlret.encoders.light.graph import encoder_graph
from mlret.encoders.light.integer_graph import NARROW, WIDE, Steps, integer_graph
from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.network import adds_products_in_32_bits, start_session
from mlret.encoders.light.weights import StoredWeights


def test_centres_and_steps_use_the_whole_range_of_the_channel_that_needs_it_most() -> None:
    generator = np.random.default_rng(0)
    low = -generator.gamma(1, 1, (3, 2, 40)).astype(np.float32)
    high = generator.gamma(1, 1, (3, 2, 40)).astype(np.float32)
    columns = generator.gamma(1, 1, (3, 2, 40)).astype(np.float32)
    for share in (0.3, 0.7, 1.0):
        centres, steps = Steps.measured(low, high, columns, share=share)
        ends = np.maximum(np.abs(low - centres), np.abs(high - centres)) / steps
        assert ends.max(axis=-1) == pytest.approx(127, rel=1e-4)
        assert share < 1 or ends == pytest.approx(127, rel=1e-4)


@pytest.mark.parametrize("largest", [WIDE, NARROW])
def test_hidden_states_are_next_to_those_in_float32(packed_folder: Path, largest: int) -> None:
    folder = LightFolder.read(packed_folder)
    assert folder is not None
    weights = StoredWeights(MappedTensors(packed_folder / "quantised.safetensors"))
    steps = Steps.read(MappedTensors(packed_folder / PACKED))
    shape = folder.architecture()
    assert steps.steps.shape == steps.centres.shape == (shape.layers, 2, shape.dims)
    embeddings = np.random.default_rng(0).normal(0, 0.05, (3, 7, shape.dims)).astype(np.float32)
    expected = start_session(encoder_graph(weights, shape, "float32")).run(None, {"embeddings": embeddings})[0]
    model = integer_graph(weights, shape, steps, largest=largest)
    found = start_session(model).run(None, {"embeddings": embeddings})[0]
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    assert ((found * expected).sum(axis=-1) / lengths).min() > (0.9995 if largest == WIDE else 0.998)


def test_how_products_are_added_is_what_the_processor_can() -> None:
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    if features.get("AVX512VNNI") or features.get("AVX512_CLX"):
        assert adds_products_in_32_bits()
    if features.get("AVX2"):
        flags = Path("/proc/cpuinfo")
        if flags.is_file() and "vnni" not in flags.read_text(encoding="utf-8"):
            assert not adds_products_in_32_bits()
