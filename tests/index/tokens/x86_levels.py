"""Runs Python as if this processor were of an older level of x86-64, for tests of the kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from numba.core import codegen, config

# What the levels of x86-64 add to SSE2, among what decides which instructions are used, and these instructions.
LEVELS = {
    "x86-64-v2": ("ssse3", {"ssse3", "sse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf"}),
    "x86-64-v3": ("avx2", {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}),
    "x86-64-v4": ("avx512bw", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
}
_PLAIN = {"64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2"}
_FEATURES = codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
HERE = {feature[1:] for feature in _FEATURES.split(",") if feature.startswith("+")}


def environment_of(level: str, cache: Path) -> dict[str, str]:
    """Return the environment of a process that numba compiles for a level in; skip the test on a lower level."""
    wanted = set(_PLAIN)
    for name, (_, added) in LEVELS.items():
        wanted |= added
        if name == level:
            break
    if not HERE.issuperset(wanted):
        pytest.skip(f"this processor is not of {level}")
    every = sorted(feature[1:] for feature in codegen.get_host_cpu_features().split(","))
    features = ",".join(("+" if feature in wanted else "-") + feature for feature in every)
    names = {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(cache)}
    return {**os.environ, **names}
