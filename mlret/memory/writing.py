"""The methods of a memory that store texts, feedback and thresholds, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Unpack, overload

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.memory.base import THRESHOLDS, OpenMemory
from mlret.memory.ingest import change
from mlret.memory.ingest.add import Adder, Judge
from mlret.memory.ingest.derive import Event, Extract, derive, events
from mlret.memory.ingest.import_export import Existing, import_records
from mlret.memory.ingest.inputs import Incoming, read_items
from mlret.memory.ingest.messages import ExtractFacts, Message, extracted_from, read_facts, read_messages
from mlret.memory.maintenance.thresholds import PRECISION, calibrate
from mlret.memory.records import AddFields, UpdateFields
from mlret.memory.results import Added, AddedMessages, Done
from mlret.memory.scope import Scope, scope_with
from mlret.memory.search.feedback import feedback
from mlret.memory.storage import tables
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.event_segmentation import LARGEST, PENALTY, SMALLEST


class MemoryWriting(OpenMemory):
    """Mixin with the methods of :class:`mlret.memory.memory.Memory` that store something, each in one transaction."""

    @overload
    def add(
        self,
        text: str,
        scope: Scope | None = None,
        *,
        language: str | None = None,
        dedupe: bool = True,
        judge: Judge | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
        **about: Unpack[AddFields],
    ) -> Added: ...

    @overload
    def add(
        self,
        text: None = None,
        scope: Scope | None = None,
        *,
        messages: Iterable[Message],
        extract: ExtractFacts | None = None,
        language: str | None = None,
        dedupe: bool = True,
        judge: Judge | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
        **about: Unpack[AddFields],
    ) -> AddedMessages: ...

    def add(
        self,
        text: str | None = None,
        scope: Scope | None = None,
        *,
        messages: Iterable[Message] | None = None,
        extract: ExtractFacts | None = None,
        language: str | None = None,
        dedupe: bool = True,
        judge: Judge | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
        **about: Unpack[AddFields],
    ) -> Added | AddedMessages:
        """Store a text, or the messages of a conversation. When the call returns, they survive a crash.

        Parameters
        ----------
        text
            The text to store; it is kept word for word.
        scope
            Owner of the record: one or more of ``tenant``, ``user``, ``agent`` and ``run``.
        messages
            Instead of a text, the messages of a conversation: dicts with ``role`` and ``content``, and optionally
            ``time`` (ISO 8601 with a time zone, or seconds since 1970), ``session`` and ``language``. Each that has
            text is stored as a turn, in its order, all in one transaction.
        extract
            Called with the messages that have text, before the transaction begins. Returns facts: texts, or dicts with
            ``text`` and any parameter of :meth:`add`; under ``messages``, a dict may name the positions of the messages
            that it is from. The facts are stored in the same transaction, as records derived from their turns.
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
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.
        **about
            Other fields of the record, as :class:`mlret.memory.records.AddFields` describes them: ``kind``, ``level``,
            ``session``, ``seq`` (defaults to the next one of the session), ``event_time``, ``valid_from`` (defaults to
            the event time, else now), ``expires_at``, ``source``, ``tags``, ``keys``, ``importance``, ``metadata``;
            ``links``, pairs of a type and an id; ``derived_from``, ids of the records that this one was derived from;
            ``id``; ``vector``, ``(dims,)`` floats as the encoder of the store gives them.

        Returns
        -------
        Added
            The id of the record, whether the text was ``added``, a ``duplicate`` or ``related``, and the evidence.
            For messages, an :class:`mlret.memory.results.AddedMessages` with one for each turn and each fact.

        Raises
        ------
        InputError
            If a value cannot be used, in which case nothing is stored. Times need a time zone.

        Examples
        --------
        >>> added = memory.add(
        ...     "Anna hat am 3. Mai Geburtstag.", anna, language="de", level="fact", tags=["birthday"], importance=0.8
        ... )
        >>> added.verdict
        'added'
        >>> memory.add("Je suis allergique aux arachides.", anna, language="fr").verdict
        'duplicate'
        >>> chat = [
        ...     {"role": "user", "content": "I moved to Oslo in March.", "time": "2026-05-04T09:00+02:00"},
        ...     {"role": "assistant", "content": "How do you like it there?", "time": "2026-05-04T09:01+02:00"},
        ... ]
        >>> added = memory.add(messages=chat, user="anna", session="monday", extract=lambda turns: ["Anna is in Oslo."])
        >>> [memory.get(one.id, user="anna").level for one in (*added.turns, *added.facts)]
        ['turn', 'turn', 'fact']
        """
        owner = scope_with(scope, {"user": user, "agent": agent, "run": run})
        fields: dict[str, Any] = {"language": language, **about}
        if messages is not None:
            if text is not None:
                raise InputError("give a text or messages, not both")
            return self._add_messages(messages, owner, fields, extract, dedupe, judge)
        if text is None:
            raise InputError("give a text, or messages")
        if extract is not None:
            raise InputError("extract is called with messages; give messages instead of a text, or call derive")
        return self.add_batch([{"text": text, **fields}], owner, dedupe=dedupe, judge=judge)[0]

    def _add_messages(
        self,
        messages: Iterable[Message],
        scope: Scope,
        about: dict[str, Any],
        extract: ExtractFacts | None,
        dedupe: bool,
        judge: Judge | None,
    ) -> AddedMessages:
        store = self._memory(scope)
        for name in ("id", "vector", "seq"):
            if about.get(name) is not None:
                raise InputError(f"{name} is of one text; leave it out for messages")
        given, turns = read_messages(messages, {name: value for name, value in about.items() if value is not None})
        facts = read_facts(extracted_from(given, extract), turns) if extract is not None and turns else []
        if not turns:
            return AddedMessages((), (), None)
        with store.folder.writing():
            adder = Adder(store, store.scope, self.thresholds(), dedupe=dedupe, judge=judge)
            added = adder.add([*turns, *facts])
        return AddedMessages(tuple(added[: len(turns)]), tuple(added[len(turns) :]), added[0].operation)

    def add_batch(
        self,
        items: Iterable[Incoming],
        scope: Scope | None = None,
        *,
        dedupe: bool = True,
        judge: Judge | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> list[Added]:
        """Store several texts in one transaction; they are encoded together.

        Parameters
        ----------
        items
            Texts, or dicts with ``text`` and any parameter of :meth:`add`.
        scope
            Owner of the records.
        dedupe
            Whether to check each text against the records of exactly this scope, and against the texts before it in the
            batch, as :meth:`add` does.
        judge
            Called with a text and a record that is near it without being a duplicate; see :meth:`add`.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        list of Added
            One result for each item, in order.

        Raises
        ------
        InputError
            As for :meth:`add`; nothing is stored then.

        Examples
        --------
        >>> pets = ["Paka wangu anaitwa Simba.", {"text": "犬を飼っている。", "tags": ["pet"]}]
        >>> results = memory.add_batch(pets, anna)
        >>> [result.verdict for result in results]
        ['added', 'added']
        """
        every = items if isinstance(items, str | Mapping) else list(items)
        # A given id may be taken anywhere in the tenant, and `judge` may use the memory.
        named = any(item.get("id") if isinstance(item, Mapping) else not isinstance(item, str) for item in every)
        store = self._memory(scope, within=judge is None and not named, user=user, agent=agent, run=run)
        drafts = read_items(every)
        if not drafts:
            return []
        with store.folder.writing():
            return Adder(store, store.scope, self.thresholds(), dedupe=dedupe, judge=judge).add(drafts)

    def add_stream(
        self,
        items: Iterable[Incoming],
        scope: Scope | None = None,
        *,
        batch_size: int = 64,
        dedupe: bool = True,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Iterator[Added]:
        """Store a stream of texts, one transaction per batch; every result that was yielded survives a crash.

        Parameters
        ----------
        items
            Texts, or dicts with ``text`` and any parameter of :meth:`add`; read as they are needed.
        scope
            Owner of the records.
        dedupe
            Whether to check each text against the records of exactly this scope, as :meth:`add` does.
        batch_size
            Number of texts per transaction.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Yields
        ------
        Added
            One result for each item, in order.

        Raises
        ------
        InputError
            If ``items`` is a single text or dict, or as for :meth:`add_batch`.

        Examples
        --------
        >>> texts = ["Habari gani?", "I am fine, thank you.", "Tutaonana kesho."]
        >>> turns = ({"text": text, "session": "monday"} for text in texts)
        >>> [result.verdict for result in memory.add_stream(turns, anna, batch_size=2, dedupe=False)]
        ['added', 'added', 'added']
        """
        if isinstance(items, str | Mapping):
            raise InputError(f"give a stream of texts, not one {type(items).__name__}")
        owner = scope_with(scope, {"user": user, "agent": agent, "run": run})
        source = iter(items)
        while batch := list(islice(source, batch_size)):
            yield from self.add_batch(batch, owner, dedupe=dedupe)

    def update(
        self,
        id: str,
        scope: Scope | None = None,
        text: str | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
        **changes: Unpack[UpdateFields],
    ) -> Done:
        """Store a new version of a record. The previous version is kept and is valid until the new one becomes valid.

        Parameters
        ----------
        id
            Id of the record.
        scope
            A scope that the record belongs to.
        text
            The new text; unchanged by default, in order to change other fields.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.
        **changes
            ``language`` and any other field of :meth:`add` but ``id``, as
            :class:`mlret.memory.records.UpdateFields` describes them. With a new text, fields that are not given keep
            their values only for kind, level, session, tags, importance and metadata.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope holds no such record, the record is not active, or a value cannot be used.

        Examples
        --------
        >>> memory.update("home", anna, "Ich wohne jetzt in Oslo.", language="de", valid_from="2026-03-01T00:00+01:00")
        Done(ids=('home',), operation=3)
        >>> memory.get("home", anna, as_of="2026-03-02T00:00+01:00").text
        'Ich wohne jetzt in Oslo.'
        """
        given: dict[str, Any] = dict(changes) if text is None else {**changes, "text": text}
        if not given:
            raise InputError("give something to change: the text or another field")
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.update(store, id, store.scope, given)

    def derive(
        self,
        ids: str | Sequence[str],
        extract: Extract,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[Added]:
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
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        sequence of Added
            One result for each text.

        Raises
        ------
        InputError
            If the scope lacks one of the records, or what ``extract`` returned cannot be used.

        Examples
        --------
        >>> def summarise(record):
        ...     return [{"text": "Anna: no peanuts", "level": "summary", "language": "en"}]
        >>> [added] = memory.derive("nuts", summarise, anna)
        >>> memory.get(added.id, anna).kind
        'derived'
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            some = [ids] if isinstance(ids, str) else list(ids)
            return derive(store, some, extract, store.scope, self.thresholds())

    def events(
        self,
        session: str,
        scope: Scope | None = None,
        *,
        keep: bool = False,
        penalty: float = PENALTY,
        smallest: int = SMALLEST,
        largest: int = LARGEST,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[Event]:
        """Split a session into events by the topics of its turns. No language model is called.

        Parameters
        ----------
        session
            Name of the session.
        scope
            A scope that holds the session.
        keep
            Whether to store each event as a record of level ``event`` that is derived from its turns.
        penalty
            Cost of an event; higher values give fewer events.
        smallest
            Minimum number of turns of an event.
        largest
            Maximum number of turns of an event, at least twice ``smallest``.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        sequence of Event
            The events in order.

        Raises
        ------
        InputError
            If more than one scope has turns of the session, the store has a vector for each token, the sizes are not
            ``1 <= smallest <= largest / 2``, or the penalty is negative.
        NotFound
            If the scope has no turns of the session.

        Examples
        --------
        >>> turns = ["Unser Zug fährt um acht.", "Er hat Verspätung.", "Was kochen wir heute?", "Reis mit Gemüse."]
        >>> added = memory.add_batch([{"text": text, "session": "monday"} for text in turns], anna, dedupe=False)
        >>> events = memory.events("monday", anna, smallest=1)
        >>> [turn for event in events for turn in event.text.splitlines()] == turns
        True
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        options = {"penalty": penalty, "smallest": smallest, "largest": largest}
        with store.folder.writing() if keep else store.lock:
            return events(store, session, store.scope, options, keep=keep)

    def import_records(
        self,
        lines: Iterable[Mapping[str, Any]],
        scope: Scope | None = None,
        *,
        existing: Existing = "error",
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> int:
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
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        int
            Number of records that were new.

        Raises
        ------
        InputError
            At the first line that is not a record, is outside the scope, or has an id that is taken.

        Examples
        --------
        >>> lines = list(memory.export(anna, vectors=True))
        >>> with Memory.open("copy.memory", memory.encoder) as copy:
        ...     copy.import_records(lines, anna)
        2
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return sum(map(len, import_records(store, lines, store.scope, existing)))

    def feedback(
        self,
        query: str,
        used_ids: Sequence[str],
        scope: Scope | None = None,
        *,
        language: str | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Record which hits were useful for a query; later searches of this scope are ranked accordingly.

        The weights of the score terms are fitted to all feedback in the order of the journal
        (:mod:`mlret.memory.search.fitted_weights`). Without feedback every weight is 1, which changes nothing. The
        query itself is not stored.

        Parameters
        ----------
        query
            The query as it was given to :meth:`search`.
        scope
            The scope that was searched.
        used_ids
            Ids of the records that were useful.
        language
            Language of the query; detected by default.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The ids of the records and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or the query is blank.

        Examples
        --------
        >>> found = memory.search("Which foods must she avoid?", anna)
        >>> memory.feedback("Which foods must she avoid?", [found[0].id], anna).ids
        ('nuts',)
        >>> memory.get("nuts", anna).accesses
        1
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return feedback(store, self._request(store, query, language=language), list(used_ids))

    def calibrate(
        self,
        texts: Mapping[str, Sequence[str]] | None = None,
        groups: Sequence[str] | None = None,
        *,
        precision: float = PRECISION,
        seed: int = 0,
    ) -> DuplicateThresholds:
        """Find the duplicate thresholds of the encoder in use, and save them in the store.

        Parameters
        ----------
        texts
            Language -> ``n`` texts, where text ``i`` of each language is a translation of text ``i`` of the others; by
            default the sentences of the bundled sample. No text may occur in the data that results are later reported
            on.
        groups
            ``(n,)``: topic of each text; texts of one group are related. By default each text is a group of its own.
        precision
            Required precision of duplicates between languages, above 0 and at most 1.
        seed
            Seed for which texts are stored, and in which language.

        Returns
        -------
        DuplicateThresholds
            The thresholds that were saved.

        Raises
        ------
        InputError
            If the encoder produces a vector for each token, or an option cannot be used.

        Examples
        --------
        >>> from mlret.data.sample import load_parallel_sentences
        >>> sentences = load_parallel_sentences().texts
        >>> texts = {language: sentences[language][:60] for language in ("en", "de")}
        >>> thresholds = memory.calibrate(texts, precision=0.9)
        >>> thresholds.fingerprint == memory.encoder.fingerprint
        True
        """
        if not isinstance(self.encoder, Encoder):
            raise InputError(
                "an encoder with a vector for each token is not calibrated: only the same text is a duplicate"
            )
        thresholds = calibrate(self.encoder, texts, groups, precision=precision, seed=seed)
        for folder in self._folders():
            with folder.writing():
                folder.store.commit(
                    lambda connection: tables.write_setting(connection, THRESHOLDS, thresholds.to_dict())
                )
        return thresholds
