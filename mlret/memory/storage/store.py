"""A memory as one scope sees it: reading records, and committing them together with the journal and the state."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import InputError, NotFound
from mlret.index.filtering.filter_warnings import Unmatched
from mlret.index.storage.receipts import remove_receipts
from mlret.index.store import compaction
from mlret.memory import times
from mlret.memory.records import Content, Link, MemoryRecord, State, text_of
from mlret.memory.scope import Place, Scope, holds, mask_of, place_of
from mlret.memory.storage import cells, tables
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.drafts import NEW, TAGS, Step, document_id, documents_of, versions_of
from mlret.memory.storage.folder import Folder
from mlret.memory.storage.journal import (
    GONE,
    Change,
    Entry,
    NewVersion,
    SetEnd,
    SetField,
    Verb,
    entries_of,
    entries_of_operation,
    read_entries,
    renamed,
)
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.record_state import ACTIVE, DELETED, RecordStatus

_STATES: tuple[State, ...] = ("active", "archived", "deleted", "merged")
_PARTS = 500  # Maximum number of parameters in one SQL statement.


class MemoryStore:
    """A memory as a scope sees it: the records of its tenant, named by the ids that the tenant gave them.

    Parameters
    ----------
    folder
        The open folder of the memory.
    scope
        The checked scope of the caller.
    within
        Whether nothing outside the scope is needed. The columns then need not have the other records of the tenant.
    """

    def __init__(self, folder: Folder, scope: Scope, *, within: bool = False) -> None:
        self.folder = folder
        self.scope = dict(scope)
        self.place = place_of(scope)
        self._within = within
        self.index = folder.index
        self.store = folder.store
        self.records = folder.records
        self.lock = folder.lock
        self.weights = folder.weights

    @cached_property
    def columns(self) -> Columns:
        """The versions of the tenant or the scope, as arrays for searching; they are loaded when first needed.

        Those of a scope alone may be loaded again for later calls; so a store with ``within`` is made for one call, and
        this is first used while the lock is held.
        """
        return self.folder.columns_in(self.scope) if self._within else self.folder.columns(self.place[0])

    @property
    def unmatched(self) -> Unmatched:
        """Warns of filters that cannot match any record of the tenant."""
        return self.folder.unmatched[self.place[0]]

    def commit(
        self, verb: Verb, steps: Sequence[Step], also: Callable[[sqlite3.Connection, int], None] | None = None
    ) -> int:
        """Commit an operation atomically and durably; use it within :meth:`Folder.writing`.

        Parameters
        ----------
        verb
            Name of the operation in the journal.
        steps
            One step for each record.
        also
            Called in the transaction with the connection and the number of the operation, to write more.

        Returns
        -------
        int
            The number of the operation, counted among those that touched records of the scope.
        """
        columns, folder = self.columns, self.folder
        keys: dict[str, int] = {}
        for step in steps:
            keys[step.record] = keys.get(step.record) or columns.keys.get(step.record) or folder.new_key()
        drafts = [step.draft for step in steps if step.draft is not None]
        documents = documents_of(drafts, keys) if drafts else []
        fresh = {draft.record: (self.place if draft.scope == self.scope else place_of(draft.scope)) for draft in drafts}
        places = [fresh.get(step.record) or self.place_of_record(step.record) for step in steps]
        first, at = folder.seen + 1, times.now()
        counted, asked = cells.last_operation(self.records, self.scope) + 1, mask_of(self.scope)
        done: list[tuple[str, Sequence[Change]]] = []
        versions: dict[int, dict[str, Any]] = {}
        scopes: dict[Place, int] = {}

        def key_of(id: str) -> int:
            return keys.get(id) or columns.keys[id]

        def write(connection: sqlite3.Connection, rows: NDArray[np.int64]) -> None:
            made = iter(versions_of(drafts, rows.tolist(), keys) if drafts else ())
            scopes.update(tables.scope_numbers(connection, places))
            latest: dict[str, int] = {}
            more = dict.fromkeys(scopes.values(), (0, 0))
            entries = []
            for number, (step, place) in enumerate(zip(steps, places, strict=True), start=first):
                changes, scope = step.changes, scopes[place]
                if step.draft is not None:
                    new, row = next(made)
                    versions[new.row] = row
                    before, latest[step.record] = latest.get(step.record, step.replaces), new.row
                    changes = (new, SetField("row", before, new.row), *(_of_row(one, new.row) for one in changes))
                    more[scope] = more[scope][0] + 1, more[scope][1] + len(new.parts)
                done.append((step.record, changes))
                note = _renamed_note(step.note, key_of)
                about = keys[step.record], renamed(changes, key_of), note
                entries.append(Entry(number, first, counted, at, verb, scope, asked, *about))
            tables.write_entries(connection, entries, versions, more)
            if also is not None:
                also(connection, counted)

        if documents:
            vectors = [vector for draft in drafts for vector in (draft.vector, *draft.part_vectors)]
            self.store.append(documents, self.store.space.joined(vectors), also=write)
            compaction.maintain(self.store)
        else:
            self.store.commit(lambda connection: write(connection, np.empty(0, dtype=np.int64)))
        if verb in ("feedback", "undo"):
            self.weights.clear()
        columns.apply(done, versions)
        folder.wrote(first + len(done) - 1, {number: place for place, number in scopes.items()}, columns)
        return counted

    def place_of_record(self, record: str) -> Place:
        """Return the place of a record of the tenant."""
        columns = self.columns
        return columns.scopes.by_number[int(columns.scope[columns.statuses.position(record)])]

    def forget_rows(self, records: Sequence[str], rows: Sequence[int]) -> bool:
        """Delete erased records from all tables and the index in one transaction, within :meth:`Folder.writing`.

        The receipts of requests to a server that stored them are deleted, too.

        Parameters
        ----------
        records
            Ids of the records.
        rows
            All their rows in the index.

        Returns
        -------
        bool
            Whether there were such receipts.
        """
        columns = self.columns
        receipts = False
        number = self.folder.seen + 1
        counted = cells.last_operation(self.records, self.scope) + 1
        entry = Entry(number, number, counted, times.now(), "erase", 0, mask_of(self.scope), 0, ())

        places = {id: self.place_of_record(id) for id in records}
        left = [columns.keys[id] for id, into in self.merged() if into in places and id not in places]

        def write(connection: sqlite3.Connection) -> None:
            nonlocal receipts
            receipts = remove_receipts(connection, records)
            numbers = tables.scope_numbers(connection, places.values())
            scopes: dict[int, int] = {}
            gone: dict[int, tuple[int, int]] = {}
            for id, place in places.items():
                scope = scopes[columns.keys[id]] = numbers[place]
                versions, parts = gone.get(scope, (0, 0))
                mine = len(columns.versions[id])
                gone[scope] = versions - mine, parts - (len(self.rows_of(id)) - mine)
            tables.wipe(connection, scopes, rows, gone, entry, left)

        self.store.remove(rows, also=write)
        self.folder.sync()
        return receipts

    def merged(self) -> list[tuple[str, str]]:
        """Return the tenant's merged records, each with the record that it is merged into."""
        columns = self.columns
        id_of = columns.id_of
        hidden = columns.record[np.flatnonzero(columns.alive & columns.current & (columns.state != ACTIVE))]
        keys = sorted(columns.keys[columns.ids.by_number[number]] for number in hidden.tolist())
        query = "SELECT record, merged_into FROM memory_records WHERE merged_into IS NOT NULL AND record IN ({})"
        found = [(id_of(key), id_of(into)) for key, into in sorted(self.records.read_among(query, keys))]
        return [(record, into) for record, into in found if record is not None and into is not None]

    def entries(self, record: str) -> list[Entry]:
        """Return the journal entries of a record of the tenant, in order, with records named by ids."""
        return [self.named(entry) for entry in entries_of(self.records, self.columns.keys[record])]

    def operation(self, number: int) -> list[Entry]:
        """Return the entries of an operation of the scope, with records named by ids.

        Raises
        ------
        InputError
            If the scope has no such operation, it touched records outside the scope or erased ones, or the number is
            ambiguous.
        """
        found = entries_of_operation(self.records, number, self.scope)
        if len(found) > 1:
            raise InputError(
                f"{len(found)} operations in the scope {dict(self.scope)} have the number {number}, each in a narrower "
                "scope: name the scope that it was asked for in"
            )
        if not found:
            raise self.no_operation(number)
        return [self.named(entry) for entry in found[0]]

    def no_operation(self, number: int) -> InputError:
        """Return the error for an operation that this scope cannot undo; its text does not reveal the reason."""
        return NotFound(
            f"there is no operation {number} in the scope {dict(self.scope)} that can be undone; history names the "
            "operations of a record"
        )

    def named(self, entry: Entry) -> Entry:
        """Return an entry with ids instead of keys, and :data:`GONE` for records that have been erased."""
        name_of = self.columns.name_of
        changes = None if entry.changes is None else renamed(entry.changes, name_of)
        assert isinstance(entry.record, int)
        if name_of(entry.record) == GONE:
            raise cells.damage(self.records.path, f"entry {entry.number} of the journal, its record is not there")
        return replace(entry, record=name_of(entry.record), changes=changes, note=_renamed_note(entry.note, name_of))

    def position(self, record: str, scope: Scope) -> int:
        """Return the position of the current version of a record.

        Parameters
        ----------
        record
            Id of the record.
        scope
            A scope that must hold it.

        Raises
        ------
        InputError
            If the scope holds no such record; whether another scope holds one is not revealed.
        """
        if not self.in_scope(record, scope):
            raise NotFound(f"no record {record!r} in the scope {dict(scope)}; check the id and the scope")
        return self.columns.statuses[record].position

    def in_scope(self, record: str, scope: Scope) -> bool:
        """Return whether a scope holds a record.

        Parameters
        ----------
        record
            Id of the record.
        scope
            A checked scope.
        """
        return record in self.columns.keys and holds(scope, self.place_of_record(record))

    def rows_of(self, record: str) -> list[int]:
        """Return all rows of a record in the index, including those of parts, in ascending order."""
        columns = self.columns
        positions = columns.versions.get(record, [])
        found = [int(columns.row[position]) for position in positions]
        return sorted([*found, *(row for position in positions for row in columns.parts.get(position, ()))])

    def fetch(self, positions: Sequence[int] | Positions) -> list[MemoryRecord]:
        """Return the versions at some positions, as the scope sees them.

        Each version is verified: the tables of the state are compared with the journal entry that created the version,
        and both with the text in the index.

        Parameters
        ----------
        positions
            ``(n,)`` positions.

        Returns
        -------
        list of MemoryRecord
            The ``n`` versions, in the order of ``positions``.

        Raises
        ------
        MlretError
            If they differ, or one is damaged.
        """
        columns = self.columns
        some = np.asarray(positions, dtype=np.int64)
        rows = columns.row[some].tolist()
        documents = self.records.fetch(rows)
        news = self._news(rows)
        ids = [columns.ids.by_number[number] for number in columns.record[some].tolist()]
        statuses = columns.statuses.of(ids)
        values = (columns.scope, columns.session, columns.seq, columns.valid_to, columns.current)
        found = []
        for id, there, row, scope, session, seq, end, current in zip(
            ids, statuses, rows, *(array[some].tolist() for array in values), strict=True
        ):
            key, new = news.get(row, (0, None))
            if row not in documents or new is None:
                raise cells.damage(self.records.path, f"row {row} has lost its text or its journal")
            proven = (
                new.id == id
                and columns.keys.get(id) == key
                and place_of(new.scope) == columns.scopes.by_number[scope]
                and new.content["seq"] == seq
                and new.content.get("session") == columns.sessions.by_number[session][1]
                and documents[row].id == document_id(key, new.version)
            )
            if not proven:
                raise cells.damage(self.records.path, f"memory_versions, row {row} differs from the journal")
            found.append(self._record(there, new, documents[row], end, current=current))
        return found

    def _record(
        self, there: RecordStatus, new: NewVersion, document: Document, end: int, *, current: bool
    ) -> MemoryRecord:
        columns, id = self.columns, new.id
        metadata = {name: value for name, value in document.metadata.items() if name != TAGS}
        content = Content.from_json(new.content, metadata)
        links = [(type, to) for one, type, to in sorted(columns.links.get(id, ())) if one == id]
        if len(links) != there.links:
            raise cells.damage(self.records.path, f"memory_links, links of record {columns.keys[id]} are missing")
        return MemoryRecord(
            id=id,
            version=new.version,
            text=text_of(document.text, content.keys) if content.keys else document.text,
            language=document.language,
            scope=dict(new.scope),
            kind=content.kind,
            level=content.level,
            session=content.session,
            seq=new.content["seq"],
            event_time=content.event_time,
            valid_from=content.valid_from or times.from_micros(new.valid_from),
            valid_to=None if end == times.FOREVER else times.from_micros(end),
            recorded_at=times.from_micros(new.recorded_at),
            expires_at=content.expires_at,
            source=content.source,
            tags=content.tags,
            keys=content.keys,
            links=tuple(Link(type, to) for type, to in links if self.in_scope(to, self.scope)),
            importance=content.importance,
            strength=there.strength,
            accesses=there.accesses,
            accessed_at=None if there.accessed_at is None else times.from_micros(there.accessed_at),
            state=_STATES[there.state] if current or there.state == DELETED else "superseded",
            merged_into=there.merged_into,
            metadata=metadata,
        )

    def _news(self, rows: Sequence[int]) -> dict[int, tuple[int, NewVersion]]:
        """Return the record key and the journal's account of each version, by row."""
        found: dict[int, tuple[int, NewVersion]] = {}
        for start in range(0, len(rows), _PARTS):
            part = rows[start : start + _PARTS]
            marks = ",".join("?" * len(part))
            condition = f"entry IN (SELECT entry FROM memory_versions WHERE row IN ({marks}))"
            for entry in read_entries(self.records, condition, part):
                assert isinstance(entry.record, int)
                for change in entry.changes or ():
                    if type(change) is NewVersion:
                        found[change.row] = entry.record, change
        return found


def _of_row(change: Change, row: int) -> Change:
    return replace(change, row=row) if isinstance(change, SetEnd) and change.row == NEW else change


def _renamed_note(note: Mapping[str, Any], rename: Any) -> Mapping[str, Any]:
    """Return a note with the names of records converted, without those that have none."""
    if "merged" not in note:
        return note
    return {**note, "merged": [name for one in note["merged"] if (name := rename(one)) != GONE]}
