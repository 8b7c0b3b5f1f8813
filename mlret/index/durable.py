"""Files that are either whole or absent, also after a power cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Force a folder's entries to the disk: without it, a rename may be lost in a power cut."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under another name, force it to the disk, and only then give it its name.

    Parameters
    ----------
    path
        The file; what stood there is replaced as a whole.
    write
        Writes the content to the path it is given, a new name in the same folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        fsync_file(temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    fsync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
