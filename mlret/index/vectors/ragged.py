"""Matrices of different lengths in one array: the tokens of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.vectors.given_vectors import as_floats, check_width

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ragged:
    """The tokens of documents; as a sequence, a matrix for each document.

    Attributes
    ----------
    values
        ``(t, dims)`` floats; a memory map is accepted.
    offsets
        ``(n + 1,)`` int64: document ``d`` has the tokens ``offsets[d]`` … ``offsets[d + 1]``, without the last.
    """

    values: Matrix
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, document: int) -> Matrix:
        return self.values[self.offsets[document] : self.offsets[document + 1]]

    def __iter__(self) -> Iterator[Matrix]:
        return (self[document] for document in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n,)`` int64: the number of tokens of each document."""
        return np.diff(self.offsets)

    def take(self, documents: NDArray[np.int64]) -> Ragged:
        """Return some of the documents, in the given order."""
        rows, offsets = rows_of(self.offsets, documents)
        return Ragged(self.values[rows], offsets)

    @classmethod
    def of(cls, matrices: Sequence[Matrix], dims: int) -> Ragged:
        """Concatenate matrices of ``dims`` columns.

        Parameters
        ----------
        matrices
            A ``(t, dims)`` matrix for each document.
        dims
            The number of columns, which counts if there are no matrices.
        """
        offsets = offsets_of(np.array([len(matrix) for matrix in matrices], dtype=np.int64))
        values = np.concatenate(matrices) if len(matrices) else np.empty((0, dims), dtype=np.float32)
        return cls(values, offsets)


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the place where each document begins, and where the last one ends: ``(n + 1,)`` int64."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def rows_of(offsets: NDArray[np.int64], documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the tokens of some documents, and the offsets of these documents in them.

    Parameters
    ----------
    offsets
        ``(n + 1,)`` int64: where the tokens of each document begin.
    documents
        ``(m,)`` int64: the documents, in the order of the result.

    Returns
    -------
    rows : numpy.ndarray
        ``(t,)`` int64.
    offsets : numpy.ndarray
        ``(m + 1,)`` int64.
    """
    lengths = (offsets[1:] - offsets[:-1])[documents]
    found = offsets_of(lengths)
    return np.repeat(offsets[documents] - found[:-1], lengths) + np.arange(found[-1]), found


def check_tokens(given: Any, dims: int, what: str = "the tokens of document", *, wider: bool = False) -> Ragged:
    """Check tokens that were made elsewhere: a :class:`Ragged`, or a list of ``(t, dims)`` arrays or tensors.

    Parameters
    ----------
    given
        The tokens.
    dims
        The number of dimensions of a token.
    what
        The name of the tokens of one text in messages, before its position.
    wider
        Accept longer tokens too, because their first dimensions will be kept.

    Returns
    -------
    Ragged
        The tokens.

    Raises
    ------
    InputError
        If one of them is no matrix of floats with ``dims`` columns, or the offsets do not divide the tokens.
    """
    if isinstance(given, Ragged):
        return _check_ragged(given, dims, wider)
    if isinstance(given, np.ndarray) and given.ndim in (1, 2) and given.dtype != np.object_:
        raise InputError(
            f"one array of shape {given.shape} where the index takes the tokens of each document: give a list of "
            f"(t, {dims}) arrays, or (n, t, {dims}), or a Ragged"
        )
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InputError(f"tokens of the type {type(given).__name__}; give a list of (t, {dims}) arrays, or a Ragged")
    found = []
    for place, matrix in enumerate(given):
        name = f"{what} {place}"
        one = as_floats(matrix, name)
        check_width(one.shape, dims, name, wider=wider, rows="t")
        found.append(one)
    if len({one.shape[1] for one in found}) > 1:
        raise InputError(
            f"tokens of {' and '.join(map(str, sorted({one.shape[1] for one in found})))} dimensions; give one"
        )
    return Ragged.of(found, dims)


def _check_ragged(given: Ragged, dims: int, wider: bool) -> Ragged:
    values = as_floats(given.values, "the tokens")
    check_width(values.shape, dims, "the tokens", wider=wider, rows="t")
    offsets = np.asarray(given.offsets)
    divides = offsets.ndim == 1 and len(offsets) > 0 and offsets.dtype.kind in "iu"
    if not divides or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise InputError(f"the offsets do not divide {len(values)} tokens; they must go up from 0 to that")
    return Ragged(values, offsets.astype(np.int64))
