"""MaxSim on a GPU as one triton kernel, which unpacks, multiplies and reduces codes without writing them to memory."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from mlret.index.tokens.bits import LANES

_TOKENS = 64  # Tokens of a document that are compared at once.


@triton.jit
def _maxsim(  # type: ignore[no-untyped-def]
    codes,
    units,
    centroids,
    offsets,
    queries,
    near,
    scores,
    unit,
    blocks,
    count,
    centroid_count,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    LANES: tl.constexpr,
    TOKENS: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    # Neighbouring programs share a document, which is then read from memory once for all queries.
    document, block = program // blocks, program % blocks
    first = tl.load(offsets + document)
    last = tl.load(offsets + document + 1)
    lane = tl.arange(0, LANES)
    byte = tl.arange(0, WIDTH)
    row = tl.arange(0, TOKENS)
    PER_BYTE: tl.constexpr = 8 // BITS if BITS < 16 else 1
    CENTRE: tl.constexpr = (2**BITS - 1) / 2
    best = tl.full((LANES,), float("-inf"), tl.float32)
    for start in range(first, last, TOKENS):
        token = start + row
        there = token < last
        products = tl.zeros((TOKENS, LANES), tl.float32)
        packed = tl.load(codes + token[:, None] * WIDTH + byte[None, :], mask=there[:, None], other=0)
        for part in tl.static_range(PER_BYTE):
            place = part * WIDTH + byte
            query = tl.load(queries + (block * PER_BYTE * WIDTH + place[:, None]) * LANES + lane[None, :])
            if BITS == 16:
                values = packed
            else:
                code = (packed >> (part * BITS)) & (2**BITS - 1)
                values = code.to(tl.float16) - CENTRE
            products = tl.dot(values.to(tl.float16), query, products)
        if BITS < 16:
            step = tl.load(units + token, mask=there, other=0).to(tl.float32) * unit
            centroid = tl.load(centroids + token, mask=there, other=0).to(tl.int64)
            beside = near + (block * centroid_count + centroid[:, None]) * LANES + lane[None, :]
            products = products * step[:, None] + tl.load(beside)
        # Rows beyond the end of the document must never have the maximum.
        products = tl.where(there[:, None], products, float("-inf"))
        best = tl.maximum(best, tl.max(products, axis=0))
    tl.store(scores + block * count + document, tl.sum(best, axis=0))


def fused_maxsim(tokens: Any, queries: Any, near: Any, scores: Any) -> None:
    """Fill ``(blocks, n)`` float32 scores of documents, each of which has at least one token.

    Parameters
    ----------
    tokens
        A :class:`mlret.index.tokens.device.Chunk`.
    queries
        ``(blocks, inner, LANES)`` float16.
    near
        ``(blocks, k, LANES)`` float32: the products of the centroids.
    scores
        ``(blocks, n)`` float32, which is filled.
    """
    count = len(tokens.offsets) - 1
    if not count:
        return
    _maxsim[(count * len(queries),)](
        tokens.codes,
        tokens.units,
        tokens.centroids,
        tokens.offsets,
        queries,
        near,
        scores,
        tokens.unit,
        len(queries),
        count,
        near.shape[1],
        WIDTH=tokens.codes.shape[1],
        BITS=tokens.bits,
        LANES=LANES,
        TOKENS=_TOKENS,
    )
