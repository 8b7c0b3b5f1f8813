"""What an index tells: the hits of a search, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found.

    ``rank`` counts from 1; ``score`` is the cosine with the query, rounded to six decimals: higher is better,
    and equal scores are ordered by id.
    """

    rank: int
    id: str
    score: float
    text: str
    language: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds; ``unsealed`` counts the documents whose vectors are in no segment file yet."""

    path: str
    documents: int
    languages: dict[str | None, int]
    encoder: str
    fingerprint: str
    dims: int
    similarity: str
    segments: int
    unsealed: int
    bytes: int
