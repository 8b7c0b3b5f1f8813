"""A memory's folder, open: the index's records and vectors, and what is known of the tenants that were asked for."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mlret.errors import InputError, MlretError
from mlret.index import compaction
from mlret.index.index import Index
from mlret.index.records import Records
from mlret.index.store import Store
from mlret.index.unmatched import Unmatched
from mlret.memory import cells, schema, tables
from mlret.memory.columns import Columns
from mlret.memory.journal import Entry, NewVersion
from mlret.memory.loading import load_places
from mlret.memory.migrating import MEMORY, STEPS
from mlret.memory.scope import Place, Scope

if TYPE_CHECKING:
    from mlret.memory.store import MemoryStore


class Folder:
    """What is behind a memory, of all tenants.

    Parameters
    ----------
    index
        An open index of kind ``memory``, whose database has the tables of :mod:`mlret.memory.tables`.

    Raises
    ------
    InputError
        If it has not.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        if not self.records.read("SELECT 1 FROM sqlite_master WHERE name = 'memory_journal'"):
            raise InputError(
                f"{index.path} was made before memories had a journal; add its texts to a new store (mlret memory add)"
            )
        outdated = self.records.version(MEMORY) < schema.VERSION
        self.store.bring_up_to_date(MEMORY, STEPS)
        self._tenants: dict[str, Columns] = {}
        self._places: dict[int, Place] | None = None
        self._seen = 0  # the last entry that the columns know of
        self._last_key: int | None = None
        # What feedback has taught, by scope; worked out again once something may have changed it.
        self.weights: dict[str, dict[str, float]] = {}
        # By tenant: what one is warned of must not depend on what another asked for.
        self.unmatched: defaultdict[str, Unmatched] = defaultdict(lambda: Unmatched("memory that may be seen here"))
        if outdated:
            self.resume_erasing()

    def resume_erasing(self) -> None:
        """Do what an erasure that was interrupted left to be done, unless another process is at work, which does it."""
        with contextlib.suppress(MlretError), self.writing():
            pass

    @property
    def store(self) -> Store:
        """The index's folder."""
        return self.index.store

    @property
    def records(self) -> Records:
        """The database."""
        return self.index.store.records

    @property
    def lock(self) -> threading.RLock:
        """Held while the state is read or changed."""
        return self.records.lock

    def of(self, scope: Scope) -> MemoryStore:
        """The memory as a checked scope sees it."""
        from mlret.memory.store import MemoryStore

        return MemoryStore(self, scope)

    def __len__(self) -> int:
        """How many records are active, of all tenants."""
        with self.lock:
            return int(self.records.read("SELECT count(*) FROM memory_records WHERE state = 'active'")[0][0])

    def columns(self, tenant: str) -> Columns:
        """The versions of a tenant as search sees them; read when they are first needed."""
        with self.lock:
            found = self._tenants.get(tenant)
            if found is None:
                if not self._tenants:
                    self._seen = tables.last_entry(self.records)
                if self._places is None:
                    self._places = load_places(self.records)
                found = self._tenants[tenant] = Columns(self.records, tenant, self._places)
            return found

    def refresh(self) -> None:
        """Take in what other processes have committed."""
        with self.lock:
            self.store.refresh()
            self.sync()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the writer, as :meth:`mlret.index.store.Store.writing`."""
        with self.store.writing():
            self._last_key = None
            self.sync()
            self.finish_erasing()
            yield

    def finish_erasing(self, *, indexed: bool = True) -> bool:
        """Do what is still to be done on disk for what was erased; within :meth:`writing`.

        ``indexed``: whether it had metadata, tags or links.

        Returns
        -------
        bool
            Whether it is done; it is not while another process reads an older state.
        """
        pending = tables.erasing(self.records)
        if not pending:
            return True
        if not compaction.purge(self.store, np.array(pending, dtype=np.int64), thorough=True, indexed=indexed):
            return False
        self.store.commit(lambda connection: tables.erased(connection, pending))
        return True

    def new_key(self) -> int:
        """A key that no record ever had; within :meth:`writing`."""
        if self._last_key is None:
            self._last_key = tables.last_key(self.records)
        self._last_key += 1
        return self._last_key

    def last_entry(self) -> int:
        """The number of the newest entry of the journal; 0 if there is none."""
        return self._seen if self._tenants else tables.last_entry(self.records)

    def wrote(self, entry: int, places: Mapping[int, Place]) -> None:
        """Note the last entry that was written here and taken in by its tenant, and the scopes that it was about."""
        self._seen = entry
        if self._places is not None:
            self._places.update(places)

    def sync(self) -> None:
        """Take in the entries that were committed since, here or elsewhere."""
        if not self._tenants or tables.last_entry(self.records) == self._seen:
            return
        self._places = load_places(self.records)
        for entry in tables.entries(self.records, "entry > ?", (self._seen,)):
            if entry.verb == "erase":
                assert isinstance(entry.record, int)
                for columns in self._tenants.values():
                    columns.forget(entry.record)
            elif entry.changes is not None:
                place = self._places.get(entry.scope)
                if place is None:
                    raise cells.damage(self.records.path, f"memory_scopes, scope {entry.scope}")
                if place[0] in self._tenants:
                    self._tenants[place[0]].read(entry, self._versions(entry))
            self.weights.clear()
            self._seen = entry.number

    def _versions(self, entry: Entry) -> dict[int, dict[str, Any]]:
        """The columns of the new versions of an entry, by row."""
        found = {}
        for change in entry.changes or ():
            if type(change) is NewVersion:
                [values] = cells.read_rows(self.records, "memory_versions", "row = ?", (change.row,))
                found[change.row] = dict(zip(schema.COVERED["memory_versions"], values, strict=True))
                [more] = self.records.read("SELECT hash, grams FROM memory_versions WHERE row = ?", (change.row,))
                found[change.row] |= dict(zip(("hash", "grams"), more, strict=True))
        return found
