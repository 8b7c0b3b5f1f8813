"""A shard in this process: the open folder of an ordinary index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.filtering.field_table import field_names, field_values
from mlret.index.filtering.fields import Kind
from mlret.index.filtering.filter_warnings import Messages, Unmatched
from mlret.index.filtering.filters import Condition
from mlret.index.hits import IndexInfo, Updated
from mlret.index.ingest import Existing, Intake, Known
from mlret.index.settings import Choice
from mlret.index.sharding.local_search import LocalSearch
from mlret.index.sharding.shard import (
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
        self._search = LocalSearch((store,), lambda _, condition: self._matching(condition))
        self._intake: Intake | None = None  # While documents are added.
        # Whether the shard is sealed when all shards together have enough vectors that are in no segment.
        self.sealed_together = False

    def state(self) -> State:
        return State(len(self.store), self.store.last_row, self.store.changes)

    def prepare(self, queries: Sequence[str], restriction: Restriction) -> Prepared:
        return self._search.prepare(queries, restriction)

    def candidates(self, wanted: Wanted) -> Found:
        return self._search.candidates(wanted)

    def complete(self, incomplete: Sequence[Incomplete]) -> list[Completed]:
        return self._search.complete(incomplete)

    def ids(self, rows: Sequence[int]) -> list[str]:
        return self._search.ids(rows)

    def fetch(self, rows: Sequence[int]) -> Fetched:
        return self._search.fetch(rows)

    def unmatched(self, condition: Condition) -> Messages | None:
        return Unmatched("document").messages(self.store.records, condition) if len(self.store) else None

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
            compaction.maintain(self.store, more=more, seals=not self.sealed_together)
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
