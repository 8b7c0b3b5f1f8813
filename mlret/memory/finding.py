"""The verbs of a memory that find and tell; they change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.index.filters import Where
from mlret.index.retrieval import Mode
from mlret.memory import times
from mlret.memory.deriving import packed
from mlret.memory.evidence import Query
from mlret.memory.exchange import export_records
from mlret.memory.handle import Handle
from mlret.memory.hits import Found, HistoryEntry
from mlret.memory.packing import Packed
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.scope import Scope, check_scope
from mlret.memory.search import Ranking, Rerank, search
from mlret.memory.selection import Selection
from mlret.memory.telling import told
from mlret.memory.times import Instant


class Finding(Handle):
    """What :class:`mlret.memory.memory.Memory` answers."""

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
            Only records that have all of it; ``{"user": "u1"}`` includes those of ``{"user": "u1", "agent": "a"}``, but
            nothing of a tenant, whom a scope must name.
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
        whose = check_scope(scope)
        selection = Selection(whose, where, kinds, levels, as_of, current_only)
        request = self._request(query, scope, language=language, mode=mode, vector=vector)
        if translate is not None:
            codes = [normalise_language(one) for one in languages]
            said = [Query(translate(query, code), code, None) for code in codes]
            more = [replace(one, vector=self._vector(one.text, one.language, mode, None)) for one in said]
            request = replace(request, queries=[*request.queries, *more])
        return search(
            self._store.of(whose),
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
        whose = check_scope(found.scope)
        with self._store.lock:
            records = [hit.record for hit in found]
            return packed(self._store.of(whose), records, budget, count or self._tokens, whose)

    def _tokens(self, text: str) -> int:
        tokenizer = getattr(getattr(self.encoder, "model", None), "tokenizer", None)
        if tokenizer is None:
            raise InputError("the encoder has no tokenizer to count with; give count, e.g. len")
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def get(self, id: str, scope: Scope, *, as_of: Instant | None = None) -> MemoryRecord | None:
        """The current version of a record, or the one that was valid then; ``None`` if the scope holds none.

        What is archived or merged is there, and says so; what is deleted is not.
        """
        whose = check_scope(scope)
        store = self._store.of(whose)
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
        whose = check_scope(scope)
        selection = Selection(whose, where, kinds, levels, as_of, current_only, state)
        store = self._store.of(whose)
        with store.lock:
            return store.fetch(selection.positions(store)[:limit])

    def ids(self, scope: Scope) -> Sequence[str]:
        """The ids of all records of a scope, whatever their state."""
        whose = check_scope(scope)
        with self._store.lock:
            columns = self._store.of(whose).columns
            numbers = columns.record[columns.in_scope(whose)]
            return [columns.ids.values[number] for number in dict.fromkeys(numbers.tolist())]

    def versions(self, id: str, scope: Scope) -> Sequence[MemoryRecord]:
        """All versions of a record, the first first, whatever its state."""
        whose = check_scope(scope)
        store = self._store.of(whose)
        with store.lock:
            store.position(id, whose)
            return store.fetch(store.columns.versions[id])

    def history(self, id: str, scope: Scope) -> Sequence[HistoryEntry]:
        """What happened to a record, in order; of an erased one nothing but that is known, in no scope any more."""
        whose = check_scope(scope)
        store = self._store.of(whose)
        with store.lock:
            store.position(id, whose)
            entries = store.entries(id)
            numbers = {entry.operation: entry.counted for entry in entries}
            return [told(entry, numbers, lambda other: store.in_scope(other, whose)) for entry in entries]

    def export(self, scope: Scope, *, vectors: bool = False) -> Iterator[dict[str, Any]]:
        """The records of a scope as JSON values, one each, with all versions; :meth:`import_records` reads them."""
        whose = check_scope(scope)
        return export_records(self._store.of(whose), whose, vectors=vectors)

    def __len__(self) -> int:
        """How many records can be found, in all scopes."""
        return len(self._store)
