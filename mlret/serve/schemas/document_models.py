"""Shapes of documents in requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from mlret.serve.problems import ProblemDocument
from mlret.serve.schemas.value_types import Filter, Flag, Language, Metadata


class DocumentIn(BaseModel):
    """A document to store. Further keys become metadata, as in the files that `mlret index build` reads."""

    model_config = ConfigDict(extra="allow")

    id: str | int | None = Field(None, description="Its name within the index; the index makes one if it is missing.")
    text: str = Field(description="The text, in any language; not blank.", min_length=1)
    lang: Language | None = Field(None, description="The language of the text; detected if it is missing.")
    metadata: Metadata | None = None
    vector: list[float] | list[list[float]] | None = Field(
        None,
        min_length=1,
        description="The vector of the text, made by the encoder of the index; of all documents of a request, or none. "
        "By default the text is encoded.",
    )


class DocumentOut(BaseModel):
    """A stored document."""

    id: str
    text: str
    lang: str | None
    metadata: Metadata


class DocumentPage(BaseModel):
    """A part of the documents of an index, in the order in which they were stored."""

    documents: list[DocumentOut]
    next: str | None = Field(description="The `cursor` of the page behind this one; null on the last page.")


class DocumentChange(BaseModel):
    """A JSON merge patch (RFC 7396) of a document: what is missing stays as it is, and null removes a value."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", description="The new text.", min_length=1)
    lang: Language | None = Field(None, description="The new language; null to have it detected.")
    metadata: Metadata | None = Field(None, description="Values to change or, where null, to remove; null removes all.")


class Verdicts(BaseModel):
    """What became of a document that was sent."""

    id: str | None
    verdict: Literal["added", "replaced", "unchanged", "skipped"]


class DocumentsAdded(BaseModel):
    """What became of the documents of an array. All of them are stored and survive a crash."""

    added: int = Field(description="New documents.", ge=0)
    replaced: int = Field(description="Documents that replaced another one with the same id.", ge=0)
    unchanged: int = Field(description="Documents that were stored already, and are the same.", ge=0)
    skipped: int = Field(description="Documents whose id was stored already.", ge=0)
    results: list[Verdicts] = Field(description="The verdict of each document, in the order of the request.")


class LineVerdict(BaseModel):
    """What became of the document in one line of a stream. It is sent when the document is stored."""

    line: int = Field(description="The number of the line, from 1.", ge=1)
    id: str | None
    verdict: Literal["added", "replaced", "unchanged", "skipped", "failed"]
    problem: dict[str, Any] | None = Field(None, description="Why it failed: a problem document (RFC 9457).")


class StreamEnd(BaseModel):
    """The last line of the answer to a stream. If it is missing, the connection was cut."""

    end: bool = Field(description="Whether the whole body was worked on.")
    lines: int | None = Field(None, ge=0)
    added: int | None = Field(None, ge=0)
    replaced: int | None = Field(None, ge=0)
    unchanged: int | None = Field(None, ge=0)
    skipped: int | None = Field(None, ge=0)
    failed: int | None = Field(None, ge=0)
    problem: ProblemDocument | None = Field(None, description="Why the work ended before the body did.")


class DeleteByIds(BaseModel):
    """Documents to delete, by their ids."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1)
    ignore_missing: Flag = Field(False, description="Skip ids that are not stored; otherwise nothing is deleted then.")


class DeleteByFilter(BaseModel):
    """Documents to delete, by a filter."""

    model_config = ConfigDict(extra="forbid")

    where: Filter = Field(min_length=1, description="As for a search.", json_schema_extra={"minProperties": 1})


# The names of the alternatives are part of the place of an error, where no key of a body is called so.
def _kind(value: Any) -> str:
    given = value if isinstance(value, dict) else getattr(value, "model_fields_set", {})
    return "by filter" if "where" in given and "ids" not in given else "by ids"


Deletion = Annotated[
    Annotated[DeleteByIds, Tag("by ids")] | Annotated[DeleteByFilter, Tag("by filter")], Discriminator(_kind)
]


class Deleted(BaseModel):
    """How many documents were deleted, and how many the index still holds."""

    deleted: int = Field(ge=0)
    documents: int = Field(ge=0)
