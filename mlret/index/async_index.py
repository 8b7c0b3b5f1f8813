"""An index for programs with an event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import MlretError
from mlret.index.concurrency.async_folder import AsyncFolder, FolderHandle, reading, writing
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.vectors.exact import Device


class AsyncIndex(AsyncFolder[Index]):
    """An index whose methods are coroutines. Make one with :meth:`create` or :meth:`open`, and close it at the end.

    Its methods are those of :class:`mlret.index.index.Index`, with the same parameters and results. Reads run in a few
    threads, each of which has the folder open by itself, so that no read waits for a write. Writes run in one thread,
    in the order in which they were called. Once a write has returned, every read that begins later sees it.

    A call may be cancelled: if it has not begun by then, it never begins. A write that has begun is finished, since
    half a write must not be left; whether it took place can be seen by reading.

    Parameters
    ----------
    handle
        The handle of the folder, which :meth:`open` makes.

    Examples
    --------
    >>> import asyncio
    >>> from mlret import AsyncIndex
    >>> async def main():
    ...     async with await AsyncIndex.create("tasks.index") as index:
    ...         await index.add([{"id": "train", "text": "Der Zug hat Verspätung.", "lang": "de"}])
    ...         found = await asyncio.gather(
    ...             index.search("the train is late", k=1), index.search("treni imechelewa", k=1)
    ...         )
    ...         return [hits[0].id for hits in found]
    >>> asyncio.run(main())
    ['train', 'train']
    """

    @classmethod
    async def create(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        settings: IndexSettings | None = None,
        readers: int | None = None,
    ) -> AsyncIndex:
        """Create an empty index and open it.

        Parameters
        ----------
        path, encoder, settings
            As for :meth:`mlret.index.index.Index.create`.
        readers
            As for :meth:`open`.

        Returns
        -------
        AsyncIndex
            The open index.

        Raises
        ------
        MlretError
            As for :meth:`mlret.index.index.Index.create`.
        """

        def create() -> AnyEncoder:
            with Index.create(path, encoder, settings=settings) as index:
                return index.encoder

        return await cls.open(path, await asyncio.to_thread(create), readers=readers)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        device: Device = "auto",
        readers: int | None = None,
    ) -> AsyncIndex:
        """Open an existing index.

        Parameters
        ----------
        path, encoder, device
            As for :meth:`mlret.index.index.Index.open`.
        readers
            Number of threads that read; by default one less than there are processors, and four at most. Each keeps the
            vectors that are in no segment file yet in memory.

        Returns
        -------
        AsyncIndex
            The open index.

        Raises
        ------
        MlretError
            As for :meth:`mlret.index.index.Index.open`.
        """
        path = Path(path)

        def load() -> AnyEncoder | None:
            with Index.open(path, encoder) as index, suppress(MlretError):
                return index.encoder  # One for all threads. Without it, vectors can still be searched.
            return None

        loaded = await asyncio.to_thread(load)
        return cls(await FolderHandle(path, lambda: Index.open(path, loaded, device=device), readers=readers).checked())

    search = reading(Index.search)
    search_batch = reading(Index.search_batch)
    search_vectors = reading(Index.search_vectors)
    encode_queries = reading(Index.encode_queries)
    get = reading(Index.get)
    vectors = reading(Index.vectors)
    info = reading(Index.info)
    add = writing(Index.add)
    update = writing(Index.update)
    delete = writing(Index.delete)
    tune = writing(Index.tune)
    seal = writing(Index.seal)
    compact = writing(Index.compact)
    compact_if_due = writing(Index.compact_if_due)
