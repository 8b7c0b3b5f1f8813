"""A memory's folder, open: the index's records and vectors, the journal and the state, committed together."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from mlret.memory import tables, times
from mlret.memory.columns import Columns
from mlret.memory.journal import Change, Entry, NewVersion, SetEnd, SetField, Verb
from mlret.memory.lexical import grams_of
from mlret.memory.numbering import Positions
from mlret.memory.records import Content, Link, MemoryRecord, State, value_of
from mlret.memory.scope import Scope, holds, scope_at
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
    """The store behind a memory.

    Parameters
    ----------
    index
        An open index of kind ``memory``, whose database has the tables of :mod:`mlret.memory.tables`.

    Raises
    ------
    InputError
        If it has not.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        if not self.records.read("SELECT 1 FROM sqlite_master WHERE name = 'memory_journal'"):
            raise InputError(
                f"{index.path} was made before memories had a journal; add its texts to a new store (mlret memory add)"
            )
        self._columns: Columns | None = None
        self.unmatched = Unmatched("memory that may be seen here")
        self._seen = 0
        # What feedback has taught, by scope; worked out again once something may have changed it.
        self.weights: dict[str, dict[str, float]] = {}

    @property
    def store(self) -> Store:
        """The index's folder."""
        return self.index.store

    @property
    def records(self) -> Records:
        """The database."""
        return self.index.store.records

    @property
    def lock(self) -> threading.RLock:
        """Held while the state is read or changed."""
        return self.records.lock

    @property
    def columns(self) -> Columns:
        """The versions as search sees them; read when they are first needed."""
        with self.lock:
            if self._columns is None:
                self._seen = tables.last_entry(self.records)
                self._columns = Columns(self.records)
            return self._columns

    def refresh(self) -> None:
        """Take in what other processes have committed."""
        with self.lock:
            self.store.refresh()
            self._sync()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the writer, as :meth:`mlret.index.store.Store.writing`."""
        with self.store.writing():
            self._sync()
            self.finish_erasing()
            yield

    def finish_erasing(self, *, indexed: bool = True) -> bool:
        """Do what is still to be done on disk for what was erased; within :meth:`writing`.

        ``indexed``: whether it had metadata, tags or links.

        Returns
        -------
        bool
            Whether it is done; it is not while another process reads an older state.
        """
        pending = [row for (row,) in self.records.read("SELECT row FROM memory_erasing ORDER BY row")]
        if not pending:
            return True
        if not compaction.purge(self.store, np.array(pending, dtype=np.int64), thorough=True, indexed=indexed):
            return False
        self.store.commit(lambda connection: tables.erased(connection, pending))
        return True

    def _sync(self) -> None:
        if self._columns is None or tables.last_entry(self.records) == self._seen:
            return
        names = [name for (name,) in self.records.read("SELECT name FROM pragma_table_info('memory_versions')")]
        for entry in tables.entries(self.records, "entry > ?", (self._seen,)):
            rows = [change.row for change in entry.changes or () if type(change) is NewVersion]
            found = [
                dict(zip(names, values, strict=True))
                for row in rows
                for values in self.records.read("SELECT * FROM memory_versions WHERE row = ?", (row,))
            ]
            self._columns.apply(entry, {one["row"]: one for one in found})
            self.weights.clear()
            self._seen = entry.number

    def commit(self, verb: Verb, steps: Sequence[Step], *, settings: Mapping[str, Any] | None = None) -> int:
        """Carry an operation out, durably and as a whole; within :meth:`writing`.

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
            The number of the operation.
        """
        drafts = [step.draft for step in steps if step.draft is not None]
        documents = [document for draft in drafts for document in _documents(draft)]
        last = tables.last_entry(self.records) if self._columns is None else self._seen
        operation, at = last + 1, times.now()
        done: list[tuple[Entry, dict[int, dict[str, Any]]]] = []

        def write(connection: sqlite3.Connection, rows: NDArray[np.int64]) -> None:
            numbers = iter(rows.tolist())
            latest: dict[str, int] = {}
            for step in steps:
                changes, columns = list(step.changes), {}
                if step.draft is not None:
                    mine = [next(numbers) for _ in range(1 + len(step.draft.parts))]
                    new, columns[mine[0]] = _version(step.draft, mine)
                    before = latest.get(step.record, step.replaces)
                    latest[step.record] = new.row
                    changes = [new, SetField("row", before, new.row), *(_of_row(one, new.row) for one in changes)]
                number = tables.append_entry(connection, operation, at, verb, step.record, changes, step.note)
                tables.project(connection, number, step.record, changes, columns)
                entry = Entry(number, operation, at, verb, step.record, tuple(changes), step.note)
                done.append((entry, columns))
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
        if self._columns is not None:
            for entry, columns in done:
                self._columns.apply(entry, columns)
            self._seen = done[-1][0].number if done else self._seen
        return operation

    def forget_rows(self, records: Sequence[str], rows: Sequence[int]) -> None:
        """Take erased records out of every table and the index, in one transaction; within :meth:`writing`."""
        operation, at = tables.last_entry(self.records) + 1, times.now()
        self.store.remove(rows, also=lambda connection: tables.wipe(connection, records, rows, at, operation))
        self._sync()

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
        there = self.columns.standing.get(record)
        return there is not None and holds(scope, self.columns.scopes.values[self.columns.scope[there.position]])

    def rows_of(self, record: str) -> list[int]:
        """All rows of a record in the index, with those of parts."""
        columns = self.columns
        positions = columns.versions.get(record, [])
        found = [int(columns.row[position]) for position in positions]
        return sorted([*found, *(row for position in positions for row in columns.parts.get(position, ()))])

    def fetch(self, positions: Sequence[int] | Positions) -> list[MemoryRecord]:
        """The versions at some positions."""
        columns = self.columns
        rows = [int(columns.row[position]) for position in positions]
        documents = self.records.fetch(rows)
        news = self._news(rows)
        found = []
        for position, row in zip(positions, rows, strict=True):
            if row not in documents or row not in news:
                raise MlretError(f"{self.records.path}: row {row} has lost its text or its journal; run verify")
            found.append(self._record(int(position), documents[row], news[row]))
        return found

    def _record(self, position: int, document: Document, new: NewVersion) -> MemoryRecord:
        columns = self.columns
        id = columns.ids.values[columns.record[position]]
        there = columns.standing[id]
        metadata = {name: value for name, value in document.metadata.items() if name != TAGS}
        content = Content.from_json(new.content, metadata)
        end = int(columns.valid_to[position])
        suffix = len(value_of("", content.keys))
        current = bool(columns.current[position])
        return MemoryRecord(
            id=id,
            version=new.version,
            text=document.text[: len(document.text) - suffix],
            language=document.language,
            scope=scope_at(columns.scopes.values[columns.scope[position]]),
            kind=content.kind,
            level=content.level,
            session=content.session,
            seq=int(columns.seq[position]),
            event_time=content.event_time,
            valid_from=content.valid_from or times.from_micros(new.valid_from),
            valid_to=None if end == times.FOREVER else times.from_micros(end),
            recorded_at=times.from_micros(new.recorded_at),
            expires_at=content.expires_at,
            source=content.source,
            tags=content.tags,
            keys=content.keys,
            links=tuple(Link(type, to) for one, type, to in sorted(columns.links.get(id, ())) if one == id),
            importance=content.importance,
            strength=there.strength,
            accesses=there.accesses,
            accessed_at=None if there.accessed_at is None else times.from_micros(there.accessed_at),
            state=_STATES[there.state] if current or there.state == DELETED else "superseded",
            merged_into=there.merged_into,
            metadata=metadata,
        )

    def _news(self, rows: Sequence[int]) -> dict[int, NewVersion]:
        found: dict[int, NewVersion] = {}
        for part in _chunks(rows):
            marks = ",".join("?" * len(part))
            condition = f"entry IN (SELECT entry FROM memory_versions WHERE row IN ({marks}))"
            for entry in tables.entries(self.records, condition, part):
                found |= {change.row: change for change in entry.changes or () if type(change) is NewVersion}
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


def _documents(draft: Draft) -> list[Document]:
    metadata = dict(draft.content.metadata)
    if draft.content.tags:
        metadata[TAGS] = list(draft.content.tags)
    name = f"{draft.record}/{draft.version}"
    whole = Document(f"{name}/0", draft.value, draft.language, metadata)
    parts = [Document(f"{name}/{n}", text, draft.language) for n, text in enumerate(draft.parts, start=1)]
    return [whole, *parts]


def _version(draft: Draft, rows: Sequence[int]) -> tuple[NewVersion, dict[str, Any]]:
    content = draft.content
    said = content.as_json() | {"seq": draft.seq}
    new = NewVersion(rows[0], draft.version, draft.scope, draft.valid_from, draft.recorded_at, said, tuple(rows[1:]))
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
