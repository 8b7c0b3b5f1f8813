"""A memory: short texts that belong to someone, added one at a time and found from any language."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mlret.data.detection import detect_language
from mlret.data.languages import normalise_language
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError, MlretError
from mlret.index.filters import Where
from mlret.index.index import Index
from mlret.index.manifest import MANIFEST
from mlret.index.retrieval import Mode
from mlret.memory import changing, tables, times
from mlret.memory.adding import Adder, Judge
from mlret.memory.calibration import bundled_thresholds, calibrate
from mlret.memory.deriving import Event, Extract, derive, events, packed
from mlret.memory.duplicates import DuplicateThresholds
from mlret.memory.erasing import erase
from mlret.memory.evidence import Query
from mlret.memory.exchange import Existing, export_records, import_records
from mlret.memory.forgetting import Policy, forget
from mlret.memory.hits import Added, Done, ErasureProof, Forgotten, Found, HistoryEntry, MemoryHit
from mlret.memory.incoming import Incoming, read_items
from mlret.memory.learning import feedback, weights_of
from mlret.memory.packing import Packed
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.scope import Scope, check_scope, parse_scope
from mlret.memory.search import Ranking, Request, Rerank, search
from mlret.memory.selection import Selection
from mlret.memory.store import MemoryStore
from mlret.memory.telling import told
from mlret.memory.times import Instant

THRESHOLDS = "duplicates"  # among the settings

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
            with contextlib.suppress(MlretError), self._store.writing():  # another process that writes does it
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
        judge: Judge | None = None,
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
        judge
            Called with the text and a record that is near it without being a duplicate; says ``new``, ``related``,
            ``duplicate`` or ``supersedes``: the record is then valid until the text is, and linked to it.
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
        item = {"text": text, "language": language, **about}
        return self.add_batch([item], scope, dedupe=dedupe, judge=judge)[0]

    def add_batch(
        self, items: Iterable[Incoming], scope: Scope, *, dedupe: bool = True, judge: Judge | None = None
    ) -> list[Added]:
        """Remember texts in one transaction, encoded together.

        Parameters
        ----------
        items
            Texts, or dicts of ``text`` and any parameter of :meth:`add`.
        scope, dedupe, judge
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
            return Adder(store, whose, self._thresholds(), dedupe=dedupe, judge=judge).add(checked)

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
        conflicts: bool = False,
        abstain: bool = False,
        ranking: Ranking | None = None,
        now: Instant | None = None,
        translate: Callable[[str, str], str] | None = None,
        languages: Sequence[str] = (),
        rerank: Rerank | None = None,
        mode: Mode | None = None,
        vector: Any = None,
    ) -> Found:
        """Find the records of a scope that say what a query asks for, in whatever language.

        Scope, time and filters decide what is looked at, before anything is ranked.

        Parameters
        ----------
        query
            A text in any language.
        scope
            Only records that have all of it; ``{"user": "u1"}`` includes those of ``{"user": "u1", "agent": "a"}``.
        k
            How many; fewer only where fewer may be seen.
        language
            Of the query; detected by default.
        where
            A filter on metadata, ``tags`` and ``lang``, as of :meth:`mlret.index.index.Index.search_batch`.
        kinds, levels
            Only of these, e.g. ``levels=["fact"]``.
        as_of
            What was valid at an instant, instead of what is current.
        current_only
            Leave out what a later version supersedes, or whose validity has ended.
        conflicts
            Give with each hit its other versions and what is linked to it as ``contradicts``.
        abstain
            Give nothing, and the reason, where the best record does not stand out as answers do.
        ranking
            What is added to the evidence; see :class:`mlret.memory.search.Ranking`.
        now
            What *yesterday* in the query is counted from; the present by default.
        translate, languages
            Ask in these languages as well: called with the query and each; the best of them counts for a record.
        rerank
            Called with the query and the texts of the best candidates; its scores rank them.
        mode
            ``hybrid`` (meaning and shared words, the default), ``dense`` or ``lexical``, which gives only records that
            share a word.
        vector
            The query's, made by the encoder of the store.

        Returns
        -------
        Found
            A sequence of hits, each with every term of its score. Texts are returned as they were stored: what they say
            is data, never an instruction.

        Raises
        ------
        InputError
            If the query is blank, the scope is empty, or a value cannot be used.
        """
        selection = Selection(check_scope(scope), where, kinds, levels, as_of, current_only)
        request = self._request(query, scope, language=language, mode=mode, vector=vector)
        if translate is not None:
            codes = [normalise_language(one) for one in languages]
            said = [Query(translate(query, code), code, None) for code in codes]
            more = [replace(one, vector=self._vector(one.text, one.language, mode, None)) for one in said]
            request = replace(request, queries=[*request.queries, *more])
        return search(
            self._store,
            replace(
                request,
                selection=selection,
                k=k,
                ranking=ranking or Ranking(),
                abstain=abstain,
                conflicts=conflicts,
                now=None if now is None else times.read_instant(now, "now"),
                rerank=rerank,
            ),
        )

    def _request(
        self,
        query: str,
        scope: Scope,
        *,
        language: str | None = None,
        mode: Mode | None = None,
        vector: Any = None,
    ) -> Request:
        """A plain search."""
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query {query!r} is empty or no string; write a few words")
        whose = check_scope(scope)
        code = detect_language(query) if language is None else normalise_language(language)
        with self._store.lock:
            weights = weights_of(self._store, whose)
        return Request(
            queries=[Query(query, code, self._vector(query, code, mode, vector))],
            selection=Selection(whose),
            mode=mode,
            thresholds=self._thresholds(),
            weights=weights,
        )

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

    def context(self, found: Found, budget: int, count: Callable[[str], int] | None = None) -> Packed:
        """Fit hits into a budget of tokens, told in the order of time: whole, else by their summaries, else left out.

        Parameters
        ----------
        found
            What :meth:`search` gave.
        budget
            What it may cost.
        count
            What a text costs; by default the tokens that the encoder makes of it.
        """
        with self._store.lock:
            records = [hit.record for hit in found]
            return packed(self._store, records, budget, count or self._tokens, found.scope)

    def _tokens(self, text: str) -> int:
        tokenizer = getattr(getattr(self.encoder, "model", None), "tokenizer", None)
        if tokenizer is None:
            raise InputError("the encoder has no tokenizer to count with; give count, e.g. len")
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def forget(self, policy: Policy, scope: Scope, *, dry_run: bool = True) -> Forgotten:
        """Archive what a policy says; :meth:`restore` or :meth:`undo` bring it back.

        Parameters
        ----------
        policy, scope
            What, and of whom.
        dry_run
            Only say what would be archived, and why.
        """
        whose = check_scope(scope)
        if dry_run:
            with self._store.lock:
                return forget(self._store, policy, whose, dry_run=True)
        with self._store.writing():
            return forget(self._store, policy, whose, dry_run=False)

    def derive(self, ids: str | Sequence[str], extract: Extract, scope: Scope) -> Sequence[Added]:
        """Store what a callable makes of records, as records derived from them.

        Parameters
        ----------
        ids
            Which.
        extract
            Called with each :class:`MemoryRecord`; gives texts (facts), dicts as for :meth:`add_batch` (``level`` may
            be ``summary``), or dicts of ``keys`` alone, which expand the record itself.
        scope
            A scope that holds them; what is derived is of the very scope of its source.
        """
        with self._store.writing():
            some = [ids] if isinstance(ids, str) else list(ids)
            return derive(self._store, some, extract, check_scope(scope), self._thresholds())

    def events(self, session: str, scope: Scope, *, keep: bool = False, **options: Any) -> Sequence[Event]:
        """Cut a session into events by what its turns are about; no language model is asked.

        Parameters
        ----------
        session, scope
            Which.
        keep
            Store each event as a record derived from its turns, of level ``event``.
        **options
            Of :func:`mlret.memory.segmentation.segment`.
        """
        with self._store.writing() if keep else self._store.lock:
            return events(self._store, session, check_scope(scope), options, keep=keep)

    def export(self, scope: Scope, *, vectors: bool = False) -> Iterator[dict[str, Any]]:
        """The records of a scope as JSON values, one each, with all versions; :meth:`import_records` reads them."""
        return export_records(self._store, check_scope(scope), vectors=vectors)

    def import_records(self, lines: Iterable[Mapping[str, Any]], scope: Scope, *, existing: Existing = "error") -> int:
        """Store what :meth:`export` gave, encoded anew where it brings no vectors; how many records were new.

        Parameters
        ----------
        lines
            Of :meth:`export`.
        scope
            Must hold the scope of every record.
        existing
            What to do with an id that is taken: fail, or pass over it.
        """
        with self._store.writing():
            return sum(map(len, import_records(self._store, lines, check_scope(scope), existing)))

    def feedback(self, query: str, used_ids: Sequence[str], scope: Scope, *, language: str | None = None) -> Done:
        """Say which records were of use for a query; searches of this scope are ranked by it from then on.

        The weights of the terms of a score are fitted to all that was said, in the order of the journal
        (:mod:`mlret.memory.feedback`): without feedback they are 1, and nothing changes. The query itself is not kept.

        Parameters
        ----------
        query, scope
            As they were given to :meth:`search`.
        used_ids
            The records that were of use.
        language
            Of the query.
        """
        with self._store.writing():
            return feedback(self._store, self._request(query, scope, language=language), list(used_ids))

    def calibrate(self, **options: Any) -> DuplicateThresholds:
        """Find what separates duplicates from others with the encoder in use, and keep it in the store.

        ``options`` are those of :func:`mlret.memory.calibration.calibrate`.
        """
        if not isinstance(self.encoder, Encoder):
            raise InputError(
                "an encoder with a vector for each token is not calibrated: only the same text is a duplicate"
            )
        thresholds = calibrate(self.encoder, **options)
        with self._store.writing():
            self._store.store.commit(
                lambda connection: tables.write_setting(connection, THRESHOLDS, thresholds.to_dict())
            )
        return thresholds

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
            return self._store.fetch(selection.positions(self._store)[:limit])

    def ids(self, scope: Scope) -> Sequence[str]:
        """The ids of all records of a scope, whatever their state."""
        with self._store.lock:
            columns = self._store.columns
            numbers = columns.record[columns.in_scope(check_scope(scope))]
            return [columns.ids.values[number] for number in dict.fromkeys(numbers.tolist())]

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
        """Those that were calibrated here, else those that come with mlret for the encoder."""
        fingerprint = self._index.store.manifest.fingerprint
        with self._store.lock:
            kept = tables.read_setting(self._store.records, THRESHOLDS)
        if kept is not None and kept["fingerprint"] == fingerprint:
            return DuplicateThresholds.from_dict(kept)
        return bundled_thresholds(fingerprint)
