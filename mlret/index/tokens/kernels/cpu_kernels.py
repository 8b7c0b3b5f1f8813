"""Kernels compiled by numba that compare packed tokens with lanes.

They neither allocate in a loop nor pad a copy of the tokens. Each function works on a range, without holding Python's
lock and without starting threads; the caller divides the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mlret.index.tokens.bits import LANES
from mlret.index.tokens.kernels import dot_products
from mlret.index.tokens.kernels.lane_scores import keep_highest, keep_nearest, write_scaled

# Comparisons with -inf are undefined under fastmath, so a very low number is used instead.
_LEAST = np.float32(-1e30)
_TILE = 512  # Tokens that stay in the cache while all centroids pass.
_LINE = 16  # float32 of a cache line
_float = np.float32

INSTRUCTIONS = dot_products.instructions()

if INSTRUCTIONS is not None:
    _by_1, _by_2, _by_4, _by_8 = (dot_products.products(bits, INSTRUCTIONS) for bits in (1, 2, 4, 8))

    @njit(nogil=True, inline="always")
    def _multiply(codes: Any, at: Any, width: Any, bits: Any, vectors: Any, out: Any) -> None:
        if bits == 4:
            _by_4(codes, at, width, vectors, out)
        elif bits == 8:
            _by_8(codes, at, width, vectors, out)
        elif bits == 2:
            _by_2(codes, at, width, vectors, out)
        else:
            _by_1(codes, at, width, vectors, out)

else:

    @njit(nogil=True, fastmath=True)
    def _multiply(codes: Any, at: Any, width: Any, bits: Any, vectors: Any, out: Any) -> None:
        out[:] = 0
        mask = np.uint8((1 << bits) - 1)
        row = 0
        for step in range(0, width, 4):
            for shift in range(0, 8, bits):
                here = at + step
                a0, a1, a2, a3 = _word(codes, here, shift, mask)
                b0, b1, b2, b3 = _word(codes, here + width, shift, mask)
                c0, c1, c2, c3 = _word(codes, here + 2 * width, shift, mask)
                d0, d1, d2, d3 = _word(codes, here + 3 * width, shift, mask)
                for lane in range(LANES):
                    w0, w1 = vectors[row + lane], vectors[row + LANES + lane]
                    w2, w3 = vectors[row + 2 * LANES + lane], vectors[row + 3 * LANES + lane]
                    out[lane] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                    out[LANES + lane] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                    out[2 * LANES + lane] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                    out[3 * LANES + lane] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
                row += 4 * LANES

    @njit(nogil=True, inline="always")
    def _word(codes: Any, at: Any, shift: Any, mask: Any) -> Any:
        return (
            _float(codes[at] >> shift & mask),
            _float(codes[at + 1] >> shift & mask),
            _float(codes[at + 2] >> shift & mask),
            _float(codes[at + 3] >> shift & mask),
        )


@njit(nogil=True, inline="always")
def _aligned(size: int) -> Any:
    """Return an array of float32 that begins at a cache line, so that no register is stored across two lines."""
    memory = np.empty(size + _LINE, dtype=np.float32)
    start = -(memory.ctypes.data // 4) % _LINE
    return memory[start : start + size]


@njit(nogil=True, fastmath=True, cache=True)
def maxsim(
    codes: Any,
    width: int,
    bits: int,
    units: Any,
    unit: float,
    centroids: Any,
    offsets: Any,
    documents: Any,
    vectors: Any,
    scales: Any,
    shifts: Any,
    count: int,
    near: Any,
    first: int,
    last: int,
    scores: Any,
) -> None:
    """Add to ``scores`` the MaxSim of ``documents[first:last]`` with one block of lanes.

    The score of a token and a lane is ``near[centroid of the token, lane]`` plus that of the residual.

    Parameters
    ----------
    codes, width, bits, units, unit, centroids, offsets
        The tokens as in :class:`mlret.index.tokens.kernels.dispatch.PackedTokens`, with flat ``codes`` of ``width``
        bytes a token.
    documents
        ``(m,)`` int64: the documents to score.
    vectors, scales, shifts
        One block of :class:`mlret.index.tokens.bits.Lanes`, its integers ordered by
        :func:`mlret.index.tokens.kernels.dispatch.ordered`.
    count
        The number of lanes that are used.
    near
        ``(k, LANES)`` float32: the product of each centroid with each lane.
    first, last
        The range of ``documents`` to score.
    scores
        ``(m,)`` float32, to which the scores are added.
    """
    products = _aligned(4 * LANES)
    best = _aligned(LANES)
    for place in range(first, last):
        start, stop = offsets[documents[place]], offsets[documents[place] + 1]
        for lane in range(LANES):
            best[lane] = _LEAST
        for token in range(start, stop, 4):
            _multiply(codes, token * width, width, bits, vectors, products)
            for one in range(min(4, stop - token)):
                scale = _float(units[token + one]) * _float(unit)
                keep_highest(products, one * LANES, scale, scales, shifts, near, centroids[token + one], best)
        total = _float(0)
        if stop > start:
            for lane in range(count):
                total += best[lane]
        else:
            total = -_float(count)
        scores[place] += total


@njit(nogil=True, fastmath=True, cache=True)
def nearest(
    codes: Any,
    width: int,
    units: Any,
    vectors: Any,
    scales: Any,
    shifts: Any,
    halves: Any,
    first: int,
    last: int,
    found: Any,
) -> None:
    """Find the nearest centroid of 8-bit tokens.

    Parameters
    ----------
    codes, width, units
        Flat uint8 codes of ``width`` bytes a token, and the ``(t,)`` float32 factor of each token.
    vectors, scales, shifts
        The centroids in blocks of lanes, the integers of each block ordered by
        :func:`mlret.index.tokens.kernels.dispatch.ordered`.
    halves
        ``(blocks, LANES)`` float32: half of the centroids' squared lengths. The nearest centroid has the largest
        product minus that.
    first, last
        The range of tokens.
    found
        ``(t,)`` int64, which gets the lane, counted over all blocks, of the nearest centroid.
    """
    products = _aligned(4 * LANES)
    best = _aligned(_TILE * LANES)
    block_of = np.empty(_TILE * LANES, dtype=np.int32)
    for start in range(first, last, _TILE):
        size = min(_TILE, last - start)
        best[:] = _LEAST
        for block in range(len(vectors)):
            for tile in range(0, size, 4):
                _multiply(codes, (start + tile) * width, width, 8, vectors[block], products)
                for one in range(min(4, size - tile)):
                    scale, to = units[start + tile + one], (tile + one) * LANES
                    keep_nearest(products, one * LANES, scale, scales, shifts, halves, block, best, block_of, to)
        for tile in range(size):
            top = 0
            for lane in range(1, LANES):
                if best[tile * LANES + lane] > best[tile * LANES + top]:
                    top = lane
            found[start + tile] = block_of[tile * LANES + top] * LANES + top


@njit(nogil=True, fastmath=True, cache=True)
def multiply(
    codes: Any, width: int, units: Any, vectors: Any, scales: Any, shifts: Any, first: int, last: int, found: Any
) -> None:
    """Set ``found[token, lane]`` to the product of 8-bit tokens ``first`` … ``last`` with one block of lanes.

    Parameters
    ----------
    codes, width, units
        Flat uint8 codes of ``width`` bytes a token, and the ``(t,)`` float32 factor of each token.
    vectors, scales, shifts
        One block of lanes, its integers ordered by :func:`mlret.index.tokens.kernels.dispatch.ordered`.
    first, last
        The range of tokens.
    found
        ``(t, LANES)`` float32, which is filled.
    """
    products = _aligned(4 * LANES)
    for token in range(first, last, 4):
        _multiply(codes, token * width, width, 8, vectors, products)
        for one in range(min(4, last - token)):
            write_scaled(products, one * LANES, units[token + one], scales, shifts, found, token + one)


@njit(nogil=True, cache=True)
def most(near: Any, count: int, probes: int, found: Any) -> None:
    """Set ``found[lane]`` to the rows of ``near`` that score a lane highest, best first.

    Parameters
    ----------
    near
        ``(rows, LANES)`` float32.
    count
        The number of lanes that are used.
    probes
        The number of rows for each lane.
    found
        ``(count, probes)`` int64, which is filled.
    """
    values = np.full((count, probes), _LEAST)
    least = np.full(count, _LEAST)
    for row in range(len(near)):
        for lane in range(count):
            value = near[row, lane]
            if value <= least[lane]:
                continue
            place = probes - 1
            while place > 0 and values[lane, place - 1] < value:
                values[lane, place] = values[lane, place - 1]
                found[lane, place] = found[lane, place - 1]
                place -= 1
            values[lane, place] = value
            found[lane, place] = row
            least[lane] = values[lane, probes - 1]


@njit(nogil=True, cache=True)
def gather(probed: Any, gains: Any, starts: Any, documents: Any, seen: Any, scores: Any) -> None:
    """Add to ``scores`` the gain of each document in the lists of the probed centroids.

    A document gets the gain of the first list of a lane that holds it, which is its highest.

    Parameters
    ----------
    probed
        ``(count, probes)`` int64: the centroids to probe for each lane.
    gains
        ``(count, probes)`` float32: the gain of each, in descending order for each lane.
    starts, documents
        The list of centroid ``c`` is ``documents[starts[c] : starts[c + 1]]``.
    seen
        ``(n,)`` int32, -1 for every document at the beginning; it then holds the last lane that found the document.
    scores
        ``(n,)`` float32; the score of a document is set to 0 when it is first found.
    """
    for lane in range(len(probed)):
        for place in range(probed.shape[1]):
            centroid, gain = probed[lane, place], gains[lane, place]
            for entry in range(starts[centroid], starts[centroid + 1]):
                document = documents[entry]
                if seen[document] == lane:
                    continue
                if seen[document] < 0:
                    scores[document] = 0.0
                seen[document] = lane
                scores[document] += gain


@njit(nogil=True, cache=True)
def to_bytes(tokens: Any, centre: Any, codes: Any, scales: Any) -> None:
    """Code tokens in 8 bits, by the same float32 operations as numpy would.

    Parameters
    ----------
    tokens
        ``(t, dims)`` float32.
    centre
        The code of zero, a float32.
    codes
        ``(t, dims)`` uint8 or more rows, of which ``t`` are filled.
    scales
        ``(t,)`` float32, which gets the factor of each token.
    """
    for row in range(len(tokens)):
        largest = _float(0)
        for place in range(tokens.shape[1]):
            largest = max(largest, abs(tokens[row, place]))
        scale = max(largest / centre, _float(1e-30))
        scales[row] = scale
        for place in range(tokens.shape[1]):
            codes[row, place] = np.uint8(np.rint(tokens[row, place] / scale + centre))


@njit(nogil=True, cache=True)
def add_by_centroid(tokens: Any, found: Any, parts: Any, counts: Any) -> None:
    """Add each token to the sum of its centroid, in the order of the tokens.

    Parameters
    ----------
    tokens
        ``(t, dims)`` float32.
    found
        ``(t,)`` int64: the centroid of each token.
    parts
        ``(k, dims)`` float32, to which the tokens are added.
    counts
        ``(k,)`` int64, to which the number of tokens of each centroid is added.
    """
    for row in range(len(tokens)):
        centroid = found[row]
        counts[centroid] += 1
        for place in range(tokens.shape[1]):
            parts[centroid, place] += tokens[row, place]
