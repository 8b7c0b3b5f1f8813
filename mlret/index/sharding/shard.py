"""What a shard is asked, and what it answers.

Each call is coarse and takes a batch of queries, and all that it takes and returns can be pickled, so that a shard may
be in another process or on another machine. A search takes at most four calls: the statistics of the query's words,
the candidates of each channel, the scores that channels lack for candidates of others, and the documents of the hits;
more only if candidates of several shards have one score, or most of the best are in one shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.index.filtering.fields import Kind
from mlret.index.filtering.filter_warnings import Messages
from mlret.index.filtering.filters import Condition
from mlret.index.hits import IndexInfo, Updated
from mlret.index.ingest import Existing, Known
from mlret.index.lexical.plan import LexicalPlan, LexicalStatistics
from mlret.index.settings import Choice
from mlret.index.storage.passages import Span
from mlret.index.storage.receipts import Receipt
from mlret.index.vectors.space import Vectors

Mode = Literal["dense", "lexical", "hybrid"]
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Restriction:
    """Which documents a search may find: those that satisfy a condition and have one of some ids.

    ``None`` restricts nothing. The router gives each shard the ids that belong to it.
    """

    condition: Condition | None = None
    ids: tuple[str, ...] | None = None

    @property
    def any(self) -> bool:
        """Whether anything is restricted."""
        return self.condition is not None or self.ids is not None


EVERYTHING = Restriction()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a shard knows of the words of queries.

    Attributes
    ----------
    statistics
        Those of its texts, with the frequencies of the n-grams of all queries.
    allowed
        The number of its documents that may be found; ``None`` if nothing is restricted.
    """

    statistics: LexicalStatistics
    allowed: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What candidates a shard is asked for.

    Attributes
    ----------
    mode
        The channels.
    k
        The number of documents of each channel.
    vectors
        For each query its vector, ``(dims,)`` or ``(t, dims)`` float32; ``None`` if there is no encoder for it.
    plans
        For each query how the lexical channel is searched; empty in a dense search.
    restriction
        Which documents may be found.
    exact
        Compare with every vector, without the accelerators.
    """

    mode: Mode
    k: int
    vectors: Sequence[NDArray[np.float32] | None]
    plans: Sequence[LexicalPlan] = ()
    restriction: Restriction = EVERYTHING
    exact: bool = False


class Channel(NamedTuple):
    """The best documents of a channel, by descending score and then by id.

    Attributes
    ----------
    scores
        ``(n,)`` float64.
    rows
        ``(n,)`` int64: the rows of the records.
    passages
        ``(n,)`` int64: the row of the passage that is nearest to the query; that of the record for a document that was
        not cut.
    similarities
        ``(n,)`` float64: the cosine or MaxSim with the query, where another score ranks the documents; NaN where it is
        unknown. ``None`` where ``scores`` are the similarities, or they are not wanted.
    texts
        The number of texts that match at all in the lexical channel.
    """

    scores: Floats
    rows: Rows
    passages: Rows
    similarities: Floats | None = None
    texts: int = 0


class Candidates(NamedTuple):
    """The candidates of one query by channel; ``None`` for a channel that was not searched."""

    dense: Channel | None
    lexical: Channel | None


class Found(NamedTuple):
    """What a shard found.

    Attributes
    ----------
    candidates
        For each query its candidates.
    cut
        Whether a document of the shard is cut into passages.
    allowed
        The number of documents that may be found; ``None`` if nothing is restricted.
    changes
        The number of changes that the shard counts.
    """

    candidates: Sequence[Candidates]
    cut: bool
    allowed: int | None
    changes: int


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Candidates of a query whose scores are to be completed.

    Attributes
    ----------
    vector
        The vector of the query.
    text, language
        The text of the query, and its language if known.
    rows
        ``(n,)`` int64: the rows of the candidates, in ascending order.
    words
        Whether the lexical channel found anything, so that it matters to which documents it applies.
    """

    vector: NDArray[np.float32]
    text: str
    language: str | None
    rows: Rows
    words: bool


