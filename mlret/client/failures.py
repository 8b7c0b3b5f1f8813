"""Turn the problem documents of the server into mlret's own errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlret.errors import AlreadyExists, Corrupt, Forbidden, InputError, MlretError, NotFound, Unavailable


class BodyTooLargeError(InputError):
    """The body of a request is larger than the server takes."""


_BY_KIND: dict[str, type[MlretError]] = {
    "unauthorized": Forbidden,
    "forbidden": Forbidden,
    "foreign-page": Forbidden,
    "wrong-host": Forbidden,
    "not-found": NotFound,
    "conflict": AlreadyExists,
    "too-large": BodyTooLargeError,
    "malformed": InputError,
    "invalid": InputError,
    "damaged": Corrupt,
    "too-many-requests": Unavailable,
    "unavailable": Unavailable,
    "deadline": Unavailable,
}
# Kinds whose message says too little without its fix.
_WITH_FIX = {"unauthorized", "forbidden", "foreign-page", "wrong-host", "too-large", "deadline"}
# For answers that are no problem documents, which something between client and server has written.
_BY_STATUS: dict[int, type[MlretError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    413: BodyTooLargeError,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes, address: str) -> MlretError:
    """Return the error that an answer stands for.

    Parameters
    ----------
    status, headers, body
        The answer; the names of the headers are in lower case.
    address
        The address of the server, for error messages.

    Returns
    -------
    MlretError
        An error of the class that the library raises in the same case, with ``field`` and ``fix``.
    """
    document = _document(body)
    kind = str(document.get("type", "")).rpartition("/problems/")[2]
    if "detail" not in document or not kind:
        proxy = f"{address} answered with status {status}, and not as an mlret server does; check the address"
        return _BY_STATUS.get(status, MlretError)(proxy)
    detail, fix = str(document["detail"]), document.get("fix")
    if kind in ("internal", "damaged"):
        detail = f"{detail} (request {headers.get('x-request-id', 'unknown')} in the log of {address})"
    elif kind == "unauthorized":
        fix = "Give a token: Client(…, token=…), or the environment variable MLRET_TOKEN"
    if fix and kind in _WITH_FIX:
        detail = f"{detail}. {fix.rstrip('.')}"
    error = _BY_KIND.get(kind, InputError if status < 500 else MlretError)(detail)
    error.field, error.fix = document.get("field"), fix
    return error


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
