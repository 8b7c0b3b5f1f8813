"""The interface between an index and its vectors: how they are written, sealed, opened and searched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.settings import Choice
from mlret.index.storage.manifest import AnySegmentInfo, Manifest, Probing
from mlret.index.storage.sealed import SealedFiles
from mlret.index.storage.vector_table import Blobs, JoinedT, VectorTable
from mlret.index.vectors.ragged import Ragged
from mlret.index.vectors.segments import Rows

# Vectors of queries or documents: (n, dims), or (t, dims) for each text.
Vectors = NDArray[np.floating[Any]] | Sequence[NDArray[np.floating[Any]]] | Ragged
Found = list[tuple[NDArray[np.float64], NDArray[np.int64]]]
Progress = Callable[[int], None]
# The joined vectors of several documents: (n, dims), or the tokens of each.
Joined = NDArray[np.float32] | Ragged

# A segment, and what the manifest states about it.
SegmentT = TypeVar("SegmentT", bound=Rows)
SegmentT_co = TypeVar("SegmentT_co", bound=Rows, covariant=True)
InfoT = TypeVar("InfoT", bound=AnySegmentInfo)
JoinedT_contra = TypeVar("JoinedT_contra", contravariant=True)


class OpenTail(Protocol[SegmentT_co, JoinedT_contra]):
    """The tail: the newest vectors, which are in no sealed file yet."""

    @property
    def size(self) -> int:
        """The size in the unit of :attr:`Space.segment_size`."""

    def add(self, numbers: NDArray[np.int64], vectors: JoinedT_contra) -> int:
        """Append vectors to the tail, and return its new size.

        Parameters
        ----------
        numbers
            ``(n,)`` int64 row numbers, which are in ascending order and follow those in the tail.
        vectors
            The joined vectors of these rows.
        """

    def segment(self) -> SegmentT_co:
        """Return the present content as a segment. Segments that were returned before do not change."""


class Part(NamedTuple):
    """What compaction would make one segment of: its size, and that of what has no accelerator.

    ``extends`` says whether it begins with a segment whose accelerator is extended by the rest.
    """

    plain: int
    size: int
    extends: bool


@dataclass(frozen=True)
class View(Generic[SegmentT]):
    """What a search may find in a segment: the positions ``visible``, in ascending order, or all if it is ``None``.

    A search names what it finds by the number of the row times ``stride``, plus ``first``, so that the segments of
    several indexes can be searched together.
    """

    segment: SegmentT
    visible: NDArray[np.int64] | None = None
    stride: int = 1
    first: int = 0

    def __len__(self) -> int:
        return len(self.segment) if self.visible is None else len(self.visible)

    def numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers by which the rows at some positions are named."""
        rows: NDArray[np.int64] = self.segment.numbers[positions]
        return rows if self.stride == 1 else rows * self.stride + self.first

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """``(n,)``: whether each position is visible."""
        mask = np.zeros(len(self.segment), dtype=np.bool_)
        mask[slice(None) if self.visible is None else self.visible] = True
        return mask

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """``mask`` as a bitmap for FAISS, lowest bit first."""
        return np.packbits(self.mask, bitorder="little")


