"""Integer dot products: every instruction set gives the integers of a matrix product in int32."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("numba")

from llvmlite import binding, ir
from numba import njit
from numba.core import codegen

from mlret.index.tokens.bits import BITS, LANES, Bits, pack
from mlret.index.tokens.kernels.dot_products import ALL, AT_ONCE, Generator, Instructions, instructions, products

X86 = [kind for kind in ALL if "x86" in kind.multiply]
ARM = [kind for kind in ALL if "aarch64" in kind.multiply]
HERE = {feature[1:] for feature in codegen.get_host_cpu_features().split(",") if feature.startswith("+")}


def ordered(integers: NDArray[np.int8], bits: Bits) -> NDArray[np.int8]:
    """Return lanes in the order that the kernels read: four dimensions of each lane, then those of the next place."""
    steps = integers.reshape(LANES, 8 // bits, -1, 4)
    return np.ascontiguousarray(steps.transpose(2, 1, 0, 3)).reshape(-1)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", X86, ids=lambda kind: kind.name)
def test_products_are_those_of_the_matrices_also_at_the_extremes(kind: Instructions, bits: Bits) -> None:
    if not HERE.issuperset(kind.features):
        pytest.skip(f"this processor has no {kind.name}")
    multiply = products(bits, kind)

    @njit
    def run(codes: Any, width: int, vectors: Any, out: Any) -> None:
        multiply(codes, 0, width, vectors, out)

    chance = np.random.default_rng(bits)
    for dims in (32, 64, 96, 128, 512):
        codes = chance.integers(0, 2**bits, (AT_ONCE, dims)).astype(np.uint8)
        codes[:2] = 2**bits - 1  # with the two vectors below, the sums of int16 are as large as they can be
        vectors = chance.integers(-127, 128, (LANES, dims)).astype(np.int8)
        vectors[0], vectors[1] = 127, -127
        packed = pack(codes, bits)
        out = np.empty(AT_ONCE * LANES, dtype=np.float32)
        run(packed.reshape(-1), packed.shape[1], ordered(vectors, bits), out)
        expected = codes.astype(np.int32) @ vectors.astype(np.int32).T
        np.testing.assert_array_equal(out.reshape(AT_ONCE, LANES), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ARM, ids=lambda kind: kind.name)
def test_the_code_for_arm_has_its_instruction(kind: Instructions, bits: Bits) -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    pointer = ir.IntType(8).as_pointer()
    floats = ir.FloatType().as_pointer()
    module = ir.Module()
    module.triple = "aarch64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, ir.IntType(64), pointer, floats]), "run")
    builder = ir.IRBuilder(function.append_basic_block())
    tokens, width, vectors, out = function.args
    Generator(builder, kind, bits, width, vectors).multiply([tokens], out)
    builder.ret_void()
    features = ",".join(f"+{feature}" for feature in kind.features)
    machine = binding.Target.from_triple(module.triple).create_target_machine(features=features, opt=3)
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    name = kind.multiply.split(".")[3]
    assert f"\t{name}\t" in assembly


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("+sse2,+ssse3,-avx2,-avx512vnni", "ssse3"),
        ("+sse2,+ssse3,+avx2", "avx2"),
        ("+avx2,+avxvnni", "avxvnni"),
        ("+avx2,+avx512f,+avx512bw", "avx512bw"),
        ("+avx2,+avxvnni,+avx512f,+avx512bw,+avx512vnni", "avx512vnni"),
        ("+neon,+dotprod", "dotprod"),
        ("+neon,+dotprod,+i8mm", "i8mm"),
        ("+sse2", "None"),
    ],
)
def test_the_features_that_numba_compiles_for_decide(features: str, expected: str) -> None:
    command = (
        "from mlret.index.tokens.kernels.dot_products import instructions; print(getattr(instructions(), 'name', None))"
    )
    environment = {**os.environ, "NUMBA_CPU_FEATURES": features}
    found = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


def test_the_instructions_of_this_processor_are_used() -> None:
    kind = instructions()
    assert kind is None or HERE.issuperset(kind.features)
