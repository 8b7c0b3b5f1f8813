"""Reads files of vectors that were computed elsewhere, without loading them into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.vectors.ragged import Ragged, offsets_of


def load_vectors(path: Path, lengths: Path | None = None) -> NDArray[Any] | Ragged:
    """Map a file of vectors.

    Parameters
    ----------
    path
        A ``.npy`` file with one vector for each document; or, with ``lengths``, the vectors of their tokens, one
        document after another.
    lengths
        A ``.npy`` file with the number of tokens of each document.

    Returns
    -------
    numpy.ndarray or Ragged
        ``(n, dims)``, or the token vectors of ``n`` documents.

    Raises
    ------
    InputError
        If a file is not an array of numbers.
    """
    if lengths is None:
        return _load_array(path)
    counts = _load_array(lengths)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (len(counts) and counts.min() < 0):
        raise InputError(f"{lengths} holds {counts.shape} {counts.dtype}; one number of tokens for each document")
    return Ragged(_load_array(path), offsets_of(counts))


def _load_array(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a .npy file of numbers ({error})") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} is an archive of arrays (.npz); save the array itself with numpy.save")
    return found
