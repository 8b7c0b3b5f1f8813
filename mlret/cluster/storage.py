"""Files that all nodes of a cluster share: in a folder, or on any file system that fsspec knows."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import IO, Any, cast

from mlret.errors import InputError, MlretError, NotFound, first_line


def is_url(place: str) -> bool:
    """Return whether a place is a URL of fsspec, such as ``s3://bucket/news.index``, and not a path."""
    return "://" in place


def temporary_name(name: str) -> str:
    """Return a name for a file until it is complete, which no other process chooses.

    A process that was taken for lost may live on for a while, and write the same file as the one that replaces it.
    """
    return f"{name}.{secrets.token_hex(4)}.new"


class Storage:
    """A folder, or a prefix of an object store.

    Parameters
    ----------
    place
        A path, or a URL of fsspec. What the URL's file system needs, such as credentials, comes from the environment of
        each process, as fsspec documents it.

    Raises
    ------
    InputError
        If fsspec does not know the file system, or the package that it needs is not installed.
    """

    def __init__(self, place: str) -> None:
        import fsspec

        self.place = place
        try:
            self._files, self._root = fsspec.core.url_to_fs(place)
        except (ValueError, ImportError) as error:
            raise InputError(f"{place}: no such file system ({first_line(error)})") from error
        self._root = self._root.rstrip("/")

    def beside(self, suffix: str) -> Storage:
        """Return the folder of the same name with a suffix."""
        return Storage(self.place.rstrip("/") + suffix)

    def exists(self, name: str = "") -> bool:
        """Return whether there is a file or folder of a name below this one."""
        return bool(self._files.exists(self._path(name)))

    def make(self) -> None:
        """Create the folder, where the file system has folders."""
        self._files.makedirs(self._root, exist_ok=True)

    def read(self, name: str) -> Any:
        """Return the content of a file of JSON.

        Raises
        ------
        NotFound
            If there is no such file.
        """
        try:
            with self._files.open(self._path(name), "rb") as file:
                return json.load(file)
        except FileNotFoundError as error:
            raise NotFound(f"{self.place}/{name} is missing") from error

    def write(self, name: str, content: Any) -> None:
        """Write a file of JSON: completely or not at all."""
        temporary = temporary_name(name)
        self._files.pipe_file(self._path(temporary), json.dumps(content, ensure_ascii=False).encode("utf-8"))
        self.rename(temporary, name)

    def open(self, name: str, mode: str) -> IO[bytes]:
        """Open a file of bytes."""
        return cast(IO[bytes], self._files.open(self._path(name), mode))

    def rename(self, old: str, new: str) -> None:
        """Rename a file; one of the new name is replaced."""
        if "file" in self._files.protocol:  # A name, or several.
            os.replace(self._path(old), self._path(new))  # noqa: PTH105 - a path of fsspec is a string
        else:
            self._files.mv(self._path(old), self._path(new))

    def upload(self, folder: Path, name: str) -> None:
        """Copy a folder of this machine below a name; files of the same names are replaced.

        Raises
        ------
        MlretError
            If a file cannot be written.
        """
        try:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                target = self._path(f"{name}/{path.relative_to(folder).as_posix()}".lstrip("/"))
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(path), target)
        except OSError as error:
            raise MlretError(f"{self.place}/{name} cannot be written ({error.strerror or error})") from error

    def download(self, name: str, folder: Path) -> None:
        """Copy all files below a name to a folder of this machine.

        Raises
        ------
        NotFound
            If there are none.
        """
        top = self._path(name)
        found = self._files.find(top)
        if not found:
            raise NotFound(f"{self.place}/{name} is missing")
        for path in found:
            target = folder / str(path)[len(top) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))

    def download_file(self, name: str, path: Path) -> None:
        """Copy a file to this machine."""
        self._files.get_file(self._path(name), str(path))

    def remove(self, name: str = "") -> None:
        """Remove a file, or a folder with all that is below it; nothing happens if there is none."""
        if self.exists(name):
            self._files.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
