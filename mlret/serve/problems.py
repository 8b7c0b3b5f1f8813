"""Errors as problem documents (RFC 9457): what is wrong, in which field, and how to fix it.

Besides the members that the standard names (``type``, ``title``, ``status``, ``detail``, ``instance``) a document has:

``field``
    What the error is about: a JSON pointer into the body (``/documents/0/id``), or the name of a parameter or header.
``in``
    Where the field is: ``body``, ``query``, ``path`` or ``header``.
``fix``
    What to do about it.
``errors``
    All errors of the request, each with ``field``, ``in`` and ``detail``, if there are several.

``type`` is an address on the server, ``/problems/KIND``, which explains the kind of error (:func:`explanations`).
``instance`` names this one occurrence; it holds the id of the request, which the answer's header ``X-Request-Id`` and
the log hold as well. The text of an unexpected error is never sent, because it may quote texts of others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from mlret.errors import (
    AlreadyExists,
    Corrupt,
    CorruptInput,
    Forbidden,
    InputError,
    Locked,
    MlretError,
    NotFound,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
Place = Literal["body", "query", "path", "header"]


class Kind(NamedTuple):
    """A kind of error.

    Attributes
    ----------
    status
        The HTTP status.
    title
        What all errors of the kind have in common.
    meaning
        What it means for a client, and what to do, unless an answer says more.
    """

    status: int
    title: str
    meaning: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(
        400, "The request cannot be read", "The request is not valid HTTP or JSON. Correct it before you send it again."
    ),
    "unauthorized": Kind(
        401,
        "A token is needed",
        "Send the header 'Authorization: Bearer TOKEN'. `mlret tokens add` makes a token where the server runs.",
    ),
    "forbidden": Kind(
        403, "The token does not allow this", "Use a token with the role or the scope that the answer names."
    ),
    "foreign-page": Kind(
        403,
        "Web pages of other origins may not call the server",
        "Start the server with --allow-origin ORIGIN if you trust the page.",
    ),
    "not-found": Kind(404, "There is no such thing", "Check the name or id; it may have been deleted."),
    "method-not-allowed": Kind(
        405, "The method is not allowed here", "Use one of the methods in the answer's header Allow."
    ),
    "not-acceptable": Kind(
        406, "No acceptable form of the answer", "Send an Accept header that includes application/json."
    ),
    "request-timeout": Kind(
        408, "The request did not arrive in time", "Send the body faster, or divide it into several requests."
    ),
    "conflict": Kind(
        409, "It exists already, or was changed meanwhile", "Read the present state, then decide and send it again."
    ),
    "length-required": Kind(411, "The length of the body is needed", "Send the header Content-Length."),
    "precondition-failed": Kind(
        412, "A precondition does not hold", "Read the present state, then decide and send it again."
    ),
    "too-large": Kind(413, "The request is too large", "Divide it into several requests."),
    "address-too-long": Kind(414, "The address is too long", "Put long values into the body of a POST request."),
    "unsupported-media-type": Kind(
        415, "The form of the body is not supported", "Send JSON or NDJSON in UTF-8, not compressed."
    ),
    "wrong-host": Kind(
        421,
        "The server does not answer under this name",
        "Use an address that the server was started for, or start it with --allow-host NAME.",
    ),
    "invalid": Kind(422, "A value is not valid", "Correct the field that the answer names."),
    "too-many-requests": Kind(
        429, "Too many requests at once", "Wait for the seconds in the header Retry-After, then send it again."
    ),
    "headers-too-large": Kind(431, "The headers are too large", "Send fewer or shorter headers."),
    "internal": Kind(
        500,
        "The server failed",
        "The fault is the server's. Its log holds the cause under the id of the request.",
    ),
    "damaged": Kind(
        500,
        "Stored data is damaged",
        "Data on the server's disk differs from what was written. Its log says where, under the id of the request; "
        "`mlret index verify` and `mlret memory verify` check a folder.",
    ),
    "unavailable": Kind(
        503, "Not available at present", "Wait for the seconds in the header Retry-After, then send it again."
    ),
    "deadline": Kind(
        504,
        "The work took too long",
        "Send less in one request, or documents as lines (NDJSON); or start the server with a longer --deadline.",
    ),
}
# Errors of one request that an answer lists: a large body can have one for each of its values.
_MOST_ERRORS = 20
# The kind of an error that only has a status, such as those of the framework. The first kind of a status is its own.
_KIND_OF_STATUS = {kind.status: name for name, kind in reversed(KINDS.items())} | {500: "internal"}


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457), for the description of the interface."""

    model_config = ConfigDict(populate_by_name=True)

    type: str = Field(description="Address on the server that explains this kind of error.")
    title: str = Field(description="What all errors of the kind have in common.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What is wrong in this request.")
    instance: str = Field(description="The id of the request, as a URN; the header X-Request-Id and the log hold it.")
    field: str | None = Field(
        None, description="What the error is about: a JSON pointer into the body, or the name of a parameter or header."
    )
    place: Place | None = Field(None, alias="in", description="Where the field is.")
    fix: str | None = Field(None, description="What to do about it.")
    errors: list[dict[str, str]] | None = Field(
        None, description="All errors, each with `field`, `in` and `detail`, if there are several."
    )


