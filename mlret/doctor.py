"""Collect what ``mlret doctor`` reports: versions, devices, the bundled encoder, and packages missing for each feature.

Nothing here may raise an error because something is missing or broken; it must be reported instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import sqlite3
import tomllib
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from types import ModuleType
from typing import Any

import mlret
from mlret.errors import MlretError, first_line
from mlret.processor import processor_paths

_PACKAGES = (
    "onnxruntime",
    "torch",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "faiss-cpu",
    "faiss-gpu",
    "numba",
    "sentencepiece",
    "pytrec-eval-terrier",
)

# What each extra is for, in the user's words.
FEATURES = {
    "kernels": "compiled comparison of tokens in multi-vector indexes",
    "gpu": "FAISS on an NVIDIA GPU, in place of faiss-cpu",
    "data": "documents from Parquet files and from data sets of the hub",
    "files": "Markdown, HTML, PDF and Word files as documents",
    "onnx": "exported encoders with a tokenizer of another kind than the bundled one's",
    "train": "torch: training, calibration, language adapters, GPUs, encoders that were not packed",
    "trim": "SentencePiece models of slow tokenizers, pictures of a trimming",
    "colbert": "colbert-ai itself, to compare with; its checkpoints and indexes are read and written without",
    "client": "the client of a server: mlret.Client, and addresses in commands",
    "serve": "the server for programs, browsers and agents (MCP), and its client",
    "browser": "tests of the web page in Chromium",
    "ray": "an index, a server and training on several machines, by Ray",
    "haystack": "mlret in Haystack: document store, retrievers, embedders",
    "langchain": "mlret in LangChain: vector store, retriever, embeddings, document indexer",
    "llama-index": "mlret in LlamaIndex: vector store and embedding",
    "mteb": "evaluation of encoders and searches with the tasks of mteb",
    "integrations": "all of these frameworks",
    "eval": "pictures of results, benchmarks by name, XOR-Retrieve, mteb",
    "dev": "tests, lint and types of mlret itself",
    "docs": "building the documentation of mlret itself",
}


@dataclass(frozen=True)
class Extra:
    """One of mlret's extras and its missing requirements; ``missing`` is empty if the extra is installed."""

    name: str
    feature: str
    missing: list[str]
    install: str


@dataclass
class Findings:
    """Everything that ``mlret doctor`` found.

    Attributes
    ----------
    problems
        Required parts that are missing or broken, each with how to fix it. Empty if the base installation works.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    torch: dict[str, Any] = field(default_factory=dict)
    precision: dict[str, Any] = field(default_factory=dict)
    faiss: dict[str, Any] = field(default_factory=dict)
    sqlite: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    extras: list[Extra] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the base installation works."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as a dict for JSON."""
        return {"ok": self.ok, **asdict(self)}


def examine() -> Findings:
    """Examine what is installed and what works on this machine."""
    found = Findings()
    requirements = _requirements(found)
    found.versions = {"python": platform.python_version(), "mlret": mlret.__version__}
    found.versions |= {package: _version(package) for package in _PACKAGES}
    for requirement in requirements.get("", []):
        if requirement.startswith("faiss-cpu") and found.versions["faiss-gpu"]:
            continue
        if lack := _lack(requirement):
            found.problems.append(f'{lack}: pip install "{requirement}"')
    found.extras = [
        Extra(
            name,
            FEATURES.get(name, ""),
            [lack for requirement in wanted if (lack := _lack(requirement))],
            f'pip install "mlret[{name}]"',
        )
        for name, wanted in requirements.items()
        if name
    ]
    found.machine = _machine() | processor_paths()
    found.torch = _torch(found.problems)
    found.precision = _precision(torch_works=bool(found.torch))
    found.faiss = _faiss(found.problems)
    found.sqlite = _sqlite(found.problems)
    found.encoder = _encoder(found.problems)
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _requirements(found: Findings) -> dict[str, list[str]]:
    """Map each extra to its requirements on this platform, without markers; the base requirements are under ``""``."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        found.problems.append("packaging is not installed: pip install packaging")
        return {}
    declared = _declared()
    if not declared:
        found.problems.append("mlret is neither installed nor a complete checkout: pip install mlret")
    wanted: dict[str, list[str]] = {extra: [] for extra in declared}
    for extra, lines in declared.items():
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                requirement.marker = None
                wanted[extra].append(str(requirement))
    return wanted


def _declared() -> dict[str, list[str]]:
    """Return the requirements with markers, from the checkout's pyproject.toml or else from the installed package."""
    project_file = Path(__file__).parents[1] / "pyproject.toml"
    if project_file.is_file():
        project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
        return {"": project["dependencies"], **project["optional-dependencies"]}
    try:
        metadata = distribution("mlret").metadata
    except PackageNotFoundError:
        return {}
    declared: dict[str, list[str]] = {"": []}
    declared |= {extra: [] for extra in metadata.get_all("Provides-Extra") or []}
    for line in metadata.get_all("Requires-Dist") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        declared.setdefault(extra[1] if extra else "", []).append(line)
    return declared


