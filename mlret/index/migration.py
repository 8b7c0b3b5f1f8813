"""Bringing the tables of an older format up to date, when a folder is opened.

The tables of the index have a version, kept in the counter ``format`` (:mod:`mlret.index.counters`); what is built on
top has its own version in a counter of its own, e.g. ``memory``. A database without the counter is of version
:data:`OLDEST`. All steps above the version of a database run in one transaction, which also writes the new version: a
crash leaves the tables as they were, and the next open runs the steps again. Where the folder cannot be written to, the
steps run on a temporary copy of the database, so that the rest of the code knows the newest tables alone.

To add a step, append a :class:`Step` to :data:`STEPS` (or to the list of what is built on top, which
:meth:`mlret.index.store.Store.bring_up_to_date` takes), with the version that it leads to. A step

- is a function of an open connection that neither begins nor ends a transaction;
- changes tables and rows so that they are what a database made by the present build would have: the schema for new
  databases is changed beside it, with new columns at the end of a table, where ``ALTER TABLE`` puts them;
- leaves out a row that is damaged instead of failing: ``verify`` names it afterwards;
- never changes the counters: that is done after the last step.

Steps of one version run in the order of the list. A version that was released gets no more steps: the next one does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlret.index.checksums import sum_of
from mlret.index.counters import Counters
from mlret.index.lexical import LexicalTable

FORMAT = "format"
OLDEST = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A change of tables that leads to ``version``; ``name`` says what it does, for the log."""

    version: int
    name: str
    run: Callable[[sqlite3.Connection], None]


def _checksums_of_lexical_lengths(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lexical_totals'").fetchone():
        LexicalTable(connection).add_checksums()


# Of the tables of the index.
STEPS: tuple[Step, ...] = (Step(3, "checksums of the lengths of lexical texts", _checksums_of_lexical_lengths),)


def version_of(counters: dict[str, int], component: str) -> int:
    """The version of the tables of a component."""
    return counters.get(component, OLDEST)


def newest(steps: Sequence[Step]) -> int:
    """The version that steps lead to."""
    return max(step.version for step in steps)


def migrate(connection: sqlite3.Connection, counters: Counters, component: str, steps: Sequence[Step]) -> list[str]:
    """Run the steps that a database has not seen, and write down its new version; within a transaction.

    Returns
    -------
    list of str
        The names of the steps that were run.
    """
    found = counters.read()
    due = [step for step in steps if step.version > version_of(found, component)]
    for step in due:
        step.run(connection)
    if component == FORMAT and FORMAT not in found:
        rows = [row for (row,) in connection.execute("SELECT row FROM tombstones")]
        found["tombstones"] = sum_of(np.array(rows, dtype=np.int64))
    counters.rewrite(found | {component: newest(steps)})
    return [step.name for step in due]
