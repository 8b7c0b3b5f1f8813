"""The base class of an index and a memory for event loops: methods of the open folder that run in its threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, Self, TypeVar

from mlret.errors import InputError, MlretError
from mlret.index.concurrency.crew import Opened, refused
from mlret.index.concurrency.handle import Handle

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=Opened)


class FolderHandle(Handle[S]):
    """A handle whose errors name the folder.

    Parameters
    ----------
    path
        The folder.
    opened, readers
        As for :class:`mlret.index.concurrency.handle.Handle`.
    """

    def __init__(self, path: Path, opened: Callable[[], S], *, readers: int | None = None) -> None:
        self.path = path
        super().__init__(opened, readers=readers)

    def refusal(self, waiting: str | None) -> Exception:
        """Return the error of a call that was not begun; see :data:`mlret.index.concurrency.crew.Refusal`."""
        return refused(waiting) if waiting else MlretError(f"{self.path} is closed; open it again")


class AsyncFolder(Generic[S]):
    """A folder that coroutines use: reads run in several threads, and writes one after the other in another thread.

    Parameters
    ----------
    handle
        The handle of the folder.
    """

    def __init__(self, handle: FolderHandle[S]) -> None:
        self._handle = handle

    @property
    def path(self) -> Path:
        """The folder."""
        return self._handle.path

    async def read(self, call: Callable[[S], T]) -> T:
        """Run any call that reads, in one of the threads that read.

        Parameters
        ----------
        call
            Is given the open index or memory. What it returns must not read the folder any more: no iterator over it.

        Returns
        -------
        object
            What the call returned.

        Raises
        ------
        Unavailable
            If too many reads wait.
        MlretError
            If it was closed.
        """
        return await self._handle.read(call)

    async def write(self, call: Callable[[S], T]) -> T:
        """Run any call that writes, behind the writes that were submitted before it.

        Parameters
        ----------
        call
            Is given the open index or memory. Several methods that it calls are not one transaction.

        Returns
        -------
        object
            What the call returned. What it has committed survives a crash.

        Raises
        ------
        Unavailable
            If too many writes wait.
        MlretError
            If it was closed.
        """
        return await self._handle.write(call)

    async def count(self) -> int:
        """Return the number of documents or records, as ``len`` does for the class without coroutines."""
        return await self._handle.read(len)  # type: ignore[arg-type]

    async def close(self) -> None:
        """Finish the calls that wait, refuse later ones, and close the folder. It may be closed twice."""
        await self._handle.close()

    def __reduce__(self) -> NoReturn:
        raise InputError(f"{self.path} is open in threads of this process; pickle the path, and open it there")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def reading(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a coroutine function that runs a method which reads, in one of the threads that read.

    Parameters
    ----------
    method
        A method of the class that is open in the threads.
    """

    async def run(self: AsyncFolder[S], /, *args: P.args, **values: P.kwargs) -> T:
        return await self._handle.read(lambda opened: method(opened, *args, **values))

    return _shown(run, method)


def writing(
    method: Callable[Concatenate[S, P], T], *, alone: bool = False
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a coroutine function that runs a method which writes, in the thread that writes.

    Parameters
    ----------
    method
        A method of the class that is open in the threads.
    alone
        Whether nobody may read meanwhile; see :meth:`mlret.index.concurrency.handle.Handle.write`.
    """

    async def run(self: AsyncFolder[S], /, *args: P.args, **values: P.kwargs) -> T:
        return await self._handle.write(lambda opened: method(opened, *args, **values), alone=alone)

    return _shown(run, method)


def _shown(run: Callable[P, T], method: Callable[..., Any]) -> Callable[P, T]:
    """Let ``help()`` and the documentation show the parameters of a method, and refer to it for their meaning."""
    update_wrapper(run, method)
    run.__signature__ = signature(method)  # type: ignore[attr-defined]
    where = f"{method.__module__}.{method.__qualname__}"
    run.__doc__ = f"Do the same as :meth:`{where}`, without holding up the event loop."
    return run
