"""What an index does with vectors: how they are written, sealed, opened and searched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.blobs import Blobs
from mlret.index.kinds import Choice
from mlret.index.manifest import AnySegmentInfo, Manifest
from mlret.index.records import Records
from mlret.index.sealed import SealedFiles
from mlret.index.segments import Rows
from mlret.index.tokens.ragged import Ragged

# Of queries or documents: (n, dims), or (t, dims) for each.
Vectors = NDArray[np.floating[Any]] | Sequence[NDArray[np.floating[Any]]] | Ragged
Found = list[tuple[NDArray[np.float64], NDArray[np.int64]]]
Progress = Callable[[int], None]


class Growing(Protocol):
    """The newest vectors, which are in no sealed file yet."""

    @property
    def size(self) -> int:
        """In the unit of :attr:`Space.segment_size`."""

    def add(self, numbers: NDArray[np.int64], vectors: Any) -> None:
        """Append vectors of ``(n,)`` row numbers, rising and beyond those it has."""

    def segment(self) -> Any:
        """What it holds now; what was handed out before stays as it was."""


@dataclass(frozen=True)
class View:
    """What may be found in a segment: the positions in ``visible``, rising, or all where it is ``None``."""

    segment: Any
    visible: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.segment) if self.visible is None else len(self.visible)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """``(n,)``: whether a position is visible."""
        mask = np.zeros(len(self.segment), dtype=np.bool_)
        mask[slice(None) if self.visible is None else self.visible] = True
        return mask

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """``mask`` as FAISS wants it."""
        return np.packbits(self.mask, bitorder="little")


class Space(ABC):
    """The vectors of an index.

    Parameters
    ----------
    files
        Its sealed files.
    manifest
        Its manifest.
    """

    blobs: Blobs
    # Vectors of so many in no sealed file yet are sealed; while a call adds many documents, the second counts.
    segment_size: int
    bulk_size: int
    # Larger segments are not merged, so that building one takes bounded memory and time.
    largest_segment: int
    # Whether the database keeps the vectors of sealed rows.
    keeps_vectors: bool

    def __init__(self, files: SealedFiles, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest

    def load(self, manifest: Manifest) -> None:
        """Take in a new manifest, before its segments are opened."""
        self.manifest = manifest

    @abstractmethod
    def tail(self) -> Growing:
        """An empty tail."""

    @abstractmethod
    def size_of(self, vectors: Any) -> int:
        """How large the joined vectors of some records are."""

    @abstractmethod
    def size_in(self, records: Records, first_row: int, last_row: int) -> int:
        """How large what the database has of a range of rows is."""

    @abstractmethod
    def open(self, info: Any, *, thorough: bool = False) -> Any:
        """Open a sealed segment without its accelerator.

        Raises
        ------
        TornFileError
            If a file is missing, or is not what the manifest says.
        """

    @abstractmethod
    def open_accelerator(self, segment: Any, *, thorough: bool = False) -> None:
        """Give an open segment its accelerator, if it has one.

        Raises
        ------
        TornFileError
            If its file is missing or torn.
        """

    @abstractmethod
    def sealer(self, records: Records) -> Sealer:
        """What writes segments."""

    @abstractmethod
    def choose(self, size: int) -> Choice:
        """The kind that the settings ask for in a segment of so many."""

    def outdated(self, segment: Any) -> bool:
        """Whether the accelerator of a segment should be made anew."""
        return False

    @abstractmethod
    def is_due(self, plain: int, size: int) -> bool:
        """Whether accelerators pay, when ``plain`` of ``size`` have none."""

    @abstractmethod
    def calibrated(self, segments: Sequence[Any]) -> dict[str, Any]:
        """What of the manifest changes once segments are as they should be."""

    def tuned(
        self, segments: Sequence[Any], queries: Sequence[NDArray[np.float32]], recall: float | None
    ) -> dict[str, Any]:
        """What of the manifest changes to search these queries at a recall.

        Raises
        ------
        InputError
            If nothing is searched by probing.
        """
        raise InputError(
            "nothing to tune: only an index with a vector for each token is, once it has lists (mlret index compact)"
        )

    @abstractmethod
    def search(self, views: Sequence[View], queries: Sequence[NDArray[np.float32]], k: int, *, exact: bool) -> Found:
        """For each query every row that may be among the ``k`` best: ``(c,)`` float64 scores, falling, and ``(c,)``
        int64 rows, with those that are tied with the ``k``-th as far as they were candidates."""

    @abstractmethod
    def score(self, segment: Any, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(c,)``: the score of what is at some positions of a segment."""

    @abstractmethod
    def check_vectors(self, vectors: Any) -> Vectors:
        """The vectors of documents that came from outside.

        Raises
        ------
        InputError
            If they do not have the shape that the index takes.
        """

    @abstractmethod
    def first_unusable(self, vectors: Vectors) -> tuple[int, str] | None:
        """Of vectors that :meth:`check_vectors` let pass, the place of the first whose values cannot be kept, and why;
        ``None`` where all can be."""

    def taken_in(self, vectors: Vectors, names: Sequence[str]) -> Vectors:
        """What is kept of the vectors of documents that came from outside; see :meth:`prepared`.

        Parameters
        ----------
        vectors
            ``n`` of those that :meth:`check_vectors` let pass.
        names
            What messages call each of them.

        Raises
        ------
        InputError
            At the first with a value that cannot be kept.
        """
        if (found := self.first_unusable(vectors)) is not None:
            place, why = found
            raise InputError(f"the vector of {names[place]} {why}; correct the vector, or leave the text out")
        return self.prepared(vectors)

    @abstractmethod
    def check_queries(self, vectors: Any) -> Vectors:
        """The vectors of queries that came from outside, as they are searched with; otherwise as
        :meth:`check_vectors`.

        Raises
        ------
        InputError
            If they do not have the shape that the index takes, or a value cannot be used.
        """

    @abstractmethod
    def prepared(self, vectors: Vectors) -> Vectors:
        """What is kept of each document's vectors: dimensions cut, tokens pooled."""

    @abstractmethod
    def queries(self, vectors: Vectors) -> Vectors:
        """What is searched with, of an encoder's vectors of queries."""

    @abstractmethod
    def joined(self, vectors: Vectors) -> Any:
        """Vectors of documents as one object, as :meth:`mlret.index.blobs.Blobs.read` gives it."""

    @abstractmethod
    def taken_out(self, segment: Any, positions: NDArray[np.int64]) -> Vectors:
        """The vectors at some positions of a segment."""


