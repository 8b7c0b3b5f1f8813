"""Segments: vectors with the row number of each, sealed on disk or growing in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.accelerators import Accelerator, read_accelerator
from mlret.index.exact import CpuExact, ExactSearch
from mlret.index.kinds import IndexSettings
from mlret.index.manifest import AnySegmentInfo, FileInfo, SegmentInfo
from mlret.index.sealed import SealedFiles, TornFileError


class Rows:
    """A segment: what some records have, some of which may be no more.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 row numbers, rising.
    info
        What the manifest says of it; ``None`` where it is in no sealed file.
    """

    def __init__(self, numbers: NDArray[np.int64], info: AnySegmentInfo | None) -> None:
        self.numbers = numbers
        self.info: Any = info
        self.torn = False  # it was read from the database, because its files are not whole

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> int:
        """How large it is, in the unit of its space."""
        return len(self)

    @property
    def kind(self) -> str:
        """What finds candidates in it; ``flat`` where all are compared."""
        return "flat"

    def positions_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where those of ``rows`` (rising) that the segment holds are in it, rising."""
        if not len(self) or not len(rows):
            return np.empty(0, dtype=np.int64)
        first, last = self.numbers[0], self.numbers[-1]
        rows = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last, side="right")]
        if last - first + 1 == len(self):  # none is lacking
            return np.asarray(rows - first, dtype=np.int64)
        positions = np.searchsorted(self.numbers, rows)
        return np.asarray(positions[self.numbers[positions] == rows], dtype=np.int64)


class Segment(Rows):
    """Unit vectors of records.

    Parameters
    ----------
    numbers
        ``(n,)`` int64 row numbers, rising.
    matrix
        ``(n, dims)`` float32.
    info
        What the manifest says of it; ``None`` where it is in no sealed file.
    """

    def __init__(
        self, numbers: NDArray[np.int64], matrix: NDArray[np.float32], info: SegmentInfo | None = None
    ) -> None:
        super().__init__(numbers, info)
        self.matrix = matrix
        self.accelerator: Accelerator | None = None
        self.exact: ExactSearch = CpuExact(matrix)

    @property
    def kind(self) -> str:
        """As of any."""
        return self.info.accelerator.kind if self.accelerator is not None else "flat"

    @property
    def accelerated(self) -> bool:
        """Whether candidates come from an accelerator: where a GPU compares with all, that is quicker still."""
        return self.accelerator is not None and isinstance(self.exact, CpuExact)


def open_segment(files: SealedFiles, info: SegmentInfo, dims: int, *, thorough: bool = False) -> Segment:
    """Open a sealed segment, memory-mapped, without its accelerator.

    Raises
    ------
    TornFileError
        If a file is missing, or its bytes, its dimensions or its rows are not what the manifest says.
    """
    matrix = map_array(files, info.vectors, (info.rows, dims), np.float32, thorough=thorough)
    numbers = map_array(files, info.numbers, (info.rows,), np.int64, thorough=thorough)
    return Segment(numbers, matrix, info)


def open_accelerator(
    files: SealedFiles, segment: Segment, settings: IndexSettings, *, thorough: bool = False
) -> Accelerator | None:
    """The accelerator of a sealed segment, if it has one.

    Raises
    ------
    TornFileError
        If its file is missing or torn, or this FAISS cannot read it.
    """
    info = segment.info.accelerator if segment.info else None
    if info is None:
        return None
    path = files.check(info, thorough=thorough)
    try:
        return read_accelerator(info.kind, path, segment.matrix, settings)
    except (RuntimeError, AttributeError) as error:
        raise TornFileError(f"{path} cannot be read by this faiss") from error


def map_array(
    files: SealedFiles, info: FileInfo, shape: tuple[int | None, ...], *dtypes: Any, thorough: bool = False
) -> NDArray[Any]:
    """Map a sealed ``.npy`` of a shape (``None`` for any length) and one of some types.

    Raises
    ------
    TornFileError
        If it is missing, or not that.
    """
    path: Path = files.check(info, thorough=thorough)
    try:
        # As an array proper: what np.memmap adds costs a microsecond at every slice.
        found = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError) as error:
        raise TornFileError(f"{path} is no array") from error
    fits = len(shape) == found.ndim and all(want in (None, have) for want, have in zip(shape, found.shape, strict=True))
    if not fits or found.dtype not in dtypes:
        raise TornFileError(f"{info.file} holds {found.shape} {found.dtype}")
    return found


class Tail:
    """The newest vectors, which are in no sealed file yet; it grows, and what was handed out before stays as it was.

    Parameters
    ----------
    dims
        The length of a vector.
    """

    def __init__(self, dims: int) -> None:
        self._numbers = np.empty(256, dtype=np.int64)
        self._matrix = np.empty((256, dims), dtype=np.float32)
        self._size = 0

    @property
    def size(self) -> int:
        """How many vectors."""
        return self._size

    def add(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append ``(n,)`` row numbers, rising and beyond those it has, and ``(n, dims)`` vectors."""
        size = self._size + len(numbers)
        if size > len(self._numbers):
            capacity = max(size, 2 * len(self._numbers))
            # New memory: a search that has begun goes on in the old.
            self._numbers = np.concatenate([self._numbers, np.empty(capacity - len(self._numbers), np.int64)])
            grown = np.empty((capacity, self._matrix.shape[1]), np.float32)
            grown[: self._size] = self._matrix[: self._size]
            self._matrix = grown
        self._numbers[self._size : size] = numbers
        self._matrix[self._size : size] = vectors
        self._size = size

    def segment(self) -> Segment:
        """What it holds now."""
        return Segment(self._numbers[: self._size], self._matrix[: self._size])
