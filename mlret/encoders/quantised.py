"""Transformers stored in few bits: 8 for the layers, 8 or 4 for the embeddings, in blocks with a scale each.

Stored small, computed whole: loading gives float32 weights again, so that a model from the wheel is trained, trimmed
and given adapters like any other. For speed on the processor there is ``precision="int8"`` of the encoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Transformer
from torch import Tensor
from transformers import AutoModel, PretrainedConfig
from transformers.initialization import no_init_weights

from mlret.data.durable import write_text_atomically
from mlret.encoders.query_augmentation import DynamicQueryTransformer
from mlret.errors import InputError

WEIGHTS = "quantised.safetensors"
_SCALE = ".scale"
_PACKED = ".packed"
# Values of a row that share a scale.
_BLOCK = 32


def quantise(weight: Tensor, *, bits: int) -> tuple[Tensor, Tensor]:
    """A matrix as whole numbers and a scale for each block of 32 values of a row.

    Parameters
    ----------
    weight
        ``(m, n)`` float, ``n`` a multiple of 32.
    bits
        8 or 4: numbers from -127 to 127, or from -7 to 7, two in a byte.

    Returns
    -------
    numbers : torch.Tensor
        ``(m, n)`` int8, or ``(m, n / 2)`` uint8.
    scale : torch.Tensor
        ``(m, n / 32)`` float16; the scale that leaves the least squared error of several.
    """
    top = 2 ** (bits - 1) - 1
    blocks = _in_blocks(weight.float())
    largest = blocks.abs().amax(dim=2, keepdim=True).clamp_min(1e-8)
    best_error = torch.full_like(largest, float("inf"))
    scale = torch.empty_like(largest)
    # Clipping a block's few extremes makes the steps of all others finer: worth it in 4 bits.
    for share in torch.linspace(1.0, 0.7 if bits == 4 else 1.0, 7 if bits == 4 else 1):
        tried = (largest * share / top).half().float().clamp_min(1e-7)
        error = ((blocks / tried).round().clamp(-top, top) * tried - blocks).square().sum(dim=2, keepdim=True)
        better = error < best_error
        scale, best_error = torch.where(better, tried, scale), torch.where(better, error, best_error)
    numbers = (blocks / scale).round().clamp(-top, top).flatten(1)
    if bits == 4:
        low, high = (numbers + 8).to(torch.uint8).reshape(len(numbers), -1, 2).unbind(dim=2)
        numbers = low | (high << 4)
    else:
        numbers = numbers.to(torch.int8)
    return numbers, scale.squeeze(2).half()


def dequantise(numbers: Tensor, scale: Tensor) -> Tensor:
    """``(m, n)`` float32: what :func:`quantise` made small."""
    if numbers.dtype == torch.uint8:
        numbers = torch.stack([numbers & 15, numbers >> 4], dim=2).flatten(1).to(torch.int8) - 8
    return (_in_blocks(numbers.float()) * scale.float().unsqueeze(2)).flatten(1)


def _in_blocks(matrix: Tensor) -> Tensor:
    return matrix.reshape(len(matrix), -1, _BLOCK)


def save_quantised(state: dict[str, Tensor], path: Path, *, embedding_bits: int) -> None:
    """Write the weights of a transformer in few bits: matrices quantised, all else as float16.

    Parameters
    ----------
    state
        Name -> weight.
    path
        The file.
    embedding_bits
        Of the table of word embeddings, 8 or 4; all other matrices have 8.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in state.items():
        if weight.ndim == 2 and weight.shape[1] % _BLOCK == 0:
            bits = embedding_bits if "word_embeddings" in name else 8
            stored[name + _PACKED], stored[name + _SCALE] = quantise(weight, bits=bits)
        else:
            stored[name] = weight.half() if weight.is_floating_point() else weight
    save_file({name: weight.contiguous() for name, weight in stored.items()}, path, metadata={"format": "pt"})


def quantise_folder(folder: Path, *, embedding_bits: int) -> None:
    """Store the transformer of a sentence-transformers folder in few bits, in place.

    Parameters
    ----------
    folder
        An encoder's folder whose transformer stands in it itself, as ``model.safetensors``.
    embedding_bits
        As for :func:`save_quantised`.

    Raises
    ------
    InputError
        If the folder has no such transformer.
    """
    description = folder / "modules.json"
    modules = json.loads(description.read_text(encoding="utf-8"))
    whole = folder / modules[0]["path"] / "model.safetensors"
    if not whole.is_file():
        raise InputError(f"{whole} is missing: quantise a folder that sentence-transformers wrote")
    save_quantised(load_file(whole), whole.with_name(WEIGHTS), embedding_bits=embedding_bits)
    modules[0]["type"] = f"{QuantisedTransformer.__module__}.{QuantisedTransformer.__qualname__}"
    write_text_atomically(description, json.dumps(modules, indent=2) + "\n")
    whole.unlink()


def load_quantised(path: Path) -> dict[str, Tensor]:
    """Name -> float32 weight: what :func:`save_quantised` wrote.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no quantised weights ({error}); reinstall mlret, or give another encoder") from error
    state: dict[str, Tensor] = {}
    for name, weight in stored.items():
        if name.endswith(_PACKED):
            whole = name.removesuffix(_PACKED)
            state[whole] = dequantise(weight, stored[whole + _SCALE])
        elif not name.endswith(_SCALE):
            state[name] = weight.float() if weight.is_floating_point() else weight
    return state


class QuantisedTransformer(DynamicQueryTransformer):
    """Loads a transformer whose weights stand in ``quantised.safetensors``; what it gives is a plain transformer."""

    def _load_model(self, model_name_or_path: str, *args: Any, **options: Any) -> Any:
        config = next(value for value in (*args, *options.values()) if isinstance(value, PretrainedConfig))
        with no_init_weights():
            model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        missing, unknown = model.load_state_dict(load_quantised(Path(model_name_or_path) / WEIGHTS), strict=False)
        if unknown or any("pooler" not in name for name in missing):
            raise InputError(f"{model_name_or_path}: the quantised weights are of another model: lack {missing}")
        for (
            name
        ) in missing:  # of a pooler that no vector passes: the same at every load, or the fingerprint would not be
            model.get_parameter(name).data.zero_()
        return model.eval()

    @classmethod
    def load(cls, *args: Any, **options: Any) -> Self:
        """Read the folder of a quantised transformer.

        Raises
        ------
        InputError
            If its weights are missing, damaged, or another model's.
        """
        loaded: Any = super().load(*args, **options)
        loaded.__class__ = DynamicQueryTransformer if loaded.query_multiple is not None else Transformer
        plain: Self = loaded
        return plain
