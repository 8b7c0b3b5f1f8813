"""mem0's ``Memory`` on a memory of mlret."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.filtering.field_table import has_field
from mlret.integrations.mem0_answers import created_at, history_of, item_of
from mlret.integrations.mem0_requests import (
    CREATED,
    EXPIRY,
    Extract,
    Operation,
    RequestError,
    Settings,
    owned_scope,
    read_config,
    read_expiry,
    read_filters,
    read_messages,
    read_metadata,
    read_operations,
    read_scope,
    stored_metadata,
    verbatim,
)
from mlret.memory.memory import Memory as Store
from mlret.memory.records import MemoryRecord
from mlret.memory.results import MemoryHit
from mlret.memory.scope import scope_at

_log = logging.getLogger("mlret.integrations.mem0")
_PROCEDURAL = "procedural_memory"
_VERBATIM = "The messages were stored as they are, because no extract= was given."
NO_CHAT = "there is no chat, as in the open version of mem0; search the memory, and give what is found to a model"
_UNSET: Any = object()


class Addition:
    """What one call of ``add`` asks for, checked before anything is extracted or stored.

    Parameters
    ----------
    messages, owners, metadata, expiration_date, infer, memory_type, timestamp
        The arguments of the call.
    """

    def __init__(
        self,
        messages: Any,
        owners: Mapping[str, object],
        metadata: Mapping[str, Any] | None,
        expiration_date: object,
        *,
        infer: bool,
        memory_type: str | None,
        timestamp: object,
    ) -> None:
        if timestamp is not None:
            raise RequestError("timestamp is not supported; put the time into the metadata as 'created_at'")
        if memory_type not in (None, _PROCEDURAL):
            raise RequestError(f"Invalid 'memory_type'. Please pass {_PROCEDURAL} to create procedural memories.")
        self.scope = owned_scope(owners)
        self.metadata = read_metadata(metadata, "add()")
        if (expiry := read_expiry(expiration_date)) is not None:
            self.metadata[EXPIRY] = expiry
        if memory_type is not None:
            self.metadata["memory_type"] = memory_type
        self.messages = read_messages(messages)
        self.infer = infer


class Memory:
    """A memory with mem0's interface, in one folder on disk.

    Every memory belongs to a user, an agent or a run, or several of them, and every call that adds, searches or lists
    names them. What names a memory by its id alone finds it whoever it belongs to, as in mem0, unless the call also
    names the owner.

    Parameters
    ----------
    config
        A configuration as for mem0. Of it mlret uses the path and the name of the collection of ``vector_store``, and
        ``embedder`` if its provider is ``"mlret"``: ``{"provider": "mlret", "config": {"model": FOLDER_OR_HUB_ID}}``.
        What it does not use is logged.
    path
        The folder. By default that of the configuration, else ``$MEM0_DIR/mlret``, else ``~/.mlret/mem0``.
    encoder
        The encoder, its folder or its hub id; by default the one that the folder was created with, or the bundled one.
    extract
        Called with the messages of :meth:`add`, a list of dicts with ``role`` and ``content``, if ``infer`` is true.
        Returns what to remember: texts, or dicts with ``event`` (``ADD``, ``UPDATE``, ``DELETE``, ``NONE``), ``text``,
        ``id`` of the memory that is changed or deleted, and ``metadata``. Without it, messages are stored as they are.

    Raises
    ------
    InputError
        If a value cannot be used, or the folder holds something else.

    Examples
    --------
    >>> from mlret.integrations.mem0 import Memory
    >>> m = Memory(path="mem0.memory")
    >>> added = m.add("Je suis allergique aux arachides.", user_id="anna", infer=False)
    >>> added["results"][0]["event"]
    'ADD'
    >>> m.search("Which foods must she avoid?", filters={"user_id": "anna"})["results"][0]["memory"]
    'Je suis allergique aux arachides.'
    """

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | Path | None = None,
        encoder: AnyEncoder | str | Path | None = None,
        extract: Extract | None = None,
    ) -> None:
        self._settings = read_config(config, path, encoder)
        self._extract = extract
        self._open()

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Any], *, extract: Extract | None = None) -> Self:
        """Open a memory from a configuration as for mem0.

        Parameters
        ----------
        config_dict, extract
            As for the class.

        Returns
        -------
        Memory
            The open memory.

        Examples
        --------
        >>> config = {"vector_store": {"provider": "qdrant", "config": {"path": "data", "collection_name": "notes"}}}
        >>> Memory.from_config(config).store.path.as_posix()
        'data/notes'
        """
        return cls(config_dict, extract=extract)

    def _open(self) -> None:
        self._settings.path.parent.mkdir(parents=True, exist_ok=True)
        self._store = Store.open(self._settings.path, self._settings.encoder)

    def __getstate__(self) -> dict[str, Any]:
        # The encoder is loaded by name where the memory is opened again.
        return {**vars(self), "_settings": Settings(self._settings.path.absolute(), None)}

    @property
    def store(self) -> Store:
        """The memory of mlret that holds the memories, for what mem0's interface lacks: undoing, erasing, exporting.

        Examples
        --------
        >>> m.store.list({"user": "anna"})[0].language
        'fr'
        """
        return self._store

    def __len__(self) -> int:
        return len(self._store)

    def add(
        self,
        messages: str | Mapping[str, Any] | list[Any],
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: Any = None,
        expiration_date: Any = None,
        infer: bool = True,
        memory_type: str | None = None,
        prompt: str | None = None,
    ) -> dict[str, Any]:
        """Store messages, or what is extracted from them. When the call returns, the memories survive a crash.

        Parameters
        ----------
        messages
            A text, a message with ``role`` and ``content``, or a list of messages. Messages of the system and those
            without a text are skipped.
        user_id, agent_id, run_id
            Owner of the memories; at least one.
        metadata
            JSON values that are stored with each memory. ``created_at`` sets the time of creation.
        timestamp
            Not supported, as in the open version of mem0.
        expiration_date
            The last day, in UTC, on which the memories are found: a date or ``YYYY-MM-DD``.
        infer
            Whether to store what ``extract`` makes of the messages. Without ``extract``, the messages are stored as
            they are, except those that say the same as a memory of exactly this owner; the result says so under
            ``message``. With ``infer=False`` every message is stored.
        memory_type
            ``"procedural_memory"`` or ``None``; stored with the metadata.
        prompt
            Not used; mlret calls no language model.

        Returns
        -------
        dict
            ``results``: for each memory its ``id``, ``memory`` and ``event``; ``NONE`` if the text was known already,
            with the id of the memory that says it.

        Raises
        ------
        RequestError
            If a value cannot be used; nothing is stored then.

        Examples
        --------
        >>> chat = [{"role": "user", "content": "I moved to Oslo."}, {"role": "assistant", "content": "How is it?"}]
        >>> added = m.add(chat, user_id="anna", run_id="monday")
        >>> [(one["memory"], one["event"], one["role"]) for one in added["results"]]
        [('I moved to Oslo.', 'ADD', 'user'), ('How is it?', 'ADD', 'assistant')]
        """
        owners = {"user_id": user_id, "agent_id": agent_id, "run_id": run_id}
        asked = Addition(
            messages,
            owners,
            metadata,
            expiration_date,
            infer=infer,
            memory_type=memory_type,
            timestamp=timestamp,
        )
        if infer and self._extract is not None and asked.messages:
            return self.carry_out(asked, read_operations(self._extract(asked.messages)))
        return self.carry_out(asked, None)

    def carry_out(self, asked: Addition, extracted: list[Operation] | None) -> dict[str, Any]:
        """Store messages, or carry out what was extracted from them, after checking all of it.

        Parameters
        ----------
        asked
            A checked call of :meth:`add`.
        extracted
            What was extracted from the messages; ``None`` to store them as they are.

        Returns
        -------
        dict
            As for :meth:`add`.
        """
        operations = verbatim(asked.messages) if extracted is None else extracted
        for one in operations:
            if one.id is not None and one.event in ("UPDATE", "DELETE"):
                self._record(one.id, asked.scope)
        added = [one for one in operations if one.event == "ADD"]
        items = [
            {"text": one.text, "metadata": stored_metadata({**asked.metadata, **(one.metadata or {})})} for one in added
        ]
        outcomes = iter(self._store.add_batch(items, asked.scope, dedupe=asked.infer))
        results = []
        for one in operations:
            result: dict[str, Any] = {"id": one.id, "memory": one.text, "event": one.event}
            if one.event == "ADD":
                outcome = next(outcomes)
                result["id"] = outcome.id
                result["event"] = "NONE" if outcome.verdict == "duplicate" else "ADD"
            elif one.id is not None and one.event in ("UPDATE", "DELETE"):
                before = self._record(one.id, asked.scope)
                if one.event == "UPDATE":
                    result["previous_memory"] = before.text
                    self._change(before, one.text, dict(one.metadata or {}))
                else:
                    result["memory"] = before.text
                    self._store.delete(one.id, before.scope, cascade=False)
            if extracted is None:
                about = one.metadata or {}
                result |= {"actor_id": about.get("actor_id"), "role": about.get("role")}
            results.append(result)
        answer: dict[str, Any] = {"results": results}
        return {**answer, "message": _VERBATIM} if asked.infer and extracted is None else answer

    def search(
        self,
        query: str,
        *,
        top_k: int = 20,
        filters: Mapping[str, Any] | None = None,
        threshold: float | None = 0.1,
        rerank: bool = False,
        explain: bool = False,
        reference_date: Any = None,
        show_expired: bool = False,
        limit: int | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """Search the memories of an owner, in any language.

        Parameters
        ----------
        query
            A text.
        top_k
            Maximum number of results.
        filters
            The owner, and conditions on metadata: ``{"user_id": "u1", "year": {"gte": 2020}}``, with ``eq``, ``ne``,
            ``in``, ``nin``, ``gt``, ``gte``, ``lt``, ``lte``, ``contains``, ``"*"`` for any value, and ``AND``, ``OR``
            and ``NOT`` with lists of conditions.
        threshold
            Minimum cosine of the query and a memory, from 0 to 1.
        rerank
            Not used; the result is ranked by meaning and by shared words.
        explain
            Whether to return the terms of each score as ``score_details``.
        reference_date
            Not supported, as in the open version of mem0.
        show_expired
            Whether to return memories whose ``expiration_date`` has passed.
        limit
            Another name of ``top_k``, as in mem0 before version 2.
        user_id, agent_id, run_id
            The owner outside the filters, as in mem0 before version 2.

        Returns
        -------
        dict
            ``results``, best first: ``id``, ``memory``, ``score`` from 0 to 1, ``metadata``, ``created_at``,
            ``updated_at``, ``hash`` and the owner.

        Raises
        ------
        RequestError
            If no owner is named, or a value cannot be used.

        Examples
        --------
        >>> found = m.search("Which city did she move to?", user_id="anna", limit=1)["results"]
        >>> [(one["memory"], one["user_id"], 0 < one["score"] <= 1) for one in found]
        [('I moved to Oslo.', 'anna', True)]
        """
        if reference_date is not None:
            raise RequestError("reference_date is not supported")
        if not isinstance(query, str) or not query.strip():
            raise RequestError("Invalid query: cannot be empty or whitespace-only.")
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
            raise RequestError("threshold must be a valid number")
        if threshold is not None and not 0 <= threshold <= 1:
            raise RequestError(f"Invalid threshold: {threshold}. Must be between 0 and 1 (inclusive).")
        wanted = _number(top_k, limit)
        scope, where = read_filters(filters, {"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        if not wanted:
            return {"results": []}
        hits = self._hits(query.strip(), scope, self._unexpired(scope, where, show_expired), wanted, threshold or 0.0)
        return {"results": [_result(hit, threshold, explain=explain) for hit in hits]}

    def _hits(
        self, query: str, scope: dict[str, str], where: dict[str, Any], wanted: int, threshold: float
    ) -> list[MemoryHit]:
        k = wanted
        while True:
            found = self._store.search(query, scope, k, where=where or None)
            near = [hit for hit in found if hit.cosine is None or hit.cosine >= threshold]
            if len(near) >= wanted or len(found) < k:
                return near[:wanted]
            k *= 4

    def _unexpired(self, scope: dict[str, str], where: dict[str, Any], show_expired: bool) -> dict[str, Any]:
        """Return a filter that also excludes what has expired, if anything in the scope can expire."""
        if show_expired or not self._has_expiry(scope):
            return where
        today = datetime.now(UTC).date().isoformat()
        valid = {"$not": {EXPIRY: {"$lt": today}}}
        return {"$and": [where, valid]} if where else valid

    def _has_expiry(self, scope: dict[str, str]) -> bool:
        folder = self._store.folder
        with folder.records.reporting():
            connection = folder.records.connection
            if not has_field(connection, EXPIRY, "string"):
                return False
            columns = folder.columns("")
            return has_field(connection, EXPIRY, "string", columns.row[columns.in_scope(scope)])

    def get_all(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        top_k: int = 20,
        show_expired: bool = False,
        limit: int | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """List the memories of an owner, in the order in which they were stored.

        Parameters
        ----------
        filters, top_k, show_expired, limit, user_id, agent_id, run_id
            As for :meth:`search`.

        Returns
        -------
        dict
            ``results``, as :meth:`search` returns them, without scores.

        Raises
        ------
        RequestError
            If no owner is named, or a value cannot be used.

        Examples
        --------
        >>> [one["memory"] for one in m.get_all(filters={"user_id": "anna", "run_id": "monday"})["results"]]
        ['I moved to Oslo.', 'How is it?']
        """
        wanted = _number(top_k, limit)
        scope, where = read_filters(filters, {"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        records = self._store.list(scope, where=self._unexpired(scope, where, show_expired) or None, limit=wanted)
        return {"results": [item_of(record) for record in records]}

    def get(
        self,
        memory_id: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, Any] | None:
        """Return a memory.

        Parameters
        ----------
        memory_id
            Its id.
        user_id, agent_id, run_id
            The owner that it must belong to; by default it may belong to anybody.

        Returns
        -------
        dict or None
            As in the results of :meth:`search`; ``None`` if there is no such memory.

        Examples
        --------
        >>> id = m.get_all(filters={"user_id": "anna"})["results"][0]["id"]
        >>> m.get(id)["memory"], m.get(id, user_id="bob")
        ('Je suis allergique aux arachides.', None)
        """
        record = self._found(memory_id, read_scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id}))
        return None if record is None else item_of(record, score=None)

    def update(
        self,
        memory_id: str,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expiration_date: Any = _UNSET,
        data: str | None = None,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, str]:
        """Change a memory. What it said before stays in its history.

        Parameters
        ----------
        memory_id
            Its id.
        text
            The new text.
        metadata
            Values that are added to the metadata, or replace those of the same names.
        expiration_date
            The last day on which it is found, or ``None`` for ever.
        data
            Another name of ``text``, as in mem0 before version 2.
        user_id, agent_id, run_id
            As for :meth:`get`.

        Returns
        -------
        dict
            A ``message``.

        Raises
        ------
        RequestError
            If there is no such memory, or nothing to change.

        Examples
        --------
        >>> m.update(id, text="Je suis allergique aux noix.")
        {'message': 'Memory updated successfully!'}
        """
        text = data if text is None else text
        if text is None and metadata is None and expiration_date is _UNSET:
            raise RequestError("At least one of text, metadata, or expiration_date must be provided.")
        changed = read_metadata(metadata, "update()")
        if expiration_date is not _UNSET:
            changed[EXPIRY] = read_expiry(expiration_date)
        self._change(
            self._record(memory_id, read_scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id})),
            text,
            changed,
        )
        return {"message": "Memory updated successfully!"}

    def _change(self, record: MemoryRecord, text: str | None, changed: Mapping[str, Any]) -> None:
        metadata = {**record.metadata, CREATED: created_at(record), **stored_metadata(changed)}
        if metadata.get(EXPIRY, "") is None:
            del metadata[EXPIRY]
        self._store.update(record.id, record.scope, text, metadata=metadata)

    def delete(
        self,
        memory_id: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, str]:
        """Delete a memory: it is no longer found, and stays in its history. ``store.erase`` leaves nothing on disk.

        Parameters
        ----------
        memory_id
            Its id.
        user_id, agent_id, run_id
            As for :meth:`get`.

        Returns
        -------
        dict
            A ``message``.

        Raises
        ------
        RequestError
            If there is no such memory.

        Examples
        --------
        >>> m.delete(id)
        {'message': 'Memory deleted successfully!'}
        """
        record = self._record(memory_id, read_scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id}))
        self._store.delete(memory_id, record.scope, cascade=False)
        return {"message": "Memory deleted successfully!"}

    def delete_all(
        self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None
    ) -> dict[str, str]:
        """Delete all memories of an owner, in one transaction; see :meth:`delete`.

        Parameters
        ----------
        user_id, agent_id, run_id
            The owner; at least one.

        Returns
        -------
        dict
            A ``message``.

        Raises
        ------
        RequestError
            If no owner is named.

        Examples
        --------
        >>> m.delete_all(user_id="anna", run_id="monday")
        {'message': 'Memories deleted successfully!'}
        """
        scope = read_scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        if not scope:
            raise RequestError(
                "At least one filter is required to delete all memories. "
                "If you want to delete all memories, use the `reset()` method."
            )
        if ids := [record.id for record in self._store.list(scope)]:
            self._store.delete(ids, scope, cascade=False)
        return {"message": "Memories deleted successfully!"}

    def history(
        self,
        memory_id: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return what happened to a memory, in order; it may have been deleted.

        Parameters
        ----------
        memory_id
            Its id.
        user_id, agent_id, run_id
            As for :meth:`get`.

        Returns
        -------
        list of dict
            ``event`` (``ADD``, ``UPDATE``, ``DELETE``), ``old_memory``, ``new_memory`` and times; empty if there is no
            such memory.

        Examples
        --------
        >>> [(one["event"], one["new_memory"]) for one in m.history(id)]
        [('ADD', 'Je suis allergique aux arachides.'), ('UPDATE', 'Je suis allergique aux noix.'), ('DELETE', None)]
        """
        scope = self._scope_of(memory_id, read_scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id}))
        return [] if scope is None else history_of(self._store, memory_id, scope)

    def reset(self) -> None:
        """Delete the folder with all memories of all owners, and create an empty one. This cannot be undone.

        Examples
        --------
        >>> m.reset()
        >>> len(m)
        0
        """
        _log.warning("deleting all memories in %s", self._settings.path)
        encoder, folder = self._store.encoder, self._settings.path
        self._store.close()
        removed = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        self._settings = Settings(folder, encoder)
        self._open()
        shutil.rmtree(removed)

    def chat(self, query: str) -> NoReturn:
        """Raise an error, as in mem0.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(NO_CHAT)

    def refresh(self) -> None:
        """Load what other processes have stored.

        Examples
        --------
        >>> m.refresh()
        """
        self._store.refresh()

    def close(self) -> None:
        """Close the memory. Nothing is lost if this is not called.

        Examples
        --------
        >>> m.close()
        """
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _scope_of(self, id: str, scope: Mapping[str, str]) -> dict[str, str] | None:
        """Return the scope that holds a record, if it agrees with a scope; ``None`` if there is no such record."""
        folder = self._store.folder
        with folder.lock:
            columns = folder.columns("")
            if not isinstance(id, str) or id not in columns.keys:
                return None
            held = scope_at(columns.scopes.by_number[int(columns.scope[columns.statuses.position(id)])])
        return held if scope.items() <= held.items() else None

    def _found(self, id: str, scope: Mapping[str, str]) -> MemoryRecord | None:
        held = self._scope_of(id, scope)
        return None if held is None else self._store.get(id, held)

    def _record(self, id: str, scope: Mapping[str, str]) -> MemoryRecord:
        record = self._found(id, scope)
        if record is None:
            raise RequestError(f"Memory with id {id} not found. Please provide a valid 'memory_id'")
        return record


def _number(top_k: object, limit: object) -> int:
    wanted = top_k if limit is None else limit
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        raise RequestError("top_k must be a valid integer")
    if wanted < 0:
        raise RequestError(f"Invalid top_k: {wanted}. Must be a non-negative integer.")
    return wanted


def _result(hit: MemoryHit, threshold: float | None, *, explain: bool) -> dict[str, Any]:
    result = item_of(hit.record, score=hit.score)
    if explain:
        terms = {"semantic_score": hit.cosine, **hit.scores, "final_score": hit.score, "threshold": threshold}
        result["score_details"] = {**terms, "why": list(hit.why)}
    return result
