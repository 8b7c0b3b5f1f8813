"""Reading safetensors files as arrays that are mapped from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlret.encoders.light.mapped import MappedTensors
from mlret.errors import InputError, MlretError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    tensors = {
        "half": generator.normal(size=(3, 5)).astype(np.float16),
        "float": generator.normal(size=(7,)).astype(np.float32),
        "bytes": generator.integers(0, 255, (2, 3, 4)).astype(np.uint8),
        "signed": generator.integers(-9, 9, (4,)).astype(np.int32),
        "empty": np.empty((0, 4), dtype=np.float32),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"about": "numbers"})
    return tmp_path / "a.safetensors"


def test_arrays_equal_those_of_safetensors(file: Path) -> None:
    mapped = MappedTensors(file)
    expected = load_file(file)
    assert set(mapped.places) == set(expected)
    assert mapped.metadata == {"about": "numbers"}
    for name, array in expected.items():
        assert mapped[name].dtype == array.dtype
        assert np.array_equal(mapped[name], array)
    assert list(mapped.view("signed")) == expected["signed"].tolist()


def test_arrays_cannot_be_written(file: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        MappedTensors(file)["float"][0] = 1


def test_a_missing_file_is_bad_input_and_a_missing_tensor_is_damage(file: Path) -> None:
    with pytest.raises(InputError, match=r"b\.safetensors is missing"):
        MappedTensors(file.with_name("b.safetensors"))
    with pytest.raises(MlretError, match="no tensor 'other'"):
        MappedTensors(file)["other"]


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_file_that_was_cut_is_damaged(file: Path, kept: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:kept])
    with pytest.raises(MlretError, match=r"a\.safetensors is damaged"):
        MappedTensors(file)
