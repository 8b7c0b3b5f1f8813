"""The log of the server: one line of JSON for each request, without texts of users unless they are requested.

A line names the route (``/v1/indexes/{name}:search``), never the path, the query string, the body or a token: all of
them can hold what only the owner may see. The text of an error can quote a document, so only its class and the lines of
code that it passed through are written.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

# Lines that wait until they are written. More are dropped, so that a stalled reader of the log stops no request.
_MOST_WAITING = 10_000
# Seconds in which lines gather before they are written.
_PAUSE = 0.05
# Seconds to wait for the reader of the log when it is closed.
_PATIENCE = 5.0
# Lines of code that are written of an error, the innermost ones. Those before are of the framework.
_FRAMES = 12
# Errors that are written of one: itself, its parts and its causes.
_ERRORS = 8


class AccessLog:
    """Writes lines of JSON in a thread of its own.

    Parameters
    ----------
    stream
        Where to write; standard error unless given.
    texts
        Whether lines may hold texts: path, query string, the beginning of the body, messages of errors.
    """

    def __init__(self, stream: TextIO | None = None, *, texts: bool = False) -> None:
        self.texts = texts
        self._stream = stream or sys.stderr
        self._dropped = 0
        self._waiting: deque[dict[str, object]] = deque()
        self._some, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_lines, name="mlret-log", daemon=True)
        self._thread.start()

    def write(self, event: str, **fields: object) -> None:
        """Write a line, or drop it if too many wait; the next line that is written states how many were dropped.

        Parameters
        ----------
        event
            What happened.
        fields
            More about it, in types that JSON has.
        """
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        line: dict[str, object] = {"time": time.time(), "event": event, **fields}
        if self._dropped:
            line["dropped"], self._dropped = self._dropped, 0
        self._waiting.append(line)
        # To wake the thread for each line would cost more than to write it.
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write the lines that wait, and end the thread; lines that nobody takes within seconds are lost."""
        self._closing.set()
        self._some.set()
        self._thread.join(_PATIENCE)

    def _write_lines(self) -> None:
        while not self._closing.is_set() or self._waiting:
            self._some.wait()
            self._closing.wait(_PAUSE)
            self._some.clear()
            # A pipe that was closed, or a full disk, ends no request.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join(self._taken()))
                self._stream.flush()

    def _taken(self) -> Iterator[str]:
        """Take the lines that wait, as text."""
        while self._waiting:
            line = self._waiting.popleft()
            moment = datetime.fromtimestamp(float(line["time"]), UTC)  # type: ignore[arg-type] # set by write
            yield json.dumps({**line, "time": moment.isoformat(timespec="milliseconds")}) + "\n"


def write_warnings(log: AccessLog) -> None:
    """Write warnings of the process as lines of the log: their messages can name fields that a client sent.

    Parameters
    ----------
    log
        The log. It has the messages only if it may hold texts.
    """

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        log.write("warning", kind=category.__name__, **({"text": str(message)} if log.texts else {}))

    warnings.showwarning = show


def error_fields(error: BaseException, *, texts: bool) -> dict[str, object]:
    """Return what the log says of an error, of its parts if it is a group, and of its causes.

    Parameters
    ----------
    error
        The error.
    texts
        Whether to add the messages to the classes and the lines of code.
    """
    written: list[dict[str, object]] = []
    waiting: list[BaseException | None] = [error]
    while waiting and len(written) < _ERRORS:
        if (one := waiting.pop(0)) is None:
            continue
        frames = traceback.extract_tb(one.__traceback__)[-_FRAMES:]
        written.append(
            {
                "class": f"{type(one).__module__}.{type(one).__qualname__}",
                **({"text": str(one)} if texts else {}),
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
    return {"errors": written}
