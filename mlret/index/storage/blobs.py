"""Serialisation of a document's vectors for the database: one vector, or one for each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.vectors.ragged import Ragged, offsets_of


class Blobs(ABC):
    """Converts vectors to bytes and back.

    Parameters
    ----------
    dims
        The number of dimensions of a vector.
    """

    dtype: np.dtype[Any]

    def __init__(self, dims: int) -> None:
        self.dims = dims

    def write(self, vectors: NDArray[np.floating[Any]]) -> bytes:
        """Return the vectors of one document as bytes."""
        return vectors.astype(self.dtype).tobytes()

    @abstractmethod
    def fits(self, blob: bytes) -> bool:
        """Return whether bytes have a length that :meth:`write` can produce."""

    @abstractmethod
    def read(self, blobs: Sequence[bytes]) -> Any:
        """Return the vectors of several documents from the bytes that :meth:`write` returned for each."""


class OneVector(Blobs):
    """One vector for each document: ``(dims,)`` float32; ``n`` documents are read as ``(n, dims)``."""

    dtype = np.dtype("<f4")

    def fits(self, blob: bytes) -> bool:
        return len(blob) == self.dims * self.dtype.itemsize

    def read(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        matrix = np.frombuffer(b"".join(blobs), dtype=self.dtype).reshape(-1, self.dims)
        return matrix.astype(np.float32, copy=False)


class ManyVectors(Blobs):
    """A vector for each token: ``(t, dims)`` float16; ``n`` documents are read as a :class:`Ragged`."""

    dtype = np.dtype("<f2")

    def fits(self, blob: bytes) -> bool:
        return len(blob) % (self.dims * self.dtype.itemsize) == 0

    def read(self, blobs: Sequence[bytes]) -> Ragged:
        lengths = np.array([len(blob) for blob in blobs], dtype=np.int64) // (self.dims * self.dtype.itemsize)
        values = np.frombuffer(b"".join(blobs), dtype=self.dtype).reshape(-1, self.dims)
        return Ragged(values.astype(np.float16, copy=False), offsets_of(lengths))