class Sealer(ABC):
    """Writes segments; nothing counts until the manifest lists it.

    Parameters
    ----------
    files
        The sealed files of the folder.
    records
        Its database.
    manifest
        Its manifest before the change.
    """

    def __init__(self, files: SealedFiles, records: Records, manifest: Manifest) -> None:
        self.files = files
        self.records = records
        self.manifest = manifest
        self.changes: dict[str, Any] = {}  # what of the manifest changes with the segments
        self.progress: Callable[[str, int, int], None] | None = None  # what is being done, how many done, of how many

    def counting(self, what: str, total: int) -> Progress | None:
        """What to call with how many are done of something."""
        progress = self.progress
        return None if progress is None else lambda done: progress(what, done, total)

    @abstractmethod
    def from_records(self, first_row: int, last_row: int) -> AnySegmentInfo | None:
        """Seal what the database has of a range of rows; ``None`` if it has nothing."""

    def rewrite(self, segment: Any) -> AnySegmentInfo | None:
        """Seal a segment again, without its accelerator."""
        return self.merge([segment], np.empty(0, dtype=np.int64))

    @abstractmethod
    def merge(self, segments: Sequence[Any], dead: NDArray[np.int64]) -> AnySegmentInfo | None:
        """Seal neighbouring segments as one, without the rows ``dead`` (rising)."""

    @abstractmethod
    def accelerate(self, info: Any, choice: Choice, progress: Progress | None = None) -> AnySegmentInfo:
        """Build an accelerator over a sealed segment; none if the choice is ``flat``."""

    def name(self, first_row: int, last_row: int) -> str:
        """What the files of a segment begin with."""
        return f"{first_row:012d}-{last_row:012d}.{self.manifest.generation + 1}"


def rows_alive(segments: Sequence[Rows], dead: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """For each segment ``(n,)``: which of its rows are not among ``dead`` (rising)."""
    found = []
    for segment in segments:
        alive = np.ones(len(segment), dtype=np.bool_)
        alive[segment.positions_of(dead)] = False
        found.append(alive)
    return found
