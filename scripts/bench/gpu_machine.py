"""Say what the device, its driver and the installed versions are, what is missing, and how fast its memory is.

python scripts/bench/gpu_machine.py [--scale 1] [--device cuda] [--json FILE]
"""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import typer
from gpu import DeviceName, JsonFile, Scale, Target, memory_speed, save

PACKAGES = (
    "torch",
    "triton",
    "faiss-gpu",
    "faiss-cpu",
    "sentence-transformers",
    "transformers",
    "numpy",
    "onnxruntime",
    "mlret",
)
_ASKED = "name,driver_version,memory.total,clocks.max.sm,clocks.max.memory"


def versions() -> dict[str, str | None]:
    """Return the installed version of each package, or ``None``."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def examined() -> dict[str, Any]:
    """Return what mlret finds of the machine and what is missing, which explains the error of a part that needs it."""
    try:
        from mlret.doctor import examine

        found = examine()
    except Exception as error:  # where a dependency is missing
        return {"missing": [f"mlret does not import: {type(error).__name__}: {error}"]}
    extras = [f"extra {extra.name}: {', '.join(extra.missing)}" for extra in found.extras if extra.missing]
    return {"machine": found.machine, "missing": [*found.problems, *extras]}


def main(device_name: DeviceName = "cuda", scale: Scale = 1.0, json_file: JsonFile = None) -> None:
    """Describe the machine."""
    device = torch.device(device_name)
    figures: dict[str, Any] = {"device": device_name, "cuda": torch.version.cuda, "scale": scale}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        figures |= {
            "device": properties.name,
            "bytes": properties.total_memory,
            "capability": torch.cuda.get_device_capability(),
        }
        asked = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        values = (said.stdout or said.stderr).strip().split(", ")
        figures["nvidia_smi"] = dict(zip(_ASKED.split(","), values, strict=False))
    figures |= {"versions": versions()} | examined()
    speed = figures["speed"] = memory_speed(device)
    targets = [
        Target("GB/s of a copy, read and written", speed["copy"] / 1e9),
        Target("GB/s of a sum", speed["read"] / 1e9),
    ]
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
