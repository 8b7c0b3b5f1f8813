"""Finds documents by their best passages.

The space of vectors finds passages. Several of them may be of one document, so more than ``k`` are asked for, and again
four times as many for the queries that have not found ``k`` documents by then: the result is the same as comparing the
best passage of every document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.index.storage.passages import COUNTER
from mlret.index.store.store import Store

Rows = NDArray[np.int64]

_WIDEN = 4
# Passages that are asked for at first, for each document, at most; documents of many passages differ in their topics.
_MOST = 8


class Best(NamedTuple):
    """Documents with the best passage of each, in descending order of scores.

    Attributes
    ----------
    scores
        ``(n,)`` float64: the score of the passage.
    rows
        ``(n,)`` int64: the row of the document's record.
    passages
        ``(n,)`` int64: the row of the passage. Of equal passages it is the first one.
    """

    scores: NDArray[np.float64]
    rows: Rows
    passages: Rows


def best_of(scores: NDArray[np.float64], passages: Rows, rows: Rows) -> Best:
    """Keep the best passage of each document.

    Parameters
    ----------
    scores
        ``(m,)`` float64: the score of each passage; NaN is the lowest.
    passages
        ``(m,)`` int64: the row of each passage.
    rows
        ``(m,)`` int64: the row of the record of each passage's document.
    """
    order = np.lexsort((passages, -scores))  # NaN is sorted last.
    _, first = np.unique(rows[order], return_index=True)
    chosen = order[np.sort(first)]
    return Best(scores[chosen], rows[chosen], passages[chosen])


def nearest_documents(
    store: Store, vectors: Sequence[NDArray[np.float32]], k: int, allowed: Rows | None, *, exact: bool
) -> list[Best]:
    """Return for each query every document that may be among the ``k`` best.

    Parameters
    ----------
    store
        The store to search.
    vectors
        The vectors of the queries, as for :meth:`mlret.index.vectors.space.Space.search`.
    k
        The number of documents.
    allowed
        ``(m,)`` rows of records in ascending order: the only ones to search. ``None`` for all.
    exact
        Compare with every passage, without the accelerators.

    Returns
    -------
    list of Best
        For each query its documents, including the documents that are tied with the ``k``-th.
    """
    passages = store.records.passages
    views = store.views(None if allowed is None else passages.expanded(allowed))
    found: dict[int, Best] = {}
    pending = list(range(len(vectors)))
    each = 1 + min(_MOST - 1, store.records.counter(COUNTER) / max(1, len(store)))
    fetch = int(np.ceil(k * each))
    while pending:
        unfinished = []
        nearest = store.space.search(views, [vectors[query] for query in pending], fetch, exact=exact)
        for query, (scores, rows) in zip(pending, nearest, strict=True):
            best = best_of(scores, rows, passages.owners(rows))
            if len(best.rows) < k and len(rows) >= fetch:
                unfinished.append(query)
            else:
                found[query] = best
        pending, fetch = unfinished, fetch * _WIDEN
    return [found[query] for query in range(len(vectors))]
