"""Write a text file so that it is either whole or not there."""

from __future__ import annotations

import contextlib
import gzip
import os
from pathlib import Path

from mlret.errors import InputError


def check_writable(path: Path) -> None:
    """Fail early where a result could not be written at the end of a long run.

    Raises
    ------
    InputError
        If ``path`` is a folder, or the folder it would stand in does not exist.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first (mkdir -p)")


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text under another name, force it to the disk, and only then give it its name.

    Parameters
    ----------
    path
        The file; what stood there is replaced as a whole. Gzipped where the name ends in ``.gz``.
    text
        The content.

    Raises
    ------
    InputError
        If the folder does not exist, or may not be written to.
    """
    check_writable(path)
    content = text.encode("utf-8")
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except PermissionError as error:
        raise InputError(f"{path}: may not be written ({error.strerror}); choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
