"""A memory for programs with an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.concurrency.async_folder import AsyncFolder, FolderHandle, reading, writing
from mlret.memory.memory import Memory
from mlret.memory.scope import Scope, check_scope, scope_with
from mlret.memory.watching import POLL, MemoryEvent, pause, watcher_of


class AsyncMemory(AsyncFolder[Memory]):
    """A memory whose methods are coroutines. Create or open one with :meth:`open`, and close it at the end.

    Its methods are those of :class:`mlret.memory.memory.Memory`, with the same parameters and results, except that
    :meth:`export` returns a list. Reads run in a few threads, each of which has the folder open by itself, so that no
    read waits for a write. Writes run in one thread, in the order in which they were called. Once a write has returned,
    every read that begins later sees it.

    A call may be cancelled: if it has not begun by then, it never begins. A write that has begun is finished, since
    half a write must not be left; whether it took place can be seen by reading.

    Parameters
    ----------
    handle
        The handle of the folder, which :meth:`open` makes.

    Examples
    --------
    >>> import asyncio
    >>> from mlret import AsyncMemory
    >>> async def main():
    ...     async with await AsyncMemory.open("tasks.memory") as memory:
    ...         anna = {"user": "anna"}
    ...         await memory.add("Je suis allergique aux arachides.", anna, id="nuts", language="fr")
    ...         found = await memory.search("Which foods must she avoid?", anna, k=1)
    ...         return found[0].id
    >>> asyncio.run(main())
    'nuts'
    """

    @classmethod
    async def open(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        readers: int | None = None,
    ) -> AsyncMemory:
        """Open a memory, creating it if it does not exist.

        Parameters
        ----------
        path, encoder
            As for :meth:`mlret.memory.memory.Memory.open`.
        readers
            Number of threads that read; by default one less than there are processors, and four at most. Each keeps the
            times, scopes and vectors of the records in memory.

        Returns
        -------
        AsyncMemory
            The open memory.

        Raises
        ------
        MlretError
            As for :meth:`mlret.memory.memory.Memory.open`.
        """
        path = Path(path)

        def load() -> AnyEncoder:
            with Memory.open(path, encoder) as memory:
                return memory.encoder

        loaded = await asyncio.to_thread(load)
        return cls(await FolderHandle(path, lambda: Memory.open(path, loaded), readers=readers).checked())

    search = reading(Memory.search)
    context = reading(Memory.context)
    get = reading(Memory.get)
    list = reading(Memory.list)
    ids = reading(Memory.ids)
    versions = reading(Memory.versions)
    history = reading(Memory.history)
    profile = reading(Memory.profile)
    thresholds = reading(Memory.thresholds)
    add = writing(Memory.add)
    add_batch = writing(Memory.add_batch)
    update = writing(Memory.update)
    derive = writing(Memory.derive)
    events = writing(Memory.events)
    import_records = writing(Memory.import_records)
    feedback = writing(Memory.feedback)
    calibrate = writing(Memory.calibrate)
    link = writing(Memory.link)
    unlink = writing(Memory.unlink)
    merge = writing(Memory.merge)
    delete = writing(Memory.delete)
    restore = writing(Memory.restore)
    undo = writing(Memory.undo)
    erase = writing(Memory.erase, alone=True)
    forget = writing(Memory.forget)

    async def watch(
        self,
        scope: Scope | None = None,
        *,
        after: str | None = None,
        timeout: float | None = None,
        poll: float = POLL,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> AsyncIterator[MemoryEvent]:
        """Yield what changes in a scope, as :meth:`mlret.memory.memory.Memory.watch` does, without holding up the loop.

        Parameters
        ----------
        scope, after, timeout, poll, user, agent, run
            As for :meth:`mlret.memory.memory.Memory.watch`.

        Yields
        ------
        MemoryEvent
            The events.
        """
        checked = check_scope(scope_with(scope, {"user": user, "agent": agent, "run": run}))
        watcher = watcher_of(checked, after, timeout, poll)
        last = time.monotonic()
        while True:
            events = await self.read(watcher.take)
            for event in events:
                yield event
                last = time.monotonic()
            if not events:
                if timeout is not None and time.monotonic() - last >= timeout:
                    return
                await asyncio.sleep(pause(timeout, poll))

    async def export(
        self,
        scope: Scope | None = None,
        *,
        vectors: bool = False,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """Return the records of a scope as JSON values, as :meth:`mlret.memory.memory.Memory.export` yields them.

        Parameters
        ----------
        scope
            The records to export; deleted ones are skipped.
        vectors
            Whether to include the vector of each version.
        user, agent, run
            Names of the scope, instead of ``scope`` or in addition to it.

        Returns
        -------
        sequence of dict
            The records, each with all its versions and links.
        """
        owner = scope_with(scope, {"user": user, "agent": agent, "run": run})
        return await self.read(lambda memory: [*memory.export(owner, vectors=vectors)])
