"""Vectors of passages that are asked for again and again, as when candidates of several queries overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.multi_vector import AnyEncoder

Text = tuple[str, str | None]


class PassageCache:
    """Encodes passages, and keeps the vectors of those that were used last.

    Safe to use from several threads.

    Parameters
    ----------
    encoder
        The encoder, of either kind.
    size
        The number of float32 values that are kept.
    """

    def __init__(self, encoder: AnyEncoder, *, size: int = 1 << 26) -> None:
        self.encoder = encoder
        self._limit = size
        self._lock = threading.Lock()
        self._vectors: dict[Text, NDArray[np.float32]] = {}  # ordered by their last use
        self._size = 0

    def __call__(self, passages: Sequence[Text]) -> dict[Text, NDArray[np.float32]]:
        """Return the vectors of passages.

        Parameters
        ----------
        passages
            Texts with their languages, ``None`` for an unknown one.

        Returns
        -------
        dict
            Passage -> ``(dims,)``, or ``(t, dims)`` of an encoder with a vector for each token.
        """
        with self._lock:
            wanted = list(dict.fromkeys(passages))
            missing = [passage for passage in wanted if passage not in self._vectors]
            for passage, vectors in zip(missing, encoded(self.encoder.encode_document, missing), strict=True):
                self._vectors[passage] = vectors
                self._size += vectors.size
            found = {}
            for passage in wanted:
                found[passage] = self._vectors[passage] = self._vectors.pop(passage)
            while self._size > self._limit:
                self._size -= self._vectors.pop(next(iter(self._vectors))).size
            return found


def encoded(encode: Callable[..., Any], texts: Sequence[Text]) -> Any:
    """Return what a method of an encoder gives for texts with their languages."""
    return encode([text for text, _ in texts], language=[language for _, language in texts])
