"""Migrates the tables of an older format when a folder is opened.

The tables of the index have a version, kept in the counter ``format`` (:mod:`mlret.index.storage.counters`). Code that
is built on the index keeps the version of its tables in a counter of its own, e.g. ``memory``. A database without the
counter has version :data:`OLDEST`. All steps above the version of a database run in one transaction, which also writes
the new version: after a crash the tables are as before, and the next open runs the steps again. If the folder is
read-only, the steps run on a temporary copy of the database, so that the rest of the code only has to know the newest
tables.

To add a step, append a :class:`Step` with the version that it leads to to :data:`STEPS`, or to the list of the code
that is built on the index, which :meth:`mlret.index.store.store.Store.bring_up_to_date` takes. A step

- is a function of an open connection that neither begins nor ends a transaction;
- changes tables and rows so that they are what a database made by the present version would have. The schema for new
  databases is changed as well, with new columns at the end of a table, where ``ALTER TABLE`` puts them;
- skips a damaged row instead of failing; ``verify`` reports it afterwards;
- never changes the counters, which is done after the last step.

Steps of one version run in the order of the list. Once a version is released it gets no more steps; new steps lead to
the next version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlret.index.filtering.fields import add_nested_fields
from mlret.index.lexical.fts import LexicalTable
from mlret.index.sqlite.checksums import sum_of
from mlret.index.storage.counters import Counters

FORMAT = "format"
OLDEST = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A change of tables that leads to ``version``; ``name`` describes it in the log."""

    version: int
    name: str
    run: Callable[[sqlite3.Connection], None]


def _checksums_of_lexical_lengths(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lexical_totals'").fetchone():
        LexicalTable(connection).add_checksums()


# The migration steps of the tables of the index.
STEPS: tuple[Step, ...] = (
    Step(3, "checksums of the lengths of lexical texts", _checksums_of_lexical_lengths),
    Step(3, "names for what is in nested metadata", add_nested_fields),
)


def newest(steps: Sequence[Step]) -> int:
    """Return the version that steps lead to."""
    return max(step.version for step in steps)


def migrate(connection: sqlite3.Connection, counters: Counters, component: str, steps: Sequence[Step]) -> list[str]:
    """Run the steps that a database has not seen, and store its new version. Call it within a transaction.

    Parameters
    ----------
    connection
        The database.
    counters
        The counters of the database.
    component
        The name under which the version of the tables is kept.
    steps
        All migration steps of these tables.

    Returns
    -------
    list of str
        The names of the steps that were run.
    """
    found = counters.read()
    due = [step for step in steps if step.version > found.get(component, OLDEST)]
    for step in due:
        step.run(connection)
    if component == FORMAT and FORMAT not in found:
        rows = [row for (row,) in connection.execute("SELECT row FROM tombstones")]
        found["tombstones"] = sum_of(np.array(rows, dtype=np.int64))
    counters.rewrite(found | {component: newest(steps)})
    return [step.name for step in due]
