"""The verbs of a memory on a server, as :class:`mlret.memory.memory.Memory` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Unpack, cast
from urllib.parse import quote

from mlret.client import results
from mlret.client.batches import Batch, Batcher
from mlret.client.calls import Call, Steps, json_body, json_call, new_key, post
from mlret.client.failures import BodyTooLargeError
from mlret.errors import InputError, NotFound
from mlret.index.filtering.filters import Where
from mlret.index.search import Mode
from mlret.memory.ingest.forget import Policy
from mlret.memory.ingest.messages import ExtractFacts, Message, extracted_from, with_text
from mlret.memory.paging import Records
from mlret.memory.profiling import MOST, Profile
from mlret.memory.records import AddFields, Kind, Level, Link, MemoryRecord, UpdateFields
from mlret.memory.results import Added, AddedMessages, Done, ErasureProof, Forgotten, Found, HistoryEntry
from mlret.memory.scope import Scope, check_scope
from mlret.memory.search.context import Packed
from mlret.memory.times import Instant
from mlret.memory.watching import Changes

_MEMORIES = "/v1/memories"
_PAGE = 500
Item = str | Mapping[str, Any]


class MemoryVerbs:
    """The requests of a memory.

    Parameters
    ----------
    scope
        The scope of all requests; a verb can name more of it. The server adds what the token is bound to.

    Raises
    ------
    InputError
        If it is not valid.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = dict(check_scope(scope)) if scope else {}

    def within(self, scope: Scope | None) -> dict[str, str]:
        """Return the scope of a request."""
        return {**self.scope, **check_scope(scope)} if scope else self.scope

    def add(
        self,
        text: str | None = None,
        scope: Scope | None = None,
        *,
        messages: Iterable[Message] | None = None,
        extract: ExtractFacts | None = None,
        language: str | None = None,
        dedupe: bool = True,
        **about: Unpack[AddFields],
    ) -> Steps[Added | AddedMessages]:
        """Store a text, or the messages of a conversation; see :meth:`mlret.memory.memory.Memory.add`."""
        given = {**about, **({} if language is None else {"language": language})}
        if messages is not None:
            if text is not None:
                raise InputError("give a text or messages, not both")
            return (yield from self._add_messages(messages, scope, given, extract, dedupe=dedupe))
        if text is None:
            raise InputError("give a text, or messages")
        if extract is not None:
            raise InputError("extract is called with messages; give messages instead of a text")
        [added] = yield from self.add_batch([{"text": text, **given}], scope, dedupe=dedupe)
        return added

    def _add_messages(
        self,
        messages: Iterable[Message],
        scope: Scope | None,
        about: Mapping[str, Any],
        extract: ExtractFacts | None,
        *,
        dedupe: bool,
    ) -> Steps[AddedMessages]:
        spoken = with_text(messages)
        facts = extracted_from(spoken, extract) if extract is not None and spoken else []
        if not spoken:
            return AddedMessages((), (), None)
        parts = {"messages": [_values(one) for one in spoken], "facts": [_item(one) for one in facts]}
        body = json_body({**_item(about), **parts, "scope": self.within(scope), "dedupe": dedupe})
        answer = (yield json_call("POST", _MEMORIES, body, repeatable=False, key=new_key())).json()
        turns, found = (tuple(map(results.added_of, answer[name])) for name in ("results", "facts"))
        return AddedMessages(turns, found, turns[0].operation)

    def add_batch(
        self, items: Iterable[Item], scope: Scope | None = None, *, dedupe: bool = True
    ) -> Steps[Sequence[Added]]:
        """Store several texts in one transaction; see :meth:`mlret.memory.memory.Memory.add_batch`."""
        values = [json_body(_item(one), f"text {place}") for place, one in enumerate(items, start=1)]
        if not values:
            return []
        return (yield from self.store(Batch(values, 0), scope, dedupe=dedupe))

    def store(self, batch: Batch, scope: Scope | None, *, dedupe: bool) -> Steps[Sequence[Added]]:
        """Store a batch of texts in one transaction."""
        rest = json_body({"scope": self.within(scope), "dedupe": dedupe})
        body = b'{"memories":' + batch.body + b"," + rest[1:]
        try:
            answer = yield json_call("POST", _MEMORIES, body, repeatable=False, key=new_key())
        except InputError as error:
            error.field = batch.counted(error.field, "/memories")
            raise
        return [results.added_of(one) for one in answer.json()["results"]]

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
        now: Instant | None = None,
        mode: Mode | None = None,
    ) -> Steps[Found]:
        """Find the records that best answer a query; see :meth:`mlret.memory.memory.Memory.search`."""
        wanted = self._search(
            query, scope, k, language, where, kinds, levels, as_of, current_only, conflicts, abstain, now, mode
        )
        [found] = (yield post(f"{_MEMORIES}:search", wanted)).json()["results"]
        return results.found_of(found)

    def context(
        self,
        query: str,
        budget: int,
        scope: Scope | None = None,
        k: int = 20,
        *,
        language: str | None = None,
        where: Where | None = None,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        conflicts: bool = False,
        abstain: bool = False,
        now: Instant | None = None,
        mode: Mode | None = None,
    ) -> Steps[Packed]:
        """Search, and return as much of what is found as fits a budget of tokens, in order of time.

        In contrast to :meth:`mlret.memory.memory.Memory.context` it takes the query, and not what it found.
        """
        wanted = self._search(
            query, scope, k, language, where, kinds, levels, as_of, current_only, conflicts, abstain, now, mode
        )
        answer = yield post(f"{_MEMORIES}:context", {**wanted, "budget": budget})
        return results.packed_of(answer.json())

    def _search(
        self,
        query: str,
        scope: Scope | None,
        k: int,
        language: str | None,
        where: Where | None,
        kinds: Sequence[Kind],
        levels: Sequence[Level],
        as_of: Instant | None,
        current_only: bool,
        conflicts: bool,
        abstain: bool,
        now: Instant | None,
        mode: Mode | None,
    ) -> dict[str, Any]:
        wanted = {
            "query": query,
            "scope": self.within(scope),
            "k": k,
            "language": language,
            "where": where,
            "kinds": list(kinds),
            "levels": list(levels),
            "as_of": _plain(as_of),
            "current_only": current_only,
            "conflicts": conflicts,
            "abstain": abstain,
            "now": _plain(now),
            "mode": mode,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def get(self, id: str, scope: Scope | None = None, *, as_of: Instant | None = None) -> Steps[MemoryRecord | None]:
        """Return the current version of a record, or the one valid at an instant; ``None`` if there is none."""
        query = self._query(scope) + ((("as_of", str(_plain(as_of))),) if as_of is not None else ())
        try:
            answer = yield Call("GET", _record(id), query=query)
        except NotFound as error:
            if error.field != "id":
                raise  # The server has no memory.
            return None
        return results.record_of(answer.json())

    def page(
        self,
        scope: Scope | None = None,
        cursor: str | None = None,
        limit: int = _PAGE,
        *,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        state: str = "active",
    ) -> Steps[tuple[Sequence[MemoryRecord], str | None]]:
        """Return records in the order in which they were stored, and the cursor of the next page."""
        given = [
            *(("kinds", one) for one in kinds),
            *(("levels", one) for one in levels),
            *([("as_of", str(_plain(as_of)))] if as_of is not None else []),
            *([("cursor", cursor)] if cursor is not None else []),
            ("current_only", "true" if current_only else "false"),
            ("state", state),
            ("limit", str(limit)),
        ]
        answer = (yield Call("GET", _MEMORIES, query=(*self._query(scope), *given))).json()
        return [results.record_of(one) for one in answer["memories"]], answer["next"]

    def list(
        self,
        scope: Scope | None = None,
        *,
        kinds: Sequence[Kind] = (),
        levels: Sequence[Level] = (),
        as_of: Instant | None = None,
        current_only: bool = True,
        state: str = "active",
        limit: int | None = None,
        after: str | None = None,
    ) -> Steps[Records]:
        """Return records in the order in which they were stored; see :meth:`mlret.memory.memory.Memory.list`."""
        found = Records()
        cursor = after
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            records, cursor = yield from self.page(
                scope, cursor, size, kinds=kinds, levels=levels, as_of=as_of, current_only=current_only, state=state
            )
            found += records
            if cursor is None:
                break
        found.next = cursor
        return found

    def profile(self, scope: Scope | None = None, *, as_of: Instant | None = None, most: int = MOST) -> Steps[Profile]:
        """Return what is known of a scope, by topics and time; see :meth:`mlret.memory.memory.Memory.profile`."""
        given = [("most", str(most)), *([("as_of", str(_plain(as_of)))] if as_of is not None else [])]
        answer = yield Call("GET", f"{_MEMORIES}:profile", query=(*self._query(scope), *given))
        return results.profile_of(answer.json())

    def changes(self, scope: Scope | None = None, after: str | None = None) -> Steps[Changes]:
        """Return what changed in a scope behind a cursor; the first of them, if there are many."""
        given = () if after is None else (("after", after),)
        answer = yield Call("GET", f"{_MEMORIES}:changes", query=(*self._query(scope), *given, ("limit", str(_PAGE))))
        return results.changes_of(answer.json())

    def history(self, id: str, scope: Scope | None = None) -> Steps[Sequence[HistoryEntry]]:
        """Return what happened to a record, in order."""
        answer = yield Call("GET", f"{_record(id)}/history", query=self._query(scope))
        return [results.event_of(one) for one in answer.json()["operations"]]

    def versions(self, id: str, scope: Scope | None = None) -> Steps[Sequence[MemoryRecord]]:
        """Return all versions of a record, oldest first."""
        answer = yield Call("GET", f"{_record(id)}/history", query=self._query(scope))
        return [results.record_of(one) for one in answer.json()["versions"]]

    def update(
        self, id: str, scope: Scope | None = None, text: str | None = None, **changes: Unpack[UpdateFields]
    ) -> Steps[Done]:
        """Store a new version of a record; see :meth:`mlret.memory.memory.Memory.update`."""
        given = {} if text is None else {"text": text}
        body = json_body({**_values(cast("Mapping[str, Any]", changes)), **given, "scope": self.within(scope)})
        answer = (yield json_call("PATCH", _record(id), body, repeatable=False)).json()
        return Done((answer["memory"]["id"],), answer["operation"])

    def link(self, id: str, type: str, target: str, scope: Scope | None = None) -> Steps[Done]:
        """Link a record to another."""
        return (yield from self._done("link", scope, id=id, type=type, target=target))

    def unlink(self, id: str, type: str, target: str, scope: Scope | None = None) -> Steps[Done]:
        """Remove a link."""
        return (yield from self._done("link", scope, id=id, type=type, target=target, on=False))

    def merge(self, survivor: str, others: Sequence[str], scope: Scope | None = None) -> Steps[Done]:
        """Merge records into one; see :meth:`mlret.memory.memory.Memory.merge`."""
        return (yield from self._done("merge", scope, survivor=survivor, others=_ids(others)))

    def delete(self, ids: str | Iterable[str], scope: Scope | None = None, *, cascade: bool = True) -> Steps[Done]:
        """Delete records, which :meth:`restore` brings back."""
        return (yield from self._done("delete", scope, ids=_ids(ids), cascade=cascade))

    def restore(self, ids: str | Iterable[str], scope: Scope | None = None) -> Steps[Done]:
        """Make records active again."""
        return (yield from self._done("restore", scope, ids=_ids(ids)))

    def undo(self, operation: int, scope: Scope | None = None) -> Steps[Done]:
        """Undo any operation but an erasure."""
        return (yield from self._done("undo", scope, operation=operation))

    def feedback(self, query: str, used_ids: Sequence[str], scope: Scope | None = None) -> Steps[Done]:
        """Note which records were useful for a query."""
        return (yield from self._done("feedback", scope, query=query, ids=_ids(used_ids)))

    def forget(self, policy: Policy, scope: Scope | None = None, *, dry_run: bool = True) -> Steps[Forgotten]:
        """Archive the records that meet a policy, or say which these are."""
        wanted = {**asdict(policy), "scope": self.within(scope), "dry_run": dry_run}
        answer = yield post(f"{_MEMORIES}:forget", wanted, repeatable=dry_run)
        return results.forgotten_of(answer.json())

    def erase(
        self, ids: str | Iterable[str], scope: Scope | None = None, *, cascade: bool = True
    ) -> Steps[ErasureProof]:
        """Erase records so that no byte of them is left on the server's disk, and return the proof."""
        wanted = {"ids": _ids(ids), "scope": self.within(scope), "cascade": cascade}
        answer = yield post(f"{_MEMORIES}:erase", wanted, repeatable=False)
        return results.proof_of(answer.json())

    def _done(self, verb: str, scope: Scope | None, **values: Any) -> Steps[Done]:
        wanted = {**values, "scope": self.within(scope)}
        return results.done_of((yield post(f"{_MEMORIES}:{verb}", wanted, repeatable=False)).json())

    def _query(self, scope: Scope | None) -> tuple[tuple[str, str], ...]:
        return tuple(self.within(scope).items())


class TextsAdding:
    """Adds texts of any number to a memory, in requests of which each is one transaction.

    Parameters
    ----------
    verbs, scope
        The memory, and the scope that the texts belong to.
    batch_size
        The most texts of a request.
    dedupe
        Whether to look for records that say the same already.
    """

    def __init__(self, verbs: MemoryVerbs, scope: Scope | None, batch_size: int, *, dedupe: bool) -> None:
        self._verbs, self._scope, self._dedupe = verbs, scope, dedupe
        self._batcher = Batcher(batch_size, "text")

    def take(self, item: Item) -> list[Steps[Sequence[Added]]]:
        """Take a text, and return what is to be carried out now."""
        return [self._send(batch) for batch in self._batcher.take(_item(item))]

    def rest(self) -> list[Steps[Sequence[Added]]]:
        """Return what remains to be carried out."""
        return [self._send(batch) for batch in self._batcher.rest()]

    def _send(self, batch: Batch) -> Steps[Sequence[Added]]:
        try:
            return (yield from self._verbs.store(batch, self._scope, dedupe=self._dedupe))
        except BodyTooLargeError:
            if len(batch) == 1:
                raise
        first, second = batch.halves()
        added = yield from self._send(first)
        return [*added, *(yield from self._send(second))]


def _record(id: str) -> str:
    if not isinstance(id, str) or not id:
        raise InputError(f"the id {id!r} cannot name a record; give a string that is not empty")
    return f"{_MEMORIES}/{quote(id, safe='')}"


def _ids(ids: str | Iterable[str]) -> Sequence[str]:
    return [ids] if isinstance(ids, str) else [*ids]


def _item(item: Item) -> dict[str, Any]:
    if isinstance(item, str):
        return {"text": item}
    if not isinstance(item, Mapping):
        raise InputError(f"give a text, or a dict with the key 'text', not {type(item).__name__}")
    return {name: value for name, value in _values(item).items() if value is not None}


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    """Return a field of a record as a JSON value: instants as texts, a source or a link as its fields."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Link):
        return [value.type, value.target]
    if is_dataclass(value) and not isinstance(value, type):
        return {name: one for name, one in asdict(value).items() if one is not None}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
