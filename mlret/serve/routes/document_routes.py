"""Routes of documents: add, list, read, change, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.responses import JSONResponse

from mlret.data.documents import Document
from mlret.serve.limits.strict_json import StrictRoute
from mlret.serve.operations import documents as operations
from mlret.serve.operations.adding import Adding, add_documents, stream_documents
from mlret.serve.operations.lines import LineReader
from mlret.serve.operations.storing import OnConflict
from mlret.serve.problems import Problem
from mlret.serve.routes.dependencies import IndexName, Serving, problems
from mlret.serve.routes.streaming import LINE_FORMS, NDJSON, StreamedAnswer
from mlret.serve.schemas.document_models import (
    DeleteByIds,
    Deleted,
    Deletion,
    DocumentChange,
    DocumentIn,
    DocumentOut,
    DocumentPage,
    DocumentsAdded,
    LineVerdict,
    StreamEnd,
)
from mlret.serve.security.authentication import Caller

_MERGE_PATCH = "application/merge-patch+json"

router = APIRouter(route_class=StrictRoute, tags=["documents"])
DocumentId = Annotated[str, PathParameter(description="The id of the document; it may contain slashes.", min_length=1)]


def _reference(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


# Models that only the description of a body names, which FastAPI does not read itself.
DESCRIBED = (DocumentIn, LineVerdict, StreamEnd)
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "array", "items": _reference(DocumentIn)}},
        NDJSON: {"schema": {"type": "string", "description": "A document (DocumentIn) in each line."}},
    },
}
_ADDED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The documents are stored and survive a crash. For NDJSON: a LineVerdict for each line as soon "
        "as it is stored, then a StreamEnd.",
        "content": {
            NDJSON: {"schema": {"type": "string", "description": "A LineVerdict in each line; then a StreamEnd."}}
        },
    }
}


@router.post(
    "/v1/indexes/{name:name}/documents",
    summary="Add documents",
    response_model=DocumentsAdded,
    responses=_ADDED | problems("not-found", "conflict", "invalid"),
    openapi_extra={"requestBody": _BODY},
)
async def add(
    name: IndexName,
    request: Request,
    service: Serving,
    principal: Caller,
    on_conflict: Annotated[
        OnConflict,
        Query(
            description="What to do with a document whose id is stored already: `replace` the stored one, `skip` it, "
            "or `fail`: an array is then refused as a whole, and a line of NDJSON alone."
        ),
    ] = "fail",
    idempotency_key: Annotated[
        str,
        Header(
            description="A name of this request that the client makes up. The same request with the same key within 24 "
            "hours gets the same answer and stores nothing twice, even if the server was killed in between.",
            max_length=255,
        ),
    ] = "",
) -> Response:
    """Store documents: a JSON array in one transaction, all or none; or NDJSON of any length, stored as it arrives.

    A stream may be resumed: send it again from its beginning with the same `Idempotency-Key`.
    """
    how = Adding(on_conflict, idempotency_key)
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "the body is compressed", field="Content-Encoding", place="header")
    if form == "application/json":
        return JSONResponse(await add_documents(service, principal, name, await request.body(), how))
    if form not in LINE_FORMS:
        raise Problem(
            "unsupported-media-type",
            f"the body is {form or 'of no type'}",
            field="Content-Type",
            place="header",
            fix=f"Send a JSON array as application/json, or a document in each line as {NDJSON}.",
        )
    reader = LineReader(request.stream(), service.settings.body_limit)
    return StreamedAnswer(stream_documents(service, principal, name, reader.batches(), how), NDJSON)


@router.get(
    "/v1/indexes/{name:name}/documents",
    summary="List documents",
    response_model=DocumentPage,
    responses=problems("not-found", "invalid"),
)
async def page(
    name: IndexName,
    service: Serving,
    principal: Caller,
    cursor: Annotated[
        str | None,
        Query(description="The value of `next` of the page before; missing for the first page.", max_length=100),
    ] = None,
    limit: Annotated[int, Query(description="The most documents of the page.", ge=1, le=1000)] = 100,
) -> Response:
    """Return documents in the order in which they were stored.

    Deletions between two pages make no document repeat and none go missing. A document that was replaced moves to the
    end.
    """
    found = await operations.list_documents(service, principal, name, cursor, limit)
    return JSONResponse({"documents": [_shown(one) for one in found.documents], "next": found.cursor})


@router.post(
    "/v1/indexes/{name:name}/documents:delete",
    summary="Delete documents",
    response_model=Deleted,
    responses=problems("not-found", "invalid"),
)
async def delete_many(name: IndexName, service: Serving, principal: Caller, which: Deletion) -> Response:
    """Delete documents by their ids, or all that match a filter. They stay deleted after a crash."""
    if isinstance(which, DeleteByIds):
        deleted, left = await operations.delete_documents(
            service, principal, name, which.ids, ignore_missing=which.ignore_missing
        )
    else:
        deleted, left = await operations.delete_documents(service, principal, name, where=which.where)
    return JSONResponse({"deleted": deleted, "documents": left})


@router.get(
    "/v1/indexes/{name:name}/documents/{id:path}",
    summary="Read a document",
    response_model=DocumentOut,
    responses=problems("not-found", "invalid"),
)
async def get(name: IndexName, id: DocumentId, service: Serving, principal: Caller) -> Response:
    """Return a stored document."""
    return JSONResponse(_shown(await operations.get_document(service, principal, name, id)))


@router.patch(
    "/v1/indexes/{name:name}/documents/{id:path}",
    summary="Change a document",
    response_model=DocumentOut,
    responses=problems("not-found", "invalid"),
)
async def change(
    name: IndexName, id: DocumentId, service: Serving, principal: Caller, patch: DocumentChange
) -> Response:
    """Change fields of a document by a merge patch (RFC 7396), and return it as it is stored then.

    If its text changes and its language is not named, the language stays as it is.
    """
    given = {field: getattr(patch, field) for field in patch.model_fields_set}
    return JSONResponse(_shown(await operations.change_document(service, principal, name, id, given)))


@router.delete(
    "/v1/indexes/{name:name}/documents/{id:path}",
    summary="Delete a document",
    response_model=Deleted,
    responses=problems("not-found", "invalid"),
)
async def delete(name: IndexName, id: DocumentId, service: Serving, principal: Caller) -> Response:
    """Delete a document. It stays deleted after a crash."""
    deleted, left = await operations.delete_document(service, principal, name, id)
    return JSONResponse({"deleted": deleted, "documents": left})


def _shown(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "text": document.text,
        "lang": document.language,
        "metadata": document.metadata,
    }