class Space(ABC, Generic[SegmentT, InfoT, JoinedT]):
    """Operations on the vectors of an index.

    It is generic in the segments, in what the manifest states about one, and in the joined vectors of documents.

    Parameters
    ----------
    files
        The sealed files of the index.
    manifest
        The manifest of the index.
    """

    blobs: Blobs[JoinedT]
    # The tail is sealed when it has this size; while a call adds many documents, bulk_size counts instead.
    segment_size: int
    bulk_size: int
    # Segments are not merged beyond this size, so that building one takes bounded memory and time.
    largest_segment: int

    def __init__(self, files: SealedFiles, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest

    def load(self, manifest: Manifest) -> None:
        """Use a new manifest. This is called before its segments are opened."""
        self.manifest = manifest

    @property
    def probing(self) -> Probing | None:
        """The search effort on this machine, if segments are searched by probing."""
        return self.manifest.probing

    @abstractmethod
    def stands_alone(self, info: InfoT) -> bool:
        """Return whether the vectors of a segment are in its files only, and not in the database as well."""

    @abstractmethod
    def intact(self, info: InfoT, numbers: NDArray[np.int64] | None) -> SegmentT | None:
        """Return what is intact of a segment whose files are damaged; ``None`` if that is not known.

        Parameters
        ----------
        info
            What the manifest states about the segment.
        numbers
            The row numbers that the segment must have, in ascending order, for the case that their file is damaged;
            ``None`` if they are not known.
        """

    @abstractmethod
    def tail(self) -> OpenTail[SegmentT, JoinedT]:
        """Return an empty tail."""

    @abstractmethod
    def size_of(self, vectors: JoinedT) -> int:
        """Return the size of the joined vectors of some records, in the unit of :attr:`segment_size`."""

    @abstractmethod
    def size_in(self, table: VectorTable[JoinedT], first_row: int, last_row: int) -> int:
        """Return the size of the vectors that the database has of a range of rows."""

    @abstractmethod
    def open(self, info: InfoT, *, thorough: bool = False) -> SegmentT:
        """Open a sealed segment without its accelerator.

        Parameters
        ----------
        info
            What the manifest states about the segment.
        thorough
            Hash the files even if they have not changed since they were last hashed.

        Raises
        ------
        TornFileError
            If a file is missing, or is not what the manifest describes.
        """

    @abstractmethod
    def open_accelerator(self, segment: SegmentT, *, thorough: bool = False) -> None:
        """Check the file of the accelerator of an open segment, if it has one; it is read when it is first needed.

        Parameters
        ----------
        segment
            The segment; its accelerator is set.
        thorough
            Hash the file even if it has not changed since it was last hashed, and read it at once.

        Raises
        ------
        TornFileError
            If the file is missing or damaged.
        """

    @abstractmethod
    def sealer(self, table: VectorTable[JoinedT]) -> Sealer[SegmentT, InfoT, JoinedT]:
        """Return a sealer, which writes segments."""

    @abstractmethod
    def choose(self, size: int) -> Choice:
        """Return the kind that the settings ask for in a segment of this size."""

    def kept(self, segment: SegmentT, size: int) -> Choice:
        """Return what a segment should be that is written in place of another one: by default the choice for its size.

        Parameters
        ----------
        segment
            The other segment, or the first of several.
        size
            The size of the segment that is written.
        """
        return self.choose(size)

    def extends(self, segment: SegmentT) -> bool:
        """Return whether the accelerator of a segment is extended by what follows it, and not built again."""
        return False

    def outdated(self, segment: SegmentT) -> bool:
        """Return whether the accelerator of a segment should be rebuilt."""
        return False

    @abstractmethod
    def is_due(self, parts: Sequence[Part]) -> bool:
        """Return whether compaction is worthwhile.

        Parameters
        ----------
        parts
            What compaction would make one segment each of.
        """

    @abstractmethod
    def calibrated(self, segments: Sequence[SegmentT]) -> dict[str, Any]:
        """Return the fields of the manifest that change once compaction is done."""

    def tuned(
        self, segments: Sequence[SegmentT], queries: Sequence[NDArray[np.float32]], recall: float | None
    ) -> dict[str, Any]:
        """Return the fields of the manifest that change so that queries like these are searched at a recall.

        Parameters
        ----------
        segments
            The segments of the index.
        queries
            ``(t, dims)`` float32 each.
        recall
            The recall to reach; ``None`` for that of the settings.

        Raises
        ------
        InputError
            If no segment is searched by probing.
        """
        raise InputError(
            "nothing to tune: only an index with a vector for each token is, once it has lists (mlret index compact)"
        )

    @abstractmethod
    def search(
        self, views: Sequence[View[SegmentT]], queries: Sequence[NDArray[np.float32]], k: int, *, exact: bool
    ) -> Found:
        """Return for each query every row that may be among the ``k`` best.

        Parameters
        ----------
        views
            The segments to search.
        queries
            The vectors of the queries: ``(dims,)``, or ``(t, dims)``, float32 each.
        k
            The number of rows to find.
        exact
            Compare with every row, without the accelerators.

        Returns
        -------
        list of (scores, rows)
            For each query ``(c,)`` float64 scores in descending order and ``(c,)`` int64 rows, including the candidates
            that are tied with the ``k``-th.
        """

    @abstractmethod
    def score(self, segment: SegmentT, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of a query with the vectors at some positions of a segment.

        Parameters
        ----------
        segment
            The segment.
        query
            ``(dims,)``, or ``(t, dims)``, float32.
        positions
            ``(c,)`` int64.

        Returns
        -------
        numpy.ndarray
            ``(c,)`` float64.
        """

    def scores(
        self, parts: Sequence[tuple[SegmentT, NDArray[np.int64]]], query: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Do the same as :meth:`score` for positions of one or several segments, and return all scores in one array."""
        return np.concatenate([self.score(segment, query, positions) for segment, positions in parts])

    @abstractmethod
    def check_vectors(self, vectors: Any) -> Vectors:
        """Check vectors of documents that were made elsewhere.

        Raises
        ------
        InputError
            If they do not have the shape that the index takes.
        """

    @abstractmethod
    def first_unusable(self, vectors: Vectors) -> tuple[int, str] | None:
        """Return the position and the reason of the first vector whose values cannot be stored, or ``None``.

        The vectors have passed :meth:`check_vectors`.
        """

    def taken_in(self, vectors: Vectors, names: Sequence[str]) -> JoinedT:
        """Return what is stored of the vectors of documents that were made elsewhere; see :meth:`prepared`.

        Parameters
        ----------
        vectors
            ``n`` vectors that have passed :meth:`check_vectors`.
        names
            The name of each vector in messages.

        Raises
        ------
        InputError
            At the first vector with a value that cannot be stored.
        """
        if (found := self.first_unusable(vectors)) is not None:
            place, why = found
            raise InputError(f"the vector of {names[place]} {why}; correct the vector, or leave the text out")
        return self.prepared(vectors)

    @abstractmethod
    def check_queries(self, vectors: Any) -> Vectors:
        """Check vectors of queries that were made elsewhere, and return them in the form that is searched with.

        Raises
        ------
        InputError
            If they do not have the shape that the index takes, or a value cannot be used.
        """

    @abstractmethod
    def prepared(self, vectors: Vectors) -> JoinedT:
        """Return what is stored of the vectors of documents, joined, after cutting dimensions and pooling tokens."""

    @abstractmethod
    def queries(self, vectors: Vectors) -> Vectors:
        """Return the vectors that are searched with, given an encoder's vectors of queries."""

    @abstractmethod
    def joined(self, vectors: Vectors) -> JoinedT:
        """Return vectors of documents as one object, in the form that :meth:`.Blobs.read` returns."""

    @abstractmethod
    def of_passages(self, vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return one vector, or one matrix of tokens, that stands for a document of several passages.

        Parameters
        ----------
        vectors
            The vector, or the matrix of tokens, of each passage.
        """

    @abstractmethod
    def taken_out(self, segment: SegmentT, positions: NDArray[np.int64]) -> JoinedT:
        """Return the vectors at some positions of a segment."""


class Sealer(ABC, Generic[SegmentT, InfoT, JoinedT]):
    """Writes segments. A segment becomes part of the index once the manifest lists it.

    Parameters
    ----------
    files
        The sealed files of the folder.
    table
        The vectors in the database of the folder.
    manifest
        The manifest before the change.
    """

    def __init__(self, files: SealedFiles, table: VectorTable[JoinedT], manifest: Manifest) -> None:
        self.files = files
        self.table = table
        self.manifest = manifest
        self.changes: dict[str, Any] = {}  # Fields of the manifest that change with the segments.
        # Called with the step, how many are done, and their total.
        self.progress: Callable[[str, int, int], None] | None = None

    def counting(self, what: str, total: int) -> Progress | None:
        """Return a function that reports how many of ``total`` are done in a step, or ``None`` without ``progress``."""
        progress = self.progress
        return None if progress is None else lambda done: progress(what, done, total)

    @abstractmethod
    def from_records(self, first_row: int, last_row: int) -> InfoT | None:
        """Seal the vectors that the database has of a range of rows, and return ``None`` if there are none."""

    def brought_up_to_date(self, info: InfoT) -> InfoT:
        """Return what the manifest should state about a segment so that it is as the present format has it."""
        return info

    def rewrite(self, segment: SegmentT) -> InfoT | None:
        """Seal a segment again, without its accelerator."""
        return self.merge([segment], np.empty(0, dtype=np.int64))

    @abstractmethod
    def merge(self, segments: Sequence[SegmentT], dead: NDArray[np.int64]) -> InfoT | None:
        """Seal neighbouring segments as one, without deleted rows.

        Parameters
        ----------
        segments
            The segments, in the order of their rows.
        dead
            The numbers of the deleted rows, in ascending order.

        Returns
        -------
        SegmentInfo or TokenSegmentInfo or None
            What the manifest should state about the new segment; ``None`` if no row is left.
        """

    @abstractmethod
    def accelerate(self, info: InfoT, choice: Choice, progress: Progress | None = None) -> InfoT:
        """Build an accelerator over a sealed segment; none if the choice is ``flat``.

        Parameters
        ----------
        info
            What the manifest states about the segment.
        choice
            The kind of the accelerator.
        progress
            Called with the number of vectors, or tokens, that are done.

        Returns
        -------
        SegmentInfo or TokenSegmentInfo
            What the manifest should state about the segment from now on.
        """

    def extend(self, info: InfoT, base: SegmentT, choice: Choice, progress: Progress | None = None) -> InfoT:
        """Do the same for a segment that begins with rows of another one, whose accelerator is extended if it can be.

        Parameters
        ----------
        info
            What the manifest is to state about the new segment.
        base
            The other segment, which the manifest still lists.
        choice, progress
            As for :meth:`accelerate`.

        Returns
        -------
        SegmentInfo or TokenSegmentInfo
            What the manifest should state about the new segment.
        """
        return self.accelerate(info, choice, progress)

    def name(self, first_row: int, last_row: int) -> str:
        """Return the common beginning of the file names of a segment."""
        return f"{first_row:012d}-{last_row:012d}.{self.manifest.generation + 1}"


# A space whose kind is not known, and its sealer. Segments and vectors come from the space itself, so they fit it.
AnySpace = Space[Rows, AnySegmentInfo, Joined]
AnySealer = Sealer[Rows, AnySegmentInfo, Joined]


def rows_alive(segments: Sequence[Rows], dead: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Return for each segment ``(n,)`` bool: which of its rows are not among ``dead``, which is in ascending order."""
    found = []
    for segment in segments:
        alive = np.ones(len(segment), dtype=np.bool_)
        alive[segment.positions_of(dead)] = False
        found.append(alive)
    return found
