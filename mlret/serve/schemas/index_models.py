"""Shapes of indexes in requests and answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mlret.index.filtering.fields import Kind as FieldKind
from mlret.index.settings import IndexSettings


class UnreadDescription(BaseModel):
    """What the encoder does not read of the documents."""

    cut: int = Field(description="Documents that are longer than the encoder's longest input.", ge=0)
    tokens: int = Field(description="Number of their tokens that are not read.", ge=0)
    languages: dict[str, int] = Field(description="Language in which the encoder was not trained -> documents in it.")
    scripts: dict[str, int] = Field(description="Script that the tokenizer lacks -> documents in it.")


class IndexDescription(BaseModel):
    """What an index holds, and how it was built."""

    name: str
    documents: int = Field(ge=0)
    languages: dict[str, int] = Field(description="Language -> number of documents; `und` where it is unknown.")
    encoder: str = Field(description="The encoder that it was built with.")
    fingerprint: str = Field(description="Hash of the encoder; vectors of different encoders are never mixed.")
    dims: int = Field(description="Number of dimensions of a vector.", ge=1)
    similarity: str = Field(description="`cosine` for one vector per text, `maxsim` for one per token.")
    lexical: bool = Field(description="Whether it can be searched by words too (`mode` lexical and hybrid).")
    passages: int = Field(
        description="Passages of all documents; one that was not cut counts as one. Each has a vector.", ge=0
    )
    kinds: dict[str, int] = Field(description="Kind of segment -> number of passages in such segments.")
    why: list[str] = Field(description="Why the segments are of these kinds.")
    probing: str = Field(description="How a multi-vector index is searched, and the recall that was measured.")
    segments: int = Field(ge=0)
    unsealed: int = Field(description="Passages whose vectors are in no segment yet.", ge=0)
    deleted: int = Field(description="Rows of segments that the next compaction removes.", ge=0)
    bytes: int = Field(description="Size of the folder on disk.", ge=0)
    unread: UnreadDescription
    fields: list[str] = Field(description="Names of metadata that filters can use, at most 100.")
    parts: dict[str, int] = Field(
        description="What takes how many of these bytes: `records` (texts, metadata, words, and vectors that are in no "
        "segment yet), `vectors` (the segments), `other`."
    )
    settings: IndexSettings
    removable: bool = Field(description="Whether a request may delete it.")


class IndexList(BaseModel):
    """The indexes that the token may read."""

    indexes: list[IndexDescription]


class FieldDescription(BaseModel):
    """A metadata field, for which a filter can be made."""

    name: str = Field(description="As a filter names it: `author.born` is a value in the object `author`.")
    kinds: list[FieldKind] = Field(description="The kinds of its values.")
    values: list[bool | float | int | str] | None = Field(
        description="Its strings, numbers and booleans; null if there are more than 50 of a kind. Long strings are cut."
    )


class FieldList(BaseModel):
    """The metadata fields of an index, at most 100."""

    fields: list[FieldDescription]


class SettingsIn(IndexSettings):
    """Settings as their description says: `"1"` and `true` are no numbers, though they are in a recipe."""

    model_config = ConfigDict(strict=True)

    def plain(self) -> IndexSettings:
        """Return the settings as an index keeps them."""
        return IndexSettings.model_validate(self.model_dump())


class IndexCreation(BaseModel):
    """How to create an index."""

    model_config = ConfigDict(extra="forbid")

    settings: SettingsIn = Field(default_factory=SettingsIn)
