"""A connection to the database of an index, whose reads all see one state of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import Corrupt, MlretError
from mlret.index.lexical.fts import DamagedLexicalError
from mlret.index.storage import raw
from mlret.index.storage.counters import Counters, DamagedCountersError
from mlret.index.storage.database import DAMAGED, Database, backed_up, open_database, read_only, reported
from mlret.index.storage.migration import FORMAT, STEPS, Step, migrate, version_of


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

    Raises
    ------
    MlretError
        If the file is no SQLite database, is damaged, or cannot be read.
    """

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.counters_damaged = False
        self._lenient = lenient
        self._counts: dict[str, int] = {}
        with self.reporting():
            self._use(open_database(path))
        self._identity: Any = raw.connected(path)

    def _use(self, database: Database) -> None:
        """Use an open database for all reads and writes from now on."""
        self._database, self._connection = database, database.connection
        try:
            if database.writable:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                # With this limit one write in a few hundred waits until 16 MB of the log are copied into the file.
                self._connection.execute("PRAGMA wal_autocheckpoint = 4000")
                # A deleted record leaves no trace in the file.
                self._connection.execute("PRAGMA secure_delete = ON")
            self.counters = Counters(self._connection, str(self.path))
            self._opened()
            self.snapshot()
        except BaseException:
            database.close()
            raise

    def _opened(self) -> None:
        """Do further work on a new connection; subclasses override this."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection. Use it within :meth:`reporting` or :meth:`transaction`."""
        return self._connection

    @property
    def writable(self) -> bool:
        """Whether this user may write to the folder."""
        return self._database.writable

    @property
    def in_place(self) -> bool:
        """Whether the file at :attr:`path` is still the one that was opened."""
        return bool(self._identity == raw.identity_of(self.path))

    def version(self, component: str = FORMAT) -> int:
        """Return the version of the tables of a component; see :mod:`mlret.index.storage.migration`."""
        return version_of(self._counts, component)

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
            if self._database.changed:
                self._database.close()
                self._use(open_database(self.path))
                return
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
            try:
                self._counts = self.counters.read()  # BEGIN alone takes no snapshot; the first read does.
            except DamagedCountersError:
                if not self._lenient:
                    raise
                self.counters_damaged, self._counts = True, self.counters.read(checked=False)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything that is written inside, or nothing. On return it survives a power failure."""
        if not self.writable and self._database.temporary is None:
            raise read_only(self.path)
        with self.reporting():
            self._connection.execute("COMMIT")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
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
            found = self._connection.execute(query, parameters)
            try:
                return np.fromiter((number for (number,) in found), dtype=np.int64)
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
            return self._connection.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Close the database."""
        with self.lock:
            self._database.close()
            if self._identity is not None:
                raw.disconnected(self._identity)
                self._identity = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Hold the lock, and turn errors of SQLite into a :class:`MlretError` that names the file and the cause."""
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
