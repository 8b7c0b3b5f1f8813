"""Turn query vectors and texts into hits by dense, lexical or hybrid search.

A document that is longer than the encoder reads has a vector for each of its passages, and is found by the best of
them; see :mod:`mlret.index.best_passages`. The lexical channel compares its whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.documents import Document
from mlret.errors import Corrupt, InputError
from mlret.index.best_passages import Best, best_of, nearest_documents
from mlret.index.fusion import align, alone, in_unit, lexical_applies, z_mean
from mlret.index.hits import Hit, Hits, Passage, ScoreKind
from mlret.index.store.store import Store

Mode = Literal["dense", "lexical", "hybrid"]
Rows = NDArray[np.int64]

# The number of documents that each channel contributes to the fused ranking.
_DEPTH = 100


def check_mode(mode: str | None) -> Mode | None:
    """Return a mode unchanged if it is valid; ``None`` is allowed.

    Raises
    ------
    InputError
        If there is no mode of that name.
    """
    if mode is not None and mode not in get_args(Mode):
        raise InputError(f"no mode {mode!r}; there are {', '.join(get_args(Mode))}")
    return cast("Mode | None", mode)


def check_lexical(store: Store, mode: Mode) -> None:
    """Check that a store has the channels of a mode.

    Raises
    ------
    InputError
        If the mode needs a lexical channel and the index has none.
    """
    if mode != "dense" and store.records.lexical is None:
        raise InputError(
            f'{store.folder} has no lexical channel: build it with `lexical=True`, or search it with `mode="dense"`'
        )


@dataclass(frozen=True)
class Query:
    """A query: its vector or its token vectors, and for the lexical channel its text and the language that was given.

    ``vector`` is ``(dims,)`` float32, or ``(t, dims)`` in a multi-vector index; ``None`` if there is no encoder for it,
    which only a lexical search can do without.
    """

    vector: NDArray[np.float32] | None
    text: str = ""
    given: str | None = None

    @cached_property
    def language(self) -> str | None:
        """The language that was given, or the detected one; ``None`` if it is unknown.

        It is detected only when something asks for it: loading the detector takes most of a second.
        """
        return self.given or detect_language(self.text)


@dataclass(frozen=True, slots=True)
class Ranked:
    """The rows that one query found, best first.

    ``parts`` holds for each row the score of each channel that found it, ``kind`` says what ``scores`` are,
    ``cosines`` holds the cosine with the query or ``None``, and ``terms`` what each score is the sum of. ``nearest``
    holds the row of the passage that is nearest to the query, for each row if a document has several; it is the row
    itself for other documents, and is empty if there are none or nothing is known of it.
    """

    scores: Sequence[float]
    rows: Sequence[int]
    parts: Sequence[dict[str, float]]
    kind: ScoreKind
    cosines: Sequence[float | None]
    terms: Sequence[dict[str, float]]
    nearest: Sequence[int] = ()


def retrieve(
    store: Store,
    queries: Sequence[Query],
    k: int,
    *,
    allowed: Rows | None = None,
    mode: Mode = "dense",
    exact: bool = False,
) -> list[Hits]:
    """Return the ``k`` best documents for each query.

    Parameters
    ----------
    store
        The store to search.
    queries
        The queries. The lexical channel needs their texts.
    k
        The number of hits, at least 1.
    allowed
        ``(m,)`` row numbers in ascending order: the only rows to search. ``None`` for all.
    mode
        The channels to use, which the store must have. ``hybrid`` takes the best 100 documents, or ``k`` if that is
        more, of each channel, and ranks them by the mean of their standard scores over the channels that apply to a
        document (:func:`mlret.index.fusion.z_mean`).
    exact
        Compare with every row, without the accelerators.

    Returns
    -------
    list of Hits
        For each query its hits, best first.

    Raises
    ------
    MlretError
        If there are vectors without records.
    """
    # Another thread may delete a document between search and fetch; the search is then repeated.
    while True:
        changes = store.changes
        if mode == "dense":
            found = _dense(store, queries, k, allowed, exact)
        elif mode == "lexical":
            found = [_lexical(store, query, k, allowed) for query in queries]
        else:
            found = _hybrid(store, queries, k, allowed, exact)
        rows = sorted({row for ranked in found for row in ranked.rows})
        documents = store.records.fetch(rows)
        if len(documents) == len(rows):
            return [_hits(ranked, documents, _passages(store, ranked, documents)) for ranked in found]
        if store.changes == changes:
            raise Corrupt(f"{store.folder} has vectors without records: `mlret index verify` reports details")


def _dense(store: Store, queries: Sequence[Query], k: int, allowed: Rows | None, exact: bool) -> list[Ranked]:
    found = _nearest(store, queries, k, allowed, exact)
    # More rows than k may tie with the k-th best; the ids decide which of them are kept.
    tied = sorted({int(row) for scores, rows, _ in found if len(rows) > 1 for row in rows if _repeats(scores)})
    ids = store.records.ids(tied)
    ranked = []
    for scores, rows, nearest in found:
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], ids.get(int(rows[place]), "")))[:k]
        chosen = [float(scores[place]) for place in order]
        parts = [{"dense": one} for one in chosen]
        similarity = store.space.manifest.similarity
        ranked.append(
            Ranked(
                chosen,
                [int(rows[place]) for place in order],
                parts,
                "cosine" if similarity == "cosine" else "maxsim",
                _cosines(store, chosen),
                parts,
                () if nearest is rows else [int(nearest[place]) for place in order],
            )
        )
    return ranked


def _repeats(scores: NDArray[np.float64]) -> bool:
    return bool((scores[1:] == scores[:-1]).any())


def _nearest(store: Store, queries: Sequence[Query], k: int, allowed: Rows | None, exact: bool) -> list[Best]:
    """Return for each query the scores and rows of the nearest documents, and the row of the best passage of each."""
    vectors = [query.vector for query in queries if query.vector is not None]
    if store.records.passages.any:
        return nearest_documents(store, vectors, k, allowed, exact=exact)
    found = store.space.search(store.views(allowed), vectors, k, exact=exact)
    return [Best(scores, rows, rows) for scores, rows in found]


def _lexical(store: Store, query: Query, k: int, allowed: Rows | None) -> Ranked:
    scores, rows = store.records.match(query.text, k, allowed)
    order = np.argsort(rows)
    similar, nearest = np.full(len(rows), np.nan), np.array(rows)
    if query.vector is not None:
        similar[order], nearest[order] = _similarities(store, query.vector, rows[order])
    known = query.vector is not None and store.records.passages.any
    parts = [{"lexical": one} for one in scores.tolist()]
    cosines = _cosines(store, similar.tolist())
    return Ranked(scores.tolist(), rows.tolist(), parts, "bm25", cosines, parts, nearest.tolist() if known else ())


def _cosines(store: Store, similarities: Sequence[float]) -> list[float | None]:
    """Return similarities as cosines.

    The result is ``None`` for a row without a vector, and for every row of a multi-vector index.
    """
    known = store.space.manifest.similarity == "cosine"
    return [one if known and one == one else None for one in similarities]


def _hybrid(store: Store, queries: Sequence[Query], k: int, allowed: Rows | None, exact: bool) -> list[Ranked]:
    depth = max(_DEPTH, k)
    nearest = _nearest(store, queries, depth, allowed, exact)
    return [
        _fused(store, query, k, (scores[:depth], rows[:depth]), store.records.match(query.text, depth, allowed))
        for query, (scores, rows, _) in zip(queries, nearest, strict=True)
    ]


def _fused(
    store: Store,
    query: Query,
    k: int,
    dense: tuple[NDArray[np.float64], Rows],
    lexical: tuple[NDArray[np.float64], Rows],
) -> Ranked:
    rows, scores = align([dense, lexical])
    # The dense channel can score any row, so rows that only the lexical channel found get their dense score here, and
    # are not ranked lower for having been missed.
    assert query.vector is not None
    scores[:, 0], passages = _similarities(store, query.vector, rows)
    nearest = dict(zip(rows.tolist(), passages.tolist(), strict=True)) if store.records.passages.any else {}
    documents = store.records.fetch(rows.tolist())
    there = np.array([row in documents for row in rows.tolist()], dtype=np.bool_) & ~np.isnan(scores[:, 0])
    rows, scores = rows[there], scores[there]
    texts = [documents[row].text for row in rows.tolist()]
    languages = [documents[row].language for row in rows.tolist()]
    applies = np.ones(scores.shape, dtype=np.bool_)
    if len(lexical[1]):  # A channel that found nothing is excluded anyway.
        applies[:, 1] = lexical_applies(query.text, query.language, texts, languages)
    fused = z_mean(rows, scores, applies)
    given = dict(zip(rows.tolist(), scores, strict=True))
    ids = {row: documents[row].id for row in rows.tolist()}
    order = sorted(range(len(rows)), key=lambda place: (-fused.scores[place], ids[int(fused.rows[place])]))[:k]
    chosen = [int(fused.rows[place]) for place in order]
    parts = [_by_channel(given[row]) for row in chosen]
    sums = fused.scores[order]
    terms = fused.parts[order] / np.maximum(1, np.count_nonzero(~np.isnan(fused.parts[order]), axis=1))[:, None]
    if np.isnan(fused.parts).all() and store.space.manifest.similarity == "cosine":
        sums = alone([given[row][0] for row in chosen])
        terms[:, 0] = sums
    cosines = _cosines(store, [float(given[row][0]) for row in chosen])
    return Ranked(
        np.round(in_unit(sums), 6).tolist(),
        chosen,
        parts,
        "fused",
        cosines,
        [_by_channel(one) for one in terms],
        [nearest[row] for row in chosen] if nearest else (),
    )


def _by_channel(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the values of the channels by name, without those that are NaN."""
    return {name: value for name, value in zip(("dense", "lexical"), values.tolist(), strict=True) if value == value}


