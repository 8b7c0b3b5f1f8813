"""A lock that lets one process at a time write to an index."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mlret.errors import Locked, MlretError

_POLL_SECONDS = 0.02
_LONGEST_OWNER = 320  # A host name has at most 253 characters.
_LONGEST_NOTE = 80
LOCK = "writer.lock"
# Descriptors of locks that this process holds. A forked process inherits them, and with them the locks.
_held: set[int] = set()


class WriterLock:
    """A lock between processes, and between two handles in one process. The kernel releases it if its owner dies.

    Parameters
    ----------
    path
        The lock file, which is created if missing and never removed. It names the last owner, for people to read, and
        after that the number of changes that the database counts, which :func:`noted_changes` reads.
    timeout
        Seconds to wait for another writer.

    Raises
    ------
    MlretError
        On entering, if another writer still holds the lock after ``timeout``, or the file cannot be opened.
    """

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path = path
        self.timeout = timeout
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        descriptor = self._opened()
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(descriptor)
                    raise MlretError(
                        f"{self.path} cannot be locked ({error.strerror}); put the folder on a file system with locks"
                    ) from error
                if time.monotonic() >= deadline:
                    owner = os.pread(descriptor, _LONGEST_OWNER, 0).decode("utf-8", "replace").strip()
                    os.close(descriptor)
                    raise Locked(
                        f"{self.path.parent} is being written by another process ({owner or 'unknown'}): "
                        "wait until it is done, or stop it"
                    ) from error
                time.sleep(_POLL_SECONDS)
        self._descriptor = descriptor
        _held.add(descriptor)
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        # Blanks overwrite a longer previous name. Truncating the file would flush the journal of some file systems.
        self._write(owner.ljust(_LONGEST_OWNER)[:_LONGEST_OWNER], 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and descriptor in _held:  # It is not in a forked process, where it is closed.
            _held.remove(descriptor)
            os.close(descriptor)  # Closing the file releases the lock.

    def note(self, identity: str, changes: int) -> None:
        """Write down how many changes the database of an index counts, if the lock is held.

        The note is written after the commit, so that it never counts more than the database. It is not forced to the
        disk, which would double the time of a write.

        Parameters
        ----------
        identity
            The identity of the index.
        changes
            The number of changes that the database counts.
        """
        if self._descriptor is not None:
            self._write(_note(identity, changes), _LONGEST_OWNER)

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            folder = self.path.parent
            if not folder.is_dir():
                raise MlretError(f"{folder} is gone: it was moved or removed; open it where it is now") from error
            if self.path.exists() and error.errno in (errno.EACCES, errno.EPERM):
                raise MlretError(
                    f"{self.path} belongs to another user and may not be written to by this one: change its rights "
                    f"(chmod), or remove it while nobody writes to {folder}"
                ) from error
            raise MlretError(
                f"{folder} may not be written to ({self.path.name}: {error.strerror}); check its rights and the disk"
            ) from error

    def _write(self, text: str, place: int) -> None:
        assert self._descriptor is not None
        with suppress(OSError):  # A full disk may fail here: this text is for people and checks, not data.
            os.pwrite(self._descriptor, text.encode(), place)


def noted_changes(path: Path, identity: str) -> int:
    """Return how many changes the last writer of an index noted; 0 if that is unknown.

    Parameters
    ----------
    path
        The lock file.
    identity
        The identity of the index.
    """
    try:
        with path.open("rb") as handle:
            handle.seek(_LONGEST_OWNER)
            text = handle.read(_LONGEST_NOTE).decode("ascii").strip()
        changes = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return changes if text == _note(identity, changes).strip() else 0


def _note(identity: str, changes: int) -> str:
    text = f" {changes} {identity}"
    return f"{text} {zlib.crc32(text.encode()):08x}".ljust(_LONGEST_NOTE)


def _forked() -> None:
    """Close the locks of the parent, which would otherwise be held until this process ends."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forked)
