"""Routes of the memory: remember, search, read, change, forget, erase."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.responses import JSONResponse

from mlret.memory.ingest.forget import Policy
from mlret.memory.profiling import MOST
from mlret.memory.records import Kind, Level
from mlret.memory.results import Done
from mlret.serve.operations import memory_changing as changing
from mlret.serve.operations import memory_reading as reading
from mlret.serve.operations import memory_transfer as transfer
from mlret.serve.operations.memory_adding import MemoryAdding, add_memories
from mlret.serve.operations.memory_reading import Listing, MemorySearch
from mlret.serve.problems import Problem
from mlret.serve.routes.dependencies import Serving, problems
from mlret.serve.routes.streaming import LINE_FORMS, NDJSON, StreamedAnswer
from mlret.serve.schemas import memory_models as models
from mlret.serve.schemas.value_types import Name
from mlret.serve.security.authentication import Caller

router = APIRouter(tags=["memory"])
_RECORDS = {NDJSON: {"schema": {"type": "string", "description": "A record with all its versions in each line."}}}
_EXPORTED: dict[int | str, dict[str, Any]] = {200: {"description": "The records.", "content": _RECORDS}}
MemoryId = Annotated[
    str,
    PathParameter(description="The id of the record; it may contain slashes, but not end in `/history`.", min_length=1),
]
AsOf = Annotated[str | None, Query(description="An instant: ISO 8601 with an offset from UTC.")]


def scope_of(
    tenant: Annotated[Name | None, Query(description="Only the tenant of the token.")] = None,
    user: Annotated[Name | None, Query(description="Whom the memory is about.")] = None,
    agent: Annotated[Name | None, Query()] = None,
    run: Annotated[Name | None, Query()] = None,
) -> dict[str, str]:
    """Return the scope that the parameters of a request name."""
    given = {"tenant": tenant, "user": user, "agent": agent, "run": run}
    return {name: value for name, value in given.items() if value is not None}


ScopeOfQuery = Annotated[dict[str, str], Depends(scope_of)]


@router.post(
    "/v1/memories",
    summary="Remember texts",
    response_model=models.MemoriesAdded,
    responses=problems("not-found", "conflict", "too-large", "invalid"),
)
async def add(
    wanted: models.MemoriesIn,
    service: Serving,
    principal: Caller,
    idempotency_key: Annotated[
        str,
        Header(
            description="A name of this request that the client makes up. The same request with the same key within 24 "
            "hours gets the same answer and stores nothing twice, even if the server was killed in between.",
            max_length=255,
        ),
    ] = "",
) -> Response:
    """Store a text, or several, or the messages of a conversation with what was found in them: all of them or none.

    A text that is stored already strengthens its record.
    """
    given: dict[str, Any]
    facts: list[dict[str, Any]] = []
    match wanted:
        case models.Conversation():
            facts = [one.given() for one in wanted.facts]
            messages = [one.model_dump(exclude_unset=True) for one in wanted.messages]
            given = {"texts": messages, "field": "messages", "about": wanted.given(), "facts": facts}
        case models.ManyMemories():
            given = {"texts": [one.given() for one in wanted.memories], "field": "memories"}
        case _:
            given = {"texts": [wanted.given()], "field": ""}
    adding = MemoryAdding(scope=wanted.scope.given(), dedupe=wanted.dedupe, key=idempotency_key, **given)
    added = await add_memories(service, principal, adding)
    turns = len(added) - len(facts)
    return JSONResponse({"results": added[:turns], "facts": added[turns:]})


@router.get(
    "/v1/memories",
    summary="List memories",
    response_model=models.MemoryPage,
    responses=problems("not-found", "invalid"),
)
async def list_all(
    service: Serving,
    principal: Caller,
    scope: ScopeOfQuery,
    kinds: Annotated[list[Kind] | None, Query(description="Only records of these kinds.")] = None,
    levels: Annotated[list[Level] | None, Query(description="Only records of these levels.")] = None,
    state: Annotated[Literal["active", "archived", "merged"], Query()] = "active",
    as_of: AsOf = None,
    current_only: Annotated[bool, Query(description="Without versions that a later one supersedes.")] = True,
    cursor: Annotated[
        str | None,
        Query(description="The value of `next` of the page before; missing for the first page.", max_length=100),
    ] = None,
    limit: Annotated[int, Query(description="The most records of the page.", ge=1, le=1000)] = 100,
) -> Response:
    """Return the records of a scope, in the order in which they were stored; a changed record moves to the end."""
    wanted = Listing(scope, None, kinds or (), levels or (), as_of, current_only, state)
    page = await reading.list_memories(service, principal, wanted, cursor, limit)
    return JSONResponse({"memories": [one.as_json() for one in page.records], "next": page.cursor})


@router.post(
    "/v1/memories:search",
    summary="Search the memory",
    response_model=models.MemorySearchAnswer,
    responses=problems("not-found", "too-large", "invalid"),
)
async def search(wanted: models.MemorySearchRequest, service: Serving, principal: Caller) -> Response:
    """Find the records that best answer a query in any language, or each of several."""
    queries = [wanted.query] if isinstance(wanted.query, str) else wanted.query
    asked = _search(wanted, queries)
    found, explanations = await reading.search_memory_explained(service, principal, asked, explained=wanted.explain)
    results = [one.as_json() for one in found]
    for result, some in zip(results, explanations, strict=False):
        for hit, explanation in zip(result["hits"], some, strict=True):
            hit["explanation"] = explanation.as_json()
    return JSONResponse({"results": results})


@router.post(
    "/v1/memories:context",
    summary="Search the memory for a prompt",
    response_model=models.ContextAnswer,
    responses=problems("not-found", "too-large", "invalid"),
)
async def context(wanted: models.ContextRequest, service: Serving, principal: Caller) -> Response:
    """Search, and return as much of what is found as fits a budget of tokens, in order of time."""
    found = await reading.pack_context(service, principal, _search(wanted, [wanted.query]), wanted.budget)
    return JSONResponse(found)


@router.get(
    "/v1/memories:profile",
    summary="Summarise what is known",
    response_model=models.ProfileOut,
    responses=problems("not-found", "invalid"),
)
async def profile(
    service: Serving,
    principal: Caller,
    scope: ScopeOfQuery,
    as_of: AsOf = None,
    most: Annotated[int, Query(description="The most records, the newest ones.", ge=1, le=2000)] = MOST,
) -> Response:
    """Return the current records of a scope by topics and time. What an assistant said is left out."""
    found = await reading.profile_of(service, principal, scope, as_of, most)
    topics = [
        {
            "name": topic.name,
            "since": topic.since.isoformat(),
            "until": topic.until.isoformat(),
            "records": [one.as_json() for one in topic.records],
        }
        for topic in found.topics
    ]
    return JSONResponse({"text": found.text, "topics": topics, "left": found.left})


@router.get(
    "/v1/memories:changes",
    summary="Read what changed",
    response_model=models.ChangesOut,
    responses=problems("not-found", "invalid"),
)
async def changes(
    service: Serving,
    principal: Caller,
    scope: ScopeOfQuery,
    after: Annotated[
        str | None,
        Query(
            description="The value of `next`, or of `cursor` of a change, of an earlier answer; empty for all changes. "
            "If it is missing, the answer has no changes, and its `next` is where those from now on begin.",
            max_length=100,
        ),
    ] = None,
    limit: Annotated[int, Query(description="The most changes.", ge=1, le=1000)] = 100,
) -> Response:
    """Return what was added, updated, forgotten, deleted, merged or restored in a scope, in order.

    Erased records are in no list of changes, because nothing says any more that they existed.
    """
    found = await reading.changes_of(service, principal, scope, after, limit)
    listed = [{**asdict(one), "at": one.at.isoformat()} for one in found.events]
    return JSONResponse({"changes": listed, "next": found.next, "more": found.more})


@router.post(
    "/v1/memories:merge",
    summary="Merge memories",
    response_model=models.DoneOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def merge(wanted: models.MergeIn, service: Serving, principal: Caller) -> Response:
    """Merge records into one; the others are kept, but no longer found. `:undo` separates them."""
    return _done(
        await changing.merge_memories(service, principal, wanted.survivor, wanted.others, wanted.scope.given())
    )


@router.post(
    "/v1/memories:link",
    summary="Link memories",
    response_model=models.DoneOut,
    responses=problems("not-found", "conflict", "too-large", "invalid"),
)
async def link(wanted: models.LinkIn, service: Serving, principal: Caller) -> Response:
    """Link a record to another, or remove the link."""
    names = wanted.id, wanted.type, wanted.target, wanted.scope.given()
    return _done(await changing.link_memories(service, principal, *names, on=wanted.on))


@router.post(
    "/v1/memories:delete",
    summary="Delete memories",
    response_model=models.DoneOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def delete_many(wanted: models.RemovalIn, service: Serving, principal: Caller) -> Response:
    """Delete records, all of them or none. `:restore` or `:undo` bring them back."""
    scope = wanted.scope.given()
    return _done(await changing.delete_memories(service, principal, wanted.ids, scope, cascade=wanted.cascade))


@router.post(
    "/v1/memories:restore",
    summary="Restore memories",
    response_model=models.DoneOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def restore(wanted: models.IdsIn, service: Serving, principal: Caller) -> Response:
    """Make records active again that were deleted, archived or merged."""
    return _done(await changing.restore_memories(service, principal, wanted.ids, wanted.scope.given()))


@router.post(
    "/v1/memories:undo",
    summary="Undo an operation",
    response_model=models.DoneOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def undo(wanted: models.UndoIn, service: Serving, principal: Caller) -> Response:
    """Undo any operation but an erasure; later operations remain. The undoing can itself be undone."""
    return _done(await changing.undo_operation(service, principal, wanted.operation, wanted.scope.given()))


@router.post(
    "/v1/memories:feedback",
    summary="Report which memories were useful",
    response_model=models.DoneOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def feedback(wanted: models.FeedbackIn, service: Serving, principal: Caller) -> Response:
    """Note which records were useful for a query; later searches of the scope are ranked accordingly."""
    return _done(await changing.report_use(service, principal, wanted.query, wanted.ids, wanted.scope.given()))


@router.post(
    "/v1/memories:forget",
    summary="Archive memories by a policy",
    response_model=models.ForgottenOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def forget(wanted: models.PolicyIn, service: Serving, principal: Caller) -> Response:
    """Archive old, unused or unimportant records, or report which these are; `:restore` brings them back."""
    policy = Policy(**wanted.model_dump(exclude={"scope", "dry_run"}))
    scope = wanted.scope.given()
    found = await changing.forget_memories(service, principal, policy, scope, dry_run=wanted.dry_run)
    return JSONResponse(asdict(found))


@router.post(
    "/v1/memories:erase",
    summary="Erase memories",
    response_model=models.ProofOut,
    responses=problems("not-found", "too-large", "invalid"),
)
async def erase(wanted: models.RemovalIn, service: Serving, principal: Caller) -> Response:
    """Erase records so that no byte of them is left on disk, and return the proof. This cannot be undone."""
    scope = wanted.scope.given()
    proof = await changing.erase_memories(service, principal, wanted.ids, scope, cascade=wanted.cascade)
    return JSONResponse(proof.as_json())


@router.post(
    "/v1/memories:export",
    summary="Export memories",
    response_class=Response,
    responses={**_EXPORTED, **problems("not-found", "too-large", "invalid")},
)
async def export(wanted: models.ExportIn, service: Serving, principal: Caller) -> Response:
    """Return the records of a scope, each with all its versions, as `:import` takes them; deleted ones are left out."""
    lines = transfer.export_memories(service, principal, wanted.scope.given(), vectors=wanted.vectors)
    return StreamedAnswer(lines, NDJSON)


@router.post(
    "/v1/memories:import",
    summary="Import memories",
    response_model=models.ImportedOut,
    responses=problems("not-found", "conflict", "too-large", "unsupported-media-type", "invalid"),
    openapi_extra={"requestBody": {"required": True, "content": _RECORDS}},
)
async def import_lines(
    request: Request,
    service: Serving,
    principal: Caller,
    scope: ScopeOfQuery,
    existing: Annotated[
        Literal["error", "skip"], Query(description="What to do with an id that is stored already.")
    ] = "error",
) -> Response:
    """Store records that `:export` returned. If it fails, earlier lines may be stored; `existing=skip` resumes."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in LINE_FORMS:
        raise Problem(
            "unsupported-media-type",
            "the body is not NDJSON",
            field="Content-Type",
            place="header",
            fix=f"Send a record in each line as {NDJSON}.",
        )
    body = await request.body()
    imported, skipped = await transfer.import_memories(service, principal, body, scope, existing=existing)
    return JSONResponse({"imported": imported, "skipped": skipped})


