"""Threads that run calls for an event loop, in the order in which they were submitted, from a bounded queue."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar, cast

from mlret.errors import MlretError, Unavailable

A = TypeVar("A")
T = TypeVar("T")
# An idle thread looks this often for what other processes have written.
_IDLE_SECONDS = 1.0


class Opened(Protocol):
    """What a thread works on: an open index or memory."""

    def refresh(self) -> None:
        """Show what others have committed."""

    def close(self) -> None:
        """Close it."""


S = TypeVar("S", bound=Opened)


Refusal = Callable[[str | None], Exception]
"""Returns the error of a call that was not begun: given what waits if too much does, ``None`` if the crew is closed."""


def refused(waiting: str | None) -> Exception:
    """Return the error of a call that was not begun; see :data:`Refusal`."""
    if waiting is None:
        return MlretError("it was closed; open it again")
    return Unavailable(f"too many {waiting} are waiting; try again when some are done")


class Answer(Generic[T]):
    """The result of a call that a thread makes for a coroutine.

    Create it in the event loop that awaits :attr:`future`.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.given = False

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not (self.given or self.future.cancelled())

    def settle(self, value: T | None, error: BaseException | None) -> None:
        """Hand over a result, or an error if there is one. Call it in the event loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(cast(T, value))
        else:
            self.future.set_exception(error)


class Reply:
    """The result of a call that a thread makes for another thread."""

    loop = None

    def __init__(self) -> None:
        self.given = False
        self._future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.given

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Hand over a result, or an error if there is one."""
        if error is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(error)

    def wait(self) -> Any:
        """Return the result, or raise the error, when it is there."""
        return self._future.result()


Result = tuple[Answer[Any] | Reply, Any, BaseException | None]
"""An answer with its value, or with the error in place of one."""


