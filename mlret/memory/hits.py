"""What the verbs of a memory answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, overload

from mlret.index.hits import ScoreKind
from mlret.memory.duplicates import Evidence
from mlret.memory.journal import Verb
from mlret.memory.records import MemoryRecord

Verdict = Literal["added", "duplicate", "related"]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a text.

    Attributes
    ----------
    id
        The record that holds it: a new one, or, for a ``duplicate``, the one that said it already.
    verdict
        ``added``; ``duplicate``: the record ``id`` says it, with all that came with the text, and is stronger now and
        has one more source; ``related``: added, and linked to what the evidence names.
    evidence
        The nearest records that decided, and what spoke for and against each.
    reason
        The same in a sentence.
    operation
        Takes it back: :meth:`~mlret.memory.memory.Memory.undo`.
    """

    id: str
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    reason: str
    operation: int

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb changed: the ids of the records, and the operation that :meth:`~mlret.memory.memory.Memory.undo`
    takes back."""

    ids: tuple[str, ...]
    operation: int


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """A record that a search found.

    Attributes
    ----------
    rank, score
        From 1; higher is better, equal scores are ordered by id.
    record
        The version that was found.
    scores
        Every term of the score by name; what each channel says is in ``dense`` (a cosine, or MaxSim) and ``lexical``
        (BM25). A ``fused`` score is their sum brought between 0 and 1 by :func:`mlret.index.fusion.in_unit`.
    why
        The same in words, with what was left out.
    conflicts
        Other versions and contradicting records, where they were asked for.
    also
        Ids of near-duplicates that this hit stands for.
    kind
        What the score is: ``fused`` of several terms; ``cosine``, ``maxsim`` or ``bm25`` where it is that of one
        channel; ``rerank`` as the callable gave it.
    cosine
        With the query, whatever the kind; ``None`` in a memory with a vector for each token.
    yields_to
        Ids of hits that supersede or contradict this one, and stand before it.
    """

    rank: int
    score: float
    record: MemoryRecord
    scores: dict[str, float] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    conflicts: tuple[MemoryRecord, ...] = ()
    also: tuple[str, ...] = ()
    kind: ScoreKind | Literal["rerank"] = "fused"
    cosine: float | None = None
    yields_to: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Of the record."""
        return self.record.id

    @property
    def text(self) -> str:
        """Of the record, word for word."""
        return self.record.text

    @property
    def language(self) -> str | None:
        """Of the text."""
        return self.record.language

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the record."""
        return self.record.metadata

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "rank": self.rank,
            "score": self.score,
            "scores": self.scores,
            "why": list(self.why),
            "also": list(self.also),
            "record": self.record.as_json(),
            "conflicts": [record.as_json() for record in self.conflicts],
            "kind": self.kind,
            "cosine": self.cosine,
            "yields_to": list(self.yields_to),
        }


@dataclass(frozen=True, slots=True)
class Found(Sequence[MemoryHit]):
    """The hits of a search, best first: a sequence of them.

    Attributes
    ----------
    hits
        What was found.
    scope
        Where it was looked for.
    searched
        How many versions could have been found.
    reason
        Why there is nothing, where there is nothing.
    """

    hits: tuple[MemoryHit, ...]
    scope: dict[str, str]
    searched: int
    reason: str | None = None

    @overload
    def __getitem__(self, place: int) -> MemoryHit: ...
    @overload
    def __getitem__(self, place: slice) -> Found: ...
    def __getitem__(self, place: int | slice) -> MemoryHit | Found:
        return replace(self, hits=self.hits[place]) if isinstance(place, slice) else self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[MemoryHit]:
        return iter(self.hits)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "scope": self.scope,
            "searched": self.searched,
            "reason": self.reason,
            "hits": [hit.as_json() for hit in self.hits],
        }


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Something that happened to a record: when, by which operation and verb, and what changed."""

    operation: int
    at: datetime
    verb: Verb
    changes: tuple[str, ...]
    note: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a policy archives, or would: ids with the reason of each; ``operation`` is ``None`` in a dry run."""

    reasons: dict[str, str]
    operation: int | None = None


@dataclass(frozen=True, slots=True)
class ErasureProof:
    """That nothing is left.

    Attributes
    ----------
    ids
        The records that were erased: those that were named, what was derived from them, what was merged into them.
    versions
        How many versions with their vectors.
    pieces
        How many pieces of the texts, and ids, were looked for.
    files
        For each file of the store, and for each folder of files in it: how many of the pieces stand there
        (``places``) without being part of something that is stored still, whoever stored it.
    shared
        Ids of records of the scope that still say some of it.
    complete
        Whether no byte is left: no such piece is found, and the write-ahead log was emptied.
    note
        What is still to be done, if it is not.
    """

    ids: tuple[str, ...]
    versions: int
    pieces: int
    files: dict[str, dict[str, int]]
    shared: tuple[str, ...]
    complete: bool
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)