@router.get(
    "/v1/memories/{id:path}/history",
    summary="Read the history of a memory",
    response_model=models.HistoryOut,
    responses=problems("not-found", "invalid"),
)
async def history(id: MemoryId, service: Serving, principal: Caller, scope: ScopeOfQuery) -> Response:
    """Return what happened to a record, in order, and all its versions."""
    return JSONResponse(await reading.history_of(service, principal, id, scope))


@router.get(
    "/v1/memories/{id:record}",
    summary="Read a memory",
    response_model=models.RecordOut,
    responses=problems("not-found", "invalid"),
)
async def get(id: MemoryId, service: Serving, principal: Caller, scope: ScopeOfQuery, as_of: AsOf = None) -> Response:
    """Return the current version of a record, or the one that was valid at an instant."""
    return JSONResponse((await reading.get_memory(service, principal, id, scope, as_of)).as_json())


@router.patch(
    "/v1/memories/{id:record}",
    summary="Change a memory",
    response_model=models.ChangedOut,
    responses=problems("not-found", "too-large", "unsupported-media-type", "invalid"),
)
async def change(id: MemoryId, wanted: models.MemoryChange, service: Serving, principal: Caller) -> Response:
    """Store a new version of a record; the earlier one is kept, and was valid until the new one is."""
    scope = wanted.scope.given()
    record, operation = await changing.update_memory(service, principal, id, wanted.given(), scope)
    return JSONResponse({"memory": record.as_json(), "operation": operation})


@router.delete(
    "/v1/memories/{id:record}",
    summary="Delete a memory",
    response_model=models.DoneOut,
    responses=problems("not-found", "invalid"),
)
async def delete(id: MemoryId, service: Serving, principal: Caller, scope: ScopeOfQuery) -> Response:
    """Delete a record, and what was derived from it. `:restore` or `:undo` bring it back."""
    return _done(await changing.delete_memories(service, principal, [id], scope))


def _search(wanted: models.MemorySearchRequest | models.ContextRequest, queries: list[str]) -> MemorySearch:
    given = wanted.model_dump(exclude={"scope", "query", "budget", "explain"})
    return MemorySearch(queries, wanted.scope.given(), **given)


def _done(done: Done) -> Response:
    return JSONResponse({"ids": list(done.ids), "operation": done.operation})
