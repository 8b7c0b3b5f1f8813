"""The open folder of a memory: the records and vectors of its index, and the loaded columns of its tenants."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mlret.errors import InputError, MlretError
from mlret.index.filtering.filter_warnings import Unmatched
from mlret.index.index import Index
from mlret.index.store import compaction
from mlret.memory.scope import Place
from mlret.memory.storage import cells, schema, tables
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.journal import Entry, NewVersion, last_entry, last_key, read_entries
from mlret.memory.storage.loading import load_places
from mlret.memory.storage.migration import MEMORY, STEPS

# Number of the newest journal entry, and whether rows of erased records may not be gone from disk yet.
_PENDING = "SELECT coalesce((SELECT max(entry) FROM memory_journal), 0), EXISTS (SELECT 1 FROM memory_erasing)"


class Folder:
    """The open folder of a memory, with the records of all tenants.

    Parameters
    ----------
    index
        An open index of kind ``memory``, whose database has the tables of :mod:`mlret.memory.storage.tables`.

    Raises
    ------
    InputError
        If the database lacks the tables.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.store = index.store
        self.records = self.store.records
        self.lock = self.records.lock  # Held while the state is read or changed.
        if not self.records.read("SELECT 1 FROM sqlite_master WHERE name = 'memory_journal'"):
            raise InputError(
                f"{index.path} was made before memories had a journal; add its texts to a new store (mlret memory add)"
            )
        outdated = self.records.version(MEMORY) < schema.VERSION
        self.store.bring_up_to_date(MEMORY, STEPS)
        self._tenants: dict[str, Columns] = {}
        self._places: dict[int, Place] | None = None
        self.seen = 0  # Number of the last entry that was applied to the columns, once any are loaded.
        self._last_key: int | None = None
        # Weights fitted to feedback, by scope; cleared whenever they may have changed.
        self.weights: dict[str, dict[str, float]] = {}
        # Separate for each tenant: warnings to one must not depend on the searches of another.
        self.unmatched: defaultdict[str, Unmatched] = defaultdict(lambda: Unmatched("memory that may be seen here"))
        if outdated:
            self.resume_erasing()

    def resume_erasing(self) -> None:
        """Complete an interrupted erasure, unless another process is writing, which will complete it."""
        with contextlib.suppress(MlretError), self.writing():
            pass

    def __len__(self) -> int:
        """Return the number of active records of all tenants."""
        with self.lock:
            return int(self.records.read("SELECT count(*) FROM memory_records WHERE state = 'active'")[0][0])

    def columns(self, tenant: str) -> Columns:
        """Return the columns of a tenant, loading them on first use."""
        with self.lock:
            found = self._tenants.get(tenant)
            if found is None:
                if not self._tenants:
                    self.seen = last_entry(self.records)
                if self._places is None:
                    self._places = load_places(self.records)
                found = self._tenants[tenant] = Columns(self.records, tenant, self._places)
            return found

    def refresh(self) -> None:
        """Load the changes that other processes have committed."""
        with self.lock:
            self.store.refresh()
            self.sync()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock of the store; first load all changes and complete pending erasures."""
        with self.store.writing():
            last, erasing = self.records.read(_PENDING)[0]
            if not self._tenants or last != self.seen:
                self._last_key = None
                self.sync()
            if erasing:
                self.finish_erasing()
            yield

    def finish_erasing(self, *, indexed: bool = True) -> bool:
        """Complete the removal of erased rows from disk; use it within :meth:`writing`.

        Parameters
        ----------
        indexed
            Whether the erased records had metadata, tags or links.

        Returns
        -------
        bool
            Whether it is complete; it is not while another process reads an older state.
        """
        pending = cells.erasing(self.records)
        if not pending:
            return True
        if not compaction.purge(self.store, np.array(pending, dtype=np.int64), thorough=True, indexed=indexed):
            return False
        self.store.commit(lambda connection: tables.erased(connection, pending))
        return True

    def new_key(self) -> int:
        """Return a key that no record ever had; use it within :meth:`writing`."""
        if self._last_key is None:
            self._last_key = last_key(self.records)
        self._last_key += 1
        return self._last_key

    def wrote(self, entry: int, places: Mapping[int, Place]) -> None:
        """Note that entries were written here and applied to the tenant's columns.

        Parameters
        ----------
        entry
            Number of the last entry.
        places
            The scopes that the entries are about, by number.
        """
        self.seen = entry
        if self._places is not None:
            self._places.update(places)

    def sync(self) -> None:
        """Apply the entries that were committed since the last call, by this process or others."""
        if not self._tenants or last_entry(self.records) == self.seen:
            return
        self._places = load_places(self.records)
        for entry in read_entries(self.records, "entry > ?", (self.seen,)):
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
            self.seen = entry.number

    def _versions(self, entry: Entry) -> dict[int, dict[str, Any]]:
        """Return the columns of the new versions of an entry, by row."""
        found = {}
        for change in entry.changes or ():
            if type(change) is NewVersion:
                [values] = cells.read_rows(self.records, "memory_versions", "row = ?", (change.row,))
                found[change.row] = dict(zip(schema.COVERED["memory_versions"], values, strict=True))
                [more] = self.records.read("SELECT hash, grams FROM memory_versions WHERE row = ?", (change.row,))
                found[change.row] |= dict(zip(("hash", "grams"), more, strict=True))
        return found
