"""Cursors: opaque texts that say where the next page of a listing begins.

The rows of a memory are numbered over all its users, so a number would tell a user how much others have stored. It is
therefore hidden: a cursor is a tag, which depends on the row and on the folder's identity, and the row, masked with
what depends on the tag (as in the synthetic IV of RFC 5297). The identity is random, and never leaves the server.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

from mlret.serve.problems import Problem

_BYTES = 8


def cursor_after(row: int, identity: str) -> str:
    """Return the cursor of the page behind a row.

    Parameters
    ----------
    row
        The last row of the page before.
    identity
        The identity of the folder, from its manifest: a cursor is of one folder only.
    """
    plain = row.to_bytes(_BYTES, "big")
    tag = _hash(b"tag", plain, identity)
    return base64.urlsafe_b64encode(tag + _masked(plain, tag, identity)).decode()


def row_of(cursor: str, identity: str) -> int:
    """Return the row that :func:`cursor_after` was called with.

    Raises
    ------
    Problem
        If it is not a cursor of this folder.
    """
    try:
        data = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    row = int.from_bytes(_masked(data[_BYTES:], data[:_BYTES], identity), "big") if len(data) == 2 * _BYTES else -1
    if row < 0 or cursor != cursor_after(row, identity):
        raise Problem(
            "invalid",
            "this is not a cursor of this listing",
            field="cursor",
            place="query",
            fix="Send the value of `next` of an earlier page of the same listing, or no cursor for the first page.",
        )
    return row


def _masked(row: bytes, tag: bytes, identity: str) -> bytes:
    """Mask a row, or remove the mask."""
    mask = _hash(b"mask", tag, identity)
    return bytes(one ^ other for one, other in zip(row, mask, strict=True))


def _hash(purpose: bytes, data: bytes, identity: str) -> bytes:
    return blake2b(data, digest_size=_BYTES, key=identity.encode()[: blake2b.MAX_KEY_SIZE], person=purpose).digest()
