"""Searches an index for Haystack: by embedding, by characters, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from haystack.dataclasses import Document as HaystackDocument
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.filtering.filters import All, Condition, Exists, Not
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.queries import check_queries
from mlret.index.search import Mode, Query, check_lexical, retrieve
from mlret.index.sharding.shard import Restriction
from mlret.index.store.store import Store
from mlret.index.vectors.space import Vectors
from mlret.integrations.haystack.stored_documents import CONTENT, EMBEDDING, UNEMBEDDED, from_document

# What a search by meaning, or by meaning and characters, must not find: its cosine with every query would be 0.
_HIDDEN_FROM: dict[Mode, Condition] = {
    "dense": Exists(UNEMBEDDED),
    "hybrid": All((Exists(UNEMBEDDED), Exists(CONTENT))),
}


class Wanted(NamedTuple):
    """What a search asks for: the text or the embedding of a query, and how many documents that satisfy a condition."""

    text: str
    embedding: Sequence[float] | None
    condition: Condition | None
    top_k: int
    return_embedding: bool


def search(index: Index, mode: Mode, wanted: Wanted) -> list[HaystackDocument]:
    """Return the best documents for a query, best first, with their scores.

    Parameters
    ----------
    index
        The index, with one vector for each document.
    mode
        The channels to search. ``"dense"`` needs the embedding, ``"lexical"`` the text, and ``"hybrid"`` the text; it
        encodes that if there is no embedding.
    wanted
        The query.

    Raises
    ------
    ValueError
        If ``top_k`` is negative.
    InputError
        If the text is blank, the embedding does not fit, or the index has no lexical channel for the mode.
    """
    if wanted.top_k < 0:
        raise ValueError(f"top_k is {wanted.top_k}; it must be at least 0")
    store = index.store
    store.refresh()
    check_lexical(store, mode)
    if mode != "dense":
        check_queries([wanted.text], None)
    vector = _vector(index, mode, wanted)
    if wanted.top_k == 0 or not len(store):
        return []
    restriction = Restriction(_findable(store, wanted.condition, mode))
    queries = [Query(vector, wanted.text)]
    [hits] = retrieve(index.shards, queries, wanted.top_k, restriction=restriction, mode=mode)
    return _found(store, hits, wanted.return_embedding)


def _vector(index: Index, mode: Mode, wanted: Wanted) -> NDArray[np.float32] | None:
    if wanted.embedding is not None:
        try:
            given = np.asarray([wanted.embedding], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"the embedding of the query is no list of numbers ({error})") from error
        return _only(index.shards.space.check_queries(given))
    return _only(index.encode_queries([wanted.text])) if mode == "hybrid" else None


def _only(vectors: Vectors) -> NDArray[np.float32]:
    [vector] = np.asarray(vectors, dtype=np.float32)
    return np.asarray(vector, dtype=np.float32)


def _findable(store: Store, condition: Condition | None, mode: Mode) -> Condition | None:
    """Return which documents a search may find; ``None`` for all."""
    hidden = _HIDDEN_FROM.get(mode)
    if hidden is not None and len(store.matching(hidden)):
        condition = Not(hidden) if condition is None else All((condition, Not(hidden)))
    return condition


def _found(store: Store, hits: Sequence[Hit], return_embedding: bool) -> list[HaystackDocument]:
    vectors: dict[str, NDArray[np.float32]] = {}
    if return_embedding:
        rows = store.records.rows_of([hit.id for hit in hits if hit.metadata.get(EMBEDDING) is True])
        found = store.vectors_of(list(rows.values()))
        vectors = {id: found[row] for id, row in rows.items() if row in found}
    return [
        from_document(hit.id, hit.text, hit.metadata, vectors.get(hit.id), embedding=return_embedding, score=hit.score)
        for hit in hits
    ]
