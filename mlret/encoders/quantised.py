"""Transformers stored in few bits: 8, 4 or 2 for a number of a matrix, in blocks with a scale each.

Stored small, computed whole: loading gives float32 weights again, so that a model from the wheel is trained, trimmed
and given adapters like any other. For speed on the processor there is ``precision="int8"`` of the encoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

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
Bits = Literal[8, 4, 2]


class _Grid(NamedTuple):
    """What so many bits can hold: ``scale * (number + shift)`` for the whole numbers from ``lowest`` to ``highest``."""

    lowest: int
    highest: int
    shift: float
    # Values of a row that share a scale.
    block: int
    # In units of a scale that is tried, where a block's value of the largest magnitude lies. Beyond the grid it is
    # clipped, which makes the steps of all others finer; on it, weights that were rounded before are found again.
    extremes: tuple[float, ...]


_GRIDS: dict[Bits, _Grid] = {
    8: _Grid(-127, 127, 0, 32, (127,)),
    4: _Grid(-8, 7, 0, 32, (-8, 7, -11.4, -10.7, -10, -9.4, -8.9, -8.4, -7, 6, -6, 5, -5, 4, -4)),
    2: _Grid(-2, 1, 0.5, 128, (1.5, 4, 3.5, 3.25, 3, 2.75, 2.5, 2.25, 2, 1.75)),
}
_TINY = 1e-7


def fits(weight: Tensor, bits: Bits) -> bool:
    """Whether a weight is a matrix whose rows are whole blocks."""
    return weight.ndim == 2 and weight.shape[1] % _GRIDS[bits].block == 0


def scales(weight: Tensor, bits: Bits) -> Tensor:
    """Of several scales for each block of a row, the one that leaves the least squared error.

    Parameters
    ----------
    weight
        ``(m, n)`` float, ``n`` a multiple of the block's length: 32, of 2 bits 128.
    bits
        8, 4 or 2.

    Returns
    -------
    torch.Tensor
        ``(m, n / block)`` float16. Of a matrix that is on the grid of one, that one (but for rounding, where a block
        uses half of the grid or less).
    """
    grid = _GRIDS[bits]
    blocks = _in_blocks(weight.float(), grid)
    at = blocks.abs().argmax(dim=2, keepdim=True)
    extreme = blocks.gather(2, at)
    best = torch.empty_like(extreme)
    best_error = torch.full_like(extreme, float("inf"))
    for units in grid.extremes:
        tried = (extreme / units).half().float()
        tried = torch.where(tried.abs() < _TINY, _TINY, tried)
        error = (_rounded(blocks, tried, grid) - blocks).square().sum(dim=2, keepdim=True)
        better = error < best_error
        best, best_error = torch.where(better, tried, best), torch.where(better, error, best_error)
    return best.squeeze(2).half()


def rounded(weight: Tensor, scale: Tensor, bits: Bits) -> Tensor:
    """``(m, n)`` float32: the nearest values that ``bits`` hold with these scales."""
    grid = _GRIDS[bits]
    blocks = _in_blocks(weight.float(), grid)
    return _rounded(blocks, _nonzero(scale).unsqueeze(2), grid).flatten(1)


def _in_blocks(matrix: Tensor, grid: _Grid) -> Tensor:
    return matrix.reshape(len(matrix), -1, grid.block)


def _rounded(blocks: Tensor, scale: Tensor, grid: _Grid) -> Tensor:
    return (_numbers(blocks, scale, grid) + grid.shift) * scale


def _numbers(blocks: Tensor, scale: Tensor, grid: _Grid) -> Tensor:
    return (blocks / scale - grid.shift).round().clamp(grid.lowest, grid.highest)


def _nonzero(scale: Tensor) -> Tensor:
    scale = scale.float()
    return torch.where(scale == 0, _TINY, scale)


def quantise(weight: Tensor, *, bits: Bits) -> tuple[Tensor, Tensor]:
    """A matrix as whole numbers and a scale for each block of a row.

    Parameters
    ----------
    weight
        ``(m, n)`` float, ``n`` a multiple of 32, of 2 bits of 128.
    bits
        8, 4 or 2.

    Returns
    -------
    numbers : torch.Tensor
        ``(m, n)`` int8, or ``(m, n * bits / 8)`` uint8.
    scale : torch.Tensor
        ``(m, n / block)`` float16.
    """
    grid = _GRIDS[bits]
    scale = scales(weight, bits)
    blocks = _in_blocks(weight.float(), grid)
    numbers = _numbers(blocks, _nonzero(scale).unsqueeze(2), grid).flatten(1)
    if bits == 8:
        return numbers.to(torch.int8), scale
    parts = (numbers - grid.lowest).to(torch.uint8).reshape(len(numbers), -1, 8 // bits).unbind(dim=2)
    packed = torch.zeros_like(parts[0])
    for place, part in enumerate(parts):
        packed |= part << bits * place
    return packed, scale


def dequantise(numbers: Tensor, scale: Tensor, *, bits: Bits) -> Tensor:
    """``(m, n)`` float32: what :func:`quantise` made small."""
    grid = _GRIDS[bits]
    if bits < 8:
        places = [numbers >> bits * place & 2**bits - 1 for place in range(8 // bits)]
        numbers = torch.stack(places, dim=2).flatten(1).to(torch.int8) + grid.lowest
    return ((_in_blocks(numbers.float(), grid) + grid.shift) * _nonzero(scale).unsqueeze(2)).flatten(1)


def bits_of(name: str, *, layers: Bits, embeddings: Bits) -> Bits:
    """Of the matrix of that name: the table of word embeddings, those of positions and types, a layer's."""
    if "word_embeddings" in name:
        return embeddings
    return 8 if "embeddings" in name else layers


def save_quantised(state: dict[str, Tensor], path: Path, *, layers: Bits, embeddings: Bits) -> None:
    """Write the weights of a transformer in few bits: matrices quantised, all else as float16.

    Parameters
    ----------
    state
        Name -> weight.
    path
        The file.
    layers, embeddings
        Bits of the layers' matrices and of the table of word embeddings; those of positions and types have 8.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in state.items():
        bits = bits_of(name, layers=layers, embeddings=embeddings)
        if fits(weight, bits):
            stored[f"{name}.{bits}-bit"], stored[name + _SCALE] = quantise(weight, bits=bits)
        else:
            stored[name] = weight.half() if weight.is_floating_point() else weight
    save_file({name: weight.contiguous() for name, weight in stored.items()}, path, metadata={"format": "pt"})


def quantise_folder(folder: Path, *, layers: Bits, embeddings: Bits) -> None:
    """Store the transformer of a sentence-transformers folder in few bits, in place.

    Parameters
    ----------
    folder
        An encoder's folder whose transformer stands in it itself, as ``model.safetensors``.
    layers, embeddings
        Bits, as for :func:`save_quantised`.

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
    save_quantised(load_file(whole), whole.with_name(WEIGHTS), layers=layers, embeddings=embeddings)
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
        whole, _, kind = name.rpartition(".")
        if kind.endswith("-bit"):
            bits: Any = int(kind.removesuffix("-bit"))
            state[whole] = dequantise(weight, stored[whole + _SCALE], bits=bits)
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
