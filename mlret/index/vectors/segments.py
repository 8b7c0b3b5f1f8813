"""Segments: vectors with the row number of each, sealed on disk or growing in memory."""

from __future__ import annotations

import logging
import os
import weakref
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.storage.blocks import ROWS, read_intact
from mlret.index.storage.manifest import AnySegmentInfo, FileInfo, Manifest, SegmentInfo
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.vectors.exact import CpuExact, ExactSearch
from mlret.index.vectors.faiss_index import Accelerator, read_accelerator
from mlret.index.vectors.rounding import Matrix, Rounded, dtype_of, scales_of

# NumPy parses the header of an array by `ast`, of which CPython 3.11 lets only one thread build trees at a time: it
# raises SystemError if a finalizer lets another thread in between.
_ONE_HEADER = Lock()
_DESCRIPTORS = Path("/proc/self/fd")  # Where Linux lists the open files of a process under their descriptors.
_log = logging.getLogger("mlret.index")


class Rows:
    """A segment: the row numbers of some records, some of which may have been deleted.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 row numbers, in ascending order.
    info
        What the manifest states about the segment; ``None`` if it is in no sealed file.
    """

    def __init__(self, numbers: NDArray[np.int64], info: AnySegmentInfo | None) -> None:
        self.numbers = numbers
        self.info: Any = info
        self.torn = False  # Set if the segment was read from the database because its files are damaged.

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> int:
        """The size of the segment, in the unit of its space."""
        return len(self)

    @property
    def kind(self) -> str:
        """How candidates are found in the segment; ``flat`` if all rows are compared."""
        return "flat"

    def positions_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of those ``rows`` (ascending) that the segment holds, in ascending order."""
        if not len(self) or not len(rows):
            return np.empty(0, dtype=np.int64)
        first, last = self.numbers[0], self.numbers[-1]
        rows = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last, side="right")]
        if last - first + 1 == len(self):  # No row number is missing in between.
            return np.asarray(rows - first, dtype=np.int64)
        positions = np.searchsorted(self.numbers, rows)
        return np.asarray(positions[self.numbers[positions] == rows], dtype=np.int64)


class Segment(Rows):
    """The unit vectors of records.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 row numbers, in ascending order.
    matrix
        ``(n, dims)`` float32, or rounded.
    info
        What the manifest states about the segment; ``None`` if it is in no sealed file.
    """

    def __init__(self, numbers: NDArray[np.int64], matrix: Matrix, info: SegmentInfo | None = None) -> None:
        super().__init__(numbers, info)
        self.matrix = matrix
        self.exact: ExactSearch = CpuExact(matrix)
        self._accelerator: Accelerator | UnreadAccelerator | None = None
        self._reading = Lock()

    @property
    def accelerator(self) -> Accelerator | None:
        """What proposes candidates, which is read from its file when it is first needed; ``None`` if there is none.

        If the file cannot be read, a warning is logged, and the segment has no accelerator from then on.
        """
        if isinstance(self._accelerator, UnreadAccelerator):
            with self._reading:
                if isinstance(self._accelerator, UnreadAccelerator):
                    self._accelerator = self._read(self._accelerator)
        return self._accelerator

    @accelerator.setter
    def accelerator(self, accelerator: Accelerator | UnreadAccelerator | None) -> None:
        self._accelerator = accelerator

    def _read(self, unread: UnreadAccelerator) -> Accelerator | None:
        try:
            return unread.read()
        except TornFileError as error:
            warn_without_accelerator(error)
            return None

    @property
    def kind(self) -> str:
        return self.info.accelerator.kind if self._accelerator is not None else "flat"

    @property
    def accelerated(self) -> bool:
        """Whether candidates come from an accelerator. A GPU compares all rows instead, which is faster still."""
        return isinstance(self.exact, CpuExact) and self.accelerator is not None


def open_segment(files: SealedFiles, info: SegmentInfo, manifest: Manifest, *, thorough: bool = False) -> Segment:
    """Open a sealed segment, memory-mapped, without its accelerator.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the segment.
    manifest
        The manifest.
    thorough
        Hash the files even if they have not changed since they were last hashed.

    Raises
    ------
    TornFileError
        If a file is missing, or its bytes, its dimensions or its rows are not what the manifest states.
    """
    shape, dtype = (info.rows, manifest.dims), np.dtype(dtype_of(manifest.settings.dtype))
    matrix: Matrix = map_array(files, info.vectors, shape, dtype, thorough=thorough)
    if manifest.settings.dtype != "float32":
        scales = info.scales
        matrix = Rounded(
            np.asarray(matrix),
            None if scales is None else map_array(files, scales, (info.rows,), np.float32, thorough=thorough),
        )
    numbers = map_array(files, info.numbers, (info.rows,), np.int64, thorough=thorough)
    if thorough and info.blocks is not None:
        files.check(info.blocks, thorough=True)
    return Segment(numbers, matrix, info)


def intact_rows(
    files: SealedFiles, info: SegmentInfo, manifest: Manifest, numbers: NDArray[np.int64] | None
) -> Segment | None:
    """Return what is intact of a segment whose files are damaged; see :meth:`.Space.intact`.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the segment.
    manifest
        The manifest.
    numbers
        The row numbers that the segment must have, if they are known.
    """
    dtype, shape = manifest.settings.dtype, (info.rows, manifest.dims)
    try:
        numbers = map_array(files, info.numbers, (info.rows,), np.int64, thorough=True)
    except TornFileError:
        if numbers is None or len(numbers) != info.rows:
            return None
    try:
        codes = map_array(files, info.vectors, shape, np.dtype(dtype_of(dtype)), thorough=True)
        intact = np.ones(info.rows, dtype=np.bool_)
    except TornFileError:
        if (sums := checksums_of(files, info)) is None:
            return None
        codes, intact = read_intact(files.folder / info.vectors.file, shape, dtype_of(dtype), sums)
    if dtype == "float32":
        return Segment(numbers[intact], codes[intact], info)
    # Scales are made again, because they follow from the codes.
    return Segment(numbers[intact], Rounded(codes[intact], scales_of(codes[intact]) if info.scales else None), info)


def checksums_of(files: SealedFiles, info: SegmentInfo) -> NDArray[np.uint32] | None:
    """Return the checksums of the blocks of a segment; ``None`` if there are none, or their file is damaged.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the segment.
    """
    if info.blocks is None:
        return None
    try:
        return map_array(files, info.blocks, (-(-info.rows // ROWS),), np.uint32, thorough=True)
    except TornFileError:
        return None


class UnreadAccelerator:
    """The accelerator of a sealed segment, whose file was checked, and is read when it is first needed.

    FAISS looks at all links of a graph that it reads, which takes longer the more vectors there are. The file is kept
    open until then, so that it can be read even if another process has replaced the segment in the meantime.

    Parameters
    ----------
    path
        The file.
    segment
        The open segment.
    settings
        The settings of the search.

    Raises
    ------
    TornFileError
        If the file is missing.
    """

    def __init__(self, path: Path, segment: Segment, settings: IndexSettings) -> None:
        self._path = path
        self._kind, self._matrix, self._settings = segment.info.accelerator.kind, segment.matrix, settings
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TornFileError(f"{path} cannot be read ({error.strerror})") from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._written = os.fstat(self._descriptor).st_mtime_ns

    def read(self) -> Accelerator:
        """Read the accelerator.

        Raises
        ------
        TornFileError
            If the file was written to since it was checked, or this FAISS cannot read it.
        """
        if os.fstat(self._descriptor).st_mtime_ns != self._written:
            raise TornFileError(f"{self._path} is torn (it was written to after the index was opened)")
        # A file that was removed while it was open has no other name. Only Linux gives descriptors names there.
        named = _DESCRIPTORS / str(self._descriptor)
        try:
            found = read_accelerator(self._kind, named if named.exists() else self._path, self._matrix, self._settings)
        except (RuntimeError, AttributeError, OSError) as error:
            raise TornFileError(f"{self._path} cannot be read by this faiss") from error
        self._close()
        return found


def unread_accelerator(
    files: SealedFiles, segment: Segment, settings: IndexSettings, *, thorough: bool = False
) -> UnreadAccelerator | None:
    """Check the file of the accelerator of a sealed segment, without reading it; ``None`` if there is none.

    Parameters
    ----------
    files
        The sealed files of the index.
    segment
        The open segment.
    settings
        The settings of the search.
    thorough
        Hash the file even if it has not changed since it was last hashed.

    Raises
    ------
    TornFileError
        If the file is missing or damaged.
    """
    info = segment.info.accelerator if segment.info else None
    if info is None:
        return None
    return UnreadAccelerator(files.check(info, thorough=thorough), segment, settings)


def warn_without_accelerator(error: TornFileError) -> None:
    """Log that a segment is searched without its accelerator, whose file is missing or damaged."""
    _log.warning("%s; searching without it until `mlret index verify --repair` builds it again", error)


def map_array(
    files: SealedFiles, info: FileInfo, shape: tuple[int | None, ...], *dtypes: Any, thorough: bool = False
) -> NDArray[Any]:
    """Memory-map a sealed ``.npy`` file after checking its shape and type.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the file.
    shape
        The expected shape, with ``None`` for any length.
    *dtypes
        The accepted types.
    thorough
        Hash the file even if it has not changed since it was last hashed.

    Raises
    ------
    TornFileError
        If the file is missing, or has another shape or type.
    """
    path: Path = files.check(info, thorough=thorough)
    try:
        # Use a plain array, because np.memmap costs a microsecond more at every slice.
        with _ONE_HEADER:
            found = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError) as error:
        raise TornFileError(f"{path} is not an array") from error
    fits = len(shape) == found.ndim and all(want in (None, have) for want, have in zip(shape, found.shape, strict=True))
    if not fits or found.dtype not in dtypes:
        raise TornFileError(f"{info.file} holds {found.shape} {found.dtype}")
    return found


class Tail:
    """The newest vectors, which are in no sealed file yet.

    Segments that were returned before do not change as it grows.

    Parameters
    ----------
    dims
        The number of dimensions of a vector.
    """

    def __init__(self, dims: int) -> None:
        self._numbers = np.empty(256, dtype=np.int64)
        self._matrix = np.empty((256, dims), dtype=np.float32)
        self._size = 0

    @property
    def size(self) -> int:
        """The number of vectors."""
        return self._size

    def add(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> int:
        """Append ``(n,)`` row numbers, ascending and higher than those in the tail, and ``(n, dims)`` vectors.

        Returns the new number of vectors.
        """
        size = self._size + len(numbers)
        if size > len(self._numbers):
            capacity = max(size, 2 * len(self._numbers))
            # Allocate new memory, because a search that has begun still reads the old.
            self._numbers = np.concatenate([self._numbers, np.empty(capacity - len(self._numbers), np.int64)])
            grown = np.empty((capacity, self._matrix.shape[1]), np.float32)
            grown[: self._size] = self._matrix[: self._size]
            self._matrix = grown
        self._numbers[self._size : size] = numbers
        self._matrix[self._size : size] = vectors
        self._size = size
        return size

    def segment(self) -> Segment:
        """Return the present content as a segment."""
        return Segment(self._numbers[: self._size], self._matrix[: self._size])
