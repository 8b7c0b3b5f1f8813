"""The open folder of a memory: the records and vectors of its index, and the loaded columns of its tenants."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np

from mlret.errors import InputError, MlretError
from mlret.index.filtering.filter_warnings import Unmatched
from mlret.index.index import Index
from mlret.index.sqlite.pages import See
from mlret.index.store import compaction
from mlret.memory.scope import Place, Scope, place_of
from mlret.memory.storage import cells, schema, tables
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.journal import Entry, NewVersion, last_entry, last_key, read_entries
from mlret.memory.storage.loading import count_versions, load_places, place_at, places_in
from mlret.memory.storage.migration import MEMORY, STEPS

# A scope's columns are loaded alone if the store is longer than this many rows, and the scope has at most one in this
# many of them. Columns of scopes are kept as long as they have no more versions than this together.
_WHOLE = 4096
_SHARE = 4
_KEPT = 1 << 18
_MOST_SCOPES = 4096  # Maximum number of scopes that one SQL statement names.
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
        self._parts: dict[Place, Columns] = {}  # By scope, the last used at the end.
        self._places: dict[int, Place] = {}  # Scopes by number, those that were needed so far.
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
                self._begin()
                self._places |= load_places(self.records)
                found = self._tenants[tenant] = Columns(self.records, tenant, self._places)
                self._parts = {key: part for key, part in self._parts.items() if key[0] != tenant}
            return found

    def columns_in(self, scope: Scope) -> Columns:
        """Return columns that have all versions of a scope: of the scope alone, a wider one, or the whole tenant.

        Use them for calls that need no record outside the scope. Versions keep their positions until the lock is
        released.

        Parameters
        ----------
        scope
            A checked scope.
        """
        with self.lock:
            asked = place_of(scope)
            tenant = asked[0]
            if tenant in self._tenants:
                return self._tenants[tenant]
            for key in _scopes_with(asked):
                if key in self._parts:
                    found = self._parts[key] = self._parts.pop(key)
                    return found
            rows = self.store.last_row
            if rows <= _WHOLE or scope.keys() <= {"tenant"}:
                return self.columns(tenant)
            places = places_in(self.records, scope)
            if len(places) > _MOST_SCOPES or _SHARE * count_versions(self.records, places) > rows:
                return self.columns(tenant)
            self._begin()
            self._places |= places
            found = self._parts[asked] = Columns(self.records, tenant, places, part=True)
            while len(self._parts) > 1 and sum(map(len, self._parts.values())) > _KEPT:
                del self._parts[next(iter(self._parts))]
            return found

    def _begin(self) -> None:
        """Before columns are loaded: bring those that are loaded up to date, so that all are of one state."""
        if self._tenants or self._parts:
            self.sync()
        else:
            self.seen = last_entry(self.records)

    def _drop(self, place: Place, kept: Columns | None = None) -> None:
        """Forget the columns of all scopes that hold a place, except one; they are loaded again when next needed."""
        for key in _scopes_with(place):
            if self._parts.get(key) is not kept:
                self._parts.pop(key, None)

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
            if not (self._tenants or self._parts) or last != self.seen:
                self._last_key = None
                self.sync()
            if erasing:
                self.finish_erasing()
            yield

    def finish_erasing(self, *, indexed: bool = True, see: See | None = None, overlap: int = 0) -> bool:
        """Complete the removal of erased rows from disk; use it within :meth:`writing`.

        Parameters
        ----------
        indexed
            Whether the erased records had metadata, tags or links.
        see, overlap
            As for :func:`mlret.index.store.compaction.purge`.

        Returns
        -------
        bool
            Whether it is complete; it is not while another process reads an older state.
        """
        pending = cells.erasing(self.records)
        if not pending:
            return True
        rows = np.array(pending, dtype=np.int64)
        if not compaction.purge(self.store, rows, thorough=True, indexed=indexed, see=see, overlap=overlap):
            return False
        self.store.commit(lambda connection: tables.erased(connection, pending))
        return True

    def new_key(self) -> int:
        """Return a key that no record ever had; use it within :meth:`writing`."""
        if self._last_key is None:
            self._last_key = last_key(self.records)
        self._last_key += 1
        return self._last_key

    def wrote(self, entry: int, places: Mapping[int, Place], columns: Columns) -> None:
        """Note that entries were written here and applied to columns.

        Parameters
        ----------
        entry
            Number of the last entry.
        places
            The scopes that the entries are about, by number.
        columns
            The columns that have the changes; all others that need them are loaded again.
        """
        self.seen = entry
        self._places.update(places)
        for place in places.values():
            self._drop(place, columns)

    def sync(self) -> None:
        """Apply the entries that were committed since the last call, by this process or others."""
        if not (self._tenants or self._parts) or last_entry(self.records) == self.seen:
            return
        for entry in read_entries(self.records, "entry > ?", (self.seen,)):
            if entry.verb == "erase":
                assert isinstance(entry.record, int)
                for columns in self._tenants.values():
                    columns.forget(entry.record)
                self._parts.clear()  # A record of any scope may have been merged into the erased one.
            elif entry.changes is not None:
                place = self._place(entry.scope)
                self._drop(place)
                if place[0] in self._tenants:
                    self._tenants[place[0]].read(entry, self._versions(entry))
            self.weights.clear()
            self.seen = entry.number

    def _place(self, scope: int) -> Place:
        """Return the scope with a number."""
        place = self._places.get(scope) or place_at(self.records, scope)
        if place is None:
            raise cells.damage(self.records.path, f"memory_scopes, scope {scope}")
        self._places[scope] = place
        return place

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


def _scopes_with(place: Place) -> Iterator[Place]:
    """Yield the scopes that hold a place, in the form of places: ``""`` for each name that a scope does not give."""
    tenant, *others = place
    for user, agent, run in product(*(dict.fromkeys((value, "")) for value in others)):
        yield tenant, user, agent, run
