"""Routes of indexes: list, describe, create, delete."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from mlret.serve.limits.strict_json import StrictRoute
from mlret.serve.operations import indexes as operations
from mlret.serve.routes.dependencies import IndexName, Serving, problems
from mlret.serve.schemas.index_models import FieldList, IndexCreation, IndexDescription, IndexList
from mlret.serve.security.authentication import Caller

router = APIRouter(route_class=StrictRoute, tags=["indexes"])
_CREATED: dict[int | str, dict[str, Any]] = {201: {"description": "The index was created.", "model": IndexDescription}}


@router.get("/v1/indexes", summary="List indexes", response_model=IndexList, responses=problems())
async def list_all(service: Serving, principal: Caller) -> Response:
    """Describe the indexes that the token may read."""
    return JSONResponse({"indexes": await operations.list_indexes(service, principal)})


@router.get(
    "/v1/indexes/{name:name}",
    summary="Describe an index",
    response_model=IndexDescription,
    responses=problems("not-found", "invalid"),
)
async def get(name: IndexName, service: Serving, principal: Caller) -> Response:
    """Return the settings of an index, the fingerprint of its encoder, and its numbers of documents."""
    return JSONResponse(await operations.describe_index(service, principal, name))


@router.get(
    "/v1/indexes/{name:name}/fields",
    summary="List metadata fields",
    response_model=FieldList,
    responses=problems("not-found", "invalid"),
)
async def fields(name: IndexName, service: Serving, principal: Caller) -> Response:
    """Return the names of the metadata of the documents, and the values if there are few: what `where` can name."""
    return JSONResponse({"fields": await operations.list_fields(service, principal, name)})


@router.put(
    "/v1/indexes/{name:name}",
    summary="Create an index",
    response_model=IndexDescription,
    responses=_CREATED | problems("not-found", "conflict", "invalid"),
)
async def put(name: IndexName, service: Serving, principal: Caller, creation: IndexCreation | None = None) -> Response:
    """Create an empty index below the folder that the server was started with (`--root`).

    If an index with this name and these settings exists already, nothing is changed.
    """
    settings = (creation or IndexCreation()).settings.plain()
    description, created = await operations.create_index(service, principal, name, settings)
    headers = {"Location": f"/v1/indexes/{name}"} if created else {}
    return JSONResponse(description, 201 if created else 200, headers)


@router.post(
    "/v1/indexes/{name:name}:compact",
    summary="Compact an index",
    response_model=IndexDescription,
    responses=problems("not-found", "invalid"),
)
async def compact(name: IndexName, service: Serving, principal: Caller) -> Response:
    """Merge the segments of an index, remove deleted documents from the disk, and build what makes searches fast.

    It is worth its time after many changes, and takes minutes in a large index, in which writes wait and searches do
    not. If the answer is 504, the work goes on.
    """
    return JSONResponse(await operations.compact_index(service, principal, name))


@router.delete(
    "/v1/indexes/{name:name}",
    summary="Delete an index",
    status_code=204,
    responses=problems("not-found", "invalid"),
)
async def delete(name: IndexName, service: Serving, principal: Caller) -> Response:
    """Delete an index that a request created, with all its documents."""
    await operations.delete_index(service, principal, name)
    return Response(status_code=204)
