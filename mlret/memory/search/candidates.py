"""Score candidate versions by each channel, dense and lexical, and fuse the scores into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.scripts import scripts_of, share_script
from mlret.index.fusion import align, alone, z_mean
from mlret.index.search import Mode
from mlret.memory.search.nearest import nearest, similarities
from mlret.memory.storage.columns import Columns, Mask
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.store import MemoryStore

# Number of versions that each channel returns for the ranking.
DEPTH = 100


@dataclass(frozen=True)
class Query:
    """A query: text, language if it was given, and vector, ``(dims,)`` or ``(t, dims)`` float32, if it is encoded."""

    text: str
    given: str | None
    vector: NDArray[np.float32] | None = None

    @cached_property
    def language(self) -> str | None:
        """The language that was given, or the detected one; ``None`` if it is unknown.

        It is detected only when something asks for it: loading the detector takes most of a second.
        """
        return self.given or detect_language(self.text)


@dataclass(frozen=True)
class Candidates:
    """Versions that may answer a query, with their scores.

    Attributes
    ----------
    positions
        ``(n,)`` int64, ascending.
    scores
        ``(n,)`` float64: the mean of the standard scores of the channels that apply.
    dense, lexical
        ``(n,)`` float64: raw score of each channel; NaN where it has none.
    meaning, words
        ``(n,)`` float64: the share of the score that comes from the dense and from the lexical channel.
    """

    positions: Positions
    scores: NDArray[np.float64]
    dense: NDArray[np.float64]
    lexical: NDArray[np.float64]
    meaning: NDArray[np.float64]
    words: NDArray[np.float64]

    def __getitem__(self, order: NDArray[np.int64]) -> Candidates:
        """Return the candidates at some indices, in the order of the indices."""
        return Candidates(*(getattr(self, name)[order] for name in self.__dataclass_fields__))


def candidates(store: MemoryStore, queries: Sequence[Query], visible: Positions, k: int, mode: Mode) -> Candidates:
    """Return the best versions of each channel, fused as in :func:`mlret.index.fusion.z_mean`.

    A version in another language or script than the query can share no word with it, so it is scored by meaning alone,
    on the same scale.

    Parameters
    ----------
    store
        The memory.
    queries
        One query, or several that say the same; the best one counts for each version.
    visible
        ``(n,)``, ascending: the positions that may be found.
    k
        Minimum number of versions from each channel; at least :data:`DEPTH` are used.
    mode
        ``dense``, ``lexical`` or ``hybrid``; with ``dense`` the score is the cosine, with ``lexical`` the BM25 score.

    Returns
    -------
    Candidates
        The union of the versions of all channels.
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
        # Of versions tied at the cut-off, those stored first are kept.
        channels += [(scores[:depth], positions[:depth]) for scores, positions in (by_meaning, by_words)]
    positions, scores = align(channels)
    both = np.stack([np.fmax.reduce(scores[:, 0::2], axis=1), np.fmax.reduce(scores[:, 1::2], axis=1)], axis=1)
    return _fused(store, queries, positions, both, mode)


def weigh(store: MemoryStore, queries: Sequence[Query], found: Candidates, more: Positions, mode: Mode) -> Candidates:
    """Return candidates extended by further positions, all scored together again.

    Parameters
    ----------
    store, queries, mode
        As for :func:`candidates`.
    found
        The result of :func:`candidates`.
    more
        ``(m,)``, ascending: the positions to add, which no channel need have found.
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
        # The dense channel can score any version, so versions that only the other channel found are scored too.
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
    if not np.isnan(scores[:, 1]).all():  # A channel that found nothing is excluded anyway.
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
    """Return for each version whether the lexical channel applies: it shares the query's language and script.

    Parameters
    ----------
    columns
        The tenant's versions.
    query
        The query; a language that is unknown on either side matches.
    positions
        ``(n,)`` int64: the versions.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool.
    """
    scripts = scripts_of(query.text)
    wanted = None if query.language is None else query.language.partition("-")[0]
    languages = np.array(
        [wanted is None or one is None or one.partition("-")[0] == wanted for one in columns.languages.by_number],
        dtype=np.bool_,
    )
    shared = np.array([share_script(scripts, one) for one in columns.scripts.by_number], dtype=np.bool_)
    found: Mask = languages[columns.language[positions]] & shared[columns.script[positions]]
    return found
