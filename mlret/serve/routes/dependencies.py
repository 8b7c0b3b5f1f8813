"""What the routes take from the application and from a request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.convertors import Convertor, register_url_convertor

from mlret.serve.operations.service import Service
from mlret.serve.problems import documented
from mlret.serve.settings import NAME

# Errors that any route may answer with, if the middleware finds them: with a body that is not wanted, even GET.
_EVERYWHERE = (
    "malformed",
    "foreign-page",
    "request-timeout",
    "too-large",
    "address-too-long",
    "unsupported-media-type",
    "wrong-host",
    "headers-too-large",
    "internal",
    "unavailable",
    "deadline",
)
_BEHIND_A_TOKEN = ("unauthorized", "forbidden", "too-many-requests", "damaged")


def public_problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that needs no token in case of an error; see :func:`problems`."""
    return documented(*_EVERYWHERE, *kinds)


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route in case of an error, for its description.

    Parameters
    ----------
    kinds
        The kinds of errors that it may answer with, besides those that every route may answer with.
    """
    return documented(*_EVERYWHERE, *_BEHIND_A_TOKEN, *kinds)


def service_of(request: Request) -> Service:
    """Return the server behind the application."""
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(service_of)]
IndexName = Annotated[str, Path(description="The name of the index.", pattern=f"^{NAME}$", examples=["news"])]


class _NameConvertor(Convertor[str]):
    """The name of an index in a path; without a colon, so that ``NAME:search`` is another path."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _RecordConvertor(_NameConvertor):
    """The id of a record in a path. It may contain slashes, but ``ID/history`` is another path."""

    regex = "(?!.*/history$).+"


register_url_convertor("name", _NameConvertor())
register_url_convertor("record", _RecordConvertor())
