"""Check the tables of a memory: row by row, then against each other, then against the replayed journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mlret.errors import MlretError
from mlret.index.storage.records import Records
from mlret.memory.scope import place_of
from mlret.memory.storage import cells, journal, schema, tables
from mlret.memory.storage.journal import Entry, NewVersion, State, replay

_MOST = 20  # Maximum number of damaged rows that are named for each table.
_BATCH = 1000


def table_problems(records: Records) -> Iterator[str]:
    """Yield the problems of the tables: damaged rows, or, if there are none, contradictions between tables.

    Yields
    ------
    str
        A description of a problem; nothing if the tables are intact.
    """
    damaged = False
    for problem in (*_rows(records), *_journal(records)):
        damaged = True
        yield problem
    if damaged:  # Damaged rows would show up as contradictions again.
        return
    try:
        every = list(journal.read_entries(records))
        state = tables.read_state(records)
        yield from _differences(replay(every), state)
        yield from _contradictions(records, every, state)
    except MlretError as error:
        yield str(error)


def _rows(records: Records) -> Iterator[str]:
    """Yield the rows that do not match their checksum."""
    for table, names in schema.COVERED.items():
        wrong = 0
        for *values, crc in _all(records, table, (*names, "crc")):
            if not cells.whole(table, values, crc):
                wrong += 1
                if wrong <= _MOST:
                    yield f"{cells.named(table, values)}: the row is damaged"
        if wrong > _MOST:
            yield f"{table}: {wrong - _MOST} more rows are damaged"
    for (key,) in records.read("SELECT record FROM memory_records"):
        try:
            cells.read_uses(records, [key])
        except MlretError:
            yield f"{cells.named('memory_records', (key,))}: the row is damaged"


def _all(records: Records, table: str, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield all rows of a table, read in batches."""
    key = {"memory_parts": "whole, row", "memory_links": "record, type, target"}.get(table, names[0])
    place = 0
    while found := records.read(f"SELECT {', '.join(names)} FROM {table} ORDER BY {key} LIMIT {_BATCH} OFFSET {place}"):
        yield from found
        place += len(found)


def _journal(records: Records) -> Iterator[str]:
    """Yield the entries that are damaged or missing."""
    expected = 1
    for row in records.read(f"{journal.ENTRY} ORDER BY entry"):
        try:
            entry = journal.read_entry(records.path, row)
        except MlretError:
            yield f"memory_journal, entry {row[0]!r}: the row is damaged"
            continue
        finally:
            missing, expected = row[0] != expected, row[0] + 1
        if missing:
            yield f"memory_journal: entries before {entry.number} are missing"
    last = records.read("SELECT seq FROM sqlite_sequence WHERE name = 'memory_journal'")
    if last and last[0][0] != expected - 1:
        yield f"memory_journal: entries after {expected - 1} are missing"


def _differences(journal: State, tables_say: State) -> Iterator[str]:
    for name in ("records", "versions", "links"):
        if getattr(journal, name) != getattr(tables_say, name):
            yield f"the {name} are not what the journal adds up to"


def _contradictions(records: Records, entries: list[Entry], state: State) -> Iterator[str]:
    """Yield the contradictions between tables."""
    places = {tuple(place): scope for scope, *place in cells.read_rows(records, "memory_scopes")}
    scopes = {one.record: places.get(place_of(one.scope)) for one in state.versions.values()}
    ids = {one.record: (place_of(one.scope)[0], one.id) for one in state.versions.values()}
    if len({(one.record, one.id, place_of(one.scope)) for one in state.versions.values()}) != len(ids):
        yield "memory_versions: versions of one record differ in its id or its scope"
    taken = Counter(ids.values())
    for (tenant, id), count in taken.items():
        if count > 1:
            yield f"memory_versions: {count} records of the tenant {tenant!r} have the id {id!r}"
    last: dict[int, int] = {}
    made = {
        change.row: entry.number for entry in entries for change in entry.changes or () if type(change) is NewVersion
    }
    for entry in entries:
        last[entry.scope] = max(entry.counted, last.get(entry.scope, 0))
        if scopes.get(entry.record, entry.scope) != entry.scope:
            yield f"memory_journal, entry {entry.number}: its record is in another scope"
    versions = Counter(scopes[one.record] for one in state.versions.values())
    parts = Counter(scopes[one.record] for one in state.versions.values() for _ in one.parts)
    totals = {scope: counted for scope, *counted in cells.read_rows(records, "memory_totals")}
    if totals != {scope: [last.get(scope or 0, 0), count, parts[scope]] for scope, count in versions.items()}:
        yield "memory_totals: the totals of the scopes are not what the journal adds up to"
    links, about = Counter(source for source, _, _ in state.links), Counter(entry.record for entry in entries)
    for record, (*_, link_count, entry_count) in cells.read_uses(
        records, [key for key in state.records if isinstance(key, int)]
    ).items():
        if (link_count, entry_count) != (links[record], about[record]):
            yield f"memory_records, record {record}: its links or its entries in the journal are more, or fewer"
    if set(places.values()) != set(versions):
        yield "memory_scopes: there are scopes without records, or records without a scope"
    for row, entry_number in records.read("SELECT row, entry FROM memory_versions"):
        if made.get(row) != entry_number:
            yield f"memory_versions, row {row}: entry {entry_number} did not make it"
