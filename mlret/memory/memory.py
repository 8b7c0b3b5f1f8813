"""A memory: short texts that belong to someone, added one at a time and found from any language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mlret.data.detection import detect_language
from mlret.data.languages import normalise_language
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError, MlretError
from mlret.index.filters import Where
from mlret.index.index import Index
from mlret.index.manifest import MANIFEST
from mlret.index.retrieval import Mode
from mlret.memory import changing, tables, times
from mlret.memory.adding import Adder
from mlret.memory.duplicates import DuplicateThresholds
from mlret.memory.erasing import erase, finish
from mlret.memory.evidence import Query
from mlret.memory.hits import Added, Done, ErasureProof, Found, HistoryEntry, MemoryHit
from mlret.memory.incoming import Incoming, read_items
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.scope import Scope, check_scope, parse_scope
from mlret.memory.search import search
from mlret.memory.selection import Selection
from mlret.memory.store import MemoryStore
from mlret.memory.telling import told
from mlret.memory.times import Instant

__all__ = ["Added", "Memory", "MemoryHit", "MemoryRecord", "parse_scope"]


class Memory:
    """Memories on disk, in one folder. Make or open one with :meth:`open`.

    Every record belongs to a scope, and every verb names one: what is outside it does not exist for that call. Nothing
    is changed in place: a record is a chain of versions, and a journal keeps what was done, so that all of it can be
    asked for and taken back, except :meth:`erase`. It may be used from several threads; one process writes at a time,
    and what others wrote is seen after :meth:`refresh` or one's own next write.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._store = MemoryStore(index)
        if index.store.records.read("SELECT 1 FROM memory_erasing LIMIT 1"):
            try:
                with self._store.writing():
                    finish(self._store)
            except MlretError:  # another process writes: it will do it
                pass

    @classmethod
    def open(cls, path: str | Path, encoder: AnyEncoder | str | Path | None = None) -> Memory:
        """Open a memory store, or make it.

        Parameters
        ----------
        path
            The folder.
        encoder
            The encoder, its folder or hub id. By default the one that the store was made with, and the
            bundled one for a new store.

        Raises
        ------
        InputError
            If something that is no memory store stands at ``path``.
        FingerprintError
            If the store was made with another encoder: :meth:`reembed` moves it to a new one.
        """
        manifest = Path(path) / MANIFEST
        if not manifest.exists():
            try:
                return cls(Index.create(path, encoder, kind="memory", schema=tables.SCHEMA))
            except MlretError:
                if not manifest.exists():  # else another process made it first: open that
                    raise
        return cls(Index.open(path, encoder, kind="memory"))

    @property
    def path(self) -> Path:
        """The folder."""
        return self._index.path

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the store."""
        return self._index.encoder

    def add(
        self,
        text: str,
        scope: Scope,
        *,
        language: str | None = None,
        dedupe: bool = True,
        **about: Any,
    ) -> Added:
        """Remember a text; on return it survives a crash.

        Parameters
        ----------
        text
            What to remember; kept word for word.
        scope
            Whose it is: some of ``tenant``, ``user``, ``agent``, ``run``.
        language
            Of the text; detected by default.
        dedupe
            Look whether a record of this very scope says it already, in whatever language. If so that record becomes
            stronger, and a text that is not the very same is kept behind it, merged, to be restored at will.
        **about
            What else is known; see :class:`mlret.memory.records.MemoryRecord`: ``kind``, ``level``, ``session``,
            ``seq`` (the next one of the session by default), ``event_time``, ``valid_from`` (by default the event, else
            now), ``expires_at``, ``source``, ``tags``, ``keys``, ``importance``, ``metadata``; ``links``, pairs of a
            type and an id; ``derived_from``, ids of what it was made of; ``id``; ``vector``, made by the encoder of the
            store.

        Returns
        -------
        Added
            The id, and whether it was ``added``, a ``duplicate`` or ``related``, with the evidence.

        Raises
        ------
        InputError
            If a value cannot be used; nothing is stored then. Times need a time zone.
        """
        return self.add_batch([{"text": text, "language": language, **about}], scope, dedupe=dedupe)[0]

    def add_batch(self, items: Iterable[Incoming], scope: Scope, *, dedupe: bool = True) -> list[Added]:
        """Remember texts in one transaction, encoded together.

        Parameters
        ----------
        items
            Texts, or dicts of ``text`` and any parameter of :meth:`add`.
        scope, dedupe
            As for :meth:`add`; each is compared with those before it, too.

        Raises
        ------
        InputError
            As :meth:`add`; nothing is stored then.
        """
        whose = check_scope(scope)
        checked = read_items(items)
        if not checked:
            return []
        store = self._store
        with store.writing():
            return Adder(store, whose, self._thresholds(), dedupe=dedupe).add(checked)

    def add_stream(
        self, items: Iterable[Incoming], scope: Scope, *, batch_size: int = 64, dedupe: bool = True
    ) -> Iterator[Added]:
        """:meth:`add_batch` of a stream, batch by batch; what was yielded survives a crash."""
        if isinstance(items, str | Mapping):
            raise InputError(f"give a stream of texts, not one {type(items).__name__}")
        source = iter(items)
        while batch := list(islice(source, batch_size)):
            yield from self.add_batch(batch, scope, dedupe=dedupe)

    def update(self, id: str, scope: Scope, text: str | None = None, **changes: Any) -> Done:
        """Give a record a new version; the one before is kept, and is valid until the new one is.

        Parameters
        ----------
        id, scope
            Which record, and a scope that holds it.
        text
            What it says now; by default as before, to change something else.
        **changes
            Any of :meth:`add`. With a new text, kind, level, session, tags, importance and metadata stay as they
            were where they are not given.

        Raises
        ------
        InputError
            If the scope holds no such record, it is not active, or a value cannot be used.
        """
        if text is not None:
            changes["text"] = text
        if not changes:
            raise InputError("say what to change: the text, or anything that is known of it")
        with self._store.writing():
            return changing.update(self._store, id, check_scope(scope), changes)

    def link(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Draw a link of some type from a record to another of the scope; ``contradicts`` makes conflicts shown."""
        with self._store.writing():
            return changing.link(self._store, id, type, target, check_scope(scope))

    def unlink(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Cut a link."""
        with self._store.writing():
            return changing.link(self._store, id, type, target, check_scope(scope), on=False)

    def merge(self, survivor: str, others: Sequence[str], scope: Scope) -> Done:
        """Take records for one: ``survivor`` grows stronger, the others are found no more. :meth:`undo` of the
        operation, or :meth:`restore` of one, takes it back."""
        with self._store.writing():
            return changing.merge(self._store, survivor, others, check_scope(scope))

    def delete(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> Done:
        """Hide records, and with ``cascade`` what was derived from them; :meth:`restore` or :meth:`undo` bring them
        back. To leave nothing on disk, :meth:`erase`."""
        with self._store.writing():
            return changing.delete(self._store, ids, check_scope(scope), cascade=cascade)

    def restore(self, ids: str | Iterable[str], scope: Scope) -> Done:
        """Bring back what was deleted, archived or merged."""
        with self._store.writing():
            return changing.restore(self._store, ids, check_scope(scope))

    def undo(self, operation: int, scope: Scope) -> Done:
        """Take an operation back, whatever it was, except an erasure; what came after it stays.

        Raises
        ------
        InputError
            If a record of it is outside the scope, or has been changed in the same respect since.
        """
        with self._store.writing():
            return changing.undo(self._store, operation, check_scope(scope))

    def erase(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> ErasureProof:
        """Leave no byte of records on disk; it cannot be undone.

        Parameters
        ----------
        ids, scope
            Which.
        cascade
            Erase what was derived from them, and what was merged into them, as well.

        Returns
        -------
        ErasureProof
            The files of the store, read again and looked through for the texts.
        """
        with self._store.writing():
            return erase(self._store, ids, check_scope(scope), cascade=cascade)

    def search(
        self,
        query: str,
        scope: Scope,
        k: int = 5,
        *,
        language: str | None = None,
        where: Where | None = None,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        mode: Mode | None = None,
        vector: Any = None,
    ) -> Found:
        """Find the records of a scope that say what a query asks for, in whatever language."""
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query {query!r} is empty or no string; write a few words")
        selection = Selection(check_scope(scope), where, kinds, levels, as_of, current_only)
        code = detect_language(query) if language is None else normalise_language(language)
        return search(self._store, Query(query, code, self._vector(query, code, mode, vector)), selection, k, mode)

    def _vector(self, query: str, language: str | None, mode: Mode | None, vector: Any) -> Any:
        if mode == "lexical":
            return None
        space = self._index.store.space
        if vector is None:
            return space.queries(self.encoder.encode_query([query], language=[language]))[0]
        [given] = space.check_queries([vector])
        if not np.isfinite(given).all():
            raise InputError("the query's vector has a NaN or an infinity; check the encoder")
        return given

    def get(self, id: str, scope: Scope, *, as_of: Instant | None = None) -> MemoryRecord | None:
        """The current version of a record, or the one that was valid then; ``None`` if the scope holds none.

        What is archived or merged is there, and says so; what is deleted is not.
        """
        whose = check_scope(scope)
        store = self._store
        with store.lock:
            if not store.in_scope(id, whose):
                return None
            columns = store.columns
            there = columns.standing[id]
            if as_of is None:
                positions = [there.position]
            else:
                then = times.micros(times.read_instant(as_of, "as_of"))
                positions = [p for p in columns.versions[id] if columns.valid_from[p] <= then < columns.valid_to[p]]
            found = store.fetch(positions[-1:])
            return found[0] if found and found[0].state != "deleted" else None

    def list(
        self,
        scope: Scope,
        *,
        where: Where | None = None,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        state: str = "active",
        limit: int | None = None,
    ) -> Sequence[MemoryRecord]:
        """The records of a scope in the order in which they were stored; as :meth:`search` without a query."""
        selection = Selection(check_scope(scope), where, kinds, levels, as_of, current_only, state)
        with self._store.lock:
            return self._store.fetch(np.flatnonzero(selection.mask(self._store))[:limit])

    def versions(self, id: str, scope: Scope) -> Sequence[MemoryRecord]:
        """All versions of a record, the first first, whatever its state."""
        with self._store.lock:
            self._store.position(id, check_scope(scope))
            return self._store.fetch(self._store.columns.versions[id])

    def history(self, id: str, scope: Scope) -> Sequence[HistoryEntry]:
        """What happened to a record, in order; of an erased one nothing but that is known, in no scope any more."""
        with self._store.lock:
            self._store.position(id, check_scope(scope))
            return [told(entry) for entry in tables.entries(self._store.records, "record = ?", (id,))]

    def __len__(self) -> int:
        """How many records can be found, in all scopes."""
        with self._store.lock:
            columns = self._store.columns
            return int(np.count_nonzero(columns.current[: len(columns)] & (columns.state[: len(columns)] == 0)))

    def refresh(self) -> None:
        """Take in what other processes have changed."""
        self._store.refresh()

    def close(self) -> None:
        """Close the store; nothing is lost without it."""
        self._index.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _thresholds(self) -> DuplicateThresholds | None:
        return None
