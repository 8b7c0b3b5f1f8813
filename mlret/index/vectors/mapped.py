"""Memory maps that are read once from beginning to end, without the pages that were read staying in memory."""

from __future__ import annotations

import mmap

import numpy as np

from mlret.index.vectors.rounding import Matrix


def release_pages(matrix: Matrix) -> None:
    """Take what was read of a memory map out of the memory of this process; it is read again when it is needed.

    Linux keeps the pages of a map until memory is short, and counts them as memory of the process. What the system has
    cached of the file stays cached. Nothing is done with a matrix that is no map, or where the system cannot be asked.

    Parameters
    ----------
    matrix
        ``(n, dims)``, of which the whole map is released, also if the matrix is only a part of it.
    """
    base = matrix if isinstance(matrix, np.ndarray) else matrix.codes
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