def give_all(results: Sequence[Result]) -> None:
    """Hand results over from a thread. The event loop is woken once for all of them."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Result]] = {}
    for answer, value, error in results:
        if answer.given:
            continue
        answer.given = True
        if answer.loop is None:
            answer.settle(value, error)
        else:
            by_loop.setdefault(answer.loop, []).append((answer, value, error))
    for loop, some in by_loop.items():
        # A loop that was closed meanwhile has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, some)


def _settle_all(results: Sequence[Result]) -> None:
    for answer, value, error in results:
        answer.settle(value, error)


# Calls of one kind that are run together, so that the thread is free again soon.
_MOST_TOGETHER = 32


@dataclass(eq=False)
class _Job:
    """A call that waits.

    ``kind`` is ``None`` for a call that runs by itself, with ``call`` to run. Calls of the same kind run together:
    ``call`` is given the arguments of all of them.
    """

    call: Callable[..., Any]
    answer: Answer[Any]
    kind: Hashable = None
    argument: Any = None


@dataclass
class _Pause:
    """A time in which no thread of a crew has its folder open."""

    released: int = 0
    ended: bool = False


class Crew(Generic[S]):
    """Threads that each have a folder open and run calls on it, one after the other.

    Every call sees at least what was committed when it was submitted: a thread refreshes what it has open before a call
    if :meth:`changed` was called since, and when it has nothing else to do. What other processes commit is seen within
    a second.

    Parameters
    ----------
    name
        What waits for the threads, in errors and in the names of the threads: ``"reads"``.
    opened
        Opens the folder; called in each thread.
    count
        Number of threads.
    most_waiting
        Number of calls that may wait. One more is refused.
    refusal
        Returns the error with which a call is refused.
    """

    def __init__(
        self,
        name: str,
        opened: Callable[[], S],
        *,
        count: int = 1,
        most_waiting: int = 1024,
        refusal: Refusal = refused,
    ) -> None:
        self.name = name
        self._refusal = refusal
        self._process = os.getpid()
        self._opened = opened
        self._most_waiting = most_waiting
        self._jobs: deque[_Job] = deque()
        self._version = 0
        self._closing = False
        self._pause: _Pause | None = None
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._jobs)

    async def run(self, call: Callable[[S], T]) -> T:
        """Run a call in one of the threads and return its result.

        A call that was not begun when the task is cancelled never begins; one that was begun is finished.

        Raises
        ------
        Exception
            That of the refusal, if too many calls wait or the threads are being stopped.
        """
        return cast(T, await self._submitted(_Job(call, Answer())))

    async def run_together(self, kind: Hashable, argument: A, call: Callable[[S, Sequence[A]], Sequence[T]]) -> T:
        """Run a call together with those of the same kind that wait, in one of the threads.

        Parameters
        ----------
        kind
            Calls of the same kind have the same ``call``, and may run together.
        argument
            The argument of this call.
        call
            Is given the arguments of several calls, and returns the result of each. If it raises, it is called for each
            of the arguments alone.

        Raises
        ------
        Exception
            As for :meth:`run`.
        """
        return cast(T, await self._submitted(_Job(call, Answer(), kind, argument)))

    async def _submitted(self, job: _Job) -> Any:
        self._check_process()
        with self._news:
            if self._closing:
                raise self._refusal(None)
            if len(self._jobs) >= self._most_waiting:
                raise self._refusal(self.name)
            self._jobs.append(job)
            self._news.notify()
        return await job.answer.future

    def changed(self) -> None:
        """Let the threads refresh what they have open before their next calls. May be called from any thread."""
        with self._news:
            self._version += 1
            self._news.notify_all()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Close the folder in all threads, and begin no call inside. Call it from another thread.

        It waits for the calls that are running.
        """
        pause = _Pause()
        with self._news:
            self._pause = pause
            self._news.notify_all()
            self._news.wait_for(lambda: pause.released == len(self._threads) or self._closing)
        try:
            yield
        finally:
            with self._news:
                pause.ended, self._pause = True, None
                self._news.notify_all()

    def close(self) -> None:
        """Run the calls that wait, then stop the threads. Later calls are refused. Call it from another thread.

        In a process that was forked from the one of the threads, nothing is done.
        """
        if os.getpid() != self._process:
            return
        with self._news:
            self._closing = True
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise MlretError(
                f"the threads of this object are in process {self._process}, from which this process was forked: "
                "open it here, after closing it there, or start processes by 'spawn' or 'forkserver'"
            )

    def _work(self) -> None:
        opened: S | None = None
        seen, looked = 0, 0.0
        while True:
            with self._news:
                # An open folder may be empty, and then has no length: it is compared with None.
                while not (self._jobs or self._closing or self._pause) and (opened is None or self._version == seen):
                    if not self._news.wait(None if opened is None else _IDLE_SECONDS):
                        break
                pause, version = self._pause, self._version
                jobs = self._taken() if pause is None else []
                ending = self._closing and not jobs
            if pause is not None:
                _close(opened)
                opened = None
                self._wait(pause)
                continue
            if ending:
                _close(opened)
                return
            if opened is not None and (version != seen or not jobs or monotonic() - looked > _IDLE_SECONDS):
                opened = _refreshed(opened)
                seen, looked = version, monotonic()
            if not jobs:
                continue
            try:
                if opened is None:
                    opened = self._opened()
                    seen, looked = version, monotonic()
            except BaseException as error:
                give_all([(job.answer, None, error) for job in jobs])
            else:
                give_all(_results(jobs, opened))

    def _taken(self) -> list[_Job]:
        """Take the next call for which somebody waits, with those that can run together with it."""
        found: list[_Job] = []
        while self._jobs and not found:
            if self._jobs[0].answer.wanted:
                found.append(self._jobs[0])
            self._jobs.popleft()
        if found and found[0].kind is not None:
            same = [job for job in self._jobs if job.kind == found[0].kind][: _MOST_TOGETHER - 1]
            for job in same:
                self._jobs.remove(job)
            found += [job for job in same if job.answer.wanted]
        return found

    def _wait(self, pause: _Pause) -> None:
        with self._news:
            pause.released += 1
            self._news.notify_all()
            self._news.wait_for(lambda: pause.ended)


def _close(opened: S | None) -> None:
    if opened is not None:
        opened.close()


def _refreshed(opened: S) -> S | None:
    """Refresh an open folder; if that fails, close it, so that the next call opens it again or says why it cannot."""
    try:
        opened.refresh()
    except MlretError:
        opened.close()
        return None
    return opened


def _results(jobs: Sequence[_Job], opened: Opened) -> list[Result]:
    """Run a call, or several of one kind."""
    try:
        first = jobs[0]
        if first.kind is None:
            return [(first.answer, first.call(opened), None)]
        values = first.call(opened, [job.argument for job in jobs])
        return [(job.answer, value, None) for job, value in zip(jobs, values, strict=True)]
    except BaseException as error:
        if len(jobs) == 1:
            return [(jobs[0].answer, None, error)]
        # One of them is to blame.
        return [result for job in jobs for result in _results([job], opened)]
