"""The folder of an index: records and vectors kept in step, whatever happens between two writes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.data.durable import fsync_folder
from mlret.errors import InputError, MlretError
from mlret.index.lock import WriterLock
from mlret.index.manifest import MANIFEST, Manifest, SegmentInfo, read_manifest, write_manifest
from mlret.index.records import RECORDS, Records
from mlret.index.vectors import (
    VECTORS,
    Segment,
    TornSegmentError,
    faiss_module,
    read_segment,
    write_segment,
)

_log = logging.getLogger("mlret.index")
_LOCK = "writer.lock"
# The open tail is read back from the database whenever the index opens: this many rows take a moment only.
SEGMENT_ROWS = 65_536


def check_vacant(folder: Path) -> None:
    """Fail where an index cannot be made because something stands there already.

    Raises
    ------
    InputError
        If ``folder`` exists and is not an empty folder, or is the current one, which no rename can replace.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if (folder / MANIFEST).exists():
            raise InputError(f"{folder} is an index already: open it (Index.open), choose another path, or remove it")
        raise InputError(f"{folder} is there already and is no index: choose another path, or remove it first")
    if folder.exists() and folder.samefile(Path.cwd()):
        raise InputError(f"{folder} is the current folder: name a new one in it, e.g. {folder / 'NAME'}")


def beside(folder: Path, suffix: str) -> Path:
    """A hidden name next to a folder, on the same disk, to make it under before it gets its own name."""
    folder = folder.resolve()  # "." and ".." have names too
    return folder.with_name(f".{folder.name}.{suffix}")


class Store:
    """An index folder, open.

    It shows the records that were committed when it opened, or at the last :meth:`refresh`, and its own.

    Parameters
    ----------
    folder
        The folder of the index.

    Raises
    ------
    InputError
        If the folder is no index, or of another format.
    MlretError
        If the database is missing or damaged.
    MissingExtraError
        If faiss is not installed.
    """

    manifest: Manifest
    records: Records
    segments: list[Segment]
    tail: Segment
    last_row: int

    def __init__(self, folder: Path) -> None:
        faiss_module()
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.records = Records(folder / RECORDS, self.manifest.dims)
        try:
            self._load()
        except BaseException:
            self.records.close()
            raise

    @staticmethod
    def create(folder: Path, manifest: Manifest) -> None:
        """Make the folder of an empty index: all of it, or nothing.

        Raises
        ------
        InputError
            If something that is not an empty folder stands there.
        """
        faiss_module()
        check_vacant(folder)
        temporary = beside(folder, f"{os.getpid()}.new")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            (temporary / VECTORS).mkdir(parents=True)
            Records.create(temporary / RECORDS)
            write_manifest(temporary, manifest)
            temporary.replace(folder)
        except OSError as error:
            raise MlretError(f"{folder} cannot be made ({error.strerror}); check the path and its rights") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        fsync_folder(folder.parent)

    def __len__(self) -> int:
        return sum(map(len, self.segments)) + len(self.tail)

    @property
    def all_segments(self) -> list[Segment]:
        """The sealed segments and the tail."""
        return [*self.segments, self.tail]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the writer: no other process writes meanwhile, and what others wrote before is seen."""
        with WriterLock(self.folder / _LOCK):
            self.refresh()
            yield

    def refresh(self) -> None:
        """Take in the records that other processes have committed since."""
        last = self.records.last_row()
        if last > self.last_row:
            for rows, vectors in self.records.vectors(self.last_row + 1, last):
                self.last_row = int(rows[-1])
                self.tail.add(rows, vectors)

    def append(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Commit documents and their ``(n, dims)`` vectors in one transaction; within :meth:`writing`."""
        rows = self.records.append(documents, vectors)
        # First: an interrupt between these two may hide rows until the next open, but never double them.
        self.last_row = int(rows[-1])
        self.tail.add(rows, vectors)
        if len(self.tail) >= SEGMENT_ROWS:
            self.seal()

    def seal(self) -> None:
        """Write the vectors that are in no sealed segment yet into one; within :meth:`writing`."""
        self.manifest = read_manifest(self.folder)  # another process may have sealed
        segment = self._from_records(self.manifest.last_sealed_row + 1, self.last_row)
        if len(segment):
            (self.folder / VECTORS).mkdir(exist_ok=True)
            info = write_segment(self.folder, segment)
            self.manifest = self.manifest.model_copy(update={"segments": (*self.manifest.segments, info)})
            write_manifest(self.folder, self.manifest)
        self._load()

    def close(self) -> None:
        """Close the database and drop the vectors."""
        self.records.close()
        self.segments, self.tail = [], Segment.empty(self.manifest.dims)

    def _load(self) -> None:
        last = self.records.last_row()
        if last < self.manifest.last_sealed_row:
            raise MlretError(
                f"{self.records.path} ends at row {last}, but row {self.manifest.last_sealed_row} was "
                "sealed; restore the folder from a copy"
            )
        self.segments = [self._open_segment(info) for info in self.manifest.segments]
        self.tail = self._from_records(self.manifest.last_sealed_row + 1, last)
        self.last_row = last

    def _open_segment(self, info: SegmentInfo) -> Segment:
        try:
            return read_segment(self.folder, info, self.manifest.dims)
        except TornSegmentError as error:
            _log.warning("%s; rebuilding it from %s", error, self.records.path)
        segment = self._from_records(info.first_row, info.last_row)
        if len(segment) != info.rows:
            raise MlretError(
                f"{self.records.path} has {len(segment)} of the {info.rows} vectors of {info.file}; "
                "restore the folder from a copy"
            )
        # A reader whose disk is read-only or whose index is being written searches its copy in memory.
        with contextlib.suppress(MlretError, OSError), WriterLock(self.folder / _LOCK, timeout=0.5):
            (self.folder / VECTORS).mkdir(exist_ok=True)
            written = write_segment(self.folder, segment)
            if written.sha256 != info.sha256:  # another release of faiss may lay the file out otherwise
                current = read_manifest(self.folder)
                segments = tuple(written if old.file == info.file else old for old in current.segments)
                write_manifest(self.folder, current.model_copy(update={"segments": segments}))
        return segment

    def _from_records(self, first_row: int, last_row: int) -> Segment:
        segment = Segment.empty(self.manifest.dims)
        for rows, vectors in self.records.vectors(first_row, last_row):
            segment.add(rows, vectors)
        return segment
