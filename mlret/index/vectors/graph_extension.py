"""The graph of a segment, from which the graph of a segment that begins with the same rows is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.vectors.graph_removal import remove_nodes
from mlret.index.vectors.graph_storage import read_links
from mlret.index.vectors.segments import Segment

# A graph from which more than this share of its vectors is taken out is built again: the links that take the place of
# others are not chosen by distance, so that it finds a little less with few candidates the more of them there are.
_REMOVED = 0.1


def graph_to_extend(
    files: SealedFiles, base: Segment, numbers: NDArray[np.int64], settings: IndexSettings
) -> Any | None:
    """Return the graph of a segment, without the rows that are not in another one.

    Parameters
    ----------
    files
        The sealed files of the index.
    base
        The segment.
    numbers
        The row numbers of the other segment, which begins with rows of ``base`` and has no others of them.
    settings
        The settings that the graph is to have.

    Returns
    -------
    IndexHNSW or None
        The graph, without the vectors that it compares, over the first rows of the other segment; ``None`` if there is
        no graph, it is damaged, was built with other settings, or has lost so many vectors that building one again
        gives a better one.
    """
    info = base.info.accelerator
    if base.torn or info is None or info.kind != "hnsw":
        return None
    kept = np.zeros(len(base), dtype=np.bool_)
    kept[base.positions_of(numbers)] = True
    removed = len(base) - int(kept.sum())
    if removed > _REMOVED * len(base):
        return None
    try:
        path = files.check(info, thorough=True)  # Damage would be sealed with what is added.
    except TornFileError:
        return None
    graph = read_links(path, base.matrix.shape[1], len(base), settings)
    if graph is None or (removed and not remove_nodes(graph, kept)):
        return None
    return graph
