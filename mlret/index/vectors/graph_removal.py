"""Takes vectors out of a graph of FAISS: what led to them leads to what they led to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NODES = 65_536  # Nodes whose lists are rewritten at once.


def remove_nodes(graph: Any, kept: NDArray[np.bool_]) -> bool:
    """Remove nodes from a graph, and number those that are left from 0 in their order.

    FAISS removes nothing from a graph. A link to a node that is removed is replaced by a link to one of the nodes that
    this one was linked to, so that there is still a way to what lay behind it.

    Parameters
    ----------
    graph
        An ``IndexHNSW`` of ``n`` vectors without storage. It is changed, and of no use if the result is false.
    kept
        ``(n,)``: which nodes to keep.

    Returns
    -------
    bool
        Whether all nodes that are left can be reached from where a search enters the graph.
    """
    faiss: Any = import_module("faiss")
    hnsw = graph.hnsw
    if not kept.any():
        return False
    links = _Links(
        faiss.vector_to_array(hnsw.neighbors),
        faiss.vector_to_array(hnsw.levels),
        faiss.vector_to_array(hnsw.offsets).astype(np.int64),
        tuple(hnsw.nb_neighbors(level) for level in range(hnsw.max_level + 1)),
    )
    left = links.without(kept)
    faiss.copy_array_to_vector(left.neighbors, hnsw.neighbors)
    faiss.copy_array_to_vector(left.levels, hnsw.levels)
    faiss.copy_array_to_vector(left.offsets.astype(np.uint64), hnsw.offsets)
    entry = int(hnsw.entry_point)
    hnsw.entry_point = int(np.count_nonzero(kept[:entry]) if kept[entry] else left.levels.argmax())
    hnsw.max_level = int(left.levels[hnsw.entry_point]) - 1
    graph.ntotal = len(left.levels)
    return left.reached(hnsw.entry_point)


class _Links:
    """The links of a graph, as FAISS keeps them.

    Parameters
    ----------
    neighbors
        int32: for each node one list for each of its levels, of a width that the level has, padded with -1.
    levels
        ``(n,)`` int32: the number of levels of each node, at least 1.
    offsets
        ``(n + 1,)`` int64: where the lists of each node begin.
    widths
        The width of a list of each level.
    """

    def __init__(
        self,
        neighbors: NDArray[np.int32],
        levels: NDArray[np.int32],
        offsets: NDArray[np.int64],
        widths: tuple[int, ...],
    ) -> None:
        self.neighbors = neighbors
        self.levels = levels
        self.offsets = offsets
        self._widths = widths

    def without(self, kept: NDArray[np.bool_]) -> _Links:
        """Return the links among the nodes that are kept, and the links that take the place of those to others."""
        lengths = np.diff(self.offsets)[kept]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        left = _Links(np.empty(offsets[-1], dtype=np.int32), self.levels[kept], offsets, self._widths)
        old = np.flatnonzero(kept)
        numbers = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        for level in range(len(self._widths)):
            for nodes in left._on(level):
                found = self._passed_on(old[nodes], self._lists(level, old[nodes]), level, kept)
                found = np.where(found >= 0, numbers[found], -1)
                # A search ends at the first -1 of a list.
                order = np.argsort(found < 0, axis=1, kind="stable")
                left.neighbors[left._places(level, nodes)] = np.take_along_axis(found, order, axis=1)
        return left

    def reached(self, start: int) -> bool:
        """Return whether there is a way from a node to all others on the lowest level."""
        seen = np.zeros(len(self.levels), dtype=np.bool_)
        seen[start] = True
        front = np.array([start])
        while len(front):
            found = np.zeros(len(seen), dtype=np.bool_)
            for first in range(0, len(front), _NODES):
                some = self._lists(0, front[first : first + _NODES])
                found[some[some >= 0]] = True
            front = np.flatnonzero(found & ~seen)
            seen |= found
        return bool(seen.all())

    def _passed_on(
        self, nodes: NDArray[np.int64], lists: NDArray[np.int32], level: int, kept: NDArray[np.bool_]
    ) -> NDArray[np.int32]:
        """Return lists of nodes with links to nodes that are kept alone."""
        rows, columns = np.nonzero((lists >= 0) & ~kept[lists])
        if not len(rows):
            return lists
        behind = self._lists(level, lists[rows, columns].astype(np.int64))
        usable = (behind >= 0) & kept[behind] & (behind != nodes[rows, None])
        # Those that come to one node take different ones of what is behind it: by the node's number, which is as good
        # as chance and the same each time.
        turns = (np.cumsum(usable, axis=1) - 1 - (nodes[rows] % np.maximum(1, usable.sum(axis=1)))[:, None]) == 0
        chosen = np.argmax(turns & usable, axis=1)
        found = np.where(usable.any(axis=1), behind[np.arange(len(rows)), chosen], -1)
        lists = lists.copy()
        lists[rows, columns] = found
        return _once(lists)

    def _on(self, level: int) -> Iterator[NDArray[np.int64]]:
        """Yield the nodes of a level, some at a time."""
        nodes = np.flatnonzero(self.levels > level)
        for first in range(0, len(nodes), _NODES):
            yield nodes[first : first + _NODES]

    def _places(self, level: int, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        first = self.offsets[nodes] + sum(self._widths[:level])
        return np.asarray(first[:, None] + np.arange(self._widths[level]), dtype=np.int64)

    def _lists(self, level: int, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the lists of some nodes: ``(nodes, width)`` int32."""
        return np.asarray(self.neighbors[self._places(level, nodes)], dtype=np.int32)


def _once(lists: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return lists in which a node that occurs several times is left once, and the others are -1."""
    order = np.argsort(lists, axis=1, kind="stable")
    ordered = np.take_along_axis(lists, order, axis=1)
    again = np.zeros(lists.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.where(again, -1, lists).astype(np.int32)
