"""Handles of open folders for the event loop: readers on snapshots, and one writer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.filtering.filters import Where
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.vectors.space import Vectors
from mlret.serve.work.crew import Crew, Opened

if TYPE_CHECKING:
    from mlret.memory.memory import Memory  # noqa: F401 - a base class below names it

T = TypeVar("T")
S = TypeVar("S", bound=Opened)

# Each thread that reads has a snapshot and the newest vectors of its own.
_MOST_READERS = 4


def usual_readers() -> int:
    """Return how many threads should read a folder: one processor is left for the event loop and the encoder."""
    return min(_MOST_READERS, max(1, (os.cpu_count() or 1) - 1))


class Handle(Generic[S]):
    """A folder that is open in threads of its own: some that read, one that writes.

    A reader shows a snapshot, so that reads never wait for a write. Once a write was acknowledged, every later read
    sees it.

    Parameters
    ----------
    opened
        Opens the folder. It is called once in each thread.
    readers
        Number of threads that read; by default one less than there are processors, and four at most.
    most_reads, most_writes
        Number of calls that may wait; one more is answered with status 429.

    Examples
    --------
    >>> import asyncio
    >>> from mlret import Index
    >>> from mlret.serve.work.handles import IndexHandle
    >>> async def main(folder):
    ...     handle = await IndexHandle.open(folder)
    ...     added = await handle.write(lambda index: index.add(["The train is late."]))
    ...     found = await handle.read(len)
    ...     await handle.close()
    ...     return added, found
    >>> Index.create("served.index").close()
    >>> asyncio.run(main("served.index"))
    (1, 1)
    """

    def __init__(
        self,
        opened: Callable[[], S],
        *,
        readers: int | None = None,
        most_reads: int = 1024,
        most_writes: int = 256,
    ) -> None:
        self._readers = Crew("reads", opened, count=readers or usual_readers(), most_waiting=most_reads)
        self._writer = Crew("writes", opened, most_waiting=most_writes)

    async def read(self, call: Callable[[S], T]) -> T:
        """Run a call that only reads, in one of the threads that read.

        Parameters
        ----------
        call
            Is given the open folder, as it was when the call began or later. What it returns must not read the folder
            any more: no iterator over it.

        Returns
        -------
        object
            What the call returned.

        Raises
        ------
        Problem
            If too many reads wait, or the handle is being closed.
        """
        return await self._readers.run(call)

    async def write(self, call: Callable[[S], T], *, alone: bool = False) -> T:
        """Run a call that writes, in the only thread that writes.

        Writes run in the order in which they were submitted. A write that has begun is finished even if nobody waits
        for it any more.

        Parameters
        ----------
        call
            Is given the open folder. What it has committed survives a crash when it returns.
        alone
            Whether nobody may read meanwhile: for erasing, since the last traces of a record are removed from disk only
            when no snapshot shows it.

        Returns
        -------
        object
            What the call returned.

        Raises
        ------
        Problem
            If too many writes wait, or the handle is being closed.
        """

        def run(opened: S) -> T:
            try:
                if alone:
                    with self._readers.paused():
                        return call(opened)
                return call(opened)
            finally:
                self._readers.changed()

        return await self._writer.run(run)

    @property
    def waiting(self) -> tuple[int, int]:
        """Number of reads and of writes that wait."""
        return len(self._readers), len(self._writer)

    async def close(self) -> None:
        """Finish what waits, refuse what comes later, and close the folder."""
        await self._writer.close()
        await self._readers.close()

    async def _checked(self) -> Self:
        """Return the handle after the folder was opened for the first time, or close it and raise."""
        try:
            await self.read(lambda _: None)
        except BaseException:
            await self.close()
            raise
        return self


@dataclass(frozen=True, slots=True)
class Wanted:
    """Queries of one request to an index.

    Attributes
    ----------
    vectors
        The vectors of ``n`` queries, as the encoder of the index gives them.
    texts, languages
        Their texts and languages; empty if there are only vectors.
    k, where, ids, mode, exact
        As for :meth:`mlret.index.index.Index.search_batch`.
    """

    vectors: Vectors
    texts: Sequence[str] = ()
    languages: Sequence[str | None] = ()
    k: int = 10
    where: Where | None = None
    ids: Sequence[str] | None = None
    mode: Mode | None = None
    exact: bool = False

    @property
    def kind(self) -> Hashable:
        """Equal for requests whose queries can be searched together."""
        restricted = None if self.where is None and self.ids is None else json.dumps([self.where, self.ids])
        return bool(self.texts), self.k, restricted, self.mode, self.exact


class IndexHandle(Handle[Index]):
    """An open index; see :class:`Handle`."""

    @classmethod
    async def open(cls, path: Path, encoder: AnyEncoder | None = None, *, readers: int | None = None) -> Self:
        """Open an index; see :meth:`mlret.index.index.Index.open` for the parameters and what it raises."""
        return await cls(lambda: Index.open(path, encoder), readers=readers)._checked()

    async def search(self, wanted: Wanted) -> list[list[Hit]]:
        """Search for queries, together with those of other requests that wait.

        Returns
        -------
        list of list of Hit
            For each query its hits, best first: those that :meth:`mlret.index.index.Index.search_batch` returns.

        Raises
        ------
        InputError
            As there.
        Problem
            If too many reads wait, or the handle is being closed.
        """
        return await self._readers.run_together(wanted.kind, wanted, _search)


def _search(index: Index, several: Sequence[Wanted]) -> list[list[list[Hit]]]:
    first = several[0]
    options: dict[str, Any] = {"where": first.where, "ids": first.ids, "exact": first.exact}
    space = index.store.space
    vectors = space.queries([vector for one in several for vector in one.vectors])
    if first.texts:
        texts = [text for one in several for text in one.texts]
        languages = [code for one in several for code in one.languages]
        found = index.search_batch(texts, first.k, language=languages, vectors=vectors, mode=first.mode, **options)
    else:
        found = index.search_vectors(vectors, first.k, **options)
    hits = iter(found)
    return [list(islice(hits, len(one.vectors))) for one in several]


class MemoryHandle(Handle["Memory"]):
    """An open memory; see :class:`Handle`."""

    @classmethod
    async def open(cls, path: Path, encoder: AnyEncoder | None = None, *, readers: int | None = None) -> Self:
        """Open a memory, creating it if it does not exist; see :meth:`mlret.memory.memory.Memory.open`."""
        from mlret.memory.memory import Memory

        return await cls(lambda: Memory.open(path, encoder), readers=readers)._checked()
