"""Idempotency keys: what identifies a request, and the problems of a key that is used otherwise."""

from __future__ import annotations

import hashlib

from mlret.serve.problems import Problem


class Digest:
    """Hash of the parts of a request that have been read.

    Parameters
    ----------
    parameters
        What else determines the effect of the request, such as what is done with documents that are stored already.
    """

    def __init__(self, parameters: str) -> None:
        self._hash = hashlib.sha256(parameters.encode() + b"\0")

    def add(self, line: bytes) -> None:
        """Add a line of the body."""
        self._hash.update(b"%d:" % len(line))
        self._hash.update(line)

    @property
    def value(self) -> bytes:
        """The hash of everything until here."""
        return self._hash.digest()


def receipt_key(principal: str, key: str) -> str:
    """Return the key under which a client's receipts are stored: keys of different clients never meet.

    Parameters
    ----------
    principal
        The id of the client's token.
    key
        The idempotency key that the client sent.
    """
    return hashlib.sha256(f"{principal}\0{key}".encode()).hexdigest()


def other_body() -> Problem:
    """Return the problem of a key that was used with another request before."""
    return Problem(
        "invalid",
        "this Idempotency-Key was used for another request",
        field="Idempotency-Key",
        place="header",
        fix="Use a new key for each request, and the same key only to repeat the very same request.",
    )


def in_use() -> Problem:
    """Return the problem of a key whose first request is not answered yet."""
    return Problem(
        "conflict",
        "a request with this Idempotency-Key is still being worked on",
        field="Idempotency-Key",
        place="header",
        fix="Wait for its answer, or send this request again in a few seconds.",
        retry_after=2,
    )
