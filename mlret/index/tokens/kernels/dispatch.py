"""Compares packed tokens with queries and with centroids, by numba if it is installed and else by numpy.

Both multiply the same integers, so their results agree up to the rounding of float32 sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.tokens.bits import LANES, Bits, Lanes, aligned, centre, unpack
from mlret.index.tokens.parallel import divide

COMPILED = find_spec("numba") is not None
# Rows that a kernel may read beyond the last token, because it reads four tokens at a time.
SPARE_ROWS = 3
_TOKENS = 16_384  # Tokens that are unpacked at once without numba.


def instruction_set() -> str:
    """Return the name of what multiplies codes here.

    It is one of :data:`mlret.index.tokens.kernels.dot_products.ALL`, ``"float32"`` if numba finds none of them, or
    ``"numpy"`` without numba.
    """
    if not COMPILED:
        return "numpy"
    from mlret.index.tokens.kernels.dot_products import instructions

    kind = instructions()
    return "float32" if kind is None else kind.name


def describe_kernels() -> str:
    """Return what multiplies codes here, and which faster instructions are missing, for ``mlret doctor``."""
    name = instruction_set()
    if name == "numpy":
        return "numpy, several times slower than compiled code: pip install numba"
    from mlret.index.tokens.kernels.dot_products import lacking

    missing = ", ".join(lacking())
    return f"{name} (this processor lacks the faster {missing})" if missing else name


@dataclass(frozen=True)
class PackedTokens:
    """The coded tokens of documents, one document after another.

    Attributes
    ----------
    codes
        ``(t + SPARE_ROWS, width)`` uint8, C-contiguous.
    bits
        Bits of a code.
    units, unit
        ``(t,)`` uint16 and a float: a token's residual is ``units * unit`` times its codes, minus their centre.
    centroids
        ``(t,)`` uint16 or uint32: the centroid of each token.
    offsets
        ``(n + 1,)`` int64: document ``d`` has the tokens ``offsets[d]`` … ``offsets[d + 1]``, without the last.
    """

    codes: NDArray[np.uint8]
    bits: Bits
    units: NDArray[np.uint16]
    unit: float
    centroids: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def maxsim(
    tokens: PackedTokens,
    documents: NDArray[np.int64],
    query: Lanes,
    near: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the MaxSim of documents with a query (Khattab and Zaharia 2020, arXiv 2004.12832, section 3.2).

    Parameters
    ----------
    tokens
        The coded tokens.
    documents
        ``(m,)`` the documents to score.
    query
        The ``n`` tokens of the query, for codes of these bits.
    near
        ``(blocks, centroids, LANES)`` float32: the product of each centroid with each token of the query.

    Returns
    -------
    numpy.ndarray
        ``(m,)`` float32: the sum over the query's tokens of the highest product with a token of the document. A
        document without tokens gets the lowest possible cosine, -1, for each token of the query.
    """
    scores = np.zeros(len(documents), dtype=np.float32)
    for block in range(len(query.integers)):
        part = _block(query, block)
        if COMPILED:
            _compiled_maxsim(tokens, documents, part, near[block], scores)
        else:
            scores += _numpy_maxsim(tokens, documents, part, near[block])
    return scores


