"""One writer at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from mlret.errors import MlretError

_POLL_SECONDS = 0.02
_LONGEST_OWNER = 320  # a host name has 253 characters at most


class WriterLock:
    """A lock between processes, and between two handles in one; the kernel frees it if its owner dies.

    Parameters
    ----------
    path
        The lock file; made if missing, never removed. Its content names the last owner, for people.
    timeout
        Seconds to wait for another writer.

    Raises
    ------
    MlretError
        On entering, if another writer still holds the lock after ``timeout``.
    """

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path = path
        self.timeout = timeout
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(descriptor)
                    raise
                if time.monotonic() >= deadline:
                    owner = os.pread(descriptor, 1000, 0).decode("utf-8", "replace").strip()
                    os.close(descriptor)
                    raise MlretError(
                        f"{self.path.parent} is being written by another process ({owner or 'unknown'}): "
                        "wait until it is done, or stop it"
                    ) from error
                time.sleep(_POLL_SECONDS)
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        # Blanks cover what an owner of a longer name wrote; to cut the file costs some disks a flush of their journal.
        os.pwrite(descriptor, owner.ljust(max(_LONGEST_OWNER, len(owner))).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing frees the lock
            self._descriptor = None
