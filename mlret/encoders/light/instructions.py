"""Ask the processor which instructions it has, without torch."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path

# NumPy's names of features with products of 8-bit integers that are added in 32 bits.
_INT8_PRODUCTS = ("AVX512VNNI", "AVX512_CLX", "ASIMDDP")
# The kernel's name of such a feature that NumPy does not know.
_IN_CPUINFO = "avx_vnni"


@cache
def multiplies_int8() -> str | None:
    """Return the name of the instruction that multiplies 8-bit integers and adds in 32 bits, ``None`` without one.

    Without it, products of two pairs are added in 16 bits, so that the numbers must be smaller, and 8 bits gain less.
    """
    # NumPy has no public name for this; `numpy.show_runtime` prints it.
    features: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    for name in _INT8_PRODUCTS:
        if features.get(name):
            return name
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return None
    return "AVX_VNNI" if _IN_CPUINFO in flags.split() else None


def usable_threads() -> int:
    """Return how many threads to compute with: ``OMP_NUM_THREADS``, or the processors that this process may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
