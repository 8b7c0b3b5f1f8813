"""Shapes of embeddings and reranking: those of OpenAI's, Cohere's and Jina's interfaces.

Keys that other servers know and this one does not are ignored, because clients of those interfaces send them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, field_validator
from pydantic_core import PydanticCustomError

from mlret.serve.schemas.value_types import Flag, Whole

ModelName = Annotated[
    str | None, Field(None, description="The id of a model of `/v1/models`; by default that of new indexes.")
]
Text = Annotated[str, StringConstraints(min_length=1)]


def _kind(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


Texts = Annotated[
    Annotated[Text, Tag("one")] | Annotated[list[Text], Field(min_length=1), Tag("many")], Discriminator(_kind)
]


class EmbeddingRequest(BaseModel):
    """Texts to encode, as OpenAI's interface takes them."""

    input: Texts = Field(description="A text, or any number of them, none blank. Token ids are refused.")
    model: ModelName = None
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`base64`: the bytes of little-endian 32-bit floats."
    )
    dimensions: Whole | None = Field(
        None, ge=1, description="Keep the first dimensions alone, scaled to unit length again. By default all."
    )
    input_type: Literal["query", "document"] = Field(
        "document", description="What the texts are, for models that encode queries differently."
    )

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], int | list):
            raise PydanticCustomError(
                "token_ids",
                "token ids are of the tokenizer of another model; send texts (LangChain: "
                "check_embedding_ctx_length=False)",
            )
        return value


class Embedding(BaseModel):
    """The vector of a text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(ge=0, description="The position of the text in the request.")
    embedding: list[float] | str


class Usage(BaseModel):
    """How many tokens were read."""

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class EmbeddingAnswer(BaseModel):
    """The vectors of texts, in the order of the request. They have unit length."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class RerankRequest(BaseModel):
    """Documents to rank by a query, as the interfaces of Cohere and Jina take them."""

    query: Text = Field(description="A text in any language; not blank.")
    documents: list[str | dict[str, Any]] = Field(
        min_length=1, description="Texts, or objects with the key `text` or those of `rank_fields`. Any number."
    )
    model: ModelName = None
    top_n: Whole | None = Field(None, ge=1, description="The number of documents to return; by default all.")
    return_documents: Flag = Field(False, description="Whether each result contains its document.")
    rank_fields: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="The keys of the objects whose texts count; by default `text`."
    )


class RerankResult(BaseModel):
    """A document with its score."""

    index: int = Field(ge=0, description="The position of the document in the request.")
    relevance_score: float = Field(ge=0, le=1, description="Higher is better: (1 + similarity) / 2.")
    document: dict[str, Any] | None = Field(None, description="The document, if it was asked for.")


class RerankAnswer(BaseModel):
    """Documents, best first."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: dict[str, Any] = Field(description="`api_version` and `billed_units`, as Cohere's interface has them.")


class Model(BaseModel):
    """An encoder."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the server was started, in seconds since 1970.")
    owned_by: Literal["mlret"] = "mlret"
    dimensions: int = Field(description="Number of dimensions of a vector.")
    vectors: Literal["text", "token"] = Field(description="Whether it gives a vector for each text or each token.")
    fingerprint: str = Field(description="Vectors of models with different fingerprints must never be compared.")


class ModelList(BaseModel):
    """The encoders that the server has loaded; the first is that of requests that name none."""

    object: Literal["list"] = "list"
    data: list[Model]
