"""Integer dot products: every instruction set gives the integers of a matrix product in int32."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from llvmlite import binding, ir
from numba import njit

from mlret.index.tokens.bits import BITS, LANES, Bits, largest, pack
from mlret.index.tokens.kernels.dot_products import (
    ALL,
    AT_ONCE,
    Generator,
    Instructions,
    instructions,
    ordered,
    products,
)
from tests.index.tokens.x86_levels import HERE, LEVELS, environment_of

X86 = [kind for kind in ALL if "x86" in kind.multiply]
ARM = [kind for kind in ALL if "aarch64" in kind.multiply]
TOKENS = Path(__file__).with_name("test_tokens.py")


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
    for dims in (32, 64, 96, 128, 160, 512):
        codes = chance.integers(0, 2**bits, (AT_ONCE, dims)).astype(np.uint8)
        codes[:2] = 2**bits - 1  # with the two vectors below, the sums of int16 are as large as they can be
        most = largest(bits)
        vectors = chance.integers(-most, most + 1, (LANES, dims)).astype(np.int8)
        vectors[0], vectors[1] = most, -most
        packed = pack(codes, bits)
        out = np.empty(AT_ONCE * LANES, dtype=np.float32)
        run(packed.reshape(-1), packed.shape[1], ordered(vectors[None], bits)[0], out)
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


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("+sse2,+ssse3,+avx2", "avx2 (this processor lacks the faster avx512vnni, avxvnni, avx512bw)"),
        ("+avx2,+avxvnni,+avx512f,+avx512bw,+avx512vnni", "avx512vnni"),
        ("+neon,+dotprod", "dotprod (this processor lacks the faster i8mm)"),
        ("+sse2", "float32 (this processor lacks the faster avx512vnni, avxvnni, avx512bw, avx2, ssse3)"),
    ],
)
def test_what_the_processor_lacks_is_named(features: str, expected: str) -> None:
    command = "from mlret.index.tokens.kernels.dispatch import describe_kernels; print(describe_kernels())"
    environment = {**os.environ, "NUMBA_CPU_FEATURES": features}
    found = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


@pytest.mark.thorough
@pytest.mark.parametrize("level", LEVELS)
def test_the_kernels_pass_their_tests_on_each_level_of_x86(level: str, tmp_path: Path) -> None:
    """The same processor is used without its newer instructions, in a process of its own."""
    environment = environment_of(level, tmp_path)
    command = (
        "import sys, pytest\n"
        "from mlret.index.tokens.kernels.dispatch import instruction_set\n"
        f"assert instruction_set() == {LEVELS[level][0]!r}, instruction_set()\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {str(TOKENS)!r}, '-k', "
        "'maxsim_of_codes or rows_with_the_most or products_with or nearest_centroid or best_lists or eight_bits']))"
    )
    found = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_instructions_of_this_processor_are_used() -> None:
    kind = instructions()
    assert kind is None or HERE.issuperset(kind.features)
