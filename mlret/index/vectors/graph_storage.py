"""The links of a graph of FAISS, and the vectors that it compares: those of a segment where they are, or codes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mlret.index.settings import IndexSettings
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


def compare_in(graph: Any, storage: Any | None, *, owned: bool) -> None:
    """Have a graph compare the vectors of another index of FAISS, and free its own, if it has any.

    Parameters
    ----------
    graph
        An ``IndexHNSW``.
    storage
        The index that it compares from now on; ``None`` leaves it its links alone.
    owned
        Whether the graph frees that index; nothing else may own it then.
    """
    own = graph.storage if graph.own_fields else None
    graph.storage, graph.own_fields = storage, owned
    if own is not None:
        # An index that owns it frees it. If Python became its owner (SWIG's this.own), FAISS would lose all its classes
        # when it is freed, since SWIG counts only what it owned from the start (faiss-cpu 1.15.1).
        owner = import_module("faiss").IndexPreTransform(own)
        owner.own_fields = True


def write_links(graph: Any, path: Path) -> None:
    """Write a graph without the vectors that it compares."""
    faiss: Any = import_module("faiss")
    faiss.write_index(graph, str(path), faiss.IO_FLAG_SKIP_STORAGE)


def read_links(path: Path, dims: int, rows: int, settings: IndexSettings) -> Any | None:
    """Read a graph without the vectors that it may have of its own.

    Parameters
    ----------
    path
        The file, which is intact.
    dims, rows
        The number of dimensions, and that of vectors.
    settings
        The settings that the graph is to have been built with.

    Returns
    -------
    IndexHNSW or None
        The graph; ``None`` if this FAISS cannot read it, or it was built with other settings or of other vectors.
    """
    faiss: Any = import_module("faiss")
    try:
        graph = faiss.read_index(str(path))
        built = graph.d, graph.ntotal, graph.metric_type, graph.hnsw.nb_neighbors(1), graph.hnsw.efConstruction
    except (RuntimeError, AttributeError):
        return None
    compare_in(graph, None, owned=False)
    wanted = dims, rows, faiss.METRIC_INNER_PRODUCT, settings.m, settings.ef_construction
    return graph if built == wanted else None
