"""Measure the kernels of multi-vector search: products a second for each instruction set, against the core's peak.

    python scripts/bench/kernels.py [--dims 128] [--json FILE]

One thread multiplies the codes of 512 tokens, which stay in the cache, with one block of 32 lanes. "alone" is what the
multiplying instruction reaches on registers alone, with enough of them in flight, so it includes the clock at that
moment; "to int32" is the same with the instructions that add its results to int32, which those without VNNI need after
each product of 8 bits, and more rarely for fewer bits. The float32 rows multiply unpacked tokens: by BLAS, and by numpy
as where numba is missing.

Only instruction sets of this processor are measured. AVX2 here may use more registers than a processor without AVX-512
has; set `NUMBA_CPU_NAME=haswell` and `NUMBA_CPU_FEATURES` to leave instructions out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from rich.console import Console
from rich.table import Table

from mlret.doctor import examine
from mlret.index.tokens.bits import BITS, LANES, Bits, largest, pack, unpack
from mlret.index.tokens.kernels import dot_products
from mlret.index.tokens.kernels.dot_products import Instructions
from mlret.index.vectors.faiss_index import faiss_module

_TOKENS = 512
_IN_FLIGHT = 12  # Chains of instructions, enough to hide the latency of each.
_SECONDS = 0.02  # of one measurement
_REPEATS = 15


def rate(run: Callable[[int], Any], products: int) -> float:
    """Return billions of products a second of processor time, in the fastest of some runs of ``run(rounds)``."""
    run(1)
    rounds, taken = 1, 0.0
    while taken < _SECONDS:
        rounds *= 2
        start = time.process_time()
        run(rounds)
        taken = time.process_time() - start
    best = taken
    for _ in range(_REPEATS):
        start = time.process_time()
        run(rounds)
        best = min(best, time.process_time() - start)
    return products * rounds / best / 1e9


def kernel(kind: Instructions, bits: Bits, dims: int) -> float:
    """Return the rate of a kernel."""
    rng = np.random.default_rng(0)
    codes = pack(rng.integers(0, 2**bits, (_TOKENS, dims)).astype(np.uint8), bits)
    vectors = dot_products.ordered(
        rng.integers(-largest(bits), largest(bits) + 1, (1, LANES, dims)).astype(np.int8), bits
    )[0]
    multiply, flat, width = dot_products.products(bits, kind), codes.reshape(-1), codes.shape[1]
    out = np.empty(dot_products.AT_ONCE * LANES, dtype=np.float32)

    @njit
    def run(codes: Any, width: int, vectors: Any, out: Any, rounds: int) -> None:
        for _ in range(rounds):
            for token in range(0, _TOKENS, 4):
                multiply(codes, token * width, width, vectors, out)

    return rate(lambda rounds: run(flat, width, vectors, out, rounds), _TOKENS * LANES * dims)


def peak(kind: Instructions, *, to_int32: bool) -> float:
    """Return the rate of the instruction on registers, alone or with those that add what it gives to int32."""
    ints = ir.VectorType(ir.IntType(32), kind.register // 4)
    shorts = ir.VectorType(ir.IntType(16), kind.register // 2)
    octets = ir.VectorType(ir.IntType(8), kind.register)
    ones = ir.Constant(shorts, [ir.Constant(ir.IntType(16), 1)] * shorts.count)

    @intrinsic
    def chains(context: Any, rounds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def call(name: str, result: Any, operands: list[Any]) -> Any:
                function = ir.FunctionType(result, [one.type for one in operands])
                return builder.call(cgutils.get_or_insert_function(builder.module, function, name), operands)

            start = builder.insert_element(
                ir.Constant(ints, None), builder.trunc(arguments[0], ints.element), ir.Constant(ir.IntType(32), 0)
            )
            states = [cgutils.alloca_once_value(builder, start) for _ in range(_IN_FLIGHT)]
            with cgutils.for_range(builder, arguments[0]):
                for state in states:
                    before = builder.load(state)
                    if kind.widen is None:
                        after = call(kind.multiply, ints, [before, start, before])
                    else:
                        pair = [builder.bitcast(before, octets), builder.bitcast(start, octets)]
                        after = call(kind.multiply, shorts, pair)
                        if to_int32:
                            after = builder.add(before, call(kind.widen, ints, [after, ones]))
                    builder.store(builder.bitcast(after, ints), state)
            total = builder.load(states[0])
            for state in states[1:]:
                total = builder.xor(total, builder.load(state))
            first = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
            return builder.sext(first, ir.IntType(64))

        return types.int64(types.int64), generate

    @njit
    def run(rounds: int) -> int:
        return chains(rounds)

    return rate(lambda rounds: run(1000 * rounds), 1000 * _IN_FLIGHT * kind.register)


def floats(bits: Bits, dims: int) -> tuple[float, float]:
    """Return the rate of BLAS on unpacked tokens, and that of numpy, which has to unpack them."""
    rng = np.random.default_rng(0)
    codes = pack(rng.integers(0, 2**bits, (_TOKENS, dims)).astype(np.uint8), bits)
    vectors = rng.integers(-largest(bits), largest(bits) + 1, (dims, LANES)).astype(np.float32)
    unpacked = unpack(codes, bits).astype(np.float32)

    def blas(rounds: int) -> None:
        for _ in range(rounds):
            unpacked @ vectors

    def numpy(rounds: int) -> None:
        for _ in range(rounds):
            unpack(codes, bits).astype(np.float32) @ vectors

    return rate(blas, _TOKENS * LANES * dims), rate(numpy, _TOKENS * LANES * dims)


def main(
    dims: Annotated[int, typer.Option(min=32, help="Dimensions of a token, a multiple of 32.")] = 128,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure products a second."""
    faiss_module().omp_set_num_threads(1)
    machine = examine().machine
    rows: dict[str, dict[str, float]] = {}
    for kind in dot_products.available():
        rows[kind.name] = {f"{bits} bits": kernel(kind, bits, dims) for bits in BITS}
        rows[kind.name] |= {"alone": peak(kind, to_int32=False), "to int32": peak(kind, to_int32=True)}
    both = {bits: floats(bits, dims) for bits in BITS}
    rows["float32, BLAS"] = {f"{bits} bits": both[bits][0] for bits in BITS}
    rows["float32, numpy"] = {f"{bits} bits": both[bits][1] for bits in BITS}
    title = (
        f"billions of products a second, one thread, {dims} dimensions; {machine['cpu']}, {machine['token_kernels']}"
    )
    table = Table(title=title)
    table.add_column("")
    columns = [*(f"{bits} bits" for bits in BITS), "alone", "to int32"]
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.0f}" if column in row else "" for column in columns))
    Console(width=118).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
