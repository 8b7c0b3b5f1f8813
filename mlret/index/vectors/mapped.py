"""Memory maps that are read once from beginning to end, without the pages that were read staying in memory."""

from __future__ import annotations

import mmap

import numpy as np

from mlret.index.vectors.ragged import Ragged
from mlret.index.vectors.rounding import Rounded


def release_pages(vectors: object) -> None:
    """Take what was read of a memory map out of the memory of this process; it is read again when it is needed.

    Linux keeps the pages of a map until memory is short, and counts them as memory of the process. What the system has
    cached of the file stays cached. Nothing is done with anything else than a map that is only read (of one that can be
    written, changes might be lost), or where the system cannot be asked.

    Parameters
    ----------
    vectors
        An array, rounded vectors, or tokens. The whole map is released, also if they are only a part of it.
    """
    values = vectors.values if isinstance(vectors, Ragged) else vectors
    base: object = values.codes if isinstance(values, Rounded) else values
    mode = None
    while isinstance(base, np.ndarray):
        mode, base = base.mode if isinstance(base, np.memmap) else mode, base.base
    if mode == "r" and isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