class Problem(Exception):  # noqa: N818 - named as the standard names it
    """An error that ends a request with a problem document.

    Parameters
    ----------
    kind
        A key of :data:`KINDS`.
    detail
        What is wrong in this request, in one sentence. It is sent to the client.
    field
        What the error is about: a JSON pointer into the body, or the name of a parameter or header.
    place
        Where the field is.
    fix
        What to do about it; what the kind says unless given.
    retry_after
        Seconds after which the same request may succeed: the header ``Retry-After``.
    headers
        More headers of the answer.
    errors
        All errors, if there are several.

    Examples
    --------
    >>> raise Problem("invalid", "k is 0", field="/k", place="body", fix="Ask for at least one hit.")
    Traceback (most recent call last):
    ...
    mlret.serve.problems.Problem: k is 0
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        place: Place | None = None,
        fix: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status = KINDS[kind].status
        self.detail = detail
        self.field = field
        self.place = place
        self.fix = KINDS[kind].meaning if fix is None else fix
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        self.errors = [dict(error) for error in errors or ()]

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem document, as a dictionary ready for JSON."""
        given = {
            "type": f"/problems/{self.kind}",
            "title": KINDS[self.kind].title,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:uuid:{request_id}",
            "field": self.field,
            "in": self.place,
            "fix": self.fix,
            "errors": self.errors or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def response(self, scope: Scope) -> Response:
        """Return the answer to a request: the problem document and its headers."""
        text = json.dumps(self.document(request_id_of(scope)), ensure_ascii=False)
        # Half a surrogate pair, which JSON may hold, cannot be written as UTF-8; JSON has the same escape as Python.
        return Response(
            text.encode("utf-8", "backslashreplace"), self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def request_id_of(scope: Scope) -> str:
    """Return the id of a request, which the middleware of request ids has stored; one of zeros outside of it."""
    return str(scope.get("state", {}).get("request_id", "00000000-0000-0000-0000-000000000000"))


def problem_of(error: Exception, *, folders: Mapping[str, str] | None = None) -> Problem:
    """Return the problem that answers an error.

    Parameters
    ----------
    error
        An error of mlret, of the framework, or any other.
    folders
        Path of a folder on the server -> the name that clients know it by. Messages of mlret name the folder; a client
        is told the name instead.

    Returns
    -------
    Problem
        Its text is that of the error for a fault of the client, and a general one for a fault of the server.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return error.__cause__ if isinstance(error.__cause__, Problem) else _of_status(error)
    if isinstance(error, Forbidden):
        return Problem("forbidden", str(error), headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
    if isinstance(error, Locked):
        return Problem("unavailable", "another process is writing; nothing was changed", retry_after=1)
    if isinstance(error, Unavailable):
        return Problem("unavailable", _without_paths(str(error), folders or {}), retry_after=1)
    if isinstance(error, Corrupt) and not isinstance(error, CorruptInput):
        shard = f": the shard {error.field} does not answer" if error.field else ""
        return Problem("damaged", f"stored data is damaged{shard}")
    if isinstance(error, InputError):
        kinds = {NotFound: "not-found", AlreadyExists: "conflict"}
        kind = next((name for cls, name in kinds.items() if isinstance(error, cls)), "invalid")
        place: Place | None = "path" if kind == "not-found" and error.field else None
        return Problem(kind, _without_paths(str(error), folders or {}), field=error.field, place=place, fix=error.fix)
    return Problem("internal", "the server failed; nothing more can be said here")


def add_handlers(app: FastAPI, *, folders: Mapping[str, str] | None = None) -> None:
    """Answer the errors of mlret and of the framework with problem documents, and describe these in the interface.

    Errors of other classes are answered by the middleware :class:`mlret.serve.limits.requests.Requests`, which logs
    them: the framework would print their text.

    Parameters
    ----------
    app
        The application.
    folders
        Path of a folder on the server -> the name that clients know it by.
    """

    async def answer(request: Request, error: Exception) -> Response:
        request.scope.setdefault("state", {})["error"] = error
        problem = problem_of(error, folders=folders)
        if problem.status == 405:
            problem.headers["Allow"] = ", ".join(allowed_methods(request.app, request.scope))
        return problem.response(request.scope)

    for kind in (Problem, MlretError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("ProblemDocument", ProblemDocument.model_json_schema(by_alias=True))
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation extends it


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that a path takes, over all routes: the framework names only those of the first one."""
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    found = [
        method
        for method in methods
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    return [*found[:1], "HEAD", *found[1:]] if "GET" in found else found


def explanations() -> APIRouter:
    """Return the public route ``/problems/{kind}``, which explains each kind of error."""
    router = APIRouter(tags=["server"])

    @router.get("/problems/{kind}", responses=documented("not-found", "invalid"), summary="Explain a kind of error")
    async def explain(kind: str) -> dict[str, str | int]:
        """Return what a kind of error means and what to do about it: the `type` of a problem document leads here."""
        if kind not in KINDS:
            raise Problem("not-found", f"there is no kind of error {kind!r}", field="kind", place="path")
        status, title, meaning = KINDS[kind]
        return {"type": f"/problems/{kind}", "title": title, "status": status, "meaning": meaning}

    return router


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer with these kinds of errors, for its description."""
    described: dict[int | str, dict[str, Any]] = {}
    for name in kinds:
        status, title, _ = KINDS[name]
        one = described.setdefault(
            status,
            {
                "description": title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
            },
        )
        if title not in one["description"]:
            one["description"] += f"; {title[:1].lower()}{title[1:]}"
    return described


def pointer(location: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901).

    Examples
    --------
    >>> pointer(["documents", 0, "a/b"])
    '/documents/0/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _of_status(error: HTTPException) -> Problem:
    """Return the problem of an error that the framework raised."""
    kind = _KIND_OF_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "malformed")
    detail = {404: "nothing is served under this path", 405: "this path does not take this method"}.get(
        error.status_code, str(error.detail)
    )
    return Problem(kind, detail, headers=error.headers)


def _of_validation(error: RequestValidationError) -> Problem:
    """Return the problem of a request that does not fit the description of the interface."""
    errors = [_field_error(one, error.body) for one in error.errors()[:_MOST_ERRORS]]
    if error.errors()[0]["type"] == "json_invalid":
        reason = error.errors()[0].get("ctx", {}).get("error", "the text ends too early")
        return Problem("malformed", f"the body is not valid JSON: {reason}", place="body", fix="Send valid JSON.")
    first = errors[0]
    return Problem(
        "invalid",
        first["detail"],
        field=first["field"],
        place=first["in"],  # type: ignore[arg-type]
        fix=f"Correct {first['field'] or 'the body'}; /openapi.json describes what is valid.",
        errors=errors if len(errors) > 1 else None,
    )


def _field_error(error: Mapping[str, Any], body: Any) -> dict[str, str]:
    """Return where an error of validation is, and what it is, without the value, which may be a long text."""
    place, *rest = error["loc"]
    field = pointer(_within(body, rest, error["type"])) if place == "body" else ".".join(map(str, rest))
    return {"field": field, "in": str(place), "detail": f"{field or 'the body'}: {error['msg']}"}


def _within(body: Any, location: Sequence[str | int], kind: str) -> list[str | int]:
    """Return the parts of an error's location that are in the body; pydantic adds the names of alternatives."""
    found: list[str | int] = []
    for place, part in enumerate(location):
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            if kind != "missing" or place != len(location) - 1:
                continue
        found.append(part)
    return found


def _without_paths(text: str, folders: Mapping[str, str]) -> str:
    """Return a message with the folders of the server replaced by their names, the longest paths first."""
    for path in sorted(folders, key=len, reverse=True):
        text = text.replace(path, folders[path])
    return text
