"""Errors of work that was not begun, because too much waits or the server is shutting down."""

from __future__ import annotations

from mlret.serve.problems import Problem

_SECONDS_UNTIL_RETRY = 1


def refused(waiting: str | None) -> Problem:
    """Return the problem of a request that was not begun, and may be sent again.

    Parameters
    ----------
    waiting
        What waits, if too much does; ``None`` if the server is shutting down.
    """
    if waiting is None:
        return Problem("unavailable", "the server is shutting down", retry_after=_SECONDS_UNTIL_RETRY)
    return Problem("too-many-requests", f"too many {waiting} are waiting", retry_after=_SECONDS_UNTIL_RETRY)
