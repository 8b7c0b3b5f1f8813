"""Checks arrays of vectors that were made elsewhere."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, first_line


def as_floats(given: Any, what: str) -> NDArray[np.floating[Any]]:
    """Return an array, a tensor or nested lists as an array of floats.

    Parameters
    ----------
    given
        The values; a memory map is not read.
    what
        Their name in messages, in the plural.

    Raises
    ------
    InputError
        If the values are not rectangular, have masked values, or are not floats.
    """
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        if str(given.dtype) == "torch.bfloat16":  # numpy has no such type.
            given = given.float()
    # Importing numpy.ma takes 12 ms, and whoever has a masked array has imported it.
    if "numpy.ma" in sys.modules and np.ma.is_masked(given):
        raise InputError(f"{what} have masked values; fill them in (array.filled(...))")
    try:
        found: NDArray[Any] = np.asarray(given)
    except (ValueError, TypeError, OverflowError) as error:
        reason = first_line(error)
        raise InputError(f"{what} are not an array of numbers ({reason}); give vectors of one length each") from error
    if not np.issubdtype(found.dtype, np.floating):
        raise InputError(f"{what} have the type {found.dtype}; give floats, e.g. vectors.astype('float32')")
    return found


def check_matrix(given: Any, dims: int, what: str, *, wider: bool = False) -> NDArray[np.floating[Any]]:
    """Return the given vectors as ``(n, dims)`` floats, one vector in each row; a memory map is not read.

    Parameters
    ----------
    given, what
        As for :func:`as_floats`.
    dims
        The number of dimensions that each vector must have.
    wider
        Accept longer vectors too, because their first dimensions will be kept (Matryoshka).

    Raises
    ------
    InputError
        If the shape or the type is another.
    """
    found = as_floats(given, what)
    if found.shape == (0,):
        return found.reshape(0, dims)
    if found.ndim == 1:
        raise InputError(
            f"one vector of shape {found.shape} where {what} are expected; give a list of vectors, [vector]"
        )
    check_width(found.shape, dims, what, wider=wider)
    return found


def check_width(shape: tuple[int, ...], dims: int, what: str, *, wider: bool, rows: str = "n") -> None:
    """Raise if vectors do not have the dimensions that an index takes.

    Parameters
    ----------
    shape
        The shape of the vectors.
    dims, what, wider
        As for :func:`check_matrix`.
    rows
        The name of the number of rows in messages.

    Raises
    ------
    InputError
        If the shape is another.
    """
    if len(shape) == 2 and (shape[1] == dims or (wider and shape[1] > dims)):
        return
    message = f"{what} have the shape {shape}; they must be ({rows}, {dims})"
    if len(shape) == 2 and shape[1] > dims:
        message += f" (longer ones are cut only in an index that was made to keep the first {dims} dimensions)"
    raise InputError(message)


def first_not_finite(vectors: NDArray[np.floating[Any]]) -> int | None:
    """Return the index of the first of ``(n, dims)`` vectors that has a NaN or an infinity, or ``None``."""
    finite = np.isfinite(vectors)
    if finite.all():
        return None
    return int(np.flatnonzero(~finite.all(axis=1))[0])
