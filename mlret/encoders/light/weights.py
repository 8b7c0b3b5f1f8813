"""Weights that are stored in few bits, as NumPy arrays: rows of a table, whole matrices, matrices of integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.light.mapped import MappedTensors
from mlret.errors import MlretError

_SCALE = ".scale"
_TINY = 1e-7
# Bits -> what is added to a stored number before it is multiplied by its scale: mlret.encoders.quantised writes them.
_OFFSETS = {8: 0.0, 4: -8.0, 2: -1.5}
# Rows of a matrix that are converted at a time, so that what is in between stays in the processor's cache.
_ROWS = 64


class Integers(NamedTuple):
    """A matrix as 8-bit integers with one scale for each of its rows.

    Attributes
    ----------
    numbers
        ``(m, n)`` int8.
    scale
        ``(m,)`` float32.
    centre
        ``(m,)`` float32: the matrix times the vector given as the centre of what it is multiplied by, or zeros.
    """

    numbers: NDArray[np.int8]
    scale: NDArray[np.float32]
    centre: NDArray[np.float32]


class StoredWeights:
    """The weights of a network in one mapped safetensors file.

    Parameters
    ----------
    tensors
        The file: matrices in 8, 4 or 2 bits with their scales, as :func:`mlret.encoders.quantised.save_quantised`
        writes them, or as float16 or float32.
    """

    def __init__(self, tensors: MappedTensors) -> None:
        self.tensors = tensors

    def bits(self, name: str) -> int | None:
        """Return the number of bits of a matrix, or ``None`` if it is stored as floating-point numbers."""
        if name in self.tensors:
            return None
        for bits in _OFFSETS:
            if f"{name}.{bits}-bit" in self.tensors:
                return bits
        raise MlretError(f"{self.tensors.path} holds no weight {name!r}: it is damaged, or of another version")

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a weight that is stored as floating-point numbers, as float32."""
        return self.tensors[name].astype(np.float32)

    def scales(self, name: str) -> NDArray[np.float32]:
        """Return the ``(m, blocks)`` float32 scales of a matrix; none is zero."""
        scale = self.tensors[name + _SCALE].astype(np.float32)
        scale[scale == 0] = _TINY
        return scale

    def packed(self, name: str, bits: int) -> NDArray[np.uint8]:
        """Return the stored bytes of a matrix in 4 or 8 bits, ``(m, blocks, 4 * bits)``, as onnxruntime reads them."""
        stored = self.tensors[f"{name}.{bits}-bit"]
        if bits == 8:  # onnxruntime subtracts 128
            stored = (stored.astype(np.int16) + 128).astype(np.uint8)
        return stored.reshape(len(stored), -1, 4 * bits)

    def rows(self, name: str, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return rows of a matrix as float32.

        Parameters
        ----------
        name
            The matrix, ``(m, n)``.
        numbers
            Numbers of its rows, of any shape.

        Returns
        -------
        numpy.ndarray
            The rows, in an array of the shape of ``numbers`` and one more dimension of ``n``.
        """
        bits = self.bits(name)
        if bits is None:
            return self.tensors[name][numbers].astype(np.float32)
        flat = numbers.ravel()
        stored = _unpacked(self.tensors[f"{name}.{bits}-bit"][flat], bits)
        scale = self.tensors[name + _SCALE][flat].astype(np.float32)
        scale[scale == 0] = _TINY
        values = stored.astype(np.float32).reshape(len(flat), scale.shape[1], -1)
        values += _OFFSETS[bits]
        values *= scale[:, :, None]
        return values.reshape(*numbers.shape, -1)

    def matrix(self, name: str) -> NDArray[np.float32]:
        """Return a matrix as ``(m, n)`` float32."""
        stored = self.tensors[name if self.bits(name) is None else name + _SCALE]
        return self.rows(name, np.arange(len(stored)))

    def integers(
        self,
        name: str,
        largest: int,
        *,
        centre: NDArray[np.float32] | None = None,
        columns: NDArray[np.float32] | None = None,
    ) -> Integers:
        """Return a matrix as integers with one scale a row.

        Parameters
        ----------
        name
            The matrix, ``(m, n)``.
        largest
            The largest magnitude of an integer: 127, or 63 where products of two pairs must fit 16 bits.
        centre
            ``(n,)`` vector by which the matrix is multiplied in addition.
        columns
            ``(n,)`` factors of the columns of the integers' matrix.
        """
        count = len(self.tensors[name if self.bits(name) is None else name + _SCALE])
        parts = []
        scales = np.empty(count, dtype=np.float32)
        centres = np.zeros(count, dtype=np.float32)
        for start in range(0, count, _ROWS):
            rows = self.rows(name, np.arange(start, min(start + _ROWS, count)))
            some = slice(start, start + len(rows))
            if centre is not None:
                centres[some] = rows @ centre
            if columns is not None:
                rows *= columns
            scale = np.maximum(np.maximum(rows.max(axis=1), -rows.min(axis=1)), _TINY) / largest
            scales[some] = scale
            rows *= (1 / scale)[:, None]
            parts.append(np.rint(rows, out=rows).astype(np.int8))
        return Integers(np.concatenate(parts), scales, centres)


def _unpacked(stored: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Return ``(m, n)`` numbers from the bytes that hold them, the lowest bits of a byte first."""
    if bits == 8:
        return stored
    parts = 8 // bits
    numbers = np.empty((*stored.shape, parts), dtype=np.uint8)
    for part in range(parts):
        np.right_shift(stored, bits * part, out=numbers[..., part], casting="unsafe")
    numbers &= 2**bits - 1
    return numbers.reshape(len(stored), -1)
