"""Lets a graph of FAISS compare the vectors of a segment where they are, so that its file holds links alone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from mlret.index.vectors.rounding import Matrix


def shares_vectors(matrix: Matrix) -> bool:
    """Return whether FAISS can compare the vectors of a matrix as they are stored: float32, and float16 on its own."""
    return isinstance(matrix, np.ndarray) or matrix.scales is None


def storage_of(matrix: Matrix) -> Any:
    """Return a flat index of FAISS over the vectors of a matrix, which are not copied if this FAISS allows it.

    Parameters
    ----------
    matrix
        ``(n, dims)``, C-contiguous, for which :func:`shares_vectors`; it must be kept as long as the index is used.
    """
    faiss: Any = import_module("faiss")
    codes = matrix if isinstance(matrix, np.ndarray) else matrix.codes
    rows, dims = codes.shape
    if codes.dtype == np.float32:
        storage = faiss.IndexFlatIP(dims)
    else:
        storage = faiss.IndexScalarQuantizer(dims, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if not rows:
        return storage
    view, address = storage.codes, faiss.swig_ptr(codes.view(np.uint8).reshape(-1))
    if not all(hasattr(view, name) for name in ("is_owned", "view_data", "view_size", "c_ptr", "c_size")):
        storage.add(np.ascontiguousarray(matrix[:]))
        return storage
    view.is_owned = False
    view.view_data = view.c_ptr = address
    view.view_size = view.c_size = codes.nbytes
    storage.ntotal = rows
    return storage