def _similarities(store: Store, vector: NDArray[np.float32], rows: Rows) -> tuple[NDArray[np.float64], Rows]:
    """Return the cosine or MaxSim of a query with each document, and the row of the best passage of each.

    ``rows`` are in ascending order. The similarity is NaN for a row that no segment has.
    """
    every = store.records.passages.expanded(rows)
    found = np.full(len(every), np.nan)
    for view in store.views():
        positions = view.segment.positions_of(every)
        if len(positions):
            places = np.searchsorted(every, view.segment.numbers[positions])
            found[places] = store.space.score(view.segment, vector, positions)
    if len(every) == len(rows):
        return found, rows
    best = best_of(found, every, store.records.passages.owners(every))
    order = np.argsort(best.rows)
    return best.scores[order], best.passages[order]


def _passages(store: Store, ranked: Ranked, documents: dict[int, Document]) -> list[Passage | None]:
    """Return the passage of each hit that is nearest to the query; ``None`` for a document that was not cut."""
    found: list[Passage | None] = [None] * len(ranked.rows)
    if not ranked.nearest:
        return found
    spans = store.records.passages.of(ranked.rows)
    for place, row in enumerate(ranked.rows):
        if row in spans:
            start, end = spans[row][ranked.nearest[place] - row]
            found[place] = Passage(start, end, documents[row].text[start:end])
    return found


def _hits(ranked: Ranked, documents: dict[int, Document], passages: Sequence[Passage | None]) -> Hits:
    found = Hits()
    columns = zip(ranked.scores, ranked.rows, ranked.parts, ranked.cosines, ranked.terms, strict=True)
    for rank, (value, row, parts, cosine, terms) in enumerate(columns, start=1):
        document = documents[row]
        found.append(
            Hit(
                rank,
                document.id,
                value,
                document.text,
                document.language,
                document.metadata,
                parts,
                ranked.kind,
                cosine,
                terms,
                passages[rank - 1],
            )
        )
    return found
