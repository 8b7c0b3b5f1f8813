"""Cursors: opaque texts that say where the next page of a listing begins, or from where changes are watched.

The rows and journal entries of a memory are numbered over all its users, so a number would tell a user how much others
have stored. It is therefore hidden: a cursor is a tag, which depends on the number and on the folder's identity, and
the number, masked with what depends on the tag (as in the synthetic IV of RFC 5297).
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

from mlret.errors import InputError

_BYTES = 8


def cursor_after(number: int, identity: str) -> str:
    """Return the cursor of what is behind a row or an entry.

    Parameters
    ----------
    number
        The last row of the page before, or the last entry that was seen.
    identity
        The identity of the folder, from its manifest: a cursor is of one folder only.
    """
    plain = number.to_bytes(_BYTES, "big")
    tag = _hash(b"tag", plain, identity)
    return base64.urlsafe_b64encode(tag + _masked(plain, tag, identity)).decode()


def number_of(cursor: str, identity: str) -> int:
    """Return the number that :func:`cursor_after` was called with.

    Raises
    ------
    InputError
        If it is not a cursor of this folder.
    """
    try:
        data = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        data = b""
    number = int.from_bytes(_masked(data[_BYTES:], data[:_BYTES], identity), "big") if len(data) == 2 * _BYTES else -1
    if number < 0 or cursor != cursor_after(number, identity):
        raise InputError(f"{cursor!r} is not a cursor of this memory; give what an earlier call returned, or None")
    return number


def _masked(number: bytes, tag: bytes, identity: str) -> bytes:
    """Mask a number, or remove the mask."""
    mask = _hash(b"mask", tag, identity)
    return bytes(one ^ other for one, other in zip(number, mask, strict=True))


def _hash(purpose: bytes, data: bytes, identity: str) -> bytes:
    return blake2b(data, digest_size=_BYTES, key=identity.encode()[: blake2b.MAX_KEY_SIZE], person=purpose).digest()
