"""Read bodies and write answers that may be large, without holding up other requests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from mlret.serve.limits.strict_json import read_json
from mlret.serve.problems import Problem

M = TypeVar("M", bound=BaseModel)
# A body up to this many bytes is read, and an answer of as many items is written, faster than a thread is asked to.
_SMALL = 1 << 14
_FEW = 50


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


async def json_answer(opening: str, items: Iterable[Any], count: int, closing: str) -> Response:
    """Return an answer of JSON whose array is long, without holding up other requests.

    Python's writer of JSON lets no other thread run until it is done, so it is called for each item.

    Parameters
    ----------
    opening, closing
        The JSON text before and behind the items.
    items
        What the array consists of. They may be made while they are written.
    count
        How many they are, to decide whether a thread is needed.
    """

    def written() -> bytes:
        return (opening + ",".join(json.dumps(one, ensure_ascii=False) for one in items) + closing).encode()

    content = written() if count <= _FEW else await anyio.to_thread.run_sync(written)
    return Response(content, media_type="application/json")


def _read(body: bytes, model: type[M]) -> M:
    value = read_json(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(errors, body=value) from error
