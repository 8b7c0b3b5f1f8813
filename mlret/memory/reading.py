"""The read-only methods of a memory: search, lookup, listing, history and export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mlret.data.languages import normalise_language
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.filtering.filters import Where
from mlret.index.queries import check_k
from mlret.index.search import Mode, check_mode
from mlret.memory import times
from mlret.memory.base import OpenMemory
from mlret.memory.ingest.derive import packed
from mlret.memory.ingest.import_export import export_records
from mlret.memory.paging import Records, page
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.results import Found, HistoryEntry, history_entry
from mlret.memory.scope import Scope
from mlret.memory.search.context import Packed
from mlret.memory.search.ranking import Ranking
from mlret.memory.search.search import Rerank, search
from mlret.memory.search.selection import Selection
from mlret.memory.times import Instant


class MemoryReading(OpenMemory):
    """Mixin with the read operations of :class:`mlret.memory.memory.Memory`."""

    def search(
        self,
        query: str,
        scope: Scope | None = None,
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
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Found:
        """Search a scope for the records that best answer a query, in any language.

        Scope, time and filters are applied before anything is ranked.

        Parameters
        ----------
        query
            A text in any language.
        scope
            Only records that match all of it are searched: ``{"user": "u1"}`` includes those of
            ``{"user": "u1", "agent": "a"}``. Records of a tenant are found only by a scope that names the tenant.
        k
            Number of hits; fewer are returned only if fewer records are eligible.
        language
            Language of the query; detected by default.
        where
            A filter on metadata, ``tags`` and ``lang``, as for :meth:`mlret.index.index.Index.search_batch`.
        kinds
            Only records of these kinds, ``raw`` or ``derived``; all by default.
        levels
            Only records of these levels, e.g. ``["fact"]``; all by default.
        as_of
            Search what was valid at this instant, instead of what is current.
        current_only
            Exclude versions that a later one supersedes or whose validity has ended.
        conflicts
            Return with each hit its other versions and the records linked to it as ``contradicts``.
        abstain
            Return no hits, with a reason, if the best record does not stand out the way answers do.
        ranking
            Terms that are added to the score; see :class:`mlret.memory.search.ranking.Ranking`.
        now
            Reference time for relative dates in the query, such as *yesterday*, and for the age of records; defaults to
            the present.
        translate
            Called with the query and each of ``languages``; the translations are searched with as well, and the best of
            the queries counts for each record.
        languages
            Language codes to translate the query into.
        rerank
            Called with the query and the texts of the best candidates; the scores it returns rank them.
        mode
            ``hybrid`` (meaning and shared words, the default), ``dense`` or ``lexical``; the last returns only records
            that share a word with the query.
        vector
            Vector of the query, as produced by the encoder of the store.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Found
            A sequence of hits, each with every term of its score. Texts are returned as they were stored: treat them as
            data, never as instructions.

        Raises
        ------
        InputError
            If the query is blank, the scope is empty, or a value cannot be used.

        Examples
        --------
        >>> found = memory.search("Where does Anna live?", anna, k=1)
        >>> found[0].text
        'Ich wohne seit 2021 in Rom.'
        >>> len(memory.search("Where does Anna live?", {"user": "bob"}))
        0
        >>> [hit.id for hit in memory.search("anything at all", anna, where={"tags": "address"})]
        ['home']
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        selection = Selection(store.scope, where, kinds, levels, as_of, current_only)
        # The encoder, which the vector of the query needs, takes longer to load than these checks take.
        check_k(k)
        check_mode(mode)
        selection.check()
        reference = None if now is None else times.read_instant(now, "now")
        request = self._request(store, query, language=language, mode=mode, vector=vector)
        if translate is not None:
            codes = [normalise_language(one) for one in languages]
            more = [self._query(translate(query, code), code, mode) for code in codes]
            request = replace(request, queries=[*request.queries, *more])
        return search(
            store,
            replace(
                request,
                selection=selection,
                k=k,
                ranking=ranking or Ranking(),
                abstain=abstain,
                conflicts=conflicts,
                now=reference,
                rerank=rerank,
            ),
        )

    def context(self, found: Found, budget: int, count: Callable[[str], int] | None = None) -> Packed:
        """Fit hits into a token budget, in order of time: each in full, else by its summary, else dropped.

        Parameters
        ----------
        found
            The result of :meth:`search`.
        budget
            The most that the texts may cost together.
        count
            Function that returns the cost of a text; defaults to its number of tokens by the encoder's tokenizer.

        Returns
        -------
        Packed
            The chosen texts, their total cost and the ids of the hits that were dropped.

        Raises
        ------
        InputError
            If the budget is negative, or ``count`` is missing and the encoder has no tokenizer.

        Examples
        --------
        >>> found = memory.search("What should I know about Anna?", anna)
        >>> packed = memory.context(found, budget=200)
        >>> sorted(packed.text.splitlines())
        ['Ich wohne seit 2021 in Rom.', 'Je suis allergique aux arachides.']
        >>> packed.cost <= 200
        True
        """
        store = self._memory(found.scope, within=True)
        with store.lock:
            records = [hit.record for hit in found]
            return packed(store, records, budget, count or self._tokens, store.scope)

    def _tokens(self, text: str) -> int:
        if isinstance(self.encoder, ExternalEncoder):
            raise InputError("the encoder has no tokenizer to count with; give count, e.g. len")
        every, special = self.encoder.token_counts([text, ""], cut=False)
        return every - special

    def get(
        self,
        id: str,
        scope: Scope | None = None,
        *,
        as_of: Instant | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> MemoryRecord | None:
        """Return the current version of a record, or the one that was valid at ``as_of``.

        Archived and merged records are returned, with their state; deleted ones are not.

        Parameters
        ----------
        id
            Id of the record.
        scope
            A scope that the record belongs to.
        as_of
            An instant; the current version is returned by default.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        MemoryRecord or None
            ``None`` if the scope holds no such record, it is deleted, or no version was valid at that instant.

        Raises
        ------
        InputError
            If the scope or the instant cannot be used.

        Examples
        --------
        >>> memory.get("nuts", anna).text
        'Je suis allergique aux arachides.'
        >>> memory.get("nuts", {"user": "bob"}) is None
        True
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.lock:
            if not store.in_scope(id, store.scope):
                return None
            columns = store.columns
            there = columns.statuses[id]
            if as_of is None:
                positions = [there.position]
            else:
                then = times.micros(times.read_instant(as_of, "as_of"))
                positions = [p for p in columns.versions[id] if columns.valid_from[p] <= then < columns.valid_to[p]]
            found = store.fetch(positions[-1:])
            return found[0] if found and found[0].state != "deleted" else None

    def list(
        self,
        scope: Scope | None = None,
        *,
        where: Where | None = None,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        state: str = "active",
        limit: int | None = None,
        after: str | None = None,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Records:
        """Return the records of a scope in the order in which they were stored.

        Parameters
        ----------
        scope
            Only records that match all of it, as for :meth:`search`.
        where
            A filter on metadata, ``tags`` and ``lang``.
        kinds
            Only records of these kinds, ``raw`` or ``derived``; all by default.
        levels
            Only records of these levels, e.g. ``["fact"]``; all by default.
        as_of
            Return what was valid at this instant, instead of what is current.
        current_only
            Exclude versions that a later one supersedes or whose validity has ended.
        state
            State of the records: ``active``, ``archived`` or ``merged``.
        limit
            Maximum number of records; all by default.
        after
            The ``next`` of an earlier page, to continue behind it. A record that was changed in between is stored again
            at the end, so that none is missed.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Records
            A list of the selected versions; its ``next`` is the cursor of the next page, ``None`` after the last one.

        Raises
        ------
        InputError
            If a value cannot be used.

        Examples
        --------
        >>> [(record.id, record.language) for record in memory.list(anna)]
        [('nuts', 'fr'), ('home', 'de')]
        >>> first = memory.list(user="anna", limit=1)
        >>> [record.id for record in memory.list(user="anna", limit=1, after=first.next)]
        ['home']
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InputError(f"the limit is {limit!r}; give a number of records, or None for all")
        selection = Selection(store.scope, where, kinds, levels, as_of, current_only, state)
        return page(store, selection, after, limit)

    def ids(
        self,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[str]:
        """Return the ids of all records of a scope, whatever their state.

        Parameters
        ----------
        scope
            The scope whose records are listed.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        sequence of str
            The ids, in the order in which the records were stored.

        Raises
        ------
        InputError
            If the scope cannot be used.

        Examples
        --------
        >>> memory.ids(anna)
        ['nuts', 'home']
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.lock:
            columns = store.columns
            numbers = columns.record[columns.in_scope(store.scope)]
            return [columns.ids.by_number[number] for number in dict.fromkeys(numbers.tolist())]

    def versions(
        self,
        id: str,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[MemoryRecord]:
        """Return all versions of a record, oldest first, whatever its state.

        Parameters
        ----------
        id
            Id of the record.
        scope
            A scope that the record belongs to.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        sequence of MemoryRecord
            The versions.

        Raises
        ------
        InputError
            If the scope holds no such record.

        Examples
        --------
        >>> done = memory.update("home", anna, "Ich wohne jetzt in Oslo.", language="de")
        >>> [(one.version, one.text, one.state) for one in memory.versions("home", anna)]
        [(1, 'Ich wohne seit 2021 in Rom.', 'superseded'), (2, 'Ich wohne jetzt in Oslo.', 'active')]
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.lock:
            store.position(id, store.scope)
            return store.fetch(store.columns.versions[id])

    def history(
        self,
        id: str,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[HistoryEntry]:
        """Return what happened to a record, in order.

        An erased record belongs to no scope, so its history is not available.

        Parameters
        ----------
        id
            Id of the record.
        scope
            A scope that the record belongs to. Records outside the scope are not named in the result.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        sequence of HistoryEntry
            One entry for each operation that touched the record.

        Raises
        ------
        InputError
            If the scope holds no such record.

        Examples
        --------
        >>> done = memory.delete("home", anna)
        >>> [entry.verb for entry in memory.history("home", anna)]
        ['add', 'delete']
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.lock:
            store.position(id, store.scope)
            entries = store.entries(id)
            numbers = {entry.operation: entry.counted for entry in entries}
            return [
                history_entry(entry, numbers, lambda other: store.in_scope(other, store.scope)) for entry in entries
            ]

    def export(
        self,
        scope: Scope | None = None,
        *,
        vectors: bool = False,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of a scope as JSON values for :meth:`import_records`, one per record with all its versions.

        Parameters
        ----------
        scope
            The records to export; deleted ones are skipped.
        vectors
            Whether to include the vector of each version, so that importing needs no encoder.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        iterator of dict
            The records, each with all its versions and links.

        Raises
        ------
        InputError
            If the scope cannot be used.

        Examples
        --------
        >>> [record["id"] for record in memory.export(anna)]
        ['nuts', 'home']
        """
        return export_records(self._memory(scope, user=user, agent=agent, run=run), vectors=vectors)

    def __len__(self) -> int:
        """Return the number of records that can be found, in all scopes."""
        return sum(map(len, self._folders()))
