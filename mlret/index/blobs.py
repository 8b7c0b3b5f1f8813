"""How the vectors of a document are written into the database: one vector, or one for each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.ragged import Ragged, offsets_of


class Blobs(ABC):
    """Vectors to bytes and back.

    Parameters
    ----------
    dims
        The length of a vector.
    """

    dtype: np.dtype[Any]

    def __init__(self, dims: int) -> None:
        self.dims = dims

    def write(self, vectors: NDArray[np.floating[Any]]) -> bytes:
        """What one document has."""
        return vectors.astype(self.dtype).tobytes()

    @abstractmethod
    def fits(self, blob: bytes) -> bool:
        """Whether it may be what :meth:`write` gave."""

    @abstractmethod
    def read(self, blobs: Sequence[bytes]) -> Any:
        """What :meth:`write` was given, of documents."""


class OneVector(Blobs):
    """``(dims,)`` float32; of ``n`` documents ``(n, dims)``."""

    dtype = np.dtype("<f4")

    def fits(self, blob: bytes) -> bool:
        """As of any."""
        return len(blob) == self.dims * self.dtype.itemsize

    def read(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        """As of any."""
        matrix = np.frombuffer(b"".join(blobs), dtype=self.dtype).reshape(-1, self.dims)
        return matrix.astype(np.float32, copy=False)


class ManyVectors(Blobs):
    """``(t, dims)`` float16; of ``n`` documents a :class:`Ragged`."""

    dtype = np.dtype("<f2")

    def fits(self, blob: bytes) -> bool:
        """As of any."""
        return len(blob) % (self.dims * self.dtype.itemsize) == 0

    def read(self, blobs: Sequence[bytes]) -> Ragged:
        """As of any."""
        lengths = np.array([len(blob) for blob in blobs], dtype=np.int64) // (self.dims * self.dtype.itemsize)
        values = np.frombuffer(b"".join(blobs), dtype=self.dtype).reshape(-1, self.dims)
        return Ragged(values.astype(np.float16, copy=False), offsets_of(lengths))