def _lack(requirement: str) -> str | None:
    """Return what is wrong with an installed package, or ``None`` if it satisfies the requirement."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    installed = _version(wanted.name)
    if installed is None:
        return f"{wanted.name} missing"
    if not wanted.specifier.contains(installed, prereleases=True):
        return f"{wanted.name} {installed} is not {wanted.specifier}"
    return None


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _import(module: str, packages: tuple[str, ...], problems: list[str]) -> ModuleType | None:
    """Import a module; a package that is installed but cannot be imported is a problem, a missing package is not."""
    installed = [package for package in packages if _version(package)]
    try:
        if not installed and importlib.util.find_spec(module) is None:
            return None
        return importlib.import_module(module)
    except Exception as error:  # a broken binary package may raise anything
        fix = f"pip install --force-reinstall {' '.join(installed) or packages[0]}"
        problems.append(f"{module} does not import ({first_line(error)}): {fix}")
        return None


def _torch(problems: list[str]) -> dict[str, Any]:
    torch: Any = _import("torch", ("torch",), problems)
    if torch is None:
        return {}
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if _cuda(torch) else []
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cuda_devices": cuda,
        "mps": bool(torch.backends.mps.is_available()),
    }


def _precision(*, torch_works: bool) -> dict[str, Any]:
    """Return what an encoder computes in on this machine, and why."""
    found: dict[str, Any] = {"auto": _automatic(), "float32": "runs everywhere"}
    if not torch_works:
        return found
    from mlret.encoders.precision_speed import bfloat16_speed

    try:
        speed = bfloat16_speed()
    except Exception as error:  # torch's checks of the processor may fail on a processor that it does not know
        return {**found, "bfloat16": f"unknown ({first_line(error)})"}
    known = "measured" if speed.measured else "by the processor's features"
    verdict = "in torch faster than float32" if speed.fast else "slower than float32, which runs in its place"
    return {**found, "bfloat16": f"{verdict}: {speed.reason} ({known})"}


def _automatic() -> str:
    """Return how the light runtime multiplies here."""
    try:
        from mlret.encoders.light.network import adds_products_in_32_bits

        in_32_bits = adds_products_in_32_bits()
    except (ImportError, MlretError) as error:
        return f"unknown ({first_line(error)})"
    if in_32_bits:
        return "8-bit integers without torch, float32 with it: the processor adds their products in 32 bits"
    return "4-bit weights for short texts and 8-bit ones for others without torch, float32 with it"


def _cuda(torch: Any) -> bool:
    try:
        return bool(torch.cuda.is_available())
    except Exception:  # a driver that does not match the build, so CUDA is not available
        return False


def _faiss(problems: list[str]) -> dict[str, Any]:
    if _version("faiss-cpu") and _version("faiss-gpu"):
        problems.append("faiss-cpu and faiss-gpu overwrite each other: pip uninstall both, then install one")
    faiss: Any = _import("faiss", ("faiss-cpu", "faiss-gpu"), problems)
    if faiss is None:
        return {}
    return {
        "version": faiss.__version__,
        "compile_options": faiss.get_compile_options().strip(),
        "gpus": int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0,
        "threads": int(faiss.omp_get_max_threads()),
    }


def _sqlite(problems: list[str]) -> dict[str, Any]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
        fts5 = True
    except sqlite3.OperationalError:
        fts5 = False
        problems.append("this Python's SQLite has no FTS5: use a Python built with it, e.g. from python.org or uv")
    finally:
        connection.close()
    return {"version": sqlite3.sqlite_version, "fts5": fts5}


def _encoder(problems: list[str]) -> dict[str, Any]:
    """Load the bundled encoder to prove that it works, and report its fingerprint, which identifies its weights."""
    found: dict[str, Any] = {}
    try:
        from mlret.encoders.loading import BUNDLED, load_encoder

        files = [path for path in BUNDLED.rglob("*") if path.is_file()]
        found["path"] = str(BUNDLED)
        found["size_mib"] = round(sum(path.stat().st_size for path in files) / 2**20, 1)
        encoder = load_encoder(device="cpu")
        found["runtime"] = encoder.runtime
        found["dims"] = encoder.dims
        found["fingerprint"] = encoder.fingerprint
    except MlretError as error:
        problems.append(str(error))
    except Exception as error:  # a damaged file may raise anything
        problems.append(f"the bundled encoder does not load ({first_line(error)}): reinstall mlret")
    return found
