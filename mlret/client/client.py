"""A client of a server, with blocking calls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from mlret.client.calls import Call, Outcome, Steps, Wait, attempts
from mlret.client.index_verbs import DocumentsAdding, IndexVerbs, Numbers
from mlret.client.memory_verbs import Item, MemoryVerbs, TextsAdding
from mlret.client.server_verbs import ServerVerbs
from mlret.client.transport import Target, answer_of, blocking, httpx2, lost
from mlret.data.columns import Columns, checked_columns
from mlret.data.documents import Document
from mlret.data.given import Given, check_several, incoming_of
from mlret.index.hits import Updated
from mlret.index.ingest import Existing
from mlret.memory.ingest.messages import ExtractFacts, Message
from mlret.memory.records import AddFields
from mlret.memory.results import Added, AddedMessages
from mlret.memory.scope import Scope
from mlret.memory.watching import POLL, MemoryEvent, check_seconds, pause

T = TypeVar("T")


class Client:
    """A connection to a server that ``mlret serve`` runs. Several threads may use it at once.

    Parameters
    ----------
    address
        ``http://HOST:PORT``.
    token
        The token; by default the value of the environment variable ``MLRET_TOKEN``.
    timeout
        Seconds that the server may take for an answer.
    retries
        How often a request is repeated if the server is busy or the connection is lost. A request that changes
        something is repeated only if it was not done, or if the server recognises it by its ``Idempotency-Key``.

    Raises
    ------
    InputError
        If the address or another value cannot be used. Nothing is sent yet.
    MissingExtraError
        If httpx2 is not installed.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8752", token) as client:  # doctest: +SKIP
    ...     client.index("news").search("the train is late", k=3)
    """

    def __init__(self, address: str, token: str | None = None, *, timeout: float = 150.0, retries: int = 5) -> None:
        self._target = Target(address, token, timeout, retries)
        self._http = httpx2.Client(**self._target.options)
        self._client, self._verbs = self, ServerVerbs(self._target.address)

    @property
    def address(self) -> str:
        """Address of the server."""
        return self._target.address

    indexes = blocking(ServerVerbs.indexes)

    def index(self, name: str) -> ClientIndex:
        """Return an index of the server. Nothing is sent yet.

        Parameters
        ----------
        name
            Its name on the server.

        Returns
        -------
        ClientIndex
            The index; whether it exists shows when it is used.
        """
        return ClientIndex(self, IndexVerbs(name, self.address))

    def memory(self, scope: Scope | None = None) -> ClientMemory:
        """Return the memory of the server. Nothing is sent yet.

        Parameters
        ----------
        scope
            The scope of all its verbs, each of which may name more of it. What the token is bound to need not be named.

        Returns
        -------
        ClientMemory
            The memory.
        """
        return ClientMemory(self, MemoryVerbs(scope or {}))

    def run(self, steps: Steps[T]) -> T:
        """Carry out a verb, and return its result."""
        running = attempts(steps, self.address, self._target.retries)
        outcome: Outcome | None = None
        try:
            while True:
                wanted = running.send(outcome)
                if isinstance(wanted, Wait):
                    outcome = None
                    time.sleep(wanted.seconds)
                else:
                    outcome = self._sent(wanted)
        except StopIteration as end:
            result: T = end.value
            return result

    def _sent(self, call: Call) -> Outcome:
        try:
            return answer_of(self._http.request(**self._target.request(call)))
        except httpx2.TransportError as error:
            return lost(error)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handle:
    """What an index and a memory of a server have in common."""

    _client: Client

    def refresh(self) -> None:
        """Do nothing: every request sees the present state. The library's classes have this method, too."""

    def close(self) -> None:
        """Do nothing: the client holds the connections. The library's classes have this method, too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class ClientIndex(_Handle):
    """An index of a server, with the verbs of :class:`mlret.index.index.Index`; :meth:`Client.index` returns it."""

    def __init__(self, client: Client, verbs: IndexVerbs) -> None:
        self._client, self._verbs = client, verbs

    @property
    def name(self) -> str:
        """Name of the index on the server."""
        return self._verbs.name

    search = blocking(IndexVerbs.search)
    search_batch = blocking(IndexVerbs.search_batch)
    search_vectors = blocking(IndexVerbs.search_vectors)
    get = blocking(IndexVerbs.get)
    change = blocking(IndexVerbs.change)
    page = blocking(IndexVerbs.page)
    delete = blocking(IndexVerbs.delete)
    info = blocking(IndexVerbs.info)
    compact = blocking(IndexVerbs.compact)
    create = blocking(IndexVerbs.create)
    drop = blocking(IndexVerbs.drop)
    count = blocking(IndexVerbs.count)

    def add(
        self,
        documents: Given,
        *,
        vectors: Numbers | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
        skip_existing: bool = False,
    ) -> int:
        """Store documents, and return how many were added; see :meth:`mlret.index.index.Index.add`.

        Parameters
        ----------
        documents
            Documents of any number, which are read as they are sent.
        vectors
            The vector of each document; by default the server encodes the texts.
        columns
            Columns, or keys of dicts, that are read under another name.
        batch_size
            How many documents are sent in one request, which is one transaction.
        skip_existing
            Whether to skip documents whose id is stored already.

        Returns
        -------
        int
            How many documents were added. All of them survive a crash of the server.

        Raises
        ------
        AlreadyExists
            If an id is stored already. The message says how many documents are stored.
        """
        existing: Existing = "skip" if skip_existing else "error"
        batches = self.add_batches(
            documents, vectors=vectors, columns=columns, batch_size=batch_size, existing=existing
        )
        return sum((done for done in batches), Updated()).added

    def update(
        self,
        documents: Given,
        *,
        vectors: Numbers | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
    ) -> Updated:
        """Store documents, each instead of the one with the same id; see :meth:`mlret.index.index.Index.update`."""
        batches = self.add_batches(
            documents, vectors=vectors, columns=columns, batch_size=batch_size, existing="replace"
        )
        return sum(batches, Updated())

    def add_batches(
        self,
        documents: Given,
        *,
        vectors: Numbers | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
        existing: Existing = "error",
    ) -> Iterator[Updated]:
        """Store documents batch by batch, and yield after each what became of it.

        The parameters are those of :meth:`mlret.index.index.Index.add_batches`.
        """
        check_several(documents, "documents")
        adding = DocumentsAdding(self._verbs, existing, vectors, batch_size)
        for document in incoming_of(documents, checked_columns(columns)):
            yield from map(self._client.run, adding.take(document))
        yield from map(self._client.run, adding.rest())

    def documents(self) -> Iterator[Document]:
        """Yield all documents, in the order in which they were stored."""
        documents, cursor = self.page()
        yield from documents
        while cursor is not None:
            documents, cursor = self.page(cursor)
            yield from documents

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(id) and self.get(id) is not None


class ClientMemory(_Handle):
    """The memory of a server, with the verbs of :class:`mlret.memory.memory.Memory`.

    :meth:`Client.memory` returns it. A scope that a verb names is added to that of the memory.
    """

    def __init__(self, client: Client, verbs: MemoryVerbs) -> None:
        self._client, self._verbs = client, verbs

    @overload
    def add(
        self,
        text: str,
        scope: Scope | None = None,
        *,
        language: str | None = None,
        dedupe: bool = True,
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
        **about: Unpack[AddFields],
    ) -> AddedMessages: ...

    def add(self, text: str | None = None, scope: Scope | None = None, **about: Any) -> Added | AddedMessages:
        """Store a text, or the messages of a conversation; see :meth:`mlret.memory.memory.Memory.add`.

        ``extract`` is called here, and not on the server.
        """
        return self._client.run(self._verbs.add(text, scope, **about))

    add_batch = blocking(MemoryVerbs.add_batch)
    search = blocking(MemoryVerbs.search)
    context = blocking(MemoryVerbs.context)
    get = blocking(MemoryVerbs.get)
    page = blocking(MemoryVerbs.page)
    list = blocking(MemoryVerbs.list)
    profile = blocking(MemoryVerbs.profile)
    history = blocking(MemoryVerbs.history)
    versions = blocking(MemoryVerbs.versions)
    update = blocking(MemoryVerbs.update)
    link = blocking(MemoryVerbs.link)
    unlink = blocking(MemoryVerbs.unlink)
    merge = blocking(MemoryVerbs.merge)
    delete = blocking(MemoryVerbs.delete)
    restore = blocking(MemoryVerbs.restore)
    undo = blocking(MemoryVerbs.undo)
    feedback = blocking(MemoryVerbs.feedback)
    forget = blocking(MemoryVerbs.forget)
    erase = blocking(MemoryVerbs.erase)

    def watch(
        self,
        scope: Scope | None = None,
        *,
        after: str | None = None,
        timeout: float | None = None,
        poll: float = POLL,
    ) -> Iterator[MemoryEvent]:
        """Yield what changes in a scope, as :meth:`mlret.memory.memory.Memory.watch` does, except erasures.

        The server keeps nothing about who watches, and names no record that was erased.
        """
        check_seconds(timeout, poll)
        last = time.monotonic()
        while True:
            found = self._client.run(self._verbs.changes(scope, after))
            yield from found.events
            after = found.next
            if found.events:
                last = time.monotonic()
            elif timeout is not None and time.monotonic() - last >= timeout:
                return
            else:
                time.sleep(pause(timeout, poll))

    def add_stream(
        self, items: Iterable[Item], scope: Scope | None = None, *, batch_size: int = 64, dedupe: bool = True
    ) -> Iterator[Added]:
        """Store texts of any number, one transaction per batch; every result that was yielded survives a crash.

        The parameters are those of :meth:`mlret.memory.memory.Memory.add_stream`.
        """
        check_several(items, "texts")
        adding = TextsAdding(self._verbs, scope, batch_size, dedupe=dedupe)
        for item in items:
            for steps in adding.take(item):
                yield from self._client.run(steps)
        for steps in adding.rest():
            yield from self._client.run(steps)
