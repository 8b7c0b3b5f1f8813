"""A connection to the database of an index, whose reads all see one state of it."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt, MlretError
from mlret.index.lexical.lexical_damage import DamagedLexicalError
from mlret.index.sqlite import raw
from mlret.index.sqlite.database import DAMAGED, Database, backed_up, open_database, read_only, reported
from mlret.index.sqlite.sql import VARIABLES
from mlret.index.storage.counters import Counters, DamagedCountersError
from mlret.index.storage.migration import FORMAT, OLDEST, STEPS, Step, migrate, newest


class Snapshots:
    """A connection to a database.

    Between two calls of :meth:`snapshot` all reads see one state of the database, whatever other processes write;
    writes of this object itself advance that state. Several threads may use it.

    Parameters
    ----------
    path
        The database, which must exist.
    lenient
        Open the database even if its counters are damaged; :attr:`counters_damaged` is then true.

    Attributes
    ----------
    connection
        The connection. Use it within :meth:`reporting` or :meth:`transaction`.
    file
        The open file, which tells whether it is still in its place.
    writable
        Whether this user may write to the folder.
    changes, generation
        The counters of these names in the state that all reads see; see
        :class:`mlret.index.storage.counters.Counters`.
    outdated
        The components whose tables are of an earlier version in that state; see :meth:`expect`.

    Raises
    ------
    MlretError
        If the file is no SQLite database, is damaged, or cannot be read.
    """

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._process = os.getpid()
        self.counters_damaged = False
        self._lenient = lenient
        self._counts: dict[str, int] = {}
        self._expected = {FORMAT: newest(STEPS)}
        with self.reporting():
            self._use(open_database(path))
        self.file = raw.Connected(path)
        _open.add(self)

    def _use(self, database: Database) -> None:
        """Use an open database for all reads and writes from now on."""
        self._database, self.connection = database, database.connection
        self.writable = database.writable
        try:
            if database.writable:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = FULL")
                # With this limit one write in a few hundred waits until 16 MB of the log are copied into the file.
                self.connection.execute("PRAGMA wal_autocheckpoint = 4000")
                # A deleted record leaves no trace in the file.
                self.connection.execute("PRAGMA secure_delete = ON")
            self.counters = Counters(self.connection, str(self.path))
            self._opened()
            self.snapshot()
        except BaseException:
            database.close()
            raise

    def _opened(self) -> None:
        """Do further work on a new connection; subclasses override this."""

    def version(self, component: str = FORMAT) -> int:
        """Return the version of the tables of a component; see :mod:`mlret.index.storage.migration`."""
        return self._counts.get(component, OLDEST)

    def expect(self, component: str, version: int) -> None:
        """List a component among :attr:`outdated` from the next state on if its tables are older.

        Parameters
        ----------
        component
            The name under which the version of the tables is kept.
        version
            The newest version of the tables.
        """
        self._expected[component] = version

    def bring_up_to_date(self, component: str = FORMAT, steps: Sequence[Step] = STEPS) -> list[str]:
        """Run the steps of :mod:`mlret.index.storage.migration` that the database has not seen, in one transaction.

        If the folder is read-only, they run on a temporary copy, which is used from then on.

        Parameters
        ----------
        component
            The name under which the version of the tables is kept.
        steps
            All migration steps of these tables.

        Returns
        -------
        list of str
            The names of the steps that were run.
        """
        if not self.writable and self._database.temporary is None:
            with self.reporting():
                old = self._database
                self._use(backed_up(old))
                old.close()
        with self.transaction() as connection:
            return migrate(connection, self.counters, component, steps)

    def snapshot(self) -> None:
        """Show what other processes have committed until now, and keep showing that state."""
        with self.reporting():
            if self._database.watched is not None and self._database.changed:
                self._database.close()
                self._use(open_database(self.path))
                return
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
            self.connection.execute("BEGIN")
            try:
                self._counts = self.counters.read()  # BEGIN alone takes no snapshot; the first read does.
            except DamagedCountersError:
                if not self._lenient:
                    raise
                self.counters_damaged, self._counts = True, self.counters.read(checked=False)
            counts = self._counts
            self.outdated = [name for name, version in self._expected.items() if counts.get(name, OLDEST) < version]
            self.changes, self.generation = counts.get("changes", 0), counts.get("generation", 0)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything that is written inside, or nothing. On return it survives a power failure."""
        if not self.writable and self._database.temporary is None:
            raise read_only(self.path)
        with self.reporting():
            self.connection.execute("COMMIT")
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self.snapshot()

    def counter(self, name: str) -> int:
        """Return a counter in the state that all reads see; 0 if there is none.

        See :class:`mlret.index.storage.counters.Counters`.
        """
        with self.lock:
            return self._counts.get(name, 0)

    def touch(self) -> None:
        """Count a change that touched no record. Call it within :meth:`transaction`."""
        self.counters.add({"changes": 1})

    def numbers(self, query: str, parameters: Sequence[Any] = ()) -> NDArray[np.int64]:
        """Return the only column of a query, as int64.

        Parameters
        ----------
        query
            A SELECT statement with one column of integers.
        parameters
            The parameters of the statement.

        Raises
        ------
        MlretError
            If the column holds something else.
        """
        with self.reporting():
            found = self.connection.execute(query, parameters)
            try:
                return np.fromiter(chain.from_iterable(found), dtype=np.int64)
            except (TypeError, ValueError, OverflowError) as error:
                raise Corrupt(f"{self.path} is damaged ({error}); {DAMAGED}") from error

    def read(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in the state that all reads see; for code that is built on the index.

        Parameters
        ----------
        query
            A SELECT statement.
        parameters
            The parameters of the statement.
        """
        with self.reporting():
            return self.connection.execute(query, parameters).fetchall()

    def read_among(self, query: str, values: Iterable[str | int]) -> list[tuple[Any, ...]]:
        """Return the rows of a query for any number of values, in the state that all reads see.

        Parameters
        ----------
        query
            A SELECT statement with ``{}`` where the parameters of ``IN (…)`` go.
        values
            The values to look up.
        """
        found: list[tuple[Any, ...]] = []
        left = list(values)
        with self.reporting():
            while left:
                some, left = left[:VARIABLES], left[VARIABLES:]
                found += self.connection.execute(query.format(",".join("?" * len(some))), some)
        return found

    def check_process(self) -> None:
        """Raise if this process was forked from the one that opened the database.

        Raises
        ------
        MlretError
            If it was. What the parent's threads held when it was forked, such as :attr:`lock`, is never released here.
        """
        if os.getpid() != self._process:
            raise raw.inherited(self.path, self._process)

    def close(self) -> None:
        """Close the database. In a process that was forked from the one that opened it, nothing is done."""
        if os.getpid() != self._process:
            return
        with self.lock:
            self._database.close()
            self.file.close()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Hold the lock, and turn errors of SQLite into a :class:`MlretError` that names the file and the cause."""
        self.check_process()
        with self.lock:
            try:
                yield
            except DamagedLexicalError as error:
                raise MlretError(f"{self.path}: {error}") from error
            except sqlite3.ProgrammingError:
                raise
            except sqlite3.DatabaseError as error:
                raise reported(self.path, error) from error
            except UnicodeDecodeError as error:  # of the message itself, where it quotes what is damaged
                raise Corrupt(f"{self.path} is damaged (a name or text is not UTF-8); {DAMAGED}") from error


_open: WeakSet[Snapshots] = WeakSet()


def _forked() -> None:
    """Keep the connections of the parent from ever being closed here, which would write to its database."""
    for snapshots in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(snapshots.connection))


os.register_at_fork(after_in_child=_forked)
