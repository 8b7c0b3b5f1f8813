"""JSON as the standard has it: no NaN, no half of a surrogate pair, no endless nesting.

Python's own reader accepts all three, and a text with half of a surrogate pair cannot be written as UTF-8 later, be it
into a database or into the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pydantic_core
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from mlret.serve.problems import Problem


def read_json(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises
    ------
    Problem
        If it is not valid JSON.

    Examples
    --------
    >>> read_json(b'{"k": 3}')
    {'k': 3}
    >>> read_json(b'[NaN]')
    Traceback (most recent call last):
    ...
    mlret.serve.problems.Problem: the body is not valid JSON: expected value at line 1 column 2
    """
    try:
        return pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        detail = f"the body is not valid JSON: {error}"
        raise Problem("malformed", detail, place="body", fix="Send valid JSON in UTF-8.") from None


class StrictRoute(APIRoute):
    """A route whose JSON body is read by :func:`read_json`: ``APIRouter(route_class=StrictRoute)``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return read_json(await self.body())
        except Problem as problem:
            # The framework passes on an error of this class, and turns each other one into one without a reason.
            raise HTTPException(problem.status, problem.detail) from problem
