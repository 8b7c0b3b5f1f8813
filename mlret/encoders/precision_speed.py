"""Determine whether bfloat16 is fast in torch on this processor.

On a processor without instructions for it, bfloat16 is emulated and takes many times as long as float32. The
available instructions are read from the processor's features, minus those that an environment variable disables in
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
from typing import Any

import torch

# oneDNN's names of instruction sets that lack AVX512_BF16 and AMX respectively.
_BELOW_BFLOAT16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})
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


def bfloat16_speed(device: str = "cpu") -> Speed:
    """Determine whether bfloat16 is faster than float32 on a device of this machine.

    Parameters
    ----------
    device
        The type of a torch device: ``"cpu"``, ``"cuda"``, ….

    Returns
    -------
    Speed
        The answer and its reason.
    """
    if device == "cuda":
        fast = bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return Speed(fast, "the GPU has it" if fast else "the GPU has no bfloat16")
    if device != "cpu":
        return Speed(True, f"on {device}")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return Speed(False, "this torch was built without oneDNN")
    return _on_cpu()


def _on_cpu() -> Speed:
    cap = _capped_at()
    if _has("_is_amx_tile_supported") and cap not in _BELOW_AMX:
        return Speed(True, "AMX")
    if _has("_is_avx512_bf16_supported") and cap not in _BELOW_BFLOAT16:
        # With this instruction bfloat16 is twice as fast as float32 on some processors and slower on others.
        return _timed("AVX512_BF16")
    if "bf16" in _arm_features():
        return _timed("BF16")
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
def _timed(instruction: str) -> Speed:
    """Time a product in both precisions; this takes about ten milliseconds, once per process."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, _IN, generator=generator)
    linear = torch.nn.Linear(_IN, _OUT)

    def reduced() -> Any:
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
