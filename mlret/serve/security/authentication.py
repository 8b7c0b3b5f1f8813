"""Authentication: every request needs a token, except for what is public."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from mlret.errors import MlretError
from mlret.serve.problems import Problem
from mlret.serve.security.hosts import headers_named
from mlret.serve.security.principal import Principal
from mlret.serve.security.public import is_public
from mlret.serve.security.tokens import TokenStore

_BEARER = re.compile(r"bearer +([!-~]{1,200})", re.ASCII | re.IGNORECASE)
_CHALLENGE = 'Bearer realm="mlret"'


class Authentication:
    """ASGI middleware that lets a request pass only with a valid token, and stores who sends it.

    Parameters
    ----------
    app
        The application behind it.
    tokens
        The tokens.
    """

    def __init__(self, app: ASGIApp, tokens: TokenStore) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_public(scope) and (problem := self._problem(scope)):
            await problem.response(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        """Store who sends a request, or return why it is refused."""
        state = scope.setdefault("state", {})
        try:
            state["principal"] = authenticate(scope, self._tokens)
        except Problem as problem:
            return problem
        except MlretError as error:
            # Without its file no token is valid. The log states what is wrong with the file.
            state["error"] = error
            return Problem("unavailable", "the tokens of the server cannot be read", retry_after=10)
        return None


def authenticate(scope: Scope, tokens: TokenStore) -> Principal:
    """Return who sends a request.

    Raises
    ------
    Problem
        If it has no valid token.
    """
    headers = headers_named(scope, b"authorization")
    if not headers:
        raise _unauthorized("this needs a token")
    if len(headers) > 1:
        raise Problem("malformed", "the request has several headers Authorization", field="Authorization")
    match = _BEARER.fullmatch(headers[0])
    if match is None:
        raise _unauthorized("the header Authorization is not 'Bearer TOKEN'", "invalid_request")
    if (principal := tokens.principal(match[1])) is None:
        raise _unauthorized("the token is not valid: it is wrong, cut off, expired or revoked", "invalid_token")
    return principal


def principal_of(scope: Scope) -> Principal:
    """Return who sends a request that needs a token."""
    principal = scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal


# The scheme is a dependency so that the description of the interface names it; the middleware has checked the token.
_SCHEME = HTTPBearer(auto_error=False, scheme_name="token", description="A token of `mlret tokens add`.")


def _caller(request: Request, scheme: Annotated[object, Depends(_SCHEME)]) -> Principal:
    return principal_of(request.scope)


Caller = Annotated[Principal, Depends(_caller)]
"""The parameter of a route that says who calls it: ``async def route(caller: Caller)``."""


def _unauthorized(detail: str, error: str | None = None) -> Problem:
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE
    return Problem(
        "unauthorized", detail, field="Authorization", place="header", headers={"WWW-Authenticate": challenge}
    )
