"""Reads the bytes of files that SQLite has open, without releasing its locks.

POSIX locks belong to a process: when the process closes any descriptor of a file, it loses the locks that SQLite holds
through another descriptor (https://www.sqlite.org/howtocorrupt.html, section 2.2), and another process may remove the
write-ahead log while this one writes to it. So a descriptor of a database, or of a file beside it, is kept open as long
as this process has a connection.

A forked process inherits the connections of its parent, but not their locks, and SQLite would consult the bookkeeping
of those locks for every new connection to the same file: another process could then remove the log that this one writes
to, and what it committed would be lost (https://www.sqlite.org/howtocorrupt.html, section 2.6). So no database is used
in a forked process that its parent had open at that moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlret.errors import MlretError

_BESIDE = ("-wal", "-shm", "-journal")
_Identity = tuple[int, int]


@dataclass
class _Database:
    connections: int = 0
    descriptors: dict[_Identity, int] = field(default_factory=dict)


_lock = threading.Lock()
_databases: dict[_Identity, _Database] = {}
# Databases that an ancestor of this process had open when it was forked, with the process that had them open.
_inherited: dict[_Identity, int] = {}


class Connected:
    """The registration of a connection to a database, from when it is made until :meth:`close`.

    Parameters
    ----------
    path
        The database, to which a connection is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _lock:
            self._identity = identity_of(path)
            self._closed = False
            _databases.setdefault(self._identity, _Database()).connections += 1

    @property
    def in_place(self) -> bool:
        """Whether the file at the path is still the one that was opened."""
        return self._identity == identity_of(self._path)

    def close(self) -> None:
        """Register that the connection was closed; with the last one, the kept descriptors are closed."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            database = _databases[self._identity]
            database.connections -= 1
            if not database.connections:
                for descriptor in database.descriptors.values():
                    os.close(descriptor)
                del _databases[self._identity]


@contextmanager
def reading(file: Path) -> Iterator[int]:
    """Yield a descriptor to read a file with ``os.pread``. The caller must neither close nor map it."""
    with _lock:
        database = _databases.get(identity_of(_database_of(file)))
        if database is not None:
            identity = identity_of(file)
            if identity not in database.descriptors:
                database.descriptors[identity] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            kept = database.descriptors[identity]
    if database is not None:
        yield kept
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def views(file: Path, size: int, *, overlap: int = 0) -> Iterator[tuple[int, memoryview]]:
    """Iterate over the content of a file in blocks that share one buffer, which is several times as fast.

    Parameters
    ----------
    file
        The file.
    size
        Bytes from the beginning of a block to that of the next.
    overlap
        Further bytes at the end of a block, with which the next one begins.

    Yields
    ------
    (int, memoryview)
        Place of the block in the file, and its content until the next one is read.
    """
    buffer = memoryview(bytearray(size + overlap))
    with reading(file) as descriptor:
        place = 0
        while count := os.preadv(descriptor, [buffer], place):
            yield place, buffer[:count]
            if count < len(buffer):
                return
            place += size


def _database_of(file: Path) -> Path:
    for suffix in _BESIDE:
        if file.name.endswith(suffix):
            return file.with_name(file.name.removesuffix(suffix))
    return file


def identity_of(file: Path) -> _Identity:
    """Return the device and inode of a file, which identify it under any name."""
    try:
        found = file.stat()
    except OSError:  # The file or its folder was removed.
        return (-1, -1)
    return found.st_dev, found.st_ino


def check_not_inherited(path: Path) -> None:
    """Raise if an ancestor of this process had a database open when it was forked.

    Raises
    ------
    MlretError
        If it had. The message states what to do.
    """
    parent = _inherited.get(identity_of(path)) if _inherited else None
    if parent is not None:
        raise inherited(path, parent)


def inherited(path: Path, parent: int) -> MlretError:
    """Return the error of a forked process that uses what its parent had open.

    Parameters
    ----------
    path
        The database.
    parent
        The id of the process that had it open.
    """
    return MlretError(
        f"{path.parent} was open in process {parent} when this process was forked from it, and a fork cannot share a "
        "database: start processes by 'spawn' or 'forkserver' (multiprocessing.get_context), or close it before forking"
    )


def _forked() -> None:
    """Note what the parent had open. Its threads, of which one may have held the lock, do not exist here."""
    global _lock
    _lock = threading.Lock()
    _inherited.update(dict.fromkeys(_databases, os.getppid()))
    _databases.clear()


os.register_at_fork(after_in_child=_forked)
