"""The methods of a memory that change its contents, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.memory.base import THRESHOLDS, Handle
from mlret.memory.ingest import change
from mlret.memory.ingest.add import Adder, Judge
from mlret.memory.ingest.derive import Event, Extract, derive, events
from mlret.memory.ingest.erase import erase
from mlret.memory.ingest.forget import Policy, forget
from mlret.memory.ingest.import_export import Existing, import_records
from mlret.memory.ingest.inputs import Incoming, read_items
from mlret.memory.maintenance.thresholds import calibrate
from mlret.memory.results import Added, Done, ErasureProof, Forgotten
from mlret.memory.scope import Scope
from mlret.memory.search.feedback import feedback
from mlret.memory.storage import tables
from mlret.memory.text.duplicates import DuplicateThresholds


class Keeping(Handle):
    """Mixin with the write operations of :class:`mlret.memory.memory.Memory`; each call is one transaction."""

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
        """Store a text. When the call returns, the text survives a crash.

        Parameters
        ----------
        text
            The text to store; it is kept word for word.
        scope
            Owner of the record: one or more of ``tenant``, ``user``, ``agent`` and ``run``.
        language
            Language of the text; detected by default.
        dedupe
            Whether to check if a record of exactly this scope already says the same, in any language. If one does, that
            record gains strength; a text that is not identical to it is stored as a merged record, which can be
            restored.
        judge
            Called with the text and a record that is near it without being a duplicate. Returns ``new``, ``related``,
            ``duplicate`` or ``supersedes``; with the last, the existing record is valid until the new text becomes
            valid, and the two are linked.
        **about
            Other fields; see :class:`mlret.memory.records.MemoryRecord`: ``kind``, ``level``, ``session``, ``seq``
            (defaults to the next one of the session), ``event_time``, ``valid_from`` (defaults to the event time, else
            now), ``expires_at``, ``source``, ``tags``, ``keys``, ``importance``, ``metadata``; ``links``, pairs of a
            type and an id; ``derived_from``, ids of the records that this one was derived from; ``id``; ``vector``, as
            produced by the encoder of the store.

        Returns
        -------
        Added
            The id of the record, whether the text was ``added``, a ``duplicate`` or ``related``, and the evidence.

        Raises
        ------
        InputError
            If a value cannot be used, in which case nothing is stored. Times need a time zone.
        """
        item = {"text": text, "language": language, **about}
        return self.add_batch([item], scope, dedupe=dedupe, judge=judge)[0]

    def add_batch(
        self, items: Iterable[Incoming], scope: Scope, *, dedupe: bool = True, judge: Judge | None = None
    ) -> list[Added]:
        """Store several texts in one transaction; they are encoded together.

        Parameters
        ----------
        items
            Texts, or dicts with ``text`` and any parameter of :meth:`add`.
        scope, dedupe, judge
            As for :meth:`add`. Each text is also compared with those before it in the batch.

        Returns
        -------
        list of Added
            One result for each item, in order.

        Raises
        ------
        InputError
            As for :meth:`add`; nothing is stored then.
        """
        store = self._memory(scope)
        drafts = read_items(items)
        if not drafts:
            return []
        with store.folder.writing():
            return Adder(store, store.scope, self._thresholds(), dedupe=dedupe, judge=judge).add(drafts)

    def add_stream(
        self, items: Iterable[Incoming], scope: Scope, *, batch_size: int = 64, dedupe: bool = True
    ) -> Iterator[Added]:
        """Store a stream of texts, one transaction per batch; every result that was yielded survives a crash.

        Parameters
        ----------
        items, scope, dedupe
            As for :meth:`add_batch`.
        batch_size
            Number of texts per transaction.

        Yields
        ------
        Added
            One result for each item, in order.

        Raises
        ------
        InputError
            If ``items`` is a single text or dict, or as for :meth:`add_batch`.
        """
        if isinstance(items, str | Mapping):
            raise InputError(f"give a stream of texts, not one {type(items).__name__}")
        source = iter(items)
        while batch := list(islice(source, batch_size)):
            yield from self.add_batch(batch, scope, dedupe=dedupe)

    def update(self, id: str, scope: Scope, text: str | None = None, **changes: Any) -> Done:
        """Store a new version of a record. The previous version is kept and is valid until the new one becomes valid.

        Parameters
        ----------
        id, scope
            Id of the record, and a scope that it belongs to.
        text
            The new text; unchanged by default, in order to change other fields.
        **changes
            Any field of :meth:`add`. With a new text, fields that are not given keep their values only for kind, level,
            session, tags, importance and metadata.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope holds no such record, the record is not active, or a value cannot be used.
        """
        if text is not None:
            changes["text"] = text
        if not changes:
            raise InputError("say what to change: the text, or anything that is known of it")
        store = self._memory(scope)
        with store.folder.writing():
            return change.update(store, id, store.scope, changes)

    def link(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Add a link from one record to another.

        Records linked as ``contradicts`` are returned by :meth:`search` with ``conflicts=True``.

        Parameters
        ----------
        id, target
            Ids of the records that the link leads from and to; both must belong to the scope.
        type
            Type of the link, a word of your own or a known one (see :class:`mlret.memory.records.Link`).
        scope
            A scope that holds both records.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope does not hold both records, they are the same record, or the link already exists.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.link(store, id, type, target, store.scope)

    def unlink(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Remove a link between two records.

        Parameters
        ----------
        id, type, target, scope
            As for :meth:`link`.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope does not hold both records, or there is no such link.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.link(store, id, type, target, store.scope, on=False)

    def merge(self, survivor: str, others: Sequence[str], scope: Scope) -> Done:
        """Merge records into one: ``survivor`` gains their strength, and the others are no longer found.

        :meth:`undo` of the operation, or :meth:`restore` of one of the records, reverses it.

        Parameters
        ----------
        survivor
            Id of the record that remains active.
        others
            Ids of one or more records to merge into it.
        scope
            A scope that holds all of them.

        Returns
        -------
        Done
            The ids of all records, the survivor first, and the number of the operation.

        Raises
        ------
        InputError
            If the scope lacks one of the records, one is not active, they were not stored in exactly the same scope, or
            ``others`` is empty or contains ``survivor``.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.merge(store, survivor, others, store.scope)

    def delete(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> Done:
        """Hide records. :meth:`restore` or :meth:`undo` bring them back; use :meth:`erase` to leave nothing on disk.

        Parameters
        ----------
        ids
            One id or several.
        scope
            A scope that holds the records.
        cascade
            Whether to hide the records of the scope that were derived from them as well.

        Returns
        -------
        Done
            The ids of all records that were hidden and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or one is already deleted.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.delete(store, ids, store.scope, cascade=cascade)

    def restore(self, ids: str | Iterable[str], scope: Scope) -> Done:
        """Make records active again that were deleted, archived or merged.

        Parameters
        ----------
        ids
            One id or several.
        scope
            A scope that holds the records.

        Returns
        -------
        Done
            The ids of the records and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or one is already active.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.restore(store, ids, store.scope)

    def undo(self, operation: int, scope: Scope) -> Done:
        """Undo any operation except an erasure; later operations remain.

        Parameters
        ----------
        operation
            Number of the operation. Numbers count the operations on records of the scope.
        scope
            A scope that holds all records of the operation.

        Returns
        -------
        Done
            The ids of the records and the number of the new operation, which can itself be undone.

        Raises
        ------
        InputError
            If the scope has no operation of that number, one of its records is outside the scope or erased (the message
            is the same in all of these cases), or what it changed has been changed again since.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return change.undo(store, operation)

    def erase(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> ErasureProof:
        """Erase records so that no byte of their texts or ids is left on disk. This cannot be undone.

        Parameters
        ----------
        ids, scope
            One id or several, and a scope that holds the records.
        cascade
            Whether to erase the records that were derived from them or merged into them as well, in any scope of the
            tenant.

        Returns
        -------
        ErasureProof
            The result of reading all files of the store again and searching them for the texts and the ids.

        Raises
        ------
        InputError
            If no id is given, or the scope lacks one of the records.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return erase(store, ids, store.scope, cascade=cascade)

    def forget(self, policy: Policy, scope: Scope, *, dry_run: bool = True) -> Forgotten:
        """Archive the records that meet a policy; :meth:`restore` or :meth:`undo` bring them back.

        Parameters
        ----------
        policy, scope
            Which records to archive, and the scope to look in.
        dry_run
            Only report what would be archived, and why.

        Returns
        -------
        Forgotten
            The ids of the records, with the reason for each.
        """
        store = self._memory(scope)
        if dry_run:
            with store.lock:
                return forget(store, policy, store.scope, dry_run=True)
        with store.folder.writing():
            return forget(store, policy, store.scope, dry_run=False)

    def derive(self, ids: str | Sequence[str], extract: Extract, scope: Scope) -> Sequence[Added]:
        """Store what a callable extracts from records, as records derived from them.

        Parameters
        ----------
        ids
            One id or several.
        extract
            Called with each :class:`MemoryRecord`. Returns texts (facts), dicts as for :meth:`add_batch` (``level`` may
            be ``summary``), or dicts of ``keys`` alone, which expand the record itself.
        scope
            A scope that holds the records. Each derived record is stored in exactly the scope of its source.

        Returns
        -------
        sequence of Added
            One result for each text.

        Raises
        ------
        InputError
            If the scope lacks one of the records, or what ``extract`` returned cannot be used.
        """
        store = self._memory(scope)
        with store.folder.writing():
            some = [ids] if isinstance(ids, str) else list(ids)
            return derive(store, some, extract, store.scope, self._thresholds())

    def events(self, session: str, scope: Scope, *, keep: bool = False, **options: Any) -> Sequence[Event]:
        """Split a session into events by the topics of its turns. No language model is called.

        Parameters
        ----------
        session, scope
            Name of the session, and the scope that holds it.
        keep
            Whether to store each event as a record of level ``event`` that is derived from its turns.
        **options
            Options of :func:`mlret.memory.text.segmentation.segment`.

        Returns
        -------
        sequence of Event
            The events in order.

        Raises
        ------
        InputError
            If the scope has no turns of the session, more than one scope has them, or the store has a vector for each
            token.
        """
        store = self._memory(scope)
        with store.folder.writing() if keep else store.lock:
            return events(store, session, store.scope, options, keep=keep)

    def import_records(self, lines: Iterable[Mapping[str, Any]], scope: Scope, *, existing: Existing = "error") -> int:
        """Store records that :meth:`export` produced; texts that come without vectors are encoded.

        Parameters
        ----------
        lines
            Values as :meth:`export` yields them.
        scope
            A scope that holds the scope of every record.
        existing
            What to do with an id that a record of the same scope already has: ``error`` to fail, ``skip`` to skip the
            line. An id that another scope of the tenant has is an error; ids of other tenants do not count.

        Returns
        -------
        int
            Number of records that were new.

        Raises
        ------
        InputError
            At the first line that is not a record, is outside the scope, or has an id that is taken.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return sum(map(len, import_records(store, lines, store.scope, existing)))

    def feedback(self, query: str, used_ids: Sequence[str], scope: Scope, *, language: str | None = None) -> Done:
        """Record which hits were useful for a query; later searches of this scope are ranked accordingly.

        The weights of the score terms are fitted to all feedback in the order of the journal
        (:mod:`mlret.memory.search.weights`). Without feedback every weight is 1, which changes nothing. The query
        itself is not stored.

        Parameters
        ----------
        query, scope
            As they were given to :meth:`search`.
        used_ids
            Ids of the records that were useful.
        language
            Language of the query; detected by default.

        Returns
        -------
        Done
            The ids of the records and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or the query is blank.
        """
        store = self._memory(scope)
        with store.folder.writing():
            return feedback(store, self._request(store, query, language=language), list(used_ids))

    def calibrate(self, **options: Any) -> DuplicateThresholds:
        """Find the duplicate thresholds of the encoder in use, and save them in the store.

        Parameters
        ----------
        **options
            Options of :func:`mlret.memory.maintenance.thresholds.calibrate`.

        Returns
        -------
        DuplicateThresholds
            The thresholds that were saved.

        Raises
        ------
        InputError
            If the encoder produces a vector for each token, or an option cannot be used.
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
