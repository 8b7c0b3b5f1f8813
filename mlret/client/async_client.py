"""A client of a server, for programs with an event loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import anyio

from mlret.client.calls import Call, Outcome, Steps, Wait, attempts
from mlret.client.index_verbs import DocumentsAdding, IndexVerbs, Numbers
from mlret.client.memory_verbs import Item, MemoryVerbs, TextsAdding
from mlret.client.server_verbs import ServerVerbs
from mlret.client.transport import Target, answer_of, awaited, httpx2, lost
from mlret.data.columns import Columns, checked_columns, renamed
from mlret.data.documents import Document
from mlret.data.given import Given, Incoming, check_several, incoming_of
from mlret.index.hits import Updated
from mlret.index.ingest import Existing
from mlret.memory.ingest.messages import ExtractFacts, Message
from mlret.memory.records import AddFields
from mlret.memory.results import Added, AddedMessages
from mlret.memory.scope import Scope
from mlret.memory.watching import POLL, MemoryEvent, check_seconds, pause

T = TypeVar("T")


class AsyncClient:
    """A connection to a server that ``mlret serve`` runs; several tasks of an event loop may use it at once.

    Its methods are those of :class:`mlret.client.client.Client` as coroutines.

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
    >>> async with AsyncClient("http://127.0.0.1:8752", token) as client:  # doctest: +SKIP
    ...     await client.index("news").search("the train is late", k=3)
    """

    def __init__(self, address: str, token: str | None = None, *, timeout: float = 150.0, retries: int = 5) -> None:
        self._target = Target(address, token, timeout, retries)
        self._http = httpx2.AsyncClient(**self._target.options)
        self._client, self._verbs = self, ServerVerbs(self._target.address)

    @property
    def address(self) -> str:
        """Address of the server."""
        return self._target.address

    indexes = awaited(ServerVerbs.indexes)

    def index(self, name: str) -> AsyncClientIndex:
        """Return an index of the server. Nothing is sent yet.

        Parameters
        ----------
        name
            Its name on the server.

        Returns
        -------
        AsyncClientIndex
            The index; whether it exists shows when it is used.
        """
        return AsyncClientIndex(self, IndexVerbs(name, self.address))

    def memory(self, scope: Scope | None = None) -> AsyncClientMemory:
        """Return the memory of the server. Nothing is sent yet.

        Parameters
        ----------
        scope
            The scope of all its verbs, each of which may name more of it. What the token is bound to need not be named.

        Returns
        -------
        AsyncClientMemory
            The memory.
        """
        return AsyncClientMemory(self, MemoryVerbs(scope or {}))

    async def run(self, steps: Steps[T]) -> T:
        """Carry out a verb, and return its result."""
        running = attempts(steps, self.address, self._target.retries)
        outcome: Outcome | None = None
        try:
            while True:
                wanted = running.send(outcome)
                if isinstance(wanted, Wait):
                    outcome = None
                    await anyio.sleep(wanted.seconds)
                else:
                    outcome = await self._sent(wanted)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _sent(self, call: Call) -> Outcome:
        try:
            return answer_of(await self._http.request(**self._target.request(call)))
        except httpx2.TransportError as error:
            return lost(error)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Handle:
    """What an index and a memory of a server have in common."""

    _client: AsyncClient

    async def refresh(self) -> None:
        """Do nothing: every request sees the present state. The library's classes have this method, too."""

    async def close(self) -> None:
        """Do nothing: the client holds the connections. The library's classes have this method, too."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class AsyncClientIndex(_Handle):
    """An index of a server, with the verbs of :class:`mlret.index.index.Index` as coroutines.

    :meth:`AsyncClient.index` returns it.
    """

    def __init__(self, client: AsyncClient, verbs: IndexVerbs) -> None:
        self._client, self._verbs = client, verbs

    @property
    def name(self) -> str:
        """Name of the index on the server."""
        return self._verbs.name

    search = awaited(IndexVerbs.search)
    search_batch = awaited(IndexVerbs.search_batch)
    search_vectors = awaited(IndexVerbs.search_vectors)
    get = awaited(IndexVerbs.get)
    change = awaited(IndexVerbs.change)
    page = awaited(IndexVerbs.page)
    delete = awaited(IndexVerbs.delete)
    info = awaited(IndexVerbs.info)
    compact = awaited(IndexVerbs.compact)
    create = awaited(IndexVerbs.create)
    drop = awaited(IndexVerbs.drop)
    count = awaited(IndexVerbs.count)

    async def add(
        self,
        documents: Given | AsyncIterable[Incoming],
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
            Documents of any number, which are read as they are sent, from an iterable or an asynchronous one.
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
        return (await _sum(batches)).added

    async def update(
        self,
        documents: Given | AsyncIterable[Incoming],
        *,
        vectors: Numbers | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
    ) -> Updated:
        """Store documents, each instead of the one with the same id; see :meth:`mlret.index.index.Index.update`."""
        batches = self.add_batches(
            documents, vectors=vectors, columns=columns, batch_size=batch_size, existing="replace"
        )
        return await _sum(batches)

    async def add_batches(
        self,
        documents: Given | AsyncIterable[Incoming],
        *,
        vectors: Numbers | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
        existing: Existing = "error",
    ) -> AsyncIterator[Updated]:
        """Store documents batch by batch, and yield after each what became of it.

        The parameters are those of :meth:`mlret.index.index.Index.add_batches`.
        """
        check_several(documents, "documents")
        adding = DocumentsAdding(self._verbs, existing, vectors, batch_size)
        names = checked_columns(columns)
        given = _renamed(documents, names) if isinstance(documents, AsyncIterable) else incoming_of(documents, names)
        async for document in _each(given):
            for steps in adding.take(document):
                yield await self._client.run(steps)
        for steps in adding.rest():
            yield await self._client.run(steps)

    async def documents(self) -> AsyncIterator[Document]:
        """Yield all documents, in the order in which they were stored."""
        documents, cursor = await self.page()
        for document in documents:
            yield document
        while cursor is not None:
            documents, cursor = await self.page(cursor)
            for document in documents:
                yield document


class AsyncClientMemory(_Handle):
    """The memory of a server, with the verbs of :class:`mlret.memory.memory.Memory` as coroutines.

    :meth:`AsyncClient.memory` returns it. A scope that a verb names is added to that of the memory.
    """

    def __init__(self, client: AsyncClient, verbs: MemoryVerbs) -> None:
        self._client, self._verbs = client, verbs

    @overload
    async def add(
        self,
        text: str,
        scope: Scope | None = None,
        *,
        language: str | None = None,
        dedupe: bool = True,
        **about: Unpack[AddFields],
    ) -> Added: ...

    @overload
    async def add(
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

    async def add(self, text: str | None = None, scope: Scope | None = None, **about: Any) -> Added | AddedMessages:
        """Store a text, or the messages of a conversation; see :meth:`mlret.memory.memory.Memory.add`.

        ``extract`` is called here, and not on the server.
        """
        return await self._client.run(self._verbs.add(text, scope, **about))

    add_batch = awaited(MemoryVerbs.add_batch)
    search = awaited(MemoryVerbs.search)
    context = awaited(MemoryVerbs.context)
    get = awaited(MemoryVerbs.get)
    page = awaited(MemoryVerbs.page)
    list = awaited(MemoryVerbs.list)
    profile = awaited(MemoryVerbs.profile)
    history = awaited(MemoryVerbs.history)
    versions = awaited(MemoryVerbs.versions)
    update = awaited(MemoryVerbs.update)
    link = awaited(MemoryVerbs.link)
    unlink = awaited(MemoryVerbs.unlink)
    merge = awaited(MemoryVerbs.merge)
    delete = awaited(MemoryVerbs.delete)
    restore = awaited(MemoryVerbs.restore)
    undo = awaited(MemoryVerbs.undo)
    feedback = awaited(MemoryVerbs.feedback)
    forget = awaited(MemoryVerbs.forget)
    erase = awaited(MemoryVerbs.erase)

    async def watch(
        self,
        scope: Scope | None = None,
        *,
        after: str | None = None,
        timeout: float | None = None,
        poll: float = POLL,
    ) -> AsyncIterator[MemoryEvent]:
        """Yield what changes in a scope, as :meth:`mlret.client.client.ClientMemory.watch` does.

        The parameters are those of :meth:`mlret.memory.memory.Memory.watch`.
        """
        check_seconds(timeout, poll)
        last = time.monotonic()
        while True:
            found = await self._client.run(self._verbs.changes(scope, after))
            for event in found.events:
                yield event
            after = found.next
            if found.events:
                last = time.monotonic()
            elif timeout is not None and time.monotonic() - last >= timeout:
                return
            else:
                await anyio.sleep(pause(timeout, poll))

    async def add_stream(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        scope: Scope | None = None,
        *,
        batch_size: int = 64,
        dedupe: bool = True,
    ) -> AsyncIterator[Added]:
        """Store texts of any number, one transaction per batch; every result that was yielded survives a crash.

        The parameters are those of :meth:`mlret.memory.memory.Memory.add_stream`.
        """
        check_several(items, "texts")
        adding = TextsAdding(self._verbs, scope, batch_size, dedupe=dedupe)
        async for item in _each(items):
            for steps in adding.take(item):
                for added in await self._client.run(steps):
                    yield added
        for steps in adding.rest():
            for added in await self._client.run(steps):
                yield added


async def _renamed(documents: AsyncIterable[Incoming], columns: Columns) -> AsyncIterator[Incoming]:
    async for document in documents:
        yield renamed(document, columns) if isinstance(document, Mapping) else document


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _sum(batches: AsyncIterator[Updated]) -> Updated:
    total = Updated()
    async for done in batches:
        total += done
    return total
