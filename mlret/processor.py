"""Find out which instructions of the processor each library uses here, and which faster ones the processor lacks."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from mlret.errors import first_line

# OpenBLAS's names of processors with AVX-512.
_WITH_AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5")


def processor_paths() -> dict[str, str]:
    """Return what each part of mlret computes with on this processor, in words, by its name.

    Returns
    -------
    dict
        ``exact_search``, ``faiss``, ``light_runtime``, ``numpy``, ``token_kernels`` and ``torch``. Nothing is raised
        for a library that is missing or broken.

    Examples
    --------
    >>> from mlret.processor import processor_paths
    >>> sorted(processor_paths())
    ['exact_search', 'faiss', 'light_runtime', 'numpy', 'token_kernels', 'torch']
    """
    return {name: _stated(find) for name, find in _PARTS.items()}


def _stated(find: Callable[[], str]) -> str:
    try:
        return find()
    except ModuleNotFoundError as error:
        return f"not installed ({error.name})" if error.name else f"unknown ({first_line(error)})"
    except Exception as error:  # a broken binary package may raise anything
        return f"unknown ({first_line(error)})"


def _exact_search() -> str:
    """Return which BLAS NumPy multiplies with, and for which processor its code was written."""
    import numpy as np
    from threadpoolctl import threadpool_info

    libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    # FAISS has a BLAS of its own.
    found = [one for one in libraries if "faiss" not in one["filepath"]]
    if not found:
        name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return f"{name}, which does not state its instructions"
    blas = found[0]
    core = blas.get("architecture", "")
    what = f"{blas['internal_api']} {blas['version']}" + (f", code for {core}" if core else "")
    lacks = "" if not core or core in _WITH_AVX512 or not _x86() else " (without AVX-512)"
    return what + lacks + _limited("OPENBLAS_CORETYPE")


def _faiss() -> str:
    """Return the instructions that FAISS uses, and the faster ones that it was built for."""
    faiss: Any = importlib.import_module("faiss")
    if not hasattr(faiss, "SIMDConfig"):  # Before 1.14 the loader chose one of several libraries.
        loaded = [name for name in sys.modules if name.startswith("faiss.swigfaiss_")]
        return (loaded[0].rpartition("_")[2].upper() if loaded else "generic") + _limited("FAISS_OPT_LEVEL")
    level = faiss.SIMDConfig.get_level_name()
    order = ["NONE", "AVX2", "AVX512", "AVX512_SPR"] if _x86() else ["NONE", "ARM_NEON", "ARM_SVE"]
    faster = order[order.index(level) + 1 :] if level in order else []
    available = faiss.SIMDConfig.is_simd_level_available
    lacking = [name for name in faster if not available(getattr(faiss, f"SIMDLevel_{name}"))]
    return f"{level}{_lacking(lacking)}{_limited('FAISS_SIMD_LEVEL')}"


def _light_runtime() -> str:
    """Return how the light runtime adds products of 8-bit integers."""
    from mlret.encoders.light.network import adds_products_in_32_bits

    if adds_products_in_32_bits():
        return "products of 8-bit integers are added in 32 bits"
    lacks = "AVX512_VNNI or AVX-VNNI" if _x86() else "DotProd"
    return f"products of 8-bit integers are added in 16 bits (this processor lacks the faster {lacks})"


def _numpy() -> str:
    """Return the highest set of instructions that NumPy was built for and this processor has."""
    # NumPy has no public name for this; `numpy.show_runtime` prints it.
    module = importlib.import_module("numpy._core._multiarray_umath")
    features: dict[str, bool] = module.__cpu_features__
    built = [*module.__cpu_baseline__, *module.__cpu_dispatch__]
    there = [name for name in built if features.get(name)]
    lacking = [name for name in built if not features.get(name)]
    return f"{there[-1] if there else 'generic'}{_lacking(lacking)}{_limited('NPY_DISABLE_CPU_FEATURES')}"


def _token_kernels() -> str:
    """Return the instructions by which multi-vector search compares tokens."""
    from mlret.index.tokens.kernels.dispatch import describe_kernels

    return describe_kernels()


def _torch() -> str:
    """Return the instructions that torch's own code uses; its products are oneDNN's or MKL's."""
    torch: Any = importlib.import_module("torch")
    level = torch.backends.cpu.get_cpu_capability()
    lacking = ["AVX512"] if level in ("DEFAULT", "AVX2") and _x86() else []
    return f"{level}{_lacking(lacking)}{_limited('ATEN_CPU_CAPABILITY')}"


def _lacking(names: list[str]) -> str:
    return f" (without the faster {', '.join(names)})" if names else ""


def _limited(variable: str) -> str:
    """Return the variable that chooses instructions, if it is set."""
    value = os.environ.get(variable)
    return f"; {variable}={value} is set" if value else ""


def _x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")


_PARTS: dict[str, Callable[[], str]] = {
    "exact_search": _exact_search,
    "faiss": _faiss,
    "light_runtime": _light_runtime,
    "numpy": _numpy,
    "token_kernels": _token_kernels,
    "torch": _torch,
}
