"""Measures what comparing tokens costs on this machine, and what finding candidates by centroids costs instead.

Instruction sets differ by a factor of ten in how fast they compare codes, while lists and centroids take about the same
time everywhere. Therefore the size from which probing is worthwhile is measured, once in a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from mlret.index.tokens.bits import BITS, LANES, WHOLE, Bits, lanes, width
from mlret.index.tokens.codec import centroids_for
from mlret.index.tokens.kernels.dispatch import SPARE_ROWS, PackedTokens, gathered, instruction_set, maxsim
from mlret.index.tokens.stored_tokens import TokenQuery, WholeTokens
from mlret.index.vectors.ragged import Ragged, offsets_of

_TOKENS = 2**13  # Tokens that are compared to measure what one costs.
_LENGTH = 64  # Tokens of a document.
_REPEATS = 7
_ENOUGH = 0.05  # Seconds of repeats after which no more are made.
# The size at which probing is measured, and its effort: candidates of 16 probes a token, of which 256 are compared.
_SIZE = 2**18
_PROBES = 16
_COMPARED = 2**14
# Probing loses some documents, so comparing all is kept until it takes this many times as long.
_GAIN = 8
# The size is a multiple of this, so that what else the machine does rarely changes it.
_STEP = 2**16


class Cost(NamedTuple):
    """Seconds on this machine, on as many threads as a query takes.

    Attributes
    ----------
    instructions
        The instructions that compare tokens; see :func:`instructions_for`.
    token
        Comparing one stored token with up to ``LANES`` tokens of a query.
    lists
        Finding the documents near the best centroids in an index of ``2**18`` tokens.
    """

    instructions: str
    token: float
    lists: float


@cache
def measured(dims: int, bits: int) -> Cost:
    """Measure the costs for tokens of ``dims`` dimensions and ``bits`` bits. It takes some ten milliseconds.

    Parameters
    ----------
    dims
        The number of dimensions of a coded token.
    bits
        Bits of a dimension; 16 for tokens in float16.
    """
    return Cost(instructions_for(bits), _comparing(dims, bits) / _TOKENS, _probing())


def instructions_for(bits: int) -> str:
    """Return the name of what compares tokens of these bits on this machine."""
    return "blas" if bits == WHOLE else instruction_set()


def least_to_probe(cost: Cost, least: int) -> int:
    """Return the number of tokens from which probing is chosen, where comparing all takes eight times as long.

    Parameters
    ----------
    cost
        The costs on this machine.
    least
        The least number of tokens that may have lists.
    """
    tokens = _GAIN * (cost.lists / max(cost.token, 1e-12) + _COMPARED)
    return max(least, round(tokens / _STEP) * _STEP)


def _comparing(dims: int, bits: int) -> float:
    """Return the seconds of comparing some tokens with one block of lanes."""
    rng = np.random.default_rng(0)
    offsets = offsets_of(np.full(_TOKENS // _LENGTH, _LENGTH))
    documents = np.arange(len(offsets) - 1)
    query = rng.standard_normal((LANES, dims), dtype=np.float32)
    coded: Bits | None = next((one for one in BITS if one == bits), None)
    if coded is None:
        values = rng.standard_normal((_TOKENS, dims), dtype=np.float32).astype(np.float16)
        whole, asked = WholeTokens(Ragged(values, offsets)), TokenQuery.of(query, None)
        return _shortest(lambda: whole.approximate(asked, documents))
    packed = PackedTokens(
        rng.integers(0, 256, (_TOKENS + SPARE_ROWS, width(dims, coded)), dtype=np.uint8),
        coded,
        np.ones(_TOKENS, dtype=np.uint16),
        1.0,
        np.zeros(_TOKENS, dtype=np.uint16),
        offsets,
    )
    ready, near = lanes(query, coded), np.zeros((1, 1, LANES), dtype=np.float32)
    return _shortest(lambda: maxsim(packed, documents, ready, near))


def _probing() -> float:
    """Return the seconds of finding and ranking the documents in the lists of a query's centroids."""
    rng = np.random.default_rng(0)
    count = centroids_for(_SIZE)
    near = rng.standard_normal((1, count, LANES), dtype=np.float32)
    starts = np.linspace(0, _SIZE, count + 1).astype(np.int64)
    documents = rng.integers(0, _SIZE // _LENGTH, _SIZE, dtype=np.int32)
    return _shortest(lambda: gathered(near, LANES, _PROBES, starts, documents, _SIZE // _LENGTH))


def _shortest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of some runs, after a first one that may compile."""
    run()
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _ENOUGH:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
