"""Write files and folders that are either complete or absent, even after a power failure."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlret.errors import InputError, NotFound


def fsync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk; otherwise a rename may be lost in a power failure."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, flush it to the disk, and only then rename it to its final name.

    Parameters
    ----------
    path
        The file; an existing one is replaced atomically.
    write
        Writes the content to the path that it is given, a new file in the same folder.
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


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file so that it is either complete or absent.

    Parameters
    ----------
    path
        The file; an existing one is replaced atomically. It is gzipped if the name ends in ``.gz``.
    text
        The content.

    Raises
    ------
    InputError
        If the folder does not exist or is not writable.
    """
    check_writable(path)
    content = text.encode("utf-8")
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    try:
        write_atomically(path, partial(Path.write_bytes, data=content))
    except PermissionError as error:
        raise InputError(f"{path}: may not be written ({error.strerror}); choose another folder") from error


def write_folder_atomically(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a folder under a temporary name, flush it to the disk and rename it, so that it is complete or absent.

    Parameters
    ----------
    folder
        A new or empty folder; missing parent folders are created.
    write
        Fills the folder that it is given, which is new and empty.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    beside.mkdir()
    try:
        write(beside)
        for path in beside.rglob("*"):
            fsync_folder(path) if path.is_dir() else fsync_file(path)
        fsync_folder(beside)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    fsync_folder(folder.parent)


def check_writable(path: Path) -> None:
    """Check that a result can be written to a path, to fail before a long run and not at its end.

    Raises
    ------
    InputError
        If ``path`` is a folder, or its parent folder does not exist.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise NotFound(f"{path}: the folder {path.parent} does not exist; make it first (mkdir -p)")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
