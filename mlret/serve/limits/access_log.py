"""The log of the server: one line of JSON for each request, without texts of users unless they are requested.

A line names the route (``/v1/indexes/{name}:search``), never the path, the query string, the body or a token: all of
them can hold what only the owner may see. The text of an error can quote a document, so only its class and the lines of
code that it passed through are written.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import TextIO

# Lines that wait until they are written. More are dropped, so that a stalled reader of the log stops no request.
_MOST_WAITING = 10_000
# Seconds to wait for the reader of the log when it is closed.
_PATIENCE = 5.0
# Lines of code that are written of an error, the innermost ones. Those before are of the framework.
_FRAMES = 12


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
        self._waiting: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_lines, name="mlret-log", daemon=True)
        self._thread.start()

    def write(self, event: str, **fields: object) -> None:
        """Write a line, or drop it if too many wait; the next line that is written states how many were dropped."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        if self._dropped:
            line["dropped"] = self._dropped
        try:
            self._waiting.put_nowait(json.dumps(line, default=str))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write the lines that wait, and end the thread; lines that nobody takes within seconds are lost."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)

    def _write_lines(self) -> None:
        while (line := self._waiting.get()) is not None:
            # A pipe that was closed, or a full disk, ends no request.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()


def error_fields(error: BaseException, *, texts: bool) -> dict[str, object]:
    """Return what the log says of an error: its class, the lines of code, those of its causes, and its text if wanted.

    Parameters
    ----------
    error
        The error.
    texts
        Whether to add its message.
    """
    causes: list[dict[str, object]] = []
    one: BaseException | None = error
    while one is not None and len(causes) < 5:
        frames = traceback.extract_tb(one.__traceback__)
        causes.append(
            {
                "class": f"{type(one).__module__}.{type(one).__qualname__}",
                **({"text": str(one)} if texts else {}),
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-_FRAMES:]],
            }
        )
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return {"errors": causes}
