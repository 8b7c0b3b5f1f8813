"""Searches the open folders of this process: one shard, or all shards of an index as if they were one.

A search of several shards together reads each of them, and does the rest once: the sums over posting lists, the choice
of the best documents, the comparison of scripts. What it finds is that of an undivided index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.data.scripts import scripts_of
from mlret.index.best_passages import Best, best_of, nearest_documents
from mlret.index.filtering.filters import Condition
from mlret.index.fusion import Written, may_share_words
from mlret.index.lexical.fts import LexicalTable
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import LexicalPlan
from mlret.index.lexical.text_search import TextSearch
from mlret.index.ordering import best_first
from mlret.index.sharding.placement import by_shard
from mlret.index.sharding.shard import (
    Candidates,
    Channel,
    Completed,
    Fetched,
    Found,
    Incomplete,
    Prepared,
    Restriction,
    Rows,
    Wanted,
)
from mlret.index.storage.passages import Span
from mlret.index.store.store import Store
from mlret.index.vectors.space import View

T = TypeVar("T")
# The number of products from which several threads compare vectors.
_PRODUCTS = 2**22
# Documents of which it is kept how they are written.
_MOST_KNOWN = 50_000


def _in_turn(call: Callable[[Sequence[int]], T], places: Sequence[int]) -> list[T]:
    return [call(places)]


class LocalSearch:
    """Searches stores together.

    A document is named by a number: its row times the number of stores, plus the place of its store. With one store the
    number is the row.

    Parameters
    ----------
    stores
        The open folders, of one encoder and the same settings.
    matching
        Returns the rows of a store, by its place, that satisfy a condition.
    in_threads
        Calls a function with parts of some places, as far as possible at the same time, and returns what it returned.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        matching: Callable[[int, Condition], Rows],
        in_threads: Callable[[Callable[[Sequence[int]], Any], Sequence[int]], list[Any]] = _in_turn,
    ) -> None:
        self.stores = stores
        self._count = len(stores)
        self._find_matching = matching
        self._in_threads = in_threads
        self._text_search = TextSearch(self._tables, lambda: tuple(store.records.changes for store in stores))
        # How texts are written that were candidates, and the changes that were counted then.
        self._known: dict[int, Written] = {}
        self._known_changes = -1
        # What was last looked up: the restriction, the changes that the stores counted, and the rows.
        self._restricted: tuple[Restriction, Sequence[int], Sequence[Rows]] | None = None

    @property
    def changes(self) -> int:
        """The number of changes that the stores count."""
        return sum(store.changes for store in self.stores)

    def prepare(self, queries: Sequence[str], restriction: Restriction) -> Prepared:
        """Return what is known of the words of queries; see :class:`mlret.index.sharding.shard.Shard`."""
        allowed = self._allowed(restriction)
        wanted = sorted({ngram for query in queries for ngram in ngrams(query)})
        with self._reporting():
            statistics = self._text_search.statistics(wanted)
        return Prepared(statistics, _size(allowed))

    def candidates(self, wanted: Wanted) -> Found:
        """Return the best documents of each channel for each query."""
        changes = self.changes
        allowed = self._allowed(wanted.restriction)
        dense: Sequence[Channel | None] = [None] * len(wanted.vectors)
        lexical = dense
        if wanted.mode != "lexical":
            dense = self._nearest(wanted, allowed)
        if wanted.mode != "dense":
            lexical = [
                self._matching_words(wanted, plan, vector, allowed)
                for plan, vector in zip(wanted.plans, wanted.vectors, strict=True)
            ]
        return Found(
            [Candidates(*one) for one in zip(dense, lexical, strict=True)],
            any(store.records.passages.any for store in self.stores),
            _size(allowed),
            changes,
        )

    def complete(self, incomplete: Sequence[Incomplete]) -> list[Completed]:
        """Return what the fusion of channels needs to know of the candidates of queries."""
        return [self._completed(one) for one in incomplete]

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of documents; an empty one for a document that is no longer stored."""
        found: dict[int, str] = {}
        for place, rows in self._by_store(np.array(numbers, dtype=np.int64)):
            found |= self._numbered(self.stores[place].records.ids(rows), place)
        return [found.get(number, "") for number in numbers]

    def fetch(self, numbers: Sequence[int]) -> Fetched:
        """Return documents."""
        documents: dict[int, Document] = {}
        spans: dict[int, list[Span]] = {}
        for place, rows in self._by_store(np.array(numbers, dtype=np.int64)):
            records = self.stores[place].records
            found = records.fetch(rows)
            documents |= self._numbered(found, place)
            spans |= self._numbered(records.passages.of(list(found)), place)
        return Fetched(documents, spans, self.changes)

    def _tables(self) -> list[LexicalTable]:
        tables = [store.records.lexical for store in self.stores]
        return [table for table in tables if table is not None]

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Hold the locks of all databases, and report their errors."""
        if self._count == 1:
            with self.stores[0].records.reporting():
                yield
            return
        with ExitStack() as stack:
            for store in self.stores:
                stack.enter_context(store.records.reporting())
            yield

    def _numbered(self, found: Mapping[int, T], place: int) -> dict[int, T]:
        if self._count == 1:
            return dict(found)
        return {row * self._count + place: value for row, value in found.items()}

    def _by_store(self, numbers: Rows) -> Iterator[tuple[int, list[int]]]:
        """Yield the place of each store that holds some documents, and the rows of these."""
        for place, _, rows in self._places_by_store(numbers):
            yield place, rows.tolist()

    def _places_by_store(self, numbers: Rows) -> Iterator[tuple[int, NDArray[np.int64], Rows]]:
        """Yield the place of each store that holds some documents, their places among the numbers, and their rows."""
        if self._count == 1:
            yield 0, np.arange(len(numbers)), numbers
            return
        stores, rows = numbers % self._count, numbers // self._count
        order = np.argsort(stores, kind="stable")
        ends = np.searchsorted(stores[order], np.arange(self._count + 1)).tolist()
        for place in range(self._count):
            if ends[place] < ends[place + 1]:
                where = order[ends[place] : ends[place + 1]]
                yield place, where, rows[where]

    def _numbers(self, rows: Rows, place: int) -> Rows:
        return rows if self._count == 1 else rows * self._count + place

    def _nearest(self, wanted: Wanted, allowed: Sequence[Rows] | None) -> list[Channel]:
        vectors = [vector for vector in wanted.vectors if vector is not None]
        together = self.stores[0].manifest.similarity == "cosine" and not any(
            store.records.passages.any for store in self.stores
        )
        search = self._nearest_together if together else self._nearest_each

        def found(places: Sequence[int]) -> list[list[Best]]:
            return search(places, vectors, wanted, allowed)

        every = range(self._count)
        if self._count > 1 and (not together or self._products(vectors, allowed) > _PRODUCTS):
            parts = [part for some in self._in_threads(found, every) for part in some]
        else:
            parts = found(every)
        return [self._best_channel([part[query] for part in parts], wanted.k) for query in range(len(vectors))]

    def _products(self, vectors: Sequence[NDArray[np.float32]], allowed: Sequence[Rows] | None) -> int:
        """Return about how many numbers are multiplied to compare everything."""
        rows = sum(len(store) for store in self.stores) if allowed is None else sum(map(len, allowed))
        return rows * sum(vector.size for vector in vectors)

    def _nearest_together(
        self,
        places: Sequence[int],
        vectors: Sequence[NDArray[np.float32]],
        wanted: Wanted,
        allowed: Sequence[Rows] | None,
    ) -> list[list[Best]]:
        views: list[View[Any]] = []
        for place in places:
            some = self.stores[place].views(None if allowed is None else allowed[place])
            views += some if self._count == 1 else [replace(view, stride=self._count, first=place) for view in some]
        nearest = self.stores[0].space.search(views, vectors, wanted.k, exact=wanted.exact)
        return [[Best(scores, rows, rows) for scores, rows in nearest]]

    def _nearest_each(
        self,
        places: Sequence[int],
        vectors: Sequence[NDArray[np.float32]],
        wanted: Wanted,
        allowed: Sequence[Rows] | None,
    ) -> list[list[Best]]:
        parts = []
        for place in places:
            store, some = self.stores[place], None if allowed is None else allowed[place]
            if store.records.passages.any:
                found = nearest_documents(store, vectors, wanted.k, some, exact=wanted.exact)
            else:
                nearest = store.space.search(store.views(some), vectors, wanted.k, exact=wanted.exact)
                found = [Best(scores, rows, rows) for scores, rows in nearest]
            parts.append(
                [Best(one.scores, self._numbers(one.rows, place), self._passages(one, place)) for one in found]
            )
        return parts

    def _passages(self, best: Best, place: int) -> Rows:
        """Return the passages of documents as their numbers plus the places of the passages in the documents."""
        if best.passages is best.rows or self._count == 1:
            return best.passages if self._count == 1 else self._numbers(best.rows, place)
        return self._numbers(best.rows, place) + (best.passages - best.rows)

    def _best_channel(self, parts: Sequence[Best], k: int) -> Channel:
        if len(parts) == 1:
            [(scores, numbers, passages)] = parts
        else:
            scores, numbers, passages = (np.concatenate(some) for some in zip(*parts, strict=True))
        # More rows than k may tie with the k-th best; the ids decide which of them are kept.
        order = self._best_first(scores, numbers, k)
        chosen = numbers[order]
        return Channel(scores[order], chosen, chosen if passages is numbers else passages[order])

    def _best_first(self, scores: NDArray[np.float64], numbers: Rows, k: int) -> NDArray[np.int64]:
        return best_first(scores, k, lambda places: self.ids(numbers[places].tolist()))

    def _matching_words(
        self, wanted: Wanted, plan: LexicalPlan, vector: NDArray[np.float32] | None, allowed: Sequence[Rows] | None
    ) -> Channel:
        with self._reporting():
            found = self._text_search.matches(plan, wanted.k, allowed=allowed)
        order = self._best_first(found.scores, found.numbers, wanted.k)
        scores, numbers = found.scores[order], found.numbers[order]
        similarities, passages = None, numbers
        if wanted.mode == "lexical":
            similarities = np.full(len(numbers), np.nan)
            if vector is not None:
                ascending = np.argsort(numbers)
                passages = np.array(numbers)
                similarities[ascending], passages[ascending] = self._similarities(vector, numbers[ascending])
        return Channel(scores, numbers, passages, similarities, found.texts)

    def _completed(self, one: Incomplete) -> Completed:
        similarities, passages = self._similarities(one.vector, one.rows)
        numbers = one.rows.tolist()
        found = self._written(numbers)
        there = np.array([number in found for number in numbers], dtype=np.bool_)
        similarities[~there] = np.nan
        applies = np.ones(len(there), dtype=np.bool_)
        if one.words:
            query = Written(scripts_of(one.text), one.language)
            applies[there] = [may_share_words(query, found[number]) for number in numbers if number in found]
        return Completed(similarities, passages, applies)

    def _written(self, numbers: Sequence[int]) -> dict[int, Written]:
        """Return how the texts of documents are written, without those that are no longer stored."""
        changes = self.changes
        if self._known_changes != changes or len(self._known) > _MOST_KNOWN:
            self._known, self._known_changes = {}, changes
        known = self._known  # Another thread may replace it.
        found = {number: known[number] for number in numbers if number in known}
        missing = [number for number in numbers if number not in found]
        for place, rows in self._by_store(np.array(missing, dtype=np.int64)):
            read = self.stores[place].records.described(rows)
            written = {row: Written(scripts_of(text), language) for row, (_, text, language) in read.items()}
            found |= self._numbered(written, place)
        if self.changes == changes:
            known.update({number: found[number] for number in missing if number in found})
        return found

    def _similarities(self, vector: NDArray[np.float32], numbers: Rows) -> tuple[NDArray[np.float64], Rows]:
        """Return the cosine or MaxSim of a query with each document, and the best passage of each.

        ``numbers`` are in ascending order. The similarity is NaN for a row that no segment has.
        """
        found, passages = np.full(len(numbers), np.nan), numbers
        cosine = self.stores[0].manifest.similarity == "cosine"
        parts: list[tuple[Any, Rows]] = []
        filled: list[NDArray[np.int64]] = []
        for place, where, rows in self._places_by_store(numbers):
            store = self.stores[place]
            if not cosine or store.records.passages.any:
                passages = np.array(passages) if passages is numbers else passages
                found[where], nearest = self._best_in(store, vector, rows)
                passages[where] += nearest - rows
                continue
            for view in store.views():
                positions = view.segment.positions_of(rows)
                if len(positions):
                    parts.append((view.segment, positions))
                    filled.append(where[np.searchsorted(rows, view.segment.numbers[positions])])
        if parts:
            found[np.concatenate(filled)] = self.stores[0].space.scores(parts, vector)
        return found, passages

    def _best_in(self, store: Store, vector: NDArray[np.float32], rows: Rows) -> tuple[NDArray[np.float64], Rows]:
        """Return the score of the best passage of each document of a store, and the rows of these passages."""
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

    def _allowed(self, restriction: Restriction) -> Sequence[Rows] | None:
        """Return the rows of each store that pass the filters, in ascending order; ``None`` if all rows pass."""
        allowed = None
        if restriction.condition is not None:
            allowed = [self._find_matching(place, restriction.condition) for place in range(self._count)]
        if restriction.ids is None:
            return allowed
        changes = [store.changes for store in self.stores]
        if self._restricted is not None and self._restricted[0] is restriction and self._restricted[1] == changes:
            return self._restricted[2]
        found = [np.empty(0, dtype=np.int64)] * self._count
        for place, some in self._ids_by_store(restriction.ids).items():
            rows = np.array(sorted(self.stores[place].records.rows_of(some).values()), dtype=np.int64)
            found[place] = rows if allowed is None else np.intersect1d(rows, allowed[place], assume_unique=True)
        self._restricted = restriction, changes, found
        return found

    def _ids_by_store(self, ids: Sequence[str]) -> dict[int, Sequence[str]]:
        if self._count == 1:  # A shard is given the ids that belong to it.
            return {0: ids}
        return {place: [ids[at] for at in places] for place, places in by_shard(ids, self._count).items()}


def _size(allowed: Sequence[Rows] | None) -> int | None:
    return None if allowed is None else sum(map(len, allowed))
