"""Determine which precisions are fast on this processor.

On a processor without instructions for them, int8 and bfloat16 are emulated and take many times as long as float32.
The available instructions are read from the processor's features, minus those that an environment variable disables in
oneDNN (``ONEDNN_MAX_CPU_ISA``), which computes torch's products. If the features do not decide it, one product is
timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

Reduced = Literal["bfloat16", "int8"]
# oneDNN's names of instruction sets that lack AVX512_VNNI, AVX512_BF16 and AMX respectively.
_BELOW_VNNI = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE"})
_BELOW_BFLOAT16 = _BELOW_VNNI | {"AVX512_CORE_VNNI"}
_BELOW_AMX = _BELOW_BFLOAT16 | {"AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"}
# The product that is timed, in the sizes of a small encoder's layers; how often it is timed; and the required speed-up.
_ROWS, _IN, _OUT = 64, 384, 1536
_TIMES = 5
_LEAST_GAIN = 1.25


@dataclass(frozen=True)
class Speed:
    """Whether a precision is faster than float32.

    Attributes
    ----------
    fast
        Whether it is faster.
    reason
        The reason in a few words: what the processor has or lacks.
    measured
        Whether a product was timed; otherwise the processor's features decided.
    """

    fast: bool
    reason: str
    measured: bool = False


def speed_of(precision: Reduced, device: str = "cpu") -> Speed:
    """Determine whether a precision is faster than float32 on a device of this machine.

    Parameters
    ----------
    precision
        ``"bfloat16"`` or ``"int8"``.
    device
        The type of a torch device: ``"cpu"``, ``"cuda"``, ….

    Returns
    -------
    Speed
        The answer and its reason.
    """
    if device == "cuda":
        return _on_cuda(precision)
    if device != "cpu":
        return Speed(precision == "bfloat16", f"on {device}")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return Speed(False, "this torch was built without oneDNN")
    return _int8() if precision == "int8" else _bfloat16()


def _on_cuda(precision: Reduced) -> Speed:
    if precision == "int8":
        return Speed(False, "int8 runs on a CPU alone")
    fast = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return Speed(fast, "the GPU has it" if fast else "the GPU has no bfloat16")


def _int8() -> Speed:
    if _has("_is_vnni_supported"):
        if _capped_at() in _BELOW_VNNI:
            return Speed(False, f"oneDNN may not use AVX512_VNNI (ONEDNN_MAX_CPU_ISA={_capped_at()})")
        return Speed(True, "AVX512_VNNI")
    if "i8mm" in _arm_features():
        return _timed("int8", "I8MM")
    return Speed(False, "the processor has no AVX512_VNNI")


def _bfloat16() -> Speed:
    cap = _capped_at()
    if _has("_is_amx_tile_supported") and cap not in _BELOW_AMX:
        return Speed(True, "AMX")
    if _has("_is_avx512_bf16_supported") and cap not in _BELOW_BFLOAT16:
        # With this instruction bfloat16 is twice as fast as float32 on some processors and slower on others.
        return _timed("bfloat16", "AVX512_BF16")
    if "bf16" in _arm_features():
        return _timed("bfloat16", "BF16")
    if cap in _BELOW_BFLOAT16:
        return Speed(False, f"oneDNN may use neither AMX nor AVX512_BF16 (ONEDNN_MAX_CPU_ISA={cap})")
    return Speed(False, "the processor has neither AMX nor AVX512_BF16")


def _has(name: str) -> bool:
    """Call one of torch's checks for x86 features; false on other processors and if torch does not have the check."""
    asked: Callable[[], Any] | None = getattr(torch.cpu, name, None)
    return asked is not None and bool(asked())


def _capped_at() -> str:
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()


@cache
def _arm_features() -> frozenset[str]:
    """Return the features of an ARM processor under Linux; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("Features") for word in line.split())


@cache
def _timed(precision: Reduced, instruction: str) -> Speed:
    """Time a product in both precisions; this takes about ten milliseconds, once per process."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, _IN, generator=generator)
    linear = torch.nn.Linear(_IN, _OUT)
    small, weight = rows.to(torch.int8), linear.weight.detach().t().contiguous().to(torch.int8)

    def reduced() -> Any:
        if precision == "int8":
            return torch._int_mm(small, weight)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return linear(rows)

    try:
        with torch.inference_mode():
            gain = _shortest(lambda: linear(rows)) / _shortest(reduced)
    except RuntimeError:  # torch has no such product for this processor
        return Speed(False, f"{instruction}, but torch does not use it", measured=True)
    return Speed(gain >= _LEAST_GAIN, f"{instruction}, a product in {gain:.1f} times the speed", measured=True)


def _shortest(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(_TIMES + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
