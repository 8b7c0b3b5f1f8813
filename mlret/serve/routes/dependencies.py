"""What the routes take from the application and from a request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from mlret.serve.operations.service import Service
from mlret.serve.problems import documented
from mlret.serve.security.principal import Principal
from mlret.serve.settings import NAME

# Answers that any route behind a token may give.
_ANYWHERE = ("malformed", "unauthorized", "forbidden", "wrong-host", "too-many-requests", "internal", "damaged")
_ANYWHERE_TOO = ("unavailable", "deadline")


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route in case of an error, for its description.

    Parameters
    ----------
    kinds
        The kinds of errors that it may answer with, besides those that every route may answer with.
    """
    return documented(*_ANYWHERE, *_ANYWHERE_TOO, *kinds)


def service_of(request: Request) -> Service:
    """Return the server behind the application."""
    service: Service = request.app.state.service
    return service


def principal_of(request: Request) -> Principal:
    """Return who sends the request."""
    principal: Principal = request.scope["state"]["principal"]
    return principal


Serving = Annotated[Service, Depends(service_of)]
Asking = Annotated[Principal, Depends(principal_of)]
IndexName = Annotated[str, Path(description="The name of the index.", pattern=f"^{NAME}$", examples=["news"])]
