"""What the channels say of the versions that a query might mean, fused into one score each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.data.scripts import scripts_of, share_script
from mlret.index.fusion import align, alone, z_mean
from mlret.index.retrieval import Mode
from mlret.memory.columns import Columns, Mask
from mlret.memory.nearest import nearest, similarities
from mlret.memory.numbering import Positions
from mlret.memory.store import MemoryStore

# Each channel is asked for so many versions, of which the ranking is made.
DEPTH = 100


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: text, language if known, and vector, ``(dims,)`` or ``(t, dims)`` float32."""

    text: str
    language: str | None
    vector: NDArray[np.float32] | None


@dataclass(frozen=True)
class Candidates:
    """Versions that a query might mean.

    Attributes
    ----------
    positions
        ``(n,)`` int64, rising.
    scores
        ``(n,)`` float64: the mean of the standard scores of the channels that apply.
    dense, lexical
        ``(n,)`` float64: what each channel says; NaN where it says nothing.
    meaning, words
        ``(n,)`` float64: the part of the score that is each channel's.
    """

    positions: Positions
    scores: NDArray[np.float64]
    dense: NDArray[np.float64]
    lexical: NDArray[np.float64]
    meaning: NDArray[np.float64]
    words: NDArray[np.float64]

    def __getitem__(self, order: NDArray[np.int64]) -> Candidates:
        """Some of them, in another order."""
        return Candidates(*(getattr(self, name)[order] for name in self.__dataclass_fields__))


def candidates(store: MemoryStore, queries: Sequence[Query], visible: Positions, k: int, mode: Mode) -> Candidates:
    """The best versions of each channel, fused as in :func:`mlret.index.fusion.z_mean`.

    A version in another language or script than the query's is scored by its meaning alone, on the same scale: it
    could share no word.

    Parameters
    ----------
    store
        Where to look.
    queries
        What for; of several, which say the same, the one that suits a version best counts.
    visible
        ``(n,)``, rising: the positions that may be found.
    k
        At least so many of each channel; :data:`DEPTH` by default.
    mode
        ``dense``, ``lexical`` or ``hybrid``; with the first the score is the cosine, with the second BM25's.
    """
    columns = store.columns
    depth = max(DEPTH, k)
    channels: list[tuple[NDArray[np.float64], Positions]] = []
    nothing = np.empty(0), np.empty(0, dtype=np.int64)
    for query in queries:
        by_meaning = by_words = nothing
        if mode != "lexical":
            assert query.vector is not None
            by_meaning = nearest(store.store, columns, query.vector, visible, depth)
        if mode != "dense":
            by_words = columns.postings.search(query.text, depth, visible, columns.length)
        # Of those that tie at the end, the ones that were stored first.
        channels += [(scores[:depth], positions[:depth]) for scores, positions in (by_meaning, by_words)]
    positions, scores = align(channels)
    both = np.stack([np.fmax.reduce(scores[:, 0::2], axis=1), np.fmax.reduce(scores[:, 1::2], axis=1)], axis=1)
    return _fused(store, queries, positions, both, mode)


def weigh(store: MemoryStore, queries: Sequence[Query], found: Candidates, more: Positions, mode: Mode) -> Candidates:
    """Candidates with more of them, all weighed together; of those no channel need have found.

    Parameters
    ----------
    store, queries, mode
        As for :func:`candidates`.
    found
        What it gave.
    more
        ``(m,)``, rising: other positions.
    """
    positions = np.union1d(found.positions, more)
    scores = np.full((len(positions), 2), np.nan)
    places = np.searchsorted(positions, found.positions)
    scores[places, 0], scores[places, 1] = found.dense, found.lexical
    return _fused(store, queries, positions, scores, mode)


def _fused(
    store: MemoryStore, queries: Sequence[Query], positions: Positions, scores: NDArray[np.float64], mode: Mode
) -> Candidates:
    if mode != "lexical":
        # This channel can score anything: what only the other found is no worse for not having been reached.
        unknown = np.ones(len(positions), dtype=np.bool_) if len(queries) > 1 else np.isnan(scores[:, 0])
        for query in queries:
            assert query.vector is not None
            found = similarities(store.store, store.columns, query.vector, positions[unknown])
            scores[unknown, 0] = np.fmax(scores[unknown, 0], found)
    if mode != "hybrid":
        chosen = np.nan_to_num(scores[:, 0 if mode == "dense" else 1])
        nothing = np.zeros(len(positions))
        parts = (chosen, nothing) if mode == "dense" else (nothing, chosen)
        return Candidates(positions, chosen, scores[:, 0], scores[:, 1], *parts)
    applies = np.ones(scores.shape, dtype=np.bool_)
    applies[:, 1] = np.any([lexical_applies(store.columns, query, positions) for query in queries], axis=0)
    fused = z_mean(positions, scores, applies)
    back = np.argsort(fused.rows)
    counted = np.maximum(1, (~np.isnan(fused.parts)).sum(axis=1))
    shares = np.nan_to_num(fused.parts / counted[:, None])[back]
    sums = fused.scores[back]
    if np.isnan(fused.parts).all() and store.store.manifest.similarity == "cosine":
        sums = shares[:, 0] = alone(scores[:, 0])
    return Candidates(positions, np.round(sums, 6), scores[:, 0], scores[:, 1], shares[:, 0], shares[:, 1])


def lexical_applies(columns: Columns, query: Query, positions: Positions) -> Mask:
    """As :func:`mlret.index.fusion.lexical_applies`, of versions: in the query's language and script."""
    scripts = scripts_of(query.text)
    wanted = None if query.language is None else query.language.partition("-")[0]
    languages = np.array(
        [wanted is None or one is None or one.partition("-")[0] == wanted for one in columns.languages.values],
        dtype=np.bool_,
    )
    shared = np.array([share_script(scripts, one) for one in columns.scripts.values], dtype=np.bool_)
    found: Mask = languages[columns.language[positions]] & shared[columns.script[positions]]
    return found
