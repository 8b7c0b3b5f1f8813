"""Routes of encoders for clients of OpenAI's, Cohere's and Jina's interfaces: models, embeddings, reranking."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from numpy.typing import NDArray
from starlette.responses import JSONResponse

from mlret.serve.operations import encoding
from mlret.serve.operations.service import Service
from mlret.serve.routes.bodies import body_of, json_answer, json_body
from mlret.serve.routes.dependencies import Serving, problems
from mlret.serve.schemas.embedding_models import (
    EmbeddingAnswer,
    EmbeddingRequest,
    Model,
    ModelList,
    RerankAnswer,
    RerankRequest,
)
from mlret.serve.security.authentication import Caller
from mlret.serve.security.principal import Principal
from mlret.serve.work.encoders import ServedEncoder

router = APIRouter(tags=["models"])
_STARTED = int(time.time())
_ERRORS = problems("not-found", "invalid")
# Decimals of a number in an answer: half a unit of the last one is less than what 32 bits leave out.
_DECIMALS = 9
# Models that only the description of a body names, which FastAPI does not read itself.
DESCRIBED = (EmbeddingRequest, RerankRequest)


@router.get("/v1/models", summary="List encoders", response_model=ModelList, responses=problems())
async def list_models(service: Serving, principal: Caller) -> Response:
    """Return the encoders that are loaded, as OpenAI's interface does."""
    return JSONResponse({"object": "list", "data": [_shown(one) for one in await encoding.models(service, principal)]})


@router.get("/v1/models/{model:path}", summary="Read an encoder", response_model=Model, responses=_ERRORS)
async def get_model(
    model: Annotated[str, Path(description="The id of a model, or `default`.")], service: Serving, principal: Caller
) -> Response:
    """Return an encoder, as OpenAI's interface does."""
    return JSONResponse(_shown(await encoding.model(service, principal, model)))


@router.post(
    "/v1/embeddings",
    summary="Encode texts",
    response_model=EmbeddingAnswer,
    responses=_ERRORS,
    openapi_extra=body_of(EmbeddingRequest),
)
async def embeddings(request: Request, service: Serving, principal: Caller) -> Response:
    """Return the vectors of texts, as OpenAI's interface does. Many texts are encoded in parts, not refused."""
    wanted = await json_body(request, EmbeddingRequest)
    texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    found = await encoding.embed(
        service, principal, texts, name=wanted.model, dims=wanted.dimensions, side=wanted.input_type
    )
    write = _in_base64 if wanted.encoding_format == "base64" else _numbers
    data = (
        {"object": "embedding", "index": place, "embedding": write(vector)}
        for place, vector in enumerate(found.vectors)
    )
    closing = json.dumps({"model": found.model, "usage": _usage(found.tokens)})
    return await json_answer('{"object": "list", "data": [', data, len(texts), "], " + closing[1:])


@router.post(
    "/v1/rerank",
    summary="Rank documents",
    response_model=RerankAnswer,
    responses=_ERRORS,
    openapi_extra=body_of(RerankRequest),
)
async def rerank(request: Request, service: Serving, principal: Caller) -> Response:
    """Rank documents by a query, as Jina's interface and the first version of Cohere's do."""
    return await _reranked(request, service, principal, "1")


@router.post(
    "/v2/rerank",
    summary="Rank documents (Cohere's second version)",
    response_model=RerankAnswer,
    responses=_ERRORS,
    openapi_extra=body_of(RerankRequest),
)
async def rerank_again(request: Request, service: Serving, principal: Caller) -> Response:
    """Rank documents by a query, as the second version of Cohere's interface does."""
    return await _reranked(request, service, principal, "2")


async def _reranked(request: Request, service: Service, principal: Principal, version: str) -> Response:
    wanted = await json_body(request, RerankRequest)
    texts = [encoding.text_of(one, wanted.rank_fields, place) for place, one in enumerate(wanted.documents)]
    found = await encoding.rerank(service, principal, wanted.query, texts, name=wanted.model, top=wanted.top_n)
    results: list[dict[str, Any]] = []
    for place, score in zip(found.order, found.scores, strict=True):
        results.append({"index": place, "relevance_score": round(score, 6)})
        if wanted.return_documents:
            document = wanted.documents[place]
            results[-1]["document"] = {"text": document} if isinstance(document, str) else document
    return JSONResponse(
        {
            "id": str(uuid.uuid4()),
            "object": "list",
            "model": found.model,
            "results": results,
            "usage": _usage(found.tokens),
            "meta": {"api_version": {"version": version}, "billed_units": {"search_units": 1}},
        }
    )


def _in_base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _numbers(vector: NDArray[np.float32]) -> list[float]:
    numbers: list[float] = np.round(vector.astype(np.float64), _DECIMALS).tolist()
    return numbers


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _shown(served: ServedEncoder) -> dict[str, Any]:
    encoder = served.encoder
    return Model(
        id=served.id,
        created=_STARTED,
        dimensions=encoder.dims,
        vectors="text" if encoder.similarity == "cosine" else "token",
        fingerprint=encoder.fingerprint,
    ).model_dump()
