"""Search: what may be seen, what the channels say of it, how it is ranked; and why, for every hit."""

from __future__ import annotations

import numpy as np

from mlret.errors import InputError
from mlret.index.retrieval import Mode, check_mode
from mlret.memory.evidence import Candidates, Query, candidates
from mlret.memory.hits import Found, MemoryHit
from mlret.memory.scope import check_scope
from mlret.memory.selection import Selection
from mlret.memory.store import MemoryStore


def search(store: MemoryStore, query: Query, selection: Selection, k: int, mode: Mode | None) -> Found:
    """The best records for a query."""
    mode = check_mode(mode) or ("dense" if query.vector is not None and not query.text else "hybrid")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"k is {k!r}; it must be an integer of at least 1")
    with store.lock:
        visible = selection.mask(store)
        scope = check_scope(selection.scope)
        count = int(np.count_nonzero(visible))
        if not count:
            return Found((), scope, 0, "the scope holds nothing that may be seen")
        found = candidates(store, query, visible, k, mode)
        return Found(tuple(_hits(store, found, k)), scope, count)


def _hits(store: MemoryStore, found: Candidates, k: int) -> list[MemoryHit]:
    columns = store.columns
    ids = [columns.ids.values[one] for one in columns.record[found.positions]]
    order = sorted(range(len(ids)), key=lambda place: (-found.scores[place], ids[place]))[:k]
    records = store.fetch(found.positions[order])
    hits = []
    for rank, (place, record) in enumerate(zip(order, records, strict=True), start=1):
        scores = {"dense": float(found.dense[place]), "lexical": float(found.lexical[place])}
        scores = {name: value for name, value in scores.items() if not np.isnan(value)}
        hits.append(MemoryHit(rank, float(found.scores[place]), record, scores))
    return hits
