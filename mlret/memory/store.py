"""A memory as one scope sees it: what its verbs read, and how they commit records, journal and state together."""

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

from mlret.data.detection import detect_language
from mlret.data.documents import Document
from mlret.data.scripts import scripts_of
from mlret.errors import InputError, MlretError
from mlret.index import compaction
from mlret.index.index import Index
from mlret.index.records import Records
from mlret.index.store import Store
from mlret.index.unmatched import Unmatched
from mlret.memory import cells, tables, times
from mlret.memory.columns import Columns
from mlret.memory.folder import Folder
from mlret.memory.journal import GONE, Change, Entry, NewVersion, SetEnd, SetField, Verb, renamed
from mlret.memory.lexical import grams_of
from mlret.memory.numbering import Positions
from mlret.memory.records import Content, Link, MemoryRecord, State, value_of
from mlret.memory.scope import Place, Scope, holds, mask_of, place_of, scope_at, tenant_of
from mlret.memory.standing import DELETED

# The opening tells the language; a whole book would tell it no better.
_DETECTION_CHARACTERS = 2000
_STATES: tuple[State, ...] = ("active", "archived", "deleted", "merged")
_PARTS = 500  # values in one statement
NEW = -1
TAGS = "tags"  # among the metadata of the index, so that filters see them


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is to be stored: its text and language, what it says, its vectors and those of its parts.

    ``vector`` and ``part_vectors`` are as the index's space prepares them: ``(dims,)`` each, or ``(t, dims)``.
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
        """What is indexed: the text with its keys."""
        return value_of(self.text, self.content.keys)


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation does to one record: perhaps a new version in place of the row ``replaces``, then changes.

    The row of the new version is not known yet: a :class:`SetEnd` of row :data:`NEW` means it.
    """

    record: str
    draft: Draft | None = None
    replaces: int | None = None
    changes: Sequence[Change] = ()
    note: Mapping[str, Any] = field(default_factory=dict)


class MemoryStore:
    """A memory as a scope sees it: its tenant's records and no others, named by the ids that the tenant gave them.

    Parameters
    ----------
    folder
        What is behind it.
    scope
        Checked: whose verbs these are.
    """

    def __init__(self, folder: Folder, scope: Scope) -> None:
        self.folder = folder
        self.scope = scope
        self._tenant = tenant_of(scope)

    @property
    def index(self) -> Index:
        """The index, open."""
        return self.folder.index

    @property
    def store(self) -> Store:
        """The index's folder."""
        return self.folder.store

    @property
    def records(self) -> Records:
        """The database."""
        return self.folder.records

    @property
    def lock(self) -> threading.RLock:
        """Held while the state is read or changed."""
        return self.folder.lock

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """What feedback has taught, by scope."""
        return self.folder.weights

    @property
    def unmatched(self) -> Unmatched:
        """Warns of filters that can match none of the tenant's records."""
        return self.folder.unmatched[self._tenant]

    @property
    def columns(self) -> Columns:
        """The tenant's versions as search sees them."""
        return self.folder.columns(self._tenant)

    def commit(self, verb: Verb, steps: Sequence[Step], *, settings: Mapping[str, Any] | None = None) -> int:
        """Carry an operation out, durably and as a whole; within :meth:`Folder.writing`.

        Parameters
        ----------
        verb
            What the journal calls it.
        steps
            What is done, a step a record.
        settings
            What else is kept, by name.

        Returns
        -------
        int
            The number of the operation, which counts those that touched what the scope holds.
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
        """Where a record of the tenant is."""
        columns = self.columns
        place: Place = columns.scopes.values[columns.scope[columns.standing.position(record)]]
        return place

    def forget_rows(self, records: Sequence[str], rows: Sequence[int]) -> None:
        """Take erased records out of every table and the index, in one transaction; within :meth:`Folder.writing`."""
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
        """The tenant's records that are merged into others, each with the one that it is merged into."""
        id_of = self.columns.id_of
        query = "SELECT record, merged_into FROM memory_records WHERE merged_into IS NOT NULL ORDER BY record"
        found = [(id_of(key), id_of(into)) for key, into in self.records.read(query)]
        return [(record, into) for record, into in found if record is not None and into is not None]

    def entries(self, record: str) -> list[Entry]:
        """What happened to a record of the tenant, records named by ids."""
        return [self.named(entry) for entry in tables.entries_of(self.records, self.columns.keys[record])]

    def operation(self, number: int) -> list[Entry]:
        """The entries of the scope's operation of a number, records named by ids.

        Raises
        ------
        InputError
            If there is none that is the scope's alone and whose records are all there, or more than one.
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
        """The one answer for an operation that cannot be taken back from here."""
        return InputError(
            f"there is no operation {number} in the scope {dict(self.scope)} that can be undone; history names the "
            "operations of a record"
        )

    def named(self, entry: Entry) -> Entry:
        """An entry of the tenant's with ids instead of keys, and :data:`GONE` for what is erased since."""
        name_of = self.columns.name_of
        changes = None if entry.changes is None else tuple(renamed(change, name_of) for change in entry.changes)
        assert isinstance(entry.record, int)
        if name_of(entry.record) == GONE:
            raise cells.damage(self.records.path, f"entry {entry.number} of the journal, its record is not there")
        return replace(entry, record=name_of(entry.record), changes=changes, note=_renamed_note(entry.note, name_of))

    def position(self, record: str, scope: Scope) -> int:
        """The position of the current version of a record that a scope holds.

        Raises
        ------
        InputError
            If there is none: a record of another scope is as good as not there.
        """
        if not self.in_scope(record, scope):
            raise InputError(f"no record {record!r} in the scope {dict(scope)}; check the id and the scope")
        return self.columns.standing[record].position

    def in_scope(self, record: str, scope: Scope) -> bool:
        """Whether a scope holds a record."""
        return record in self.columns.standing and holds(scope, self.place(record))

    def rows_of(self, record: str) -> list[int]:
        """All rows of a record in the index, with those of parts."""
        columns = self.columns
        positions = columns.versions.get(record, [])
        found = [int(columns.row[position]) for position in positions]
        return sorted([*found, *(row for position in positions for row in columns.parts.get(position, ()))])

    def fetch(self, positions: Sequence[int] | Positions) -> list[MemoryRecord]:
        """The versions at some positions, as the scope sees them.

        Each is proven to be what was stored in the tenant's name: what the tables of the state say of it is held
        against the entry of the journal that made it, and both against the text that the index has.

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
                raise cells.damage(self.records.path, f"memory_versions, row {row} is not what the journal says of it")
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
        """The key of the record and what the journal says of new versions, by row."""
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
        """The vectors of texts that are stored, as the space keeps them.

        Raises
        ------
        MlretError
            If the encoder gives one that is not finite.
        """
        if not texts:
            return []
        vectors = self.index.encoder.encode_document(list(texts), language=list(languages))
        return self.checked(vectors)

    def checked(self, vectors: Any) -> list[Any]:
        """Vectors as the space keeps them.

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
    """The language of a text: what was given, else what is detected offline."""
    return language if language is not None else detect_language(folded(text[:_DETECTION_CHARACTERS]))


def folded(text: str) -> str:
    """What is equal for texts that differ in their form alone: Unicode composition, width, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def hash_of(text: str) -> bytes:
    """Equal for texts of one :func:`folded` form."""
    return hashlib.blake2b(folded(text).encode("utf-8"), digest_size=16).digest()


def _renamed_note(note: Mapping[str, Any], rename: Any) -> Mapping[str, Any]:
    """The note of an entry with other names for the records that it names; without those that have none."""
    if "merged" not in note:
        return note
    return {**note, "merged": [name for one in note["merged"] if (name := rename(one)) != GONE]}


def document_id(key: int, version: int, part: int = 0) -> str:
    """What the index calls the text of a version, or a part of it."""
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
