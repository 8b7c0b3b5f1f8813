"""Problems of invalid values in the body of a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlret.errors import AlreadyExists, InputError, NotFound
from mlret.serve.problems import Problem, pointer


def invalid(detail: str, location: Sequence[str | int], fix: str | None = None) -> Problem:
    """Return the problem of an invalid value in the body.

    Parameters
    ----------
    detail
        What is wrong.
    location
        Where the value is in the body.
    fix
        What to do about it.
    """
    return Problem("invalid", detail, field=pointer(location), place="body", fix=fix)


@contextmanager
def about(*location: str | int) -> Iterator[None]:
    """Turn an error about an input into a problem that names the place of the value in the body."""
    try:
        yield
    except (AlreadyExists, NotFound):  # They are about the state of the server, not about the form of a value.
        raise
    except InputError as error:
        raise invalid(str(error), location) from error
