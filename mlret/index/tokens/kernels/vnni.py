"""Multiplies codes with int8 vectors by AVX512_VNNI, which does 64 multiplications in one instruction.

numba compiles through LLVM, which knows the instruction by name, so no compiler is needed on the user's machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from mlret.index.tokens.bits import LANES, Bits

_TOKENS = 4  # Tokens that are multiplied at once, so that one load of the other side serves all of them.
_I8, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_WIDE = 16  # Number of int32 values in a register.
_INTS, _FLOATS = ir.VectorType(_I32, _WIDE), ir.VectorType(_F32, _WIDE)
_HALVES = LANES // _WIDE
_INSTRUCTION = "llvm.x86.avx512.vpdpbusd.512"


def available() -> bool:
    """Return whether this processor has the instruction, and numba compiles for this processor."""
    if config.CPU_NAME or config.CPU_FEATURES is not None:
        return False
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512vnni") and features.get("avx512bw"))


def products(bits: Bits) -> Any:
    """Return an intrinsic for numba with the arguments ``(codes, at, width, vectors, out)``.

    ``codes`` is a flat uint8 array that holds four tokens of ``width`` bytes from ``at`` on. ``vectors`` is a flat int8
    array of ``LANES`` vectors, ordered by :func:`mlret.index.tokens.kernels.dispatch.ordered`. ``out`` gets ``4 *
    LANES`` float32.
    """
    per_byte = 8 // bits
    mask = (2**bits - 1) * 0x01010101

    @intrinsic
    def multiply(
        context: Any, codes: Any, at: Any, width: Any, vectors: Any, out: Any
    ) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointers = [
                make_array(signature.args[place])(context, builder, arguments[place]).data for place in (0, 3, 4)
            ]
            data, other = (builder.bitcast(pointer, _I8.as_pointer()) for pointer in pointers[:2])
            target = builder.bitcast(pointers[2], _F32.as_pointer())
            _loop(builder, data, arguments[1], arguments[2], other, target, per_byte, bits, mask)
            return context.get_dummy_value()

        return types.void(codes, at, width, vectors, out), generate

    return multiply


def _loop(
    builder: Any, data: Any, at: Any, width: Any, other: Any, target: Any, per_byte: int, bits: int, mask: int
) -> None:
    """Generate a loop that takes four bytes of each token in each turn, and multiplies them with all lanes.

    Eight sums stay in registers.
    """
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_INTS, [_INTS, _INTS, _INTS]), _INSTRUCTION
    )
    tokens = [
        builder.gep(data, [builder.add(at, builder.mul(width, ir.Constant(_I64, token)))]) for token in range(_TOKENS)
    ]
    before, turn, after = builder.block, builder.append_basic_block("turn"), builder.append_basic_block("after")
    builder.branch(turn)
    builder.position_at_end(turn)
    offset = builder.phi(_I64)
    offset.add_incoming(ir.Constant(_I64, 0), before)
    sums = [[builder.phi(_INTS) for _ in range(_HALVES)] for _ in range(_TOKENS)]
    words = [_spread(builder, builder.gep(token, [offset])) for token in tokens]
    added = [list(halves) for halves in sums]
    for place in range(per_byte):
        for half in range(_HALVES):
            first = builder.mul(offset, ir.Constant(_I64, per_byte * LANES))
            first = builder.add(first, ir.Constant(_I64, (place * LANES + half * _WIDE) * 4))
            vectors = builder.load(builder.bitcast(builder.gep(other, [first]), _INTS.as_pointer()))
            vectors.align = 1
            for token in range(_TOKENS):
                codes = words[token]
                if bits < 8:
                    codes = builder.and_(builder.lshr(codes, _all(place * bits)), _all(mask))
                added[token][half] = builder.call(multiply_add, [added[token][half], codes, vectors])
    following = builder.add(offset, ir.Constant(_I64, 4))
    offset.add_incoming(following, turn)
    for token in range(_TOKENS):
        for half in range(_HALVES):
            sums[token][half].add_incoming(_all(0), before)
            sums[token][half].add_incoming(added[token][half], turn)
    builder.cbranch(builder.icmp_signed("<", following, width), turn, after)
    builder.position_at_end(after)
    for token in range(_TOKENS):
        for half in range(_HALVES):
            place = builder.gep(target, [ir.Constant(_I64, token * LANES + half * _WIDE)])
            stored = builder.store(
                builder.sitofp(added[token][half], _FLOATS), builder.bitcast(place, _FLOATS.as_pointer())
            )
            stored.align = 4


def _all(value: int) -> Any:
    return ir.Constant(_INTS, [ir.Constant(_I32, value)] * _WIDE)


def _spread(builder: Any, pointer: Any) -> Any:
    """Load four bytes, and repeat them across a register."""
    word = builder.load(builder.bitcast(pointer, _I32.as_pointer()))
    word.align = 1
    nothing = ir.Constant(_INTS, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, word, ir.Constant(_I32, 0)), nothing, _all(0))
