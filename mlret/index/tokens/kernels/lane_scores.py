"""Turns the integer products of a token with all lanes into scores, and keeps the best, in whole registers.

numba would compile the same loops over arrays with a test, for each token, of whether the arrays overlap. That takes as
long as the products. LLVM divides the vectors of ``LANES`` numbers here into the registers that the processor has.

Arrays are float32 and C-contiguous unless stated otherwise; places in them are counted in elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from mlret.index.tokens.bits import LANES

_Code = tuple[Any, Callable[..., Any]]
_I32, _F32 = ir.IntType(32), ir.FloatType()
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_FUSED = ("contract",)  # A product and a sum may be one instruction.


@intrinsic
def keep_highest(
    context: Any, products: Any, at: Any, scale: Any, scales: Any, shifts: Any, near: Any, row: Any, best: Any
) -> _Code:
    """Raise ``best[lane]`` to the score of a token.

    The score is ``near[row, lane] + scale * (products[at + lane] * scales[lane] - shifts[lane])``.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lines = _Lines(context, builder, signature.args, arguments)
        score = lines.scaled()
        centroid = lines.load(5, builder.mul(arguments[6], ir.Constant(arguments[6].type, LANES)))
        lines.store(7, lines.higher(builder.fadd(score, centroid, flags=_FUSED), lines.load(7)))
        return context.get_dummy_value()

    return types.void(products, types.int64, types.float32, scales, shifts, near, types.int64, best), generate


@intrinsic
def keep_nearest(
    context: Any,
    products: Any,
    at: Any,
    scale: Any,
    scales: Any,
    shifts: Any,
    halves: Any,
    block: Any,
    best: Any,
    blocks: Any,
    to: Any,
) -> _Code:
    """Raise ``best[to + lane]`` to the score of a token with a block of centroids.

    ``scales``, ``shifts`` and ``halves`` have ``LANES`` numbers for each block. The score is ``scale * (products[at +
    lane] * scales[block, lane] - shifts[block, lane]) - halves[block, lane]``. Where it is the highest so far, the
    int32 ``blocks[to + lane]`` is set to ``block``.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lines = _Lines(context, builder, signature.args, arguments)
        place, to = builder.mul(arguments[6], ir.Constant(arguments[6].type, LANES)), arguments[9]
        score = builder.fsub(lines.scaled(place), lines.load(5, place), flags=_FUSED)
        before = lines.load(7, to)
        is_higher = builder.fcmp_ordered(">", score, before)
        lines.store(7, builder.select(is_higher, score, before), to)
        number = lines.repeated(builder.trunc(arguments[6], _I32), _INTS)
        lines.store(8, builder.select(is_higher, number, lines.load(8, to, _INTS)), to)
        return context.get_dummy_value()

    numbers = (products, types.int64, types.float32, scales, shifts, halves, types.int64, best, blocks, types.int64)
    return types.void(*numbers), generate


@intrinsic
def write_scaled(
    context: Any, products: Any, at: Any, scale: Any, scales: Any, shifts: Any, found: Any, row: Any
) -> _Code:
    """Set ``found[row, lane]`` to ``scale * (products[at + lane] * scales[lane] - shifts[lane])``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lines = _Lines(context, builder, signature.args, arguments)
        lines.store(5, lines.scaled(), builder.mul(arguments[6], ir.Constant(arguments[6].type, LANES)))
        return context.get_dummy_value()

    return types.void(products, types.int64, types.float32, scales, shifts, found, types.int64), generate


class _Lines:
    """Loads and stores ``LANES`` numbers of arrays that are arguments of an intrinsic, by the argument's position."""

    def __init__(self, context: Any, builder: Any, kinds: Any, arguments: Any) -> None:
        self._context = context
        self._builder = builder
        self._kinds = kinds
        self._arguments = arguments

    def scaled(self, place: Any | None = None) -> Any:
        """Return the scaled products of a token: arguments 0 to 4 of each intrinsic."""
        builder, flags = self._builder, {"flags": _FUSED}
        products = builder.fmul(self.load(0, self._arguments[1]), self.load(3, place), **flags)
        shifted = builder.fsub(products, self.load(4, place), **flags)
        return builder.fmul(self.repeated(self._arguments[2], _FLOATS), shifted, **flags)

    def higher(self, one: Any, other: Any) -> Any:
        return self._builder.select(self._builder.fcmp_ordered(">", one, other), one, other)

    def repeated(self, value: Any, kind: Any) -> Any:
        """Return a vector with the same number in each lane."""
        nothing = ir.Constant(kind, ir.Undefined)
        first = self._builder.insert_element(nothing, value, ir.Constant(_I32, 0))
        return self._builder.shuffle_vector(first, nothing, ir.Constant(_INTS, [ir.Constant(_I32, 0)] * LANES))

    def load(self, argument: int, place: Any | None = None, kind: Any = _FLOATS) -> Any:
        found = self._builder.load(self._pointer(argument, place, kind))
        found.align = 4
        return found

    def store(self, argument: int, value: Any, place: Any | None = None) -> None:
        self._builder.store(value, self._pointer(argument, place, value.type)).align = 4

    def _pointer(self, argument: int, place: Any | None, kind: Any) -> Any:
        array = make_array(self._kinds[argument])(self._context, self._builder, self._arguments[argument])
        pointer = array.data if place is None else self._builder.gep(array.data, [place])
        return self._builder.bitcast(pointer, kind.as_pointer())
