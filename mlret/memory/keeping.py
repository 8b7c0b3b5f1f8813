"""The verbs of a memory that change what it holds, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.memory import changing, tables
from mlret.memory.adding import Adder, Judge
from mlret.memory.calibration import calibrate
from mlret.memory.deriving import Event, Extract, derive, events
from mlret.memory.duplicates import DuplicateThresholds
from mlret.memory.erasing import erase
from mlret.memory.exchange import Existing, import_records
from mlret.memory.forgetting import Policy, forget
from mlret.memory.handle import THRESHOLDS, Handle
from mlret.memory.hits import Added, Done, ErasureProof, Forgotten
from mlret.memory.incoming import Incoming, read_items
from mlret.memory.learning import feedback
from mlret.memory.scope import Scope, check_scope


class Keeping(Handle):
    """What :class:`mlret.memory.memory.Memory` does."""

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
            return Adder(store.of(whose), whose, self._thresholds(), dedupe=dedupe, judge=judge).add(checked)

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
        whose = check_scope(scope)
        with self._store.writing():
            return changing.update(self._store.of(whose), id, whose, changes)

    def link(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Draw a link of some type from a record to another of the scope; ``contradicts`` makes conflicts shown."""
        whose = check_scope(scope)
        with self._store.writing():
            return changing.link(self._store.of(whose), id, type, target, whose)

    def unlink(self, id: str, type: str, target: str, scope: Scope) -> Done:
        """Cut a link."""
        whose = check_scope(scope)
        with self._store.writing():
            return changing.link(self._store.of(whose), id, type, target, whose, on=False)

    def merge(self, survivor: str, others: Sequence[str], scope: Scope) -> Done:
        """Take records for one: ``survivor`` grows stronger, the others are found no more. :meth:`undo` of the
        operation, or :meth:`restore` of one, takes it back."""
        whose = check_scope(scope)
        with self._store.writing():
            return changing.merge(self._store.of(whose), survivor, others, whose)

    def delete(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> Done:
        """Hide records, and with ``cascade`` what was derived from them in the scope; :meth:`restore` or :meth:`undo`
        bring them back. To leave nothing on disk, :meth:`erase`."""
        whose = check_scope(scope)
        with self._store.writing():
            return changing.delete(self._store.of(whose), ids, whose, cascade=cascade)

    def restore(self, ids: str | Iterable[str], scope: Scope) -> Done:
        """Bring back what was deleted, archived or merged."""
        whose = check_scope(scope)
        with self._store.writing():
            return changing.restore(self._store.of(whose), ids, whose)

    def undo(self, operation: int, scope: Scope) -> Done:
        """Take an operation back, whatever it was, except an erasure; what came after it stays.

        Parameters
        ----------
        operation
            Its number, which counts the operations that touched what the scope holds.
        scope
            One that holds all records of the operation.

        Raises
        ------
        InputError
            If there is none of that number in the scope, a record of it is outside the scope or erased (to which there
            is one answer), or has been changed in the same respect since.
        """
        whose = check_scope(scope)
        with self._store.writing():
            return changing.undo(self._store.of(whose), operation)

    def erase(self, ids: str | Iterable[str], scope: Scope, *, cascade: bool = True) -> ErasureProof:
        """Leave no byte of records on disk, neither of their texts nor of their ids; it cannot be undone.

        Parameters
        ----------
        ids, scope
            Which.
        cascade
            Erase what was derived from them, and what was merged into them, as well, wherever the tenant has it.

        Returns
        -------
        ErasureProof
            The files of the store, read again and looked through for the texts and the ids.
        """
        whose = check_scope(scope)
        with self._store.writing():
            return erase(self._store.of(whose), ids, whose, cascade=cascade)

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
                return forget(self._store.of(whose), policy, whose, dry_run=True)
        with self._store.writing():
            return forget(self._store.of(whose), policy, whose, dry_run=False)

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
        whose = check_scope(scope)
        with self._store.writing():
            some = [ids] if isinstance(ids, str) else list(ids)
            return derive(self._store.of(whose), some, extract, whose, self._thresholds())

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
        whose = check_scope(scope)
        with self._store.writing() if keep else self._store.lock:
            return events(self._store.of(whose), session, whose, options, keep=keep)

    def import_records(self, lines: Iterable[Mapping[str, Any]], scope: Scope, *, existing: Existing = "error") -> int:
        """Store what :meth:`export` gave, encoded anew where it brings no vectors; how many records were new.

        Parameters
        ----------
        lines
            Of :meth:`export`.
        scope
            Must hold the scope of every record.
        existing
            What to do with an id that a record of the same scope has: fail, or skip the line. An id that another scope
            of the tenant has is an error; what other tenants have does not count.
        """
        whose = check_scope(scope)
        with self._store.writing():
            return sum(map(len, import_records(self._store.of(whose), lines, whose, existing)))

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
        whose = check_scope(scope)
        with self._store.writing():
            return feedback(self._store.of(whose), self._request(query, whose, language=language), list(used_ids))

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
