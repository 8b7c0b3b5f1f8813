"""Transformers stored with 8, 4 or 2 bits per weight, in blocks that share a scale.

Quantisation only affects storage: loading gives float32 weights again, so that a model from the wheel can be trained,
trimmed and extended with adapters like any other. The light runtime (:mod:`mlret.encoders.light`) multiplies by the
stored numbers themselves.
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
    """The values that a number of bits can represent: ``scale * (number + shift)``, ``lowest <= number <= highest``."""

    lowest: int
    highest: int
    shift: float
    # Number of values of a row that share a scale.
    block: int
    # Positions, in units of a candidate scale, of the value with the largest magnitude in a block. Beyond the grid,
    # that value is clipped and all others are represented more finely; on the grid, weights that were rounded before
    # are reproduced.
    extremes: tuple[float, ...]


_GRIDS: dict[Bits, _Grid] = {
    8: _Grid(-127, 127, 0, 32, (127,)),
    4: _Grid(-8, 7, 0, 32, (-8, 7, -11.4, -10.7, -10, -9.4, -8.9, -8.4, -7, 6, -6, 5, -5, 4, -4)),
    2: _Grid(-2, 1, 0.5, 128, (1.5, 4, 3.5, 3.25, 3, 2.75, 2.5, 2.25, 2, 1.75)),
}
_TINY = 1e-7


def fits(weight: Tensor, bits: Bits) -> bool:
    """Whether a weight is a matrix whose row length is a multiple of the block length.

    Parameters
    ----------
    weight
        Any weight.
    bits
        8, 4 or 2.
    """
    return weight.ndim == 2 and weight.shape[1] % _GRIDS[bits].block == 0


def scales(weight: Tensor, bits: Bits) -> Tensor:
    """Return the scale of each block of a row that gives the smallest squared error, among several candidates.

    Parameters
    ----------
    weight
        ``(m, n)`` float, where ``n`` is a multiple of the block length: 32, or 128 with 2 bits.
    bits
        8, 4 or 2.

    Returns
    -------
    torch.Tensor
        ``(m, n / block)`` float16. For a matrix that is already on a grid, the scales of that grid (except for
        rounding, where a block uses half of the grid or less).
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
    """Return the nearest values that can be represented with these scales, as ``(m, n)`` float32.

    Parameters
    ----------
    weight
        ``(m, n)`` float.
    scale
        ``(m, n / block)``, as returned by :func:`scales`.
    bits
        8, 4 or 2.
    """
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
    """Quantise a matrix to integers with one scale for each block of a row.

    Parameters
    ----------
    weight
        ``(m, n)`` float, where ``n`` is a multiple of 32, or of 128 with 2 bits.
    bits
        8, 4 or 2.

    Returns
    -------
    numbers : torch.Tensor
        ``(m, n)`` int8 for 8 bits, otherwise ``(m, n * bits / 8)`` uint8.
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
    """Return the ``(m, n)`` float32 matrix that the output of :func:`quantise` represents.

    Parameters
    ----------
    numbers, scale
        What :func:`quantise` returned.
    bits
        8, 4 or 2.
    """
    grid = _GRIDS[bits]
    if bits < 8:
        places = [numbers >> bits * place & 2**bits - 1 for place in range(8 // bits)]
        numbers = torch.stack(places, dim=2).flatten(1).to(torch.int8) + grid.lowest
    return ((_in_blocks(numbers.float(), grid) + grid.shift) * _nonzero(scale).unsqueeze(2)).flatten(1)


def bits_of(name: str, *, layers: Bits, embeddings: Bits) -> Bits:
    """Return the bits of the named matrix: word embeddings, other embeddings (always 8), or a layer's matrix.

    Parameters
    ----------
    name
        Name of the matrix in the transformer.
    layers, embeddings
        Bits of the layers' matrices and of the word embeddings.
    """
    if "word_embeddings" in name:
        return embeddings
    return 8 if "embeddings" in name else layers


def save_quantised(state: dict[str, Tensor], path: Path, *, layers: Bits, embeddings: Bits) -> None:
    """Write the weights of a transformer in few bits: matrices are quantised, all other weights are float16.

    Parameters
    ----------
    state
        Name -> weight.
    path
        The file to write.
    layers, embeddings
        Bits of the layers' matrices and of the word embeddings. Position and type embeddings have 8 bits.
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
    """Replace the weights of a sentence-transformers folder's transformer by quantised ones, in place.

    Parameters
    ----------
    folder
        An encoder's folder with the ``model.safetensors`` of its transformer.
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
    """Return the weights that :func:`save_quantised` wrote, by name, as float32.

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
    """Loads a transformer whose weights are in ``quantised.safetensors``; the loaded module is a plain transformer."""

    def _load_model(self, model_name_or_path: str, *args: Any, **options: Any) -> Any:
        config = next(value for value in (*args, *options.values()) if isinstance(value, PretrainedConfig))
        with no_init_weights():
            model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        missing, unknown = model.load_state_dict(load_quantised(Path(model_name_or_path) / WEIGHTS), strict=False)
        if unknown or any("pooler" not in name for name in missing):
            raise InputError(f"{model_name_or_path}: the quantised weights are of another model: lack {missing}")
        for name in missing:
            # The pooler affects no vector, but its weights enter the fingerprint, so they must be the same at every
            # load.
            model.get_parameter(name).data.zero_()
        return model.eval()

    @classmethod
    def load(cls, *args: Any, **options: Any) -> Self:
        """Load the folder of a quantised transformer.

        Raises
        ------
        InputError
            If its weights are missing, damaged, or those of another model.
        """
        loaded: Any = super().load(*args, **options)
        loaded.__class__ = DynamicQueryTransformer if loaded.query_multiple is not None else Transformer
        plain: Self = loaded
        return plain
