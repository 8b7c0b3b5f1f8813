"""Finds damage in the database of an index, and rebuilds what can be rebuilt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import MlretError
from mlret.index.filtering.fields import fields_of
from mlret.index.lexical.checks import compare_with_texts
from mlret.index.sqlite.checksums import sum_of
from mlret.index.storage.creation import make_tables
from mlret.index.storage.manifest import parse_manifest
from mlret.index.storage.manifest_copy import read_copy
from mlret.index.storage.migration import FORMAT, STEPS, newest
from mlret.index.storage.records import Records, is_whole
from mlret.index.storage.schema import schema_differs
from mlret.index.storage.vector_table import JoinedT, VectorTable

_BATCH = 1024


@dataclass
class Damage:
    """The damage that :func:`damage_of` found.

    Attributes
    ----------
    pages
        Messages of SQLite about damaged pages, and about tables that are not those of an index.
    records
        The rows and ids of damaged records.
    vectors
        The rows whose vectors are missing or damaged.
    orphans
        The rows that have a vector and no record.
    tombstones
        The rows that are listed as removed although they are stored.
    removed
        Whether the list of removed rows differs from what was written.
    fields, counters, lexical
        Whether the filterable metadata, the counters or the lexical index disagree with the records.
    """

    pages: list[str] = field(default_factory=list)
    records: list[tuple[int, Any]] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    tombstones: list[int] = field(default_factory=list)
    removed: bool = False
    fields: bool = False
    counters: bool = False
    lexical: bool = False


def damage_of(records: Records, vectors: VectorTable[JoinedT], *, first_vector: int = 1) -> Damage:
    """Check every page, record and vector of a database, and return the damage.

    Parameters
    ----------
    records
        The open database.
    vectors
        Its vectors.
    first_vector
        Rows before it need not have a vector.
    """
    found = Damage(pages=_pages(records))
    if found.pages:
        return found
    try:
        _look_at_records(records, vectors, first_vector, found)
        _look_at_rows(records, found)
        if not found.records:
            found.fields = _fields_differ(records)
            found.lexical = _lexical_differs(records)
    except MlretError as error:
        found.pages.append(str(error))
    return found


def _pages(records: Records) -> list[str]:
    try:
        with records.reporting():
            lines = [str(line) for (line,) in records.connection.execute("PRAGMA integrity_check(20)")]
            return ([] if lines == ["ok"] else lines) or schema_differs(
                records.connection, partial(make_tables, lexical=records.lexical is not None)
            )
    except MlretError as error:
        return [str(error)]


def _look_at_records(records: Records, vectors: VectorTable[JoinedT], first_vector: int, found: Damage) -> None:
    query = """
        SELECT row, records.crc, id, text, language, metadata, vector, vectors.crc FROM records LEFT JOIN vectors
        USING (row)
    """
    with records.reporting():
        for row, crc, id, text, language, metadata, blob, vector_crc in records.connection.execute(query):
            if not is_whole(crc, id, text, language, metadata):
                found.records.append((row, id))
            if blob is None and vector_crc is None:
                if row >= first_vector:
                    found.vectors.append(row)
            elif not vectors.holds(blob, vector_crc):
                found.vectors.append(row)


def _look_at_rows(records: Records, found: Damage) -> None:
    """Look for rows that a table should not have, and check the list of removed rows and the counters."""
    found.orphans = records.numbers("SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM records)").tolist()
    dead = records.tombstones.read(checked=False)
    stored = records.numbers("SELECT row FROM records ORDER BY row")
    found.tombstones = np.intersect1d(dead, stored, assume_unique=True).tolist()
    found.removed = records.counter("tombstones") != sum_of(dead)
    found.counters = records.counters_damaged or records.counter("documents") != len(stored)


def _fields_differ(records: Records) -> bool:
    count = 0
    with records.reporting():
        for batch in records.stream():
            for row, document in batch:
                if not records.fields.holds(row, document.metadata):
                    return True
                count += len(fields_of(document.metadata))
        return len(records.fields) != count


def _lexical_differs(records: Records) -> bool:
    lexical = records.lexical
    if lexical is None:
        return False
    try:
        if records.writable:
            with records.transaction():  # FTS5 checks itself by a statement that writes.
                lexical.check()
        else:
            with records.reporting():
                lexical.check(postings=False)
        batches = (
            ([row for row, _ in batch], [document.text for _, document in batch])
            for batch in records.stream(batch_size=_BATCH)
        )
        with records.reporting():
            compare_with_texts(lexical, records.connection, batches, records.last_row())
    except MlretError:
        return True
    return False


def rebuild_lexical(records: Records) -> None:
    """Rebuild the lexical index from the records in one transaction."""
    assert records.lexical is not None
    with records.transaction():
        records.lexical.clear()
        for batch in records.stream():
            records.lexical.add([row for row, _ in batch], [document.text for _, document in batch])


def rebuild_fields(records: Records) -> None:
    """Rebuild the filterable metadata from the records in one transaction."""
    with records.transaction():
        records.fields.clear()
        for batch in records.stream():
            records.fields.add([row for row, _ in batch], [document.metadata for _, document in batch])
        records.touch()


def drop_orphans(records: Records, rows: Iterable[int]) -> None:
    """Remove vectors that belong to no record, in one transaction."""
    with records.transaction() as connection:
        connection.executemany("DELETE FROM vectors WHERE row = ?", [(row,) for row in rows])


def recount(records: Records, tombstones: NDArray[np.int64], least_changes: int) -> None:
    """Replace the list of removed rows and recount the counters, in one transaction.

    Parameters
    ----------
    records
        The database.
    tombstones
        ``(n,)`` int64: the rows that were removed.
    least_changes
        The counter of changes is set above this and above its old value, so that everything cached by it is read again.
    """
    manifest = parse_manifest(read_copy(records)).manifest
    with records.transaction() as connection:
        records.tombstones.replace(tombstones)
        found = records.counters.read(checked=False)
        counted = {
            "documents": connection.execute("SELECT count(*) FROM records").fetchone()[0],
            "tombstones": sum_of(tombstones),
            "generation": manifest.generation,
            "changes": max(found.get("changes", 0), least_changes) + 1,
            FORMAT: newest(STEPS),
        }
        if manifest.kind != "index":
            counted[manifest.kind] = found.get(manifest.kind, newest(STEPS))
        records.counters.rewrite(counted)
