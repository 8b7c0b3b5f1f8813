"""A folder that is open in threads of its own, for event loops: readers on snapshots, and one writer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from mlret.index.concurrency.crew import Crew, Opened, refused

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
    reading
        Opens what the threads that read see, if that is not the folder itself.
    readers
        Number of threads that read; by default one less than there are processors, and four at most.
    most_reads, most_writes
        Number of calls that may wait; one more is refused.

    Examples
    --------
    >>> import asyncio
    >>> from mlret import Index
    >>> from mlret.index.concurrency.handle import Handle
    >>> async def main(folder):
    ...     async with Handle(lambda: Index.open(folder)) as handle:
    ...         added = await handle.write(lambda index: index.add(["The train is late."]))
    ...         return added, await handle.read(len)
    >>> Index.create("handled.index").close()
    >>> asyncio.run(main("handled.index"))
    (1, 1)
    """

    def __init__(
        self,
        opened: Callable[[], S],
        *,
        reading: Callable[[], S] | None = None,
        readers: int | None = None,
        most_reads: int = 1024,
        most_writes: int = 256,
    ) -> None:
        count = readers or usual_readers()
        self._readers = Crew("reads", reading or opened, count=count, most_waiting=most_reads, refusal=self.refusal)
        self._writer = Crew("writes", opened, most_waiting=most_writes, refusal=self.refusal)

    def refusal(self, waiting: str | None) -> Exception:
        """Return the error of a call that was not begun; see :data:`mlret.index.concurrency.crew.Refusal`."""
        return refused(waiting)

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
        Exception
            That of the refusal, if too many reads wait or the handle is being closed.
        """
        return await self._readers.run(call)

    async def write(self, call: Callable[[S], T], *, alone: bool = False) -> T:
        """Run a call that writes, in the only thread that writes.

        Writes run in the order in which they were submitted. A write that has begun is finished even if nobody waits
        for it any more; one that has not begun when its task is cancelled never begins.

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
        Exception
            That of the refusal, if too many writes wait or the handle is being closed.
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
        await asyncio.to_thread(self.close_and_wait)

    def close_and_wait(self) -> None:
        """Do the same as :meth:`close` in a program without an event loop."""
        self._writer.close()
        self._readers.close()

    async def checked(self) -> Self:
        """Return the handle after the folder was opened for the first time, or close it and raise."""
        try:
            await self.read(lambda _: None)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
