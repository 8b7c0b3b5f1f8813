"""Sealed files are written once, checked before they are used, and never changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.durable import sha256_of, write_atomically
from mlret.errors import Corrupt, MlretError
from mlret.index.storage.manifest import VECTORS, FileInfo

_CHECKED = f"{VECTORS}/checked.json"
# Files that are named after a sealed one, with this, belong to work on it that was begun, and stay as long as it does.
BEGUN = ".begun"


class TornFileError(Corrupt):
    """A sealed file is missing or is not the one that the manifest describes."""


class SealedFiles:
    """The sealed files of an index folder.

    Hashing gigabytes takes seconds, so a file is hashed once: ``checked.json`` keeps the inode and the times of files
    that were found intact. A write to the file changes its time, and it is then hashed again before it is used.
    :meth:`check` with ``thorough`` always hashes, and so also finds damage done by a failing disk.

    Parameters
    ----------
    folder
        The folder of the index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked = self._read_checked()

    def seal(self, name: str, write: Callable[[Path], object]) -> FileInfo:
        """Write a file under ``vectors/``. It becomes part of the index once the manifest lists the returned info.

        Parameters
        ----------
        name
            The name of the file.
        write
            Writes the file to the path that it is called with.

        Raises
        ------
        MlretError
            If the disk is full or the folder is not writable.
        """
        path = self.folder / VECTORS / name
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, write)
        except OSError as error:
            raise MlretError(
                f"{path} cannot be written ({error.strerror or error}); check the disk's space and rights. What was "
                "stored is safe in the database"
            ) from error
        info = FileInfo(file=f"{VECTORS}/{name}", bytes=path.stat().st_size, sha256=sha256_of(path))
        self._remember(info)
        return info

    def check(self, info: FileInfo, *, thorough: bool = False) -> Path:
        """Return the path of a sealed file after checking that it is intact.

        Parameters
        ----------
        info
            What the manifest states about the file.
        thorough
            Hash the file even if it has not changed since it was last hashed.

        Raises
        ------
        TornFileError
            If it is missing or damaged.
        """
        path = self.folder / info.file
        try:
            size = path.stat().st_size
            if size != info.bytes:
                raise TornFileError(f"{path} is torn ({size} bytes where the manifest says {info.bytes})")
            if thorough or self._checked.get(info.file) != self._state(info):
                if sha256_of(path) != info.sha256:
                    raise TornFileError(f"{path} is torn (its SHA-256 is not the manifest's)")
                self._remember(info)
        except FileNotFoundError as error:
            raise TornFileError(f"{path} is missing") from error
        except OSError as error:
            raise TornFileError(f"{path} cannot be read ({error.strerror})") from error
        return path

    def remove_all_but(self, infos: list[FileInfo]) -> None:
        """Remove the files that the manifest does not list. Only the writer may call this."""
        listed = {info.file for info in infos} | {_CHECKED}
        for path in (self.folder / VECTORS).glob("*"):
            if str(path.relative_to(self.folder)).partition(BEGUN)[0] not in listed:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _state(self, info: FileInfo) -> list[int | str]:
        found = (self.folder / info.file).stat()
        return [info.sha256, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]

    def _read_checked(self) -> dict[str, list[int | str]]:
        try:
            content = json.loads((self.folder / _CHECKED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _remember(self, info: FileInfo) -> None:
        known = self._read_checked() | self._checked | {info.file: self._state(info)}
        self._checked = {name: state for name, state in known.items() if (self.folder / name).exists()}
        # Readers of a read-only folder hash every time. If two processes write at once, one entry is lost. It is not
        # flushed to the disk, because files that it does not name are only hashed once more.
        path = self.folder / _CHECKED
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self._checked, indent=1), encoding="utf-8")
            temporary.replace(path)


def write_npy(path: Path, dtype: str, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]) -> None:
    """Write an ``.npy`` file block by block.

    Parameters
    ----------
    path
        The file to write.
    dtype
        The type of the array, as in ``numpy.dtype.str``.
    shape
        The shape of the whole array.
    blocks
        The parts of the array along its first axis.
    """
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": dtype, "fortran_order": False, "shape": shape})
        for block in blocks:
            handle.write(np.ascontiguousarray(block, dtype=dtype).data)


def save_npy(path: Path, array: NDArray[Any]) -> None:
    """Write an array to exactly this path, to which ``np.save`` would add a suffix."""
    with path.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
