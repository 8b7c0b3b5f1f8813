"""Shapes of searches and their results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from mlret.index.search import Mode
from mlret.serve.schemas.value_types import (
    LISTS_OF_NUMBERS,
    MANY_NUMBERS,
    NUMBERS,
    Filter,
    Flag,
    Language,
    Metadata,
    Whole,
)

Text = Annotated[str, Field(min_length=1)]
Vectors = Annotated[list[Any], WithJsonSchema({"anyOf": [NUMBERS, MANY_NUMBERS, LISTS_OF_NUMBERS]})]


class _Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    k: Whole = Field(
        10,
        ge=1,
        le=10_000,
        description="The number of hits for each query. Times the number of queries it is at most 10,000, unless the "
        "server was started with another --most-hits.",
    )
    where: Filter | None = Field(None, description="Only documents that match.")
    ids: list[str] | None = Field(None, description="Only documents with these ids.")
    exact: Flag = Field(False, description="Compare with every document, without the accelerators of large segments.")
    partial: Flag = Field(
        False,
        description="In an index that is divided into shards, search the others if one does not answer, and name it in "
        "`missing`; otherwise that is an error.",
    )
    explain: Flag = Field(
        False, description="Say what each score consists of, and which part of the text matches best."
    )


class SearchByText(_Search):
    """One text to search for, or many."""

    query: Text | Annotated[list[Text], Field(min_length=1)] = Field(description="A text in any language, or several.")
    language: Language | list[Language | None] | None = Field(
        None, description="The language of all queries, or of each; detected where it is missing."
    )
    mode: Mode | None = Field(None, description="By default `hybrid` if the index has a lexical channel, else `dense`.")


class SearchByVector(_Search):
    """One query vector, or many."""

    vector: Vectors = Field(
        min_length=1,
        description="A vector, or several. In a multi-vector index a query is a list of vectors, one for each token.",
    )


def _kind(value: Any) -> str:
    given = value if isinstance(value, dict) else getattr(value, "model_fields_set", {})
    return "by vector" if "vector" in given and "query" not in given else "by text"


SearchRequest = Annotated[
    Annotated[SearchByText, Tag("by text")] | Annotated[SearchByVector, Tag("by vector")], Discriminator(_kind)
]


class MarkOut(BaseModel):
    """A word that the text shares with the query: from `start` to before `end`, in characters (code points)."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    share: float = Field(description="The share of its n-grams that the query has.", ge=0, le=1)


class PassageOut(BaseModel):
    """The part of the text that is nearest to the query: from `start` to before `end`, in characters (code points)."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    score: float = Field(description="Its cosine with the query; in a multi-vector index MaxSim.")


class ExplanationOut(BaseModel):
    """Why a document was found."""

    terms: dict[str, float] = Field(
        description="Channel -> its part of the score. The score is their sum; if `kind` is `fused`, it is the sum "
        "mapped to a value between 0 and 1 by `1 / (1 + exp(-sum))`. A channel that does not apply to the document is "
        "missing."
    )
    marks: list[MarkOut]
    passage: PassageOut | None = Field(description="Null for a short text.")


class CutPassageOut(BaseModel):
    """A passage of a document that was cut: from `start` to before `end` of its text, in characters (code points)."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    text: str


class HitOut(BaseModel):
    """A document that a search found."""

    rank: int = Field(ge=1)
    id: str
    score: float = Field(description="What the hits are ranked by; higher is better.")
    text: str
    lang: str | None
    metadata: Metadata
    scores: dict[str, float] = Field(description="The score of each channel that found it: `dense` and `lexical`.")
    kind: Literal["cosine", "maxsim", "bm25", "fused"] = Field(description="What `score` is.")
    cosine: float | None = Field(description="The cosine with the query; null in a multi-vector index.")
    passage: CutPassageOut | None = Field(
        description="The passage that is nearest to the query, of a document that is longer than the encoder reads; "
        "null for other documents."
    )
    explanation: ExplanationOut | None = Field(None, description="If `explain` was requested.")


class QueryResult(BaseModel):
    """The hits of one query, best first."""

    hits: list[HitOut]
    missing: list[str] = Field([], description="The shards that did not answer; only if `partial` was requested.")


class SearchAnswer(BaseModel):
    """The results of a search: one for each query, in the order of the request."""

    results: list[QueryResult]
    warnings: list[str] = Field(description="Why the filter matches nothing, if it does not: a name may be misspelt.")