def nearest(
    codes: NDArray[np.uint8], scales: NDArray[np.float32], centroids: Lanes, halves: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the nearest centroid of each token.

    Parameters
    ----------
    codes
        ``(t + SPARE_ROWS, dims)`` uint8 codes of 8 bits.
    scales
        ``(t,)`` float32: the factor of each token.
    centroids
        The centroids, for codes of 8 bits.
    halves
        ``(blocks, LANES)`` float32: half of their squared lengths, and 1e30 for unused lanes.

    Returns
    -------
    numpy.ndarray
        ``(t,)`` int64.
    """
    if not COMPILED:
        return _numpy_nearest(codes[: len(scales)], scales, centroids, halves)
    from mlret.index.tokens.kernels import cpu_kernels

    found = np.empty(len(scales), dtype=np.int64)
    vectors = ordered(centroids.integers, 8)
    arguments = (codes.reshape(-1), codes.shape[1], scales, vectors, centroids.scales, centroids.shifts, halves)
    divide(len(scales), len(scales), lambda first, last: cpu_kernels.nearest(*arguments, first, last, found))
    return found


def products(codes: NDArray[np.uint8], scales: NDArray[np.float32], others: Lanes) -> NDArray[np.float32]:
    """Return the products of 8-bit tokens with lanes.

    Parameters
    ----------
    codes
        ``(t + SPARE_ROWS, dims)`` uint8 codes of 8 bits.
    scales
        ``(t,)`` float32: the factor of each token.
    others
        The lanes, for codes of 8 bits.

    Returns
    -------
    numpy.ndarray
        ``(blocks, t, LANES)`` float32.
    """
    found = aligned((len(others.integers), len(scales), LANES), np.float32)
    vectors = ordered(others.integers, 8) if COMPILED else None
    for block, target in enumerate(found):
        if vectors is not None:
            some = vectors[block], others.scales[block], others.shifts[block]
            arguments = codes.reshape(-1), codes.shape[1], scales, *some
            divide(len(scales), len(scales), partial(_multiply, arguments, target))
        else:
            integers = others.integers[block].astype(np.float32).T
            target[:] = codes[: len(scales)].astype(np.float32) @ integers
            target *= others.scales[block]
            target -= others.shifts[block]
            target *= scales[:, None]
    return found


def _multiply(arguments: tuple[Any, ...], target: NDArray[np.float32], first: int, last: int) -> None:
    from mlret.index.tokens.kernels import cpu_kernels

    cpu_kernels.multiply(*arguments, first, last, target)


def to_bytes(tokens: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return ``(t + SPARE_ROWS, dims)`` uint8 codes of ``(t, dims)`` tokens, and the ``(t,)`` factor of each."""
    middle, count = np.float32(centre(8)), len(tokens)
    codes = np.zeros((count + SPARE_ROWS, tokens.shape[1]), dtype=np.uint8)
    if COMPILED:
        from mlret.index.tokens.kernels import cpu_kernels

        scales = np.empty(count, dtype=np.float32)
        cpu_kernels.to_bytes(tokens, middle, codes, scales)
        return codes, scales
    scales = np.maximum(np.abs(tokens).max(axis=1) / middle, np.float32(1e-30))
    codes[:count] = np.rint(tokens / scales[:, None] + middle)
    return codes, scales


def add_by_centroid(
    tokens: NDArray[np.float32], found: NDArray[np.int64], sums: NDArray[np.float32], sizes: NDArray[np.int64]
) -> None:
    """Add the sum of the tokens of each centroid, and their number.

    Parameters
    ----------
    tokens
        ``(t, dims)`` float32.
    found
        ``(t,)`` the centroid of each token.
    sums, sizes
        ``(k, dims)`` float32 and ``(k,)`` int64, to which the sums and the numbers are added.
    """
    if COMPILED:
        from mlret.index.tokens.kernels import cpu_kernels

        # In the order of the tokens, so that the sums are the same on every processor.
        parts = np.zeros_like(sums)
        cpu_kernels.add_by_centroid(tokens, found, parts, sizes)
        sums += parts
        return
    order = np.argsort(found, kind="stable")
    starts = np.flatnonzero(np.diff(found[order], prepend=-1))
    centroids = found[order][starts]
    sums[centroids] += np.add.reduceat(tokens[order], starts, axis=0)
    sizes[centroids] += np.diff(starts, append=len(found))


def most(near: NDArray[np.float32], count: int, probes: int) -> NDArray[np.int64]:
    """Return for each lane the rows with its highest values.

    Parameters
    ----------
    near
        ``(blocks, rows, LANES)`` float32.
    count
        The number of lanes that are used.
    probes
        The number of rows to return; at most all.

    Returns
    -------
    numpy.ndarray
        ``(count, probes)`` int64, by descending value.
    """
    probes = min(probes, near.shape[1])
    found = np.empty((count, probes), dtype=np.int64)
    for block, values in enumerate(near):
        lines = found[block * LANES : (block + 1) * LANES]
        if COMPILED:
            from mlret.index.tokens.kernels import cpu_kernels

            cpu_kernels.most(values, len(lines), probes, lines)
        else:
            lines[:] = np.argsort(-values[:, : len(lines)].T, axis=1, kind="stable")[:, :probes]
    return found


def gathered(
    near: NDArray[np.float32],
    count: int,
    probes: int,
    starts: NDArray[np.int64],
    documents: NDArray[np.int32],
    size: int,
) -> NDArray[np.float32]:
    """Score documents by the centroids alone, from the lists of those that are nearest to a token of the query.

    A document that is in none of a token's lists is assumed to score as much as the best centroid that was not probed
    (as in WARP, Scheerer et al. 2025, arXiv 2501.17788, section 4.1). That part is the same for all documents and is
    omitted.

    Parameters
    ----------
    near
        ``(blocks, k, LANES)`` float32: the products of the centroids with the query's tokens.
    count
        The number of tokens of the query.
    probes
        The number of centroids for each token, fewer than ``k``.
    starts, documents
        The list of centroid ``c`` is ``documents[starts[c] : starts[c + 1]]``.
    size
        The number of documents.

    Returns
    -------
    numpy.ndarray
        ``(size,)`` float32; -inf for documents that are in no list.
    """
    probed = most(near, count, probes + 1)
    lanes = np.arange(count)
    values = near[(lanes // LANES)[:, None], probed, (lanes % LANES)[:, None]]
    probed, gains = probed[:, :probes], values[:, :probes] - values[:, probes:]
    scores = np.full(size, -np.inf, dtype=np.float32)
    if COMPILED:
        from mlret.index.tokens.kernels import cpu_kernels

        cpu_kernels.gather(probed, gains, starts, documents, np.full(size, -1, dtype=np.int32), scores)
        return scores
    for some, gain in zip(probed.tolist(), gains, strict=True):
        best = np.full(size, -np.inf, dtype=np.float32)
        for centroid, one in zip(reversed(some), gain[::-1], strict=True):
            best[documents[starts[centroid] : starts[centroid + 1]]] = one
        hit = best > -np.inf
        scores[hit] = np.maximum(scores[hit], 0) + best[hit]
    return scores


def ordered(integers: NDArray[np.int8], bits: Bits) -> NDArray[Any]:
    """Return ``(blocks, LANES, dims)`` integers of lanes in the order in which the compiled kernels read them.

    The result is ``(blocks, LANES * dims)``.
    """
    from mlret.index.tokens.kernels import cpu_kernels, dot_products

    if cpu_kernels.INSTRUCTIONS is not None:
        return dot_products.ordered(integers, bits)
    steps = integers.reshape(len(integers), LANES, 8 // bits, -1, 4)
    found = np.ascontiguousarray(steps.transpose(0, 3, 2, 4, 1), dtype=np.float32)
    return found.reshape(len(integers), -1)


@dataclass(frozen=True)
class _Block:
    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    shifts: NDArray[np.float32]
    count: int


def _block(query: Lanes, block: int) -> _Block:
    count = min(LANES, query.used - block * LANES)
    return _Block(query.integers[block], query.scales[block], query.shifts[block], count)


def _compiled_maxsim(
    tokens: PackedTokens,
    documents: NDArray[np.int64],
    block: _Block,
    near: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    from mlret.index.tokens.kernels import cpu_kernels

    arguments = (
        tokens.codes.reshape(-1),
        tokens.codes.shape[1],
        tokens.bits,
        tokens.units,
        tokens.unit,
        tokens.centroids,
        tokens.offsets,
        documents,
        ordered(block.integers[None], tokens.bits)[0],
        block.scales,
        block.shifts,
        block.count,
        near,
    )
    work = len(documents) * int(tokens.offsets[-1]) // max(1, len(tokens))
    divide(len(documents), work, lambda first, last: cpu_kernels.maxsim(*arguments, first, last, scores))


def _numpy_maxsim(
    tokens: PackedTokens, documents: NDArray[np.int64], block: _Block, near: NDArray[np.float32]
) -> NDArray[np.float32]:
    lengths = np.diff(tokens.offsets)[documents]
    scores = np.full(len(documents), -float(block.count), dtype=np.float32)
    step = max(1, _TOKENS // max(1, int(lengths.max(initial=1))))
    integers = block.integers[: block.count].astype(np.float32).T
    for start in range(0, len(documents), step):
        some = np.flatnonzero(lengths[start : start + step]) + start
        if not len(some):
            continue
        starts = np.cumsum(lengths[some]) - lengths[some]
        rows = np.repeat(tokens.offsets[documents[some]] - starts, lengths[some]) + np.arange(lengths[some].sum())
        products = unpack(tokens.codes[rows], tokens.bits).astype(np.float32) @ integers
        residual = products * block.scales[: block.count] - block.shifts[: block.count]
        residual *= (tokens.units[rows] * np.float32(tokens.unit))[:, None]
        every = near[tokens.centroids[rows], : block.count] + residual
        scores[some] = np.maximum.reduceat(every, starts, axis=0).sum(axis=1)
    return scores


def _numpy_nearest(
    codes: NDArray[np.uint8], scales: NDArray[np.float32], centroids: Lanes, halves: NDArray[np.float32]
) -> NDArray[np.int64]:
    found = np.empty(len(codes), dtype=np.int64)
    vectors = centroids.integers.reshape(-1, codes.shape[1]) * centroids.scales.reshape(-1, 1)
    step = max(1, 2**24 // max(1, len(vectors)))
    for start in range(0, len(codes), step):
        some = (codes[start : start + step] - np.float32(centre(8))) * scales[start : start + step, None]
        found[start : start + step] = np.argmax(some @ vectors.T - halves.reshape(-1), axis=1)
    return found
