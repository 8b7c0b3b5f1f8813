"""Matrices of different lengths, one after another: the tokens of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ragged:
    """The tokens of documents; as a sequence, a matrix for each document.

    Attributes
    ----------
    values
        ``(t, dims)`` floats; a memory map is fine.
    offsets
        ``(n + 1,)`` int64: document ``d`` has the tokens ``offsets[d]`` … ``offsets[d + 1]``.
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
        """``(n,)``: tokens of each document."""
        return np.diff(self.offsets)

    def take(self, documents: NDArray[np.int64]) -> Ragged:
        """Some of the documents, in that order."""
        rows, offsets = rows_of(self.offsets, documents)
        return Ragged(self.values[rows], offsets)

    @classmethod
    def of(cls, matrices: Sequence[Matrix], dims: int) -> Ragged:
        """Put matrices of ``dims`` columns one after another."""
        offsets = offsets_of(np.array([len(matrix) for matrix in matrices], dtype=np.int64))
        values = np.concatenate(matrices) if len(matrices) else np.empty((0, dims), dtype=np.float32)
        return cls(values.reshape(-1, dims), offsets)


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """``(n + 1,)``: where each document begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def rows_of(offsets: NDArray[np.int64], documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the tokens of some documents, one document after another, and the offsets of these documents then."""
    lengths = (offsets[1:] - offsets[:-1])[documents]
    found = offsets_of(lengths)
    return np.repeat(offsets[documents] - found[:-1], lengths) + np.arange(found[-1]), found


def check_tokens(given: Any, dims: int, what: str = "the tokens of document") -> Ragged:
    """Tokens that came from outside: a :class:`Ragged`, or a list of ``(t, dims)`` arrays or tensors.

    Raises
    ------
    InputError
        If one of them is no matrix of ``dims`` floats a row, or the offsets do not divide the tokens.
    """
    matrices: Iterable[Any] = given
    if isinstance(given, Ragged):
        if given.values.ndim != 2 or given.values.shape[1] != dims:
            raise InputError(f"tokens of shape {given.values.shape}; the index takes (t, {dims})")
        if given.offsets[0] != 0 or given.offsets[-1] != len(given.values) or (np.diff(given.offsets) < 0).any():
            raise InputError(f"the offsets do not divide {len(given.values)} tokens; they rise from 0 to that")
        return given
    if isinstance(given, np.ndarray) and given.ndim == 2:
        raise InputError(
            f"one matrix of shape {given.shape} where the index takes the tokens of each document: give a list of "
            f"(t, {dims}) arrays, or (n, t, {dims}), or a Ragged"
        )
    found = []
    for place, matrix in enumerate(matrices):
        one = matrix.detach().cpu().float().numpy() if hasattr(matrix, "detach") else np.asarray(matrix)
        if one.ndim != 2 or one.shape[1] != dims or not np.issubdtype(one.dtype, np.floating):
            raise InputError(f"{what} {place} have shape {one.shape} and type {one.dtype}; they must be (t, {dims})")
        found.append(one)
    return Ragged.of(found, dims)
