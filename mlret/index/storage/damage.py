"""Finds damage in the database of an index, and rebuilds what can be rebuilt."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import MlretError
from mlret.index.filtering.field_sums import FieldSums
from mlret.index.lexical.checks import compare_with_texts
from mlret.index.sqlite.checksums import sum_of
from mlret.index.storage.creation import make_tables
from mlret.index.storage.manifest import parse_manifest
from mlret.index.storage.manifest_copy import read_copy
from mlret.index.storage.migration import FORMAT, STEPS, newest
from mlret.index.storage.passages import COUNT, COUNTER, spans_from
from mlret.index.storage.passages import is_whole as is_whole_passages
from mlret.index.storage.records import Records
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
    passages
        The rows of documents whose passages are damaged or do not fit their texts.
    strays
        The rows of the vectors that are left of passages which documents have lost.
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
    passages: list[int] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    tombstones: list[int] = field(default_factory=list)
    removed: bool = False
    fields: bool = False
    counters: bool = False
    lexical: bool = False


def damage_of(
    records: Records,
    vectors: VectorTable[JoinedT],
    *,
    elsewhere: Sequence[tuple[int, int]] = (),
    sealed: NDArray[np.int64],
) -> Damage:
    """Check every page, record and vector of a database, and return the damage.

    Parameters
    ----------
    records
        The open database.
    vectors
        Its vectors.
    elsewhere
        The first and the last row of each range of rows that need not have a vector here.
    sealed
        ``(n,)`` int64, in ascending order: the rows that have a vector in a segment.
    """
    found = Damage(pages=_pages(records))
    if found.pages:
        return found
    try:
        documents = _look_at_records(records, vectors, found)
        _leave_out(found.vectors, elsewhere)
        _look_at_rows(records, documents, sealed, found)
        if not found.records:
            found.lexical = _lexical_differs(records)
    except MlretError as error:
        found.pages.append(str(error))
    return found


def _pages(records: Records) -> list[str]:
    try:
        with records.reporting():
            lines = [str(line) for (line,) in records.connection.execute("PRAGMA integrity_check(20)")]
            return ([] if lines == ["ok"] else lines) or schema_differs(
                records.connection,
                partial(
                    make_tables,
                    lexical=records.lexical is not None,
                    passages=records.passages.exist,
                    numbered_fields=records.fields.numbered,
                ),
            )
    except MlretError as error:
        return [str(error)]


def _leave_out(rows: list[int], ranges: Sequence[tuple[int, int]]) -> None:
    """Remove the rows that lie in some ranges, which are in ascending order."""
    some = np.array(rows, dtype=np.int64)
    first, last = np.array([*ranges, (math.inf, math.inf)]).T
    inside = some >= first[np.searchsorted(last, some)]
    rows[:] = some[~inside].tolist()


def _look_at_records(records: Records, vectors: VectorTable[JoinedT], found: Damage) -> NDArray[np.int64]:
    """Look for damaged records and vectors, and for filterable metadata that differ; return the rows of all records."""
    fields = FieldSums()
    rows = [np.empty(0, dtype=np.int64)]
    for batch in records.contents():
        numbers, crcs, contents = zip(*batch, strict=True)
        rows.append(np.array(numbers, dtype=np.int64))
        whole = [
            content is not None and crc == zlib.crc32(content) for crc, content in zip(crcs, contents, strict=True)
        ]
        if not all(whole):
            damaged = [row for row, one in zip(numbers, whole, strict=True) if not one]
            found.records += [(row, records.ids([row])[row]) for row in damaged]
        if not found.records:
            fields.add_metadata(numbers, _metadata(records, numbers, contents))
    intact = vectors.intact()
    documents = np.concatenate(rows)
    found.vectors = np.setdiff1d(documents, intact, assume_unique=True).tolist()
    if records.passages.exist:
        _look_at_passages(records, intact, found)
    if not found.records:
        with records.reporting():
            found.fields = fields != records.fields.sums() or len(fields) != len(records.fields)
    return documents


def _metadata(records: Records, rows: Sequence[int], contents: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the metadata of records whose contents are intact, decoded all at once."""
    found: list[dict[str, Any]] = []
    with suppress(ValueError, RecursionError):  # Reading records one by one reports the one that cannot be read.
        found = json.loads(b"[" + b",".join([content.rpartition(b"\0")[2] for content in contents]) + b"]")
    if len(found) == len(rows):
        return found
    documents = records.fetch(rows)
    return [documents[row].metadata for row in rows]


def _look_at_passages(records: Records, intact: NDArray[np.int64], found: Damage) -> None:
    """Look for passages that do not fit the texts, and for vectors of passages but the first that are damaged."""
    query = """
        SELECT passages.row, spans, passages.crc, length(text), (SELECT min(row) FROM records WHERE row > passages.row)
        FROM passages LEFT JOIN records USING (row)
    """
    further: list[int] = []
    for row, blob, crc, length, following in records.read(query):
        if not is_whole_passages(row, blob, crc) or length is None:
            found.passages.append(row)
            continue
        spans = spans_from(blob)
        if not all(0 <= start < end <= length for start, end in spans) or row + len(spans) > (following or math.inf):
            found.passages.append(row)
            continue
        further += range(row + 1, row + len(spans))
    found.vectors += np.setdiff1d(np.array(further, dtype=np.int64), intact).tolist()


def _look_at_rows(records: Records, documents: NDArray[np.int64], sealed: NDArray[np.int64], found: Damage) -> None:
    """Look for rows that a table should not have, and check the list of removed rows and the counters."""
    stored = documents if found.passages else records.passages.expanded(documents)
    others = records.numbers("SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM records)")
    # Which rows belong to a document whose passages are damaged is known only when it is cut again.
    found.orphans = [] if found.passages else np.setdiff1d(others, stored, assume_unique=True).tolist()
    dead = records.tombstones.read(checked=False)
    strays = np.union1d(found.orphans, sealed[~np.isin(sealed, stored) & ~np.isin(sealed, dead)])
    if records.counter(COUNTER) > len(stored) - len(documents) and len(strays) and not records.counters_damaged:
        # Documents have lost their passages, the vectors of which are left.
        found.strays = strays.tolist()
        places = np.searchsorted(documents, strays) - 1
        found.passages = np.unique(documents[places[places >= 0]]).tolist()
    found.tombstones = np.intersect1d(dead, stored, assume_unique=True).tolist()
    found.removed = records.counter("tombstones") != sum_of(dead)
    further = 0 if found.passages else len(stored) - len(documents)
    counted = records.counter("documents"), records.counter(COUNTER)
    found.counters = records.counters_damaged or counted != (len(documents), counted[1] if found.passages else further)


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
        if records.passages.exist:
            further = connection.execute(f"SELECT coalesce(sum({COUNT} - 1), 0) FROM passages").fetchone()[0]
            counted[COUNTER] = further
        if manifest.kind != "index":
            counted[manifest.kind] = found.get(manifest.kind, newest(STEPS))
        records.counters.rewrite(counted)
