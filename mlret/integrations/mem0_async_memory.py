"""mem0's ``AsyncMemory`` on a memory of mlret."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.concurrency.async_folder import FolderHandle, reading, writing
from mlret.integrations.mem0_memory import NO_CHAT, Addition, Memory
from mlret.integrations.mem0_requests import Settings, read_config, read_operations

AsyncExtract = Callable[[list[dict[str, Any]]], Iterable[str | Mapping[str, Any]] | Awaitable[Any]]


class AsyncMemory:
    """A memory with the interface of mem0's ``AsyncMemory``: the methods of :class:`Memory` as coroutines.

    Reads run in a few threads, writes one after the other in another; see :class:`mlret.AsyncMemory`. A call that is
    cancelled before it begins never begins; a write that has begun is finished.

    Parameters
    ----------
    config, path, encoder
        As for :class:`Memory`.
    extract
        As for :class:`Memory`; it may be a coroutine function. Others run in a thread.

    Examples
    --------
    >>> import asyncio
    >>> from mlret.integrations.mem0 import AsyncMemory
    >>> async def main():
    ...     async with AsyncMemory(path="async-mem0.memory") as m:
    ...         await m.add("Ich wohne in Rom.", user_id="anna", infer=False)
    ...         return (await m.search("Where does she live?", filters={"user_id": "anna"}))["results"][0]["memory"]
    >>> asyncio.run(main())
    'Ich wohne in Rom.'
    """

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | Path | None = None,
        encoder: AnyEncoder | str | Path | None = None,
        extract: AsyncExtract | None = None,
    ) -> None:
        self._settings = read_config(config, path, encoder)
        self._extract = extract
        self._opening = threading.Lock()
        self._handle: FolderHandle[Memory] = FolderHandle(self._settings.path, self._opened)

    def _opened(self) -> Memory:
        with self._opening:  # The first thread loads the encoder, which the others use.
            memory = Memory(path=self._settings.path, encoder=self._settings.encoder)
            self._settings = Settings(self._settings.path, memory.store.encoder)
            return memory

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Any], *, extract: AsyncExtract | None = None) -> Self:
        """Return a memory from a configuration as for mem0.

        Parameters
        ----------
        config_dict, extract
            As for the class.

        Returns
        -------
        AsyncMemory
            The memory; the folder is opened when it is first used.
        """
        return cls(config_dict, extract=extract)

    async def add(
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
        llm: Any = None,
    ) -> dict[str, Any]:
        """Store messages, or what is extracted from them; see :meth:`Memory.add` for the parameters and the result.

        ``llm`` is not used.
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
        operations = None
        if infer and self._extract is not None and asked.messages:
            # Not in the thread that writes, which a slow language model would hold up.
            extracted = await asyncio.to_thread(self._extract, asked.messages)
            operations = read_operations(await extracted if inspect.isawaitable(extracted) else extracted)
        return await self._handle.write(lambda opened: opened.carry_out(asked, operations))

    search = reading(Memory.search)
    get_all = reading(Memory.get_all)
    get = reading(Memory.get)
    history = reading(Memory.history)
    update = writing(Memory.update)
    delete = writing(Memory.delete)
    delete_all = writing(Memory.delete_all)
    reset = writing(Memory.reset, alone=True)

    async def chat(self, query: str) -> NoReturn:
        """Raise an error, as in mem0.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(NO_CHAT)

    def close(self) -> None:
        """Finish the calls that wait, and close the memory. It blocks until then; ``async with`` does not."""
        self._handle.close_and_wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._handle.close()
