"""An index that is not divided, as the only shard of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mlret.data.columns import Columns
from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.filtering.filters import Condition
from mlret.index.hits import IndexInfo
from mlret.index.ingest import Existing, Intake
from mlret.index.settings import Choice
from mlret.index.sharding.gathering import Answers, Shards
from mlret.index.sharding.local_shard import LocalShard
from mlret.index.storage.manifest import Manifest
from mlret.index.store.store import Store
from mlret.index.vectors.space import AnySpace


class OneShard(Shards):
    """An open folder that is not divided. Errors are raised as they are.

    Parameters
    ----------
    store
        The open folder.
    encoder
        The encoder; ``None`` to load it when it is first needed.
    load
        Returns the encoder instead, if it is shared with others.
    """

    def __init__(
        self, store: Store, encoder: AnyEncoder | None = None, *, load: Callable[[], AnyEncoder] | None = None
    ) -> None:
        super().__init__(store.folder, (store.folder.name,), encoder, store.device)
        self._store = store
        self._load = load
        self._shard = LocalShard(store, lambda: self.encoder, self._filters)

    @property
    def encoder(self) -> AnyEncoder:
        return super().encoder if self._load is None else self._load()

    def store_of(self, number: int) -> Store:
        return self._store

    @property
    def manifest(self) -> Manifest:
        """The manifest of the folder, which changes with its segments."""
        return self._store.manifest

    @property
    def space(self) -> AnySpace:
        """The space of the open folder."""
        return self._store.space

    @property
    def store(self) -> Store:
        """The open folder."""
        return self._store

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        return Answers({number: getattr(self._shard, method)(*some) for number, some in arguments.items()}, {})

    @property
    def divided(self) -> bool:
        return False

    def writing(self) -> AbstractContextManager[object]:
        return self._store.writing()

    def by_shard(self, ids: Sequence[str]) -> dict[int, list[str]]:
        return {0: list(ids)}

    def intake(self, existing: Existing, columns: Columns) -> Intake:
        return Intake(self._store, lambda: self.encoder, existing, columns=columns)

    def delete(self, ids: Sequence[str], *, ignore_missing: bool = False) -> int:
        with self._store.writing():
            stored = self._store.records.rows_of(ids)
            if not ignore_missing:
                self.check_stored(ids, stored)
            return self._shard.remove(sorted(stored.values()))

    def documents(self) -> Iterator[Document]:
        for batch in self._store.records.stream():
            yield from (document for _, document in batch)

    def info(self) -> IndexInfo:
        return self._shard.info()

    def compact(self, due: bool, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        return self._shard.compact(due, progress)

    def check_filter(self, condition: Condition, matching: int, numbers: Sequence[int]) -> None:
        """Do nothing: the shard itself has checked the filter."""

    def check_process(self) -> None:
        self._store.records.check_process()

    def close(self) -> None:
        self._shard.close()
