"""A memory as one scope sees it: reading records, and committing them together with the journal and the state."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document
from mlret.data.scripts import scripts_of
from mlret.errors import InputError, MlretError, NotFound
from mlret.index.filter_warnings import Unmatched
from mlret.index.index import Index
from mlret.index.storage import compaction
from mlret.index.storage.records import Records
from mlret.index.storage.store import Store
from mlret.memory import times
from mlret.memory.records import Content, Link, MemoryRecord, State, value_of
from mlret.memory.scope import Place, Scope, holds, mask_of, place_of, scope_at, tenant_of
from mlret.memory.storage import cells, tables
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.folder import Folder
from mlret.memory.storage.journal import GONE, Change, Entry, NewVersion, SetEnd, SetField, Verb, renamed
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.postings import grams_of
from mlret.memory.storage.record_state import DELETED

_STATES: tuple[State, ...] = ("active", "archived", "deleted", "merged")
_PARTS = 500  # Maximum number of parameters in one SQL statement.
NEW = -1  # Stands for the row of a version that is not stored yet.
TAGS = "tags"  # Tags are stored under this key of the index's metadata, so that filters see them.


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is ready to be stored, with its vectors.

    ``vector`` and ``part_vectors`` are in the form that the index's space prepares: ``(dims,)`` each, or ``(t, dims)``.
    """

    record: str
    version: int
    text: str
    language: str | None
    scope: dict[str, str]
    content: Content
    seq: int
    valid_from: int
    recorded_at: int
    vector: Any
    parts: tuple[str, ...] = ()
    part_vectors: Sequence[Any] = ()
    hash: bytes = b""

    @property
    def value(self) -> str:
        """The string that is indexed: the text with its keys."""
        return value_of(self.text, self.content.keys)


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation does to one record: optionally a new version in place of the row ``replaces``, then changes.

    The row of the new version is not known in advance; a :class:`SetEnd` refers to it as row :data:`NEW`.
    """

    record: str
    draft: Draft | None = None
    replaces: int | None = None
    changes: Sequence[Change] = ()
    note: Mapping[str, Any] = field(default_factory=dict)


class MemoryStore:
    """A memory as a scope sees it: the records of its tenant, named by the ids that the tenant gave them.

    Parameters
    ----------
    folder
        The open folder of the memory.
    scope
        The checked scope of the caller.
    """

    def __init__(self, folder: Folder, scope: Scope) -> None:
        self.folder = folder
        self.scope = scope
        self._tenant = tenant_of(scope)

    @property
    def index(self) -> Index:
        """The open index."""
        return self.folder.index

    @property
    def store(self) -> Store:
        """The store of the index."""
        return self.folder.store

    @property
    def records(self) -> Records:
        """The database."""
        return self.folder.records

    @property
    def lock(self) -> threading.RLock:
        """Lock that is held while the state is read or changed."""
        return self.folder.lock

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """Weights that were fitted to feedback, by scope."""
        return self.folder.weights

    @property
    def unmatched(self) -> Unmatched:
        """Warns of filters that cannot match any record of the tenant."""
        return self.folder.unmatched[self._tenant]

    @property
    def columns(self) -> Columns:
        """The tenant's versions, as arrays for searching."""
        return self.folder.columns(self._tenant)

    def commit(self, verb: Verb, steps: Sequence[Step], *, settings: Mapping[str, Any] | None = None) -> int:
        """Commit an operation atomically and durably; use it within :meth:`Folder.writing`.

        Parameters
        ----------
        verb
            Name of the operation in the journal.
        steps
            One step for each record.
        settings
            Name -> JSON value of settings to save with it.

        Returns
        -------
        int
            The number of the operation, counted among those that touched records of the scope.
        """
        columns = self.columns
        keys = {step.record: columns.keys.get(step.record) or 0 for step in steps}
        keys = {id: key or self.folder.new_key() for id, key in keys.items()}
        drafts = [step.draft for step in steps if step.draft is not None]
        documents = [document for draft in drafts for document in _documents(draft, keys[draft.record])]
        first, at = self.folder.last_entry() + 1, times.now()
        counted, asked = tables.last_operation(self.records, self.scope) + 1, mask_of(self.scope)
        done: list[tuple[str, tuple[Change, ...], dict[int, dict[str, Any]]]] = []
        fresh = {draft.record: place_of(draft.scope) for draft in drafts}
        places: dict[int, Place] = {}

        def key_of(id: str) -> int:
            return keys.get(id) or columns.keys[id]

        def write(connection: sqlite3.Connection, rows: NDArray[np.int64]) -> None:
            numbers = iter(rows.tolist())
            latest: dict[str, int] = {}
            more: dict[int, tuple[int, int]] = {}
            for entry, step in enumerate(steps, start=first):
                changes, made = list(step.changes), {}
                place = fresh.get(step.record) or self.place(step.record)
                scope = tables.scope_number(connection, place)
                places[scope] = place
                versions, parts = more.get(scope, (0, 0))
                if step.draft is not None:
                    versions, parts = versions + 1, parts + len(step.draft.parts)
                more[scope] = versions, parts
                if step.draft is not None:
                    mine = [next(numbers) for _ in range(1 + len(step.draft.parts))]
                    new, made[mine[0]] = _version(step.draft, mine)
                    made[mine[0]] |= {"record": keys[step.record], "entry": entry}
                    before = latest.get(step.record, step.replaces)
                    latest[step.record] = new.row
                    changes = [new, SetField("row", before, new.row), *(_of_row(one, new.row) for one in changes)]
                stored = tuple(renamed(change, key_of) for change in changes)
                note = _renamed_note(step.note, key_of)
                written = Entry(entry, first, counted, at, verb, scope, asked, keys[step.record], stored, note)
                tables.append_entry(connection, written)
                tables.project(connection, written, made)
                done.append((step.record, tuple(changes), made))
            tables.count(connection, more, counted)
            for name, content in (settings or {}).items():
                tables.write_setting(connection, name, content)

        if documents:
            vectors = [vector for draft in drafts for vector in (draft.vector, *draft.part_vectors)]
            self.store.append(documents, self.store.space.joined(vectors), also=write)
            compaction.maintain(self.store)
        else:
            self.store.commit(lambda connection: write(connection, np.empty(0, dtype=np.int64)))
        if verb in ("feedback", "undo"):
            self.weights.clear()
        for record, changes, made in done:
            columns.apply(record, changes, made)
        self.folder.wrote(first + len(done) - 1, places)
        return counted

    def place(self, record: str) -> Place:
        """Return the place of a record of the tenant."""
        columns = self.columns
        place: Place = columns.scopes.values[columns.scope[columns.standing.position(record)]]
        return place

    def forget_rows(self, records: Sequence[str], rows: Sequence[int]) -> None:
        """Delete erased records from all tables and the index in one transaction, within :meth:`Folder.writing`.

        Parameters
        ----------
        records
            Ids of the records.
        rows
            All their rows in the index.
        """
        columns = self.columns
        number = self.folder.last_entry() + 1
        counted = tables.last_operation(self.records, self.scope) + 1
        entry = Entry(number, number, counted, times.now(), "erase", 0, mask_of(self.scope), 0, ())

        def write(connection: sqlite3.Connection) -> None:
            scopes: dict[int, int] = {}
            gone: dict[int, tuple[int, int]] = {}
            for id in records:
                scope = scopes[columns.keys[id]] = tables.scope_number(connection, self.place(id))
                versions, parts = gone.get(scope, (0, 0))
                mine = len(columns.versions[id])
                gone[scope] = versions - mine, parts - (len(self.rows_of(id)) - mine)
            tables.wipe(connection, scopes, rows, gone, entry)

        self.store.remove(rows, also=write)
        self.folder.sync()

    def merged(self) -> list[tuple[str, str]]:
        """Return the tenant's merged records, each with the record that it is merged into."""
        id_of = self.columns.id_of
        query = "SELECT record, merged_into FROM memory_records WHERE merged_into IS NOT NULL ORDER BY record"
        found = [(id_of(key), id_of(into)) for key, into in self.records.read(query)]
        return [(record, into) for record, into in found if record is not None and into is not None]

    def entries(self, record: str) -> list[Entry]:
        """Return the journal entries of a record of the tenant, in order, with records named by ids."""
        return [self.named(entry) for entry in tables.entries_of(self.records, self.columns.keys[record])]

    def operation(self, number: int) -> list[Entry]:
        """Return the entries of an operation of the scope, with records named by ids.

        Raises
        ------
        InputError
            If the scope has no such operation, it touched records outside the scope or erased ones, or the number is
            ambiguous.
        """
        found = tables.entries_of_operation(self.records, number, self.scope)
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
        changes = None if entry.changes is None else tuple(renamed(change, name_of) for change in entry.changes)
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
        return self.columns.standing[record].position

    def in_scope(self, record: str, scope: Scope) -> bool:
        """Return whether a scope holds a record.

        Parameters
        ----------
        record
            Id of the record.
        scope
            A checked scope.
        """
        return record in self.columns.standing and holds(scope, self.place(record))

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
        ids = columns.ids.values
        columns.standing.prepare(ids[number] for number in columns.record[some].tolist())
        names = ("row", "record", "scope", "session", "seq", "valid_to", "current")
        found = []
        for values in zip(*(getattr(columns, name)[some].tolist() for name in names), strict=True):
            row, record, scope, session, seq, end, current = values
            key, new = news.get(row, (0, None))
            if row not in documents or new is None:
                raise cells.damage(self.records.path, f"row {row} has lost its text or its journal")
            id, place = ids[record], columns.scopes.values[scope]
            proven = (
                new.id == id
                and columns.keys.get(id) == key
                and place_of(new.scope) == place
                and new.content["seq"] == seq
                and new.content.get("session") == columns.sessions.values[session][1]
                and documents[row].id == document_id(key, new.version)
            )
            if not proven:
                raise cells.damage(self.records.path, f"memory_versions, row {row} differs from the journal")
            found.append(self._record(id, place, new, documents[row], end, current=current))
        return found

    def _record(
        self, id: str, place: Place, new: NewVersion, document: Document, end: int, *, current: bool
    ) -> MemoryRecord:
        columns = self.columns
        there = columns.standing[id]
        metadata = {name: value for name, value in document.metadata.items() if name != TAGS}
        content = Content.from_json(new.content, metadata)
        suffix = len(value_of("", content.keys))
        links = [(type, to) for one, type, to in sorted(columns.links.get(id, ())) if one == id]
        if len(links) != there.links:
            raise cells.damage(self.records.path, f"memory_links, links of record {columns.keys[id]} are missing")
        return MemoryRecord(
            id=id,
            version=new.version,
            text=document.text[: len(document.text) - suffix],
            language=document.language,
            scope=scope_at(place),
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
        for part in _chunks(rows):
            marks = ",".join("?" * len(part))
            condition = f"entry IN (SELECT entry FROM memory_versions WHERE row IN ({marks}))"
            for entry in tables.entries(self.records, condition, part):
                assert isinstance(entry.record, int)
                for change in entry.changes or ():
                    if type(change) is NewVersion:
                        found[change.row] = entry.record, change
        return found

    def encode(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[Any]:
        """Return the vectors of texts, in the form that the index's space stores.

        Parameters
        ----------
        texts
            ``n`` texts.
        languages
            ``n`` language codes, ``None`` where unknown.

        Raises
        ------
        MlretError
            If the encoder returns a vector that is not finite.
        """
        if not texts:
            return []
        vectors = self.index.encoder.encode_document(list(texts), language=list(languages))
        return self.checked(vectors)

    def checked(self, vectors: Any) -> list[Any]:
        """Return vectors in the form that the index's space stores.

        Raises
        ------
        MlretError
            If one is not finite.
        """
        if not all(bool(np.isfinite(one).all()) for one in vectors):
            raise MlretError(f"{self.index.encoder.name} gives a vector that is not finite; check its weights")
        return list(self.store.space.prepared(vectors))


def _of_row(change: Change, row: int) -> Change:
    return replace(change, row=row) if isinstance(change, SetEnd) and change.row == NEW else change


def detect(text: str, language: str | None) -> str | None:
    """Return the given language of a text, else the one that is detected offline; ``None`` if it cannot be detected.

    Parameters
    ----------
    text
        The text.
    language
        Its language, if given.
    """
    return language if language is not None else detect_language(folded(text[:DETECTION_CHARACTERS]))


def folded(text: str) -> str:
    """Return a text with differences of form removed: Unicode composition, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def hash_of(text: str) -> bytes:
    """Return the 16-byte hash of the :func:`folded` form of a text."""
    return hashlib.blake2b(folded(text).encode("utf-8"), digest_size=16).digest()


def _renamed_note(note: Mapping[str, Any], rename: Any) -> Mapping[str, Any]:
    """Return a note with the names of records converted, without those that have none."""
    if "merged" not in note:
        return note
    return {**note, "merged": [name for one in note["merged"] if (name := rename(one)) != GONE]}


def document_id(key: int, version: int, part: int = 0) -> str:
    """Return the id under which the index stores the text of a version, or one of its parts.

    Parameters
    ----------
    key
        Key of the record.
    version
        Number of the version.
    part
        0 for the whole text, else the number of the part.
    """
    return f"{key}/{version}/{part}"


def _documents(draft: Draft, key: int) -> list[Document]:
    metadata = dict(draft.content.metadata)
    if draft.content.tags:
        metadata[TAGS] = list(draft.content.tags)
    whole = Document(document_id(key, draft.version), draft.value, draft.language, metadata)
    parts = [
        Document(document_id(key, draft.version, place), text, draft.language)
        for place, text in enumerate(draft.parts, start=1)
    ]
    return [whole, *parts]


def _version(draft: Draft, rows: Sequence[int]) -> tuple[NewVersion, dict[str, Any]]:
    content = draft.content
    said = content.as_json() | {"seq": draft.seq}
    new = NewVersion(
        *(rows[0], draft.record, draft.version, draft.scope, draft.valid_from, draft.recorded_at),
        said,
        tuple(rows[1:]),
    )
    grams, length = grams_of(draft.value)
    event = (None, None) if content.event_time is None else tuple(map(times.micros, content.event_time))
    columns = {
        "row": rows[0],
        "session": content.session,
        "seq": draft.seq,
        "kind": content.kind,
        "level": content.level,
        "language": draft.language,
        "scripts": ",".join(sorted(scripts_of(draft.value))),
        "valid_from": draft.valid_from,
        "event_from": event[0],
        "event_to": event[1],
        "expires_at": None if content.expires_at is None else times.micros(content.expires_at),
        "length": length,
        "hash": draft.hash or hash_of(draft.text),
        "grams": grams,
    }
    return new, columns


def _chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _PARTS):
        yield list(values[start : start + _PARTS])
