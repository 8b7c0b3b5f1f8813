"""What an index tells: the hits of a search, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ScoreKind = Literal["cosine", "maxsim", "bm25", "fused"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    Attributes
    ----------
    rank, score
        From 1; higher is better, equal scores are ordered by id.
    id, text, language, metadata
        Of the document.
    scores
        What each channel that found the document gave it: ``dense`` (the cosine, or MaxSim) and ``lexical`` (BM25).
    kind
        What the score is: ``cosine`` (from -1 to 1, rounded to six decimals), ``maxsim``, ``bm25`` (from 0 without
        bound), or ``fused``: the standard scores of the channels, averaged and brought between 0 and 1 by
        :func:`mlret.index.fusion.in_unit`.
    cosine
        With the query, whatever the kind; ``None`` in an index with a vector for each token.
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


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds.

    ``kinds`` counts the documents whose vectors are in segments of each kind, ``unsealed`` those that are in no segment
    yet; ``probing`` says how a multi-vector index is searched, and the recall that had; ``deleted`` counts rows of
    segments that the next compaction drops; ``bytes`` is what the folder takes.
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


@dataclass(frozen=True, slots=True)
class Updated:
    """How many documents were new, how many took the place of one with their id, and how many were there already."""

    added: int = 0
    replaced: int = 0
    skipped: int = 0

    def __add__(self, other: Updated) -> Updated:
        return Updated(self.added + other.added, self.replaced + other.replaced, self.skipped + other.skipped)
