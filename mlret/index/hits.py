"""Results of an index: the hits of a search, a summary of an index, and the counts of an update."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ScoreKind = Literal["cosine", "maxsim", "bm25", "fused"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that is longer than its encoder reads.

    Attributes
    ----------
    start, end
        Where it is in the text of the document: from ``start`` to before ``end``, in characters.
    text
        What stands there.
    """

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    Attributes
    ----------
    rank
        The position among the hits, starting at 1. Documents with equal scores are ordered by id.
    score
        The score by which the hits are ranked; higher is better.
    id, text, language, metadata
        The fields of the document.
    scores
        The score of each channel that found the document: ``dense`` (the cosine, or MaxSim) and ``lexical`` (BM25).
    kind
        What ``score`` is: ``cosine`` (from -1 to 1, rounded to six decimals), ``maxsim``, ``bm25`` (from 0, unbounded),
        or ``fused``: the mean of the channels' standard scores, mapped to a value between 0 and 1 by
        :func:`mlret.index.fusion.in_unit`.
    cosine
        The cosine with the query, whatever ``kind`` is; ``None`` in an index with a vector for each token, and in a
        lexical search of an index whose encoder is not at hand.
    terms
        What ``score`` is the sum of, by channel. A ``fused`` score is the sum mapped to a value between 0 and 1: each
        term is the standard score of a channel divided by the number of channels that were counted. A channel that
        does not apply to the document, or distinguishes no candidates, is not among them.
    passage
        The passage that is nearest to the query, if the document was cut into passages; it decides the score for
        meaning. ``None`` for other documents, and in a lexical search of an index whose encoder is not at hand.

    Examples
    --------
    >>> [hit] = index.search("the train is late", k=1)
    >>> hit.rank, hit.id, hit.language, hit.kind
    (1, 'train', 'de', 'cosine')
    """

    rank: int
    id: str
    score: float
    text: str
    language: str | None
    metadata: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)
    kind: ScoreKind = "cosine"
    cosine: float | None = None
    terms: dict[str, float] = field(default_factory=dict)
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A summary of what an index holds.

    ``passages`` counts the passages of all documents; a document that was not cut counts as one. Each passage has a
    vector: ``kinds`` counts those in segments of each kind, and ``unsealed`` those that are in no segment yet.
    ``probing`` describes how a multi-vector index is searched and the recall that was measured. ``deleted`` counts the
    rows of segments that the next compaction removes. ``bytes`` is the size of the folder on disk.
    """

    path: str
    documents: int
    languages: dict[str | None, int]
    encoder: str
    fingerprint: str
    dims: int
    similarity: str
    lexical: bool
    kind: str
    kinds: dict[str, int]
    why: list[str]
    probing: str
    segments: int
    unsealed: int
    deleted: int
    bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class Updated:
    """How many documents were added, replaced an earlier one with the same id, or were skipped.

    A document is skipped if it is stored already.
    """

    added: int = 0
    replaced: int = 0
    skipped: int = 0

    def __add__(self, other: Updated) -> Updated:
        return Updated(self.added + other.added, self.replaced + other.replaced, self.skipped + other.skipped)
