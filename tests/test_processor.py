"""Test that the reported instructions are those that the libraries use."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from mlret.processor import processor_paths

# Each library is told by its own variable to use no more than AVX2.
WITHOUT_AVX512 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "FAISS_SIMD_LEVEL": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+ssse3",
}


def paths(code: str = "", **environment: str) -> dict[str, str]:
    code += "\nimport json; from mlret.processor import processor_paths; print(json.dumps(processor_paths()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.thorough
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are those of x86")
def test_libraries_that_may_not_use_avx512_are_reported_without_it() -> None:
    features = __import__("numpy._core._multiarray_umath", fromlist=["_"]).__cpu_features__
    if not features["AVX2"]:
        pytest.skip("the processor has no AVX2")
    wide = [name for name in ("X86_V4", "AVX512_SKX", "AVX512_ICL", "AVX512_SPR", "AVX512F") if features.get(name)]
    built = __import__("numpy._core._multiarray_umath", fromlist=["_"]).__cpu_dispatch__
    disabled = " ".join(name for name in wide if name in built)
    found = paths(**WITHOUT_AVX512, **({"NPY_DISABLE_CPU_FEATURES": disabled} if disabled else {}))
    assert "code for Haswell (without AVX-512); OPENBLAS_CORETYPE=Haswell is set" in found["exact_search"]
    assert found["faiss"].startswith("AVX2")
    assert found["torch"].startswith("AVX2 (without the faster AVX512); ATEN_CPU_CAPABILITY=avx2 is set")
    assert found["token_kernels"].startswith("avx2 ")
    assert not disabled or all(f"{name}" in found["numpy"].partition("(")[2] for name in disabled.split())


def test_what_is_reported_is_what_the_libraries_state() -> None:
    threadpoolctl, torch = pytest.importorskip("threadpoolctl"), pytest.importorskip("torch")
    found = processor_paths()
    cores = [one.get("architecture", "") for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    assert any(core in found["exact_search"] for core in cores)
    assert found["torch"].startswith(torch.backends.cpu.get_cpu_capability())


def test_a_missing_library_is_reported_and_raises_nothing() -> None:
    found = paths("import sys; sys.modules.update(torch=None, threadpoolctl=None)")
    assert found["torch"] == "not installed (torch)"
    assert found["exact_search"] == "not installed (threadpoolctl)"
    assert found["numpy"] and "installed" not in found["numpy"]
