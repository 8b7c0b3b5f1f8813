"""A shard in this process: the open folder of an ordinary index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.best_passages import Best, best_of, nearest_documents
from mlret.index.filtering.field_table import field_names, field_values
from mlret.index.filtering.fields import Kind
from mlret.index.filtering.filter_warnings import Messages, Unmatched
from mlret.index.filtering.filters import Condition
from mlret.index.fusion import lexical_applies
from mlret.index.hits import IndexInfo, Updated
from mlret.index.ingest import Existing, Intake, Known
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import LexicalPlan
from mlret.index.ordering import best_first
from mlret.index.settings import Choice
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
    State,
    Wanted,
)
from mlret.index.storage.receipts import Receipt, receipts_of, write_receipt
from mlret.index.store import compaction
from mlret.index.store.store import Store
from mlret.index.store.summary import summary_of
from mlret.index.vectors.space import Vectors

Progress = Callable[[str, int, int], None]


class LocalShard:
    """An open folder as a shard; see :class:`mlret.index.sharding.shard.Shard`.

    Parameters
    ----------
    store
        The open folder.
    encoder
        Returns the encoder of the index, for documents that are stored without vectors.
    filters
        Warns of filters that cannot match anything, if the folder is a whole index.
    """

    def __init__(
        self, store: Store, encoder: Callable[[], AnyEncoder] | None = None, filters: Unmatched | None = None
    ) -> None:
        self.store = store
        self.encoder = encoder
        self._filters = filters
        # What was last looked up: the restriction, the changes that the store counted, and the rows.
        self._restricted: tuple[Restriction, int, Rows] | None = None
        self._intake: Intake | None = None  # While documents are added.

    def state(self) -> State:
        return State(len(self.store), self.store.last_row, self.store.changes)

    def prepare(self, queries: Sequence[str], restriction: Restriction) -> Prepared:
        allowed = self._allowed(restriction)
        wanted = sorted({ngram for query in queries for ngram in ngrams(query)})
        records = self.store.records
        assert records.lexical is not None
        with records.reporting():
            statistics = records.lexical.statistics(wanted)
        return Prepared(statistics, None if allowed is None else len(allowed), self.store.changes)

    def candidates(self, wanted: Wanted) -> Found:
        changes = self.store.changes
        allowed = self._allowed(wanted.restriction)
        nothing: list[Channel | None] = [None] * len(wanted.vectors)
        dense, lexical = nothing, nothing
        if wanted.mode != "lexical":
            dense = list(self._nearest(wanted, allowed))
        if wanted.mode != "dense":
            lexical = [
                self._matching_words(wanted, plan, vector, allowed)
                for plan, vector in zip(wanted.plans, wanted.vectors, strict=True)
            ]
        return Found(
            [Candidates(*one) for one in zip(dense, lexical, strict=True)],
            self.store.records.passages.any,
            None if allowed is None else len(allowed),
            changes,
        )

    def _nearest(self, wanted: Wanted, allowed: Rows | None) -> list[Channel]:
        store = self.store
        vectors = [vector for vector in wanted.vectors if vector is not None]
        if store.records.passages.any:
            found = nearest_documents(store, vectors, wanted.k, allowed, exact=wanted.exact)
        else:
            nearest = store.space.search(store.views(allowed), vectors, wanted.k, exact=wanted.exact)
            found = [Best(scores, rows, rows) for scores, rows in nearest]
        channels = []
        for scores, rows, passages in found:
            # More rows than k may tie with the k-th best; the ids decide which of them are kept.
            order = self._best_first(scores, rows, wanted.k)
            chosen = rows[order]
            nearest_passages = chosen if passages is rows else passages[order]
            channels.append(Channel(scores[order], chosen, nearest_passages))
        return channels

    def _matching_words(
        self, wanted: Wanted, plan: LexicalPlan, vector: NDArray[np.float32] | None, allowed: Rows | None
    ) -> Channel:
        store, prepared = self.store, wanted.prepared
        assert store.records.lexical is not None
        # The counts are those of the posting lists only if nothing was written meanwhile.
        current = prepared is not None and prepared.changes == store.changes
        frequencies = prepared.statistics.frequencies if prepared is not None and current else None
        with store.records.reporting():
            found = store.records.lexical.matches(plan, wanted.k, allowed=allowed, frequencies=frequencies)
        order = self._best_first(found.scores, found.rows, wanted.k)
        scores, rows = found.scores[order], found.rows[order]
        similarities, passages = None, rows
        if wanted.mode == "lexical":
            similarities = np.full(len(rows), np.nan)
            if vector is not None:
                ascending = np.argsort(rows)
                passages = np.array(rows)
                similarities[ascending], passages[ascending] = self._similarities(vector, rows[ascending])
        return Channel(scores, rows, passages, similarities, found.texts)

    def _best_first(self, scores: NDArray[np.float64], rows: Rows, k: int) -> NDArray[np.int64]:
        return best_first(scores, k, lambda places: self.ids(rows[places].tolist()))

    def ids(self, rows: Sequence[int]) -> list[str]:
        ids = self.store.records.ids(rows)
        return [ids.get(row, "") for row in rows]

    def complete(self, incomplete: Sequence[Incomplete]) -> list[Completed]:
        return [self._completed(one) for one in incomplete]

    def _completed(self, one: Incomplete) -> Completed:
        similarities, passages = self._similarities(one.vector, one.rows)
        rows = one.rows.tolist()
        documents = self.store.records.fetch(rows)
        there = np.array([row in documents for row in rows], dtype=np.bool_)
        similarities[~there] = np.nan
        applies = np.ones(len(rows), dtype=np.bool_)
        if one.words:
            texts = [documents[row].text for row in rows if row in documents]
            languages = [documents[row].language for row in rows if row in documents]
            applies[there] = lexical_applies(one.text, one.language, texts, languages)
        ids = [documents[row].id if row in documents else "" for row in rows]
        return Completed(similarities, passages, applies, ids)

    def _similarities(self, vector: NDArray[np.float32], rows: Rows) -> tuple[NDArray[np.float64], Rows]:
        """Return the cosine or MaxSim of a query with each document, and the row of the best passage of each.

        ``rows`` are in ascending order. The similarity is NaN for a row that no segment has.
        """
        store = self.store
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

    def fetch(self, rows: Sequence[int]) -> Fetched:
        records = self.store.records
        documents = records.fetch(rows)
        return Fetched(documents, records.passages.of(list(documents)), self.store.changes)

    def unmatched(self, condition: Condition) -> Messages | None:
        return Unmatched("document").messages(self.store.records, condition) if len(self.store) else None

    def _allowed(self, restriction: Restriction) -> Rows | None:
        """Return the row numbers that pass the filters, in ascending order; ``None`` if all rows pass."""
        allowed = None if restriction.condition is None else self._matching(restriction.condition)
        if restriction.ids is None:
            return allowed
        changes = self.store.changes
        if self._restricted is not None and self._restricted[0] is restriction and self._restricted[1] == changes:
            return self._restricted[2]
        rows = np.array(sorted(self.store.records.rows_of(restriction.ids).values()), dtype=np.int64)
        rows = rows if allowed is None else np.intersect1d(rows, allowed, assume_unique=True)
        self._restricted = restriction, changes, rows
        return rows

    def _matching(self, condition: Condition) -> Rows:
        """Return the row numbers that satisfy a condition, and warn if a part of it cannot match anything."""
        rows = self.store.matching(condition)
        if self._filters is not None:
            self._filters.check(self.store.records, condition, rows)
        return rows

    def stored(self, ids: Sequence[str]) -> list[str]:
        return list(self.store.records.rows_of(ids))

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        records = self.store.records
        return {document.id: document for document in records.fetch(list(records.rows_of(ids).values())).values()}

    def page(self, after: int, size: int) -> list[tuple[int, Document]]:
        return next(self.store.records.stream(batch_size=size, after=after), [])

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        rows = self.store.records.rows_of(ids)
        found = self.store.vectors_of_records(list(rows.values()))
        return {id: found[row] for id, row in rows.items() if row in found}

    def info(self) -> IndexInfo:
        return summary_of(self.store)

    def fields(self, fields: int, values: int) -> dict[str, dict[Kind, list[Any]]]:
        records = self.store.records
        with records.reporting():
            names = field_names(records.connection, fields)
            return {name: field_values(records.connection, name, values) for name in names}

    def rows_in(self, language: str | None) -> Rows:
        return self.store.records.numbers("SELECT row FROM records WHERE language IS ? ORDER BY row", (language,))

    def receipts(self, key: str) -> list[Receipt]:
        return receipts_of(self.store.records, key)

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        with self.store.writing():
            self.store.commit(lambda connection: write_receipt(connection, key, receipt))

    def store_batch(
        self,
        batch: Sequence[Document],
        vectors: Vectors | None,
        existing: Existing,
        more: bool,
        known: Known | None = None,
    ) -> Updated:
        if self._intake is None or self._intake.existing != existing or known is not None:
            self._intake = self._new_intake(existing, known or {})
        with self.store.writing():
            done = self._intake.store_batch(batch, vectors)
            compaction.maintain(self.store, more=more)
        return done

    def _new_intake(self, existing: Existing, known: Known) -> Intake:
        """Return what stores documents in the folder.

        Raises
        ------
        InputError
            If there is no encoder, so that the shard is only read.
        """
        if self.encoder is None:
            raise InputError(f"{self.store.folder} was opened without an encoder: only reads are possible")
        return Intake(self.store, self.encoder, existing, known=known)

    def finish(self) -> None:
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.report()

    def delete(self, ids: Sequence[str]) -> int:
        with self.store.writing():
            return self.remove(sorted(self.store.records.rows_of(ids).values()))

    def delete_matching(self, condition: Condition) -> int:
        with self.store.writing():
            return self.remove(self._matching(condition).tolist())

    def remove(self, rows: list[int]) -> int:
        """Delete the documents in some rows, and return their number. Call it within ``writing`` of the store."""
        if rows:
            self.store.remove(rows)
            compaction.maintain(self.store)
        return len(rows)

    def refresh(self) -> None:
        self.store.refresh()

    def seal(self) -> None:
        with self.store.writing():
            compaction.seal(self.store)

    def compact(self, due: bool, progress: Progress | None = None) -> list[Choice]:
        with self.store.writing():
            return compaction.compact(self.store, progress) if not due or compaction.is_due(self.store) else []

    def tune(self, vectors: Vectors | None, recall: float | None) -> str:
        store = self.store
        given = [] if vectors is None else list(vectors)
        with store.writing():
            store.switch(store.manifest.segments, store.space.tuned(store.segments, given, recall))
            assert store.manifest.probing is not None
            return store.manifest.probing.why

    def close(self) -> None:
        self.store.close()