class Completed(NamedTuple):
    """What a shard knows of the candidates of a query.

    Attributes
    ----------
    similarities
        ``(n,)`` float64: the cosine or MaxSim with the query; NaN for a document that is no longer stored.
    passages
        ``(n,)`` int64: the rows of the nearest passages, as in :class:`Channel`.
    applies
        ``(n,)`` bool: whether the lexical channel applies; see :func:`mlret.index.fusion.lexical_applies`.
    """

    similarities: Floats
    passages: Rows
    applies: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Stored documents.

    Attributes
    ----------
    documents
        Row -> document, without rows that are no longer stored.
    spans
        Row -> passages, for documents that were cut.
    changes
        The number of changes that the shard counts.
    """

    documents: dict[int, Document] = field(default_factory=dict)
    spans: dict[int, list[Span]] = field(default_factory=dict)
    changes: int = 0


class State(NamedTuple):
    """A summary of a shard that is cheap to make.

    Attributes
    ----------
    documents
        The number of documents.
    last_row
        The highest row number that was ever given.
    changes
        The number of changes that it counts.
    """

    documents: int
    last_row: int
    changes: int


class Shard(Protocol):
    """A part of an index. Errors are those of :class:`mlret.errors.MlretError`."""

    def state(self) -> State:
        """Return how much the shard holds."""

    def prepare(self, queries: Sequence[str], restriction: Restriction) -> Prepared:
        """Return what the shard knows of the words of queries.

        Parameters
        ----------
        queries
            The texts of the queries.
        restriction
            Which documents may be found.
        """

    def candidates(self, wanted: Wanted) -> Found:
        """Return the best documents of each channel for each query."""

    def complete(self, incomplete: Sequence[Incomplete]) -> list[Completed]:
        """Return what the fusion of channels needs to know of the candidates of queries."""

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Return the ids of documents by row; an empty one for a document that is no longer stored."""

    def fetch(self, rows: Sequence[int]) -> Fetched:
        """Return documents by row."""

    def unmatched(self, condition: Condition) -> Messages | None:
        """Return a message for each part of a filter that cannot match anything; ``None`` for an empty shard."""

    def stored(self, ids: Sequence[str]) -> list[str]:
        """Return those ids that are stored."""

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with some ids; ids that are not stored are missing from the result."""

    def page(self, after: int, size: int) -> list[tuple[int, Document]]:
        """Return up to ``size`` rows and documents in ascending order, from the row behind ``after`` on."""

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the vectors, or token vectors, of documents by id, without those that are not stored."""

    def info(self) -> IndexInfo:
        """Return a summary of the shard."""

    def fields(self, fields: int, values: int) -> dict[str, dict[Kind, list[Any]]]:
        """Return field -> kind -> values of the metadata that filters can use, up to some fields and values of each."""

    def rows_in(self, language: str | None) -> Rows:
        """Return the rows of the documents in a language, in ascending order."""

    def receipts(self, key: str) -> list[Receipt]:
        """Return the receipts of a request to a server; see :mod:`mlret.index.storage.receipts`."""

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        """Store a receipt of a request to a server."""

    def store_batch(
        self,
        batch: Sequence[Document],
        vectors: Vectors | None,
        existing: Existing,
        more: bool,
        known: Known | None = None,
    ) -> Updated:
        """Store documents in one transaction.

        Parameters
        ----------
        batch
            Documents that belong to this shard.
        vectors
            Their checked vectors in the same order; ``None`` to encode the texts.
        existing
            What to do with a document whose id is stored already.
        more
            Whether more will be written at once.
        known
            Vectors of texts that the encoder has made already.
        """

    def finish(self) -> None:
        """Do what is needed after the last batch, and warn of documents that were longer than the encoder reads."""

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the documents with some ids, and return how many were stored."""

    def delete_matching(self, condition: Condition) -> int:
        """Delete the documents that satisfy a condition, and return how many they were."""

    def refresh(self) -> None:
        """Load what other processes have changed."""

    def seal(self) -> None:
        """Write the vectors that are only in the database to a segment file."""

    def compact(self, due: bool) -> list[Choice]:
        """Merge the segments, with ``due`` only if much was added since; return the kind of each, none if not done."""

    def tune(self, vectors: Vectors | None, recall: float | None) -> str:
        """Choose the search effort of a multi-vector index by a trial run; see :meth:`mlret.Index.tune`."""

    def close(self) -> None:
        """Close the shard."""
