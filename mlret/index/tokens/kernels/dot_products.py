"""Multiplies codes with int8 vectors by the integer instructions that the processor has.

numba compiles through LLVM, which knows the instructions by name, so no compiler is needed on the user's machine. All
instructions give the same integers; they differ in how many products they make at once, and in how soon a sum of them
has to be moved to wider integers:

============  ================================  =====================================================================
name          feature                           instruction
============  ================================  =====================================================================
avx512vnni    AVX512_VNNI                       ``vpdpbusd`` on 64 bytes, sums of four products added to int32
avxvnni       AVX_VNNI                          the same on 32 bytes
avx512bw      AVX512BW                          ``vpmaddubsw`` on 64 bytes, sums of two products in int16
avx2          AVX2                              the same on 32 bytes
ssse3         SSSE3 (x86-64-v2)                 the same on 16 bytes
i8mm          Armv8.6 I8MM                      ``usdot`` on 16 bytes, sums of four products added to int32
dotprod       Armv8.2 DotProd                   ``sdot`` on 16 bytes; codes of 8 bits are multiplied in two halves
============  ================================  =====================================================================

``vpmaddubsw`` adds two products in int16, so sums are moved to int32 by ``vpmaddwd`` before they could exceed that.
With codes of 8 bits this is after each instruction, and the vectors have integers up to 64 so that two products fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, codegen, config, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from mlret.index.tokens.bits import LANES, Bits, aligned, largest

AT_ONCE = 4  # Tokens that one call of an intrinsic multiplies.
_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_UNROLLED = 4  # Steps of four bytes that are generated one after the other, without a loop.


@dataclass(frozen=True)
class Instructions:
    """Instructions that multiply unsigned bytes with signed bytes.

    Attributes
    ----------
    name
        Name for messages and benchmarks.
    features
        The features of LLVM's processor model that are needed.
    register
        Number of bytes of a register.
    multiply
        LLVM's name of the instruction.
    widen
        LLVM's name of the instruction that adds neighbouring int16 as int32, if ``multiply`` gives int16; ``None`` if
        ``multiply`` adds to int32.
    tokens
        Number of tokens whose sums fit into the registers together; half as many where a byte is multiplied in halves.
    halved
        Whether the halves of codes of 8 bits are multiplied one after the other, because the instruction takes signed
        bytes, as which codes above 127 would be negative.
    """

    name: str
    features: tuple[str, ...]
    register: int
    multiply: str
    widen: str | None
    tokens: int
    halved: bool = False


ALL = (
    Instructions("avx512vnni", ("avx512vnni", "avx512bw"), 64, "llvm.x86.avx512.vpdpbusd.512", None, tokens=4),
    Instructions("avxvnni", ("avxvnni", "avx2"), 32, "llvm.x86.avx512.vpdpbusd.256", None, tokens=2),
    Instructions(
        "avx512bw",
        ("avx512bw", "avx512f"),
        64,
        "llvm.x86.avx512.pmaddubs.w.512",
        "llvm.x86.avx512.pmaddw.d.512",
        tokens=4,
    ),
    Instructions("avx2", ("avx2",), 32, "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd", tokens=1),
    Instructions(
        "ssse3",
        ("ssse3",),
        16,
        "llvm.x86.ssse3.pmadd.ub.sw.128",
        "llvm.x86.sse2.pmadd.wd",
        tokens=1,
    ),
    Instructions("i8mm", ("i8mm", "neon"), 16, "llvm.aarch64.neon.usdot.v4i32.v16i8", None, tokens=2),
    Instructions("dotprod", ("dotprod", "neon"), 16, "llvm.aarch64.neon.sdot.v4i32.v16i8", None, tokens=2, halved=True),
)


@cache
def instructions() -> Instructions | None:
    """Return the fastest instructions that numba compiles for, or ``None`` if it has none of them.

    numba compiles for the processor that it runs on, or for the features that ``NUMBA_CPU_FEATURES`` names.
    """
    return next(iter(available()), None)


def available() -> list[Instructions]:
    """Return all instructions that numba compiles for, fastest first."""
    there = _features()
    return [one for one in ALL if there.issuperset(one.features)]


def ordered(integers: NDArray[np.int8], bits: Bits) -> NDArray[np.int8]:
    """Return vectors in the order in which :func:`products` reads them, at the beginning of cache lines.

    Parameters
    ----------
    integers
        ``(blocks, LANES, dims)`` int8.
    bits
        Bits of a code.

    Returns
    -------
    numpy.ndarray
        ``(blocks, LANES * dims)`` int8.
    """
    # One step takes four bytes of a token, and each byte holds `8 // bits` dimensions that are a width apart.
    steps = integers.reshape(len(integers), LANES, 8 // bits, -1, 4).transpose(0, 3, 2, 1, 4)
    found = aligned(steps.shape, np.int8)
    found[:] = steps
    return found.reshape(len(integers), -1)


def lacking() -> list[str]:
    """Return the names of the instructions of this kind of processor that would be faster, but are not there."""
    there = _features()
    family = "aarch64" if "neon" in there else "x86"
    found = []
    for one in ALL:
        if there.issuperset(one.features):
            break
        if family in one.multiply:
            found.append(one.name)
    return found


def _features() -> set[str]:
    stated = codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return {feature[1:] for feature in stated.split(",") if feature.startswith("+")}


def products(bits: Bits, kind: Instructions) -> Any:
    """Return an intrinsic for numba with the arguments ``(codes, at, width, vectors, out)``.

    ``codes`` is a flat uint8 array that holds four tokens of ``width`` bytes from ``at`` on. ``vectors`` is a flat int8
    array of ``LANES`` vectors with integers up to ``largest(bits)``, ordered by :func:`ordered`. ``out`` gets
    ``4 * LANES`` float32.

    Parameters
    ----------
    bits
        Bits of a code.
    kind
        The instructions to use.
    """

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
            first = builder.gep(data, [arguments[1]])
            generator = Generator(builder, kind, bits, arguments[2], other)
            together = max(1, kind.tokens // generator.halves)
            for token in range(0, AT_ONCE, together):
                tokens = [
                    builder.gep(first, [builder.mul(arguments[2], ir.Constant(_I64, one))])
                    for one in range(token, token + together)
                ]
                generator.multiply(tokens, builder.gep(target, [ir.Constant(_I64, token * LANES)]))
            return context.get_dummy_value()

        return types.void(codes, at, width, vectors, out), generate

    return multiply


class Generator:
    """Generates LLVM code that multiplies some tokens with all lanes.

    Parameters
    ----------
    builder
        llvmlite's builder.
    kind
        The instructions to use.
    bits
        Bits of a code.
    width
        The number of bytes of a token: an int64 value of LLVM, a multiple of four.
    vectors
        A pointer to the bytes of the vectors.
    """

    def __init__(self, builder: Any, kind: Instructions, bits: Bits, width: Any, vectors: Any) -> None:
        self._builder = builder
        self._kind = kind
        self._width = width
        self._vectors = vectors
        self._per_byte = 8 // bits
        size = kind.register // 4
        self._ints, self._floats = ir.VectorType(_I32, size), ir.VectorType(_F32, size)
        self._shorts = ir.VectorType(_I16, 2 * size)
        self._bytes = ir.VectorType(_I8, 4 * size)
        self._registers = LANES // size
        # The halves of a byte have sums of their own until the end, since the upper one counts 16 times.
        self.halves = 2 if bits == 8 and kind.halved else 1
        # The parts of a byte: their shift, the largest code in them, and the place of their vectors.
        if self.halves == 2:
            self._parts = [(0, 15, 0), (4, 15, 0)]
        else:
            self._parts = [(place * bits, 2**bits - 1, place) for place in range(self._per_byte)]
        # Steps of four bytes until a sum of int16 could exceed its range.
        self._steps = (2**15 - 1) // (2 * largest(bits) * self._parts[0][1]) // len(self._parts)

    def multiply(self, tokens: list[Any], target: Any) -> None:
        """Generate the products of the tokens at these pointers, and store them as float32 at ``target``."""
        builder = self._builder
        sums = [[self._variable(self._ints) for _ in range(self._registers)] for _ in tokens]
        if self._kind.widen is None:
            self._sum_ints(tokens, sums)
        else:
            self._sum_shorts(tokens, sums)
        for token, line in enumerate(sums):
            for register, variable in enumerate(line):
                place = ir.Constant(_I64, token * LANES + register * self._kind.register // 4)
                pointer = builder.bitcast(builder.gep(target, [place]), self._floats.as_pointer())
                builder.store(builder.sitofp(builder.load(variable), self._floats), pointer).align = 4

    def _sum_ints(self, tokens: list[Any], sums: list[list[Any]]) -> None:
        builder = self._builder
        high = [[self._variable(self._ints) for _ in range(self._registers)] for _ in tokens]
        with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), self._width, ir.Constant(_I64, 4)) as (offset, _):
            self._step(tokens, offset, [sums, high][: self.halves])
        if self.halves == 2:
            for line, high_line in zip(sums, high, strict=True):
                for variable, other in zip(line, high_line, strict=True):
                    shifted = builder.shl(builder.load(other), self._all(4))
                    builder.store(builder.add(builder.load(variable), shifted), variable)

    def _sum_shorts(self, tokens: list[Any], sums: list[list[Any]]) -> None:
        """Add products as int16 for as many steps as that is exact, then move the sums to int32, and so on."""
        builder = self._builder
        widen = self._function(self._kind.widen, self._ints, [self._shorts, self._shorts])
        shorts = [[self._variable(self._shorts) for _ in range(self._registers)] for _ in tokens]
        ones = ir.Constant(self._shorts, [ir.Constant(_I16, 1)] * self._shorts.count)
        size, zero = ir.Constant(_I64, 4 * _UNROLLED), ir.Constant(_I64, 0)
        whole = builder.sub(self._width, builder.urem(self._width, size))
        for first, end, count in ((zero, whole, _UNROLLED), (whole, self._width, 1)):
            with cgutils.for_range_slice(builder, first, end, ir.Constant(_I64, 4 * count)) as (start, _):
                for step in range(count):
                    if step % self._steps == 0:
                        for line in shorts:
                            for variable in line:
                                builder.store(ir.Constant(self._shorts, None), variable)
                    self._step(tokens, builder.add(start, ir.Constant(_I64, 4 * step)), [shorts])
                    if (step + 1) % self._steps and step + 1 < count:
                        continue
                    for line, sum_line in zip(shorts, sums, strict=True):
                        for variable, total in zip(line, sum_line, strict=True):
                            widened = builder.call(widen, [builder.load(variable), ones])
                            builder.store(builder.add(builder.load(total), widened), total)

    def _step(self, tokens: list[Any], offset: Any, sums: list[list[list[Any]]]) -> None:
        """Multiply four bytes of each token with all lanes, and add them to ``sums[half][token][register]``."""
        builder = self._builder
        words = [self._spread(builder.gep(token, [offset])) for token in tokens]
        start = builder.mul(offset, ir.Constant(_I64, self._per_byte * LANES))
        for number, (shift, mask, place) in enumerate(self._parts):
            target = sums[number if self.halves == 2 else 0]
            codes = [self._part(word, shift, mask) for word in words]
            for register in range(self._registers):
                at = builder.add(start, ir.Constant(_I64, place * LANES * 4 + register * self._kind.register))
                pointer = builder.bitcast(builder.gep(self._vectors, [at]), self._bytes.as_pointer())
                vectors = builder.load(pointer)
                vectors.align = 1
                for token, code in enumerate(codes):
                    variable = target[token][register]
                    builder.store(self._multiplied(builder.load(variable), code, vectors), variable)

    def _multiplied(self, before: Any, codes: Any, vectors: Any) -> Any:
        """Return ``before`` plus the products of codes with vectors."""
        builder = self._builder
        if self._kind.widen is not None:
            function = self._function(self._kind.multiply, self._shorts, [self._bytes, self._bytes])
            return builder.add(before, builder.call(function, [codes, vectors]))
        # LLVM declares the instruction of Arm with bytes, and that of x86 with four bytes to an int32.
        kind = self._bytes if "aarch64" in self._kind.multiply else self._ints
        function = self._function(self._kind.multiply, self._ints, [self._ints, kind, kind])
        return builder.call(function, [before, builder.bitcast(codes, kind), builder.bitcast(vectors, kind)])

    def _part(self, word: Any, shift: int, mask: int) -> Any:
        """Return the codes at some bits of every byte of a register of int32."""
        if mask < 255:
            word = self._builder.lshr(word, self._all(shift)) if shift else word
            word = self._builder.and_(word, self._all(mask * 0x01010101))
        return self._builder.bitcast(word, self._bytes)

    def _spread(self, pointer: Any) -> Any:
        """Load four bytes, and repeat them across a register."""
        builder = self._builder
        word = builder.load(builder.bitcast(pointer, _I32.as_pointer()))
        word.align = 1
        nothing = ir.Constant(self._ints, ir.Undefined)
        return builder.shuffle_vector(
            builder.insert_element(nothing, word, ir.Constant(_I32, 0)), nothing, self._all(0)
        )

    def _variable(self, kind: Any) -> Any:
        """Return a pointer to a variable that starts at zero. LLVM keeps it in a register."""
        variable = cgutils.alloca_once(self._builder, kind)
        self._builder.store(ir.Constant(kind, None), variable)
        return variable

    def _function(self, name: str | None, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self._builder.module, ir.FunctionType(result, arguments), name)

    def _all(self, value: int) -> Any:
        return ir.Constant(self._ints, [ir.Constant(_I32, value)] * self._ints.count)
