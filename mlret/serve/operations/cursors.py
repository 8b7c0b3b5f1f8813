"""Cursors: opaque texts that say where the next page of a listing begins."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

from mlret.serve.problems import Problem

_CURSOR = struct.Struct(">qI")


def cursor_after(row: int, identity: str) -> str:
    """Return the cursor of the page behind a row.

    Parameters
    ----------
    row
        The last row of the page before.
    identity
        The identity of the folder, from its manifest: a cursor is of one folder only.
    """
    return base64.urlsafe_b64encode(_CURSOR.pack(row, _mark(row, identity))).decode()


def row_of(cursor: str, identity: str) -> int:
    """Return the row that :func:`cursor_after` was called with.

    Raises
    ------
    Problem
        If it is not a cursor of this folder.
    """
    try:
        row, mark = _CURSOR.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (struct.error, binascii.Error, ValueError):
        row, mark = -1, 0
    if row < 0 or mark != _mark(row, identity) or cursor != cursor_after(row, identity):
        raise Problem(
            "invalid",
            "this is not a cursor of this listing",
            field="cursor",
            place="query",
            fix="Send the value of `next` of an earlier page of the same listing, or no cursor for the first page.",
        )
    return int(row)


def _mark(row: int, identity: str) -> int:
    return zlib.crc32(f"{identity} {row}".encode())
