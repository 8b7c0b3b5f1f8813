"""Moves a folder from one generation to the next: the manifest first, then its database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.index.storage.agreement import check_agreement, copy_in
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import (
    FORMAT_VERSION,
    Manifest,
    Written,
    new_identity,
    read_written,
    write_manifest,
    written_of,
)
from mlret.index.storage.migration import FORMAT, OLDEST, STEPS, Step, newest
from mlret.index.storage.records import Records

_log = logging.getLogger("mlret.index")


def next_manifest(records: Records, manifest: Manifest, changes: Mapping[str, Any]) -> Written:
    """Return the manifest that follows one of which the database has a copy.

    Parameters
    ----------
    records
        The database.
    manifest
        The present manifest.
    changes
        The fields that change, with their new values.
    """
    following = {
        "generation": manifest.generation + 1,
        "previous": copy_in(records).checksum,
        "changes": records.changes,
    }
    return written_of(manifest.model_copy(update=following | dict(changes)))


def settle(
    records: Records,
    written: Written,
    *,
    gaps: Iterable[tuple[int, int]] = (),
    vectors: Iterable[tuple[int, int]] = (),
) -> None:
    """Store a copy of a new manifest, and remove what its change of segments has made superfluous.

    This is one transaction. A process that has read an older manifest must read it again before it trusts the
    database.

    Parameters
    ----------
    records
        The database.
    written
        The new manifest.
    gaps
        Ranges of rows (first and last) whose segments hold no deleted rows any more; their tombstones are removed.
    vectors
        Ranges of rows whose vectors are kept in segments only; they are removed from the database.
    """
    with records.transaction() as connection:
        records.tombstones.forget(gaps)
        connection.executemany("DELETE FROM vectors WHERE row BETWEEN ? AND ?", vectors)
        records.counters.set({"generation": written.manifest.generation})
        connection.execute("UPDATE manifest SET content = ?", (written.text,))


def finish(records: Records, written: Written) -> None:
    """Bring the database in line with the manifest if a writer was killed between the two.

    Only the writer may call this. What the manifest made superfluous stays in the database until the next change of
    segments.

    Parameters
    ----------
    records
        The database.
    written
        The manifest of the folder.
    """
    if records.generation < written.manifest.generation:
        settle(records, written)


def upgrade(folder: Path, records: Records, component: str = FORMAT, steps: Sequence[Step] = STEPS) -> None:
    """Migrate tables of an earlier version (:mod:`mlret.index.storage.migration`).

    This is done in the folder if it is writable, else in a temporary copy of the database. The manifest of the new
    format is written first, so that earlier versions of mlret, which do not know it, refuse the folder. After a crash
    at any point the next open completes the migration.

    Parameters
    ----------
    folder
        The folder of the index.
    records
        The database of the folder.
    component
        The name under which the version of the tables is kept.
    steps
        All migration steps of these tables.

    Raises
    ------
    MlretError
        If another process keeps writing, or the manifest and the database do not belong together.
    """
    if records.version(component) >= newest(steps):
        return
    if not records.writable:
        records.bring_up_to_date(component, steps)
        return
    with WriterLock(folder / LOCK):
        records.snapshot()
        written = read_written(folder)
        check_agreement(folder, written, copy_in(records), records.changes)
        finish(records, written)
        if written.manifest.format_version == OLDEST:
            added = {"format_version": FORMAT_VERSION, "identity": new_identity()}
            written = next_manifest(records, written.manifest, added)
            write_manifest(folder, written)
        done = records.bring_up_to_date(component, steps)
        finish(records, written)
        _log.info("%s: brought up to date (%s)", folder, ", ".join(done))


def gaps_between(ranges: Sequence[tuple[int, int]], last: int) -> list[tuple[int, int]]:
    """Return the parts of 1 … ``last`` that lie in none of some ranges.

    Parameters
    ----------
    ranges
        The first and the last number of each range, in ascending order.
    last
        The last number.

    Returns
    -------
    list of (int, int)
        The first and the last number of each gap.
    """
    gaps, start = [], 1
    for first, end in ranges:
        if first > start:
            gaps.append((start, first - 1))
        start = end + 1
    return [*gaps, (start, last)] if start <= last else gaps
