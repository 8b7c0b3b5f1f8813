"""Read bodies that may be large, without holding up other requests."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from mlret.serve.problems import Problem

M = TypeVar("M", bound=BaseModel)
# A body up to this many bytes is read faster than a thread is asked to.
_SMALL = 1 << 14


async def json_body(request: Request, model: type[M]) -> M:
    """Read a JSON body.

    Parameters
    ----------
    request
        The request.
    model
        What the body must be.

    Raises
    ------
    Problem
        If the body is not said to be JSON.
    RequestValidationError
        If it is not JSON, or does not fit the model.
    """
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form != "application/json":
        raise Problem(
            "unsupported-media-type", f"the body is {form or 'of no type'}", field="Content-Type", place="header"
        )
    body = await request.body()
    if len(body) <= _SMALL:
        return _read(body, model)
    return await anyio.to_thread.run_sync(_read, body, model)


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a body that :func:`json_body` reads, for ``openapi_extra``."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _read(body: bytes, model: type[M]) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        invalid_json = errors[0]["type"] == "json_invalid"
        raise RequestValidationError(errors, body=None if invalid_json else json.loads(body)) from error
