"""Cursors of listings over HTTP; :mod:`mlret.memory.page_cursors` makes and reads them."""

from __future__ import annotations

from mlret.errors import InputError
from mlret.memory.page_cursors import cursor_after, number_of
from mlret.serve.problems import Problem

__all__ = ["cursor_after", "row_of"]


def row_of(cursor: str, identity: str, field: str = "cursor") -> int:
    """Return the row or entry that :func:`cursor_after` was called with.

    Parameters
    ----------
    cursor, identity
        The cursor, and the identity of the folder.
    field
        The parameter of the request that has it.

    Raises
    ------
    Problem
        If it is not a cursor of this folder.
    """
    try:
        return number_of(cursor, identity)
    except InputError as error:
        raise Problem(
            "invalid",
            "this is not a cursor of this listing",
            field=field,
            place="query",
            fix="Send the value of `next` of an earlier page of the same listing, or no cursor for the first page.",
        ) from error
