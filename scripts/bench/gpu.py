"""What the measurements of `scripts/gpu_day.py` share: a clock, the speed of memory, and targets."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from mlret.data.durable import write_text_atomically

ROUNDS = 10

DeviceName = Annotated[str, typer.Option("--device", help="A device of torch; the CPU is for rehearsals.")]
Scale = Annotated[float, typer.Option(min=1e-6, max=1.0, help="The share of the full size that is measured.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results here.")]


@dataclass(frozen=True)
class Target:
    """A figure and what it must be.

    Attributes
    ----------
    what
        What the figure is.
    measured
        The figure, or ``None`` if it could not be measured.
    wanted
        The figure that it must reach, or must not exceed; ``None`` if nothing is asked of it.
    at_least
        Whether more is better.
    reason
        Why it could not be measured.
    """

    what: str
    measured: float | None
    wanted: float | None = None
    at_least: bool = False
    reason: str | None = None


def milliseconds(run: Callable[[], object], device: torch.device, rounds: int = ROUNDS) -> float:
    """Return the median of some rounds, after a first one that compiles."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])


def memory_speed(device: torch.device) -> dict[str, float]:
    """Return the bytes per second that a copy moves, counting reading and writing, and that a sum reads."""
    numbers = 2**30 if device.type == "cuda" else 2**24
    source = torch.zeros(numbers, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / milliseconds(lambda: target.copy_(source), device)
    read = source.nbytes / milliseconds(source.sum, device)
    return {"copy": 1000 * copied, "read": 1000 * read}


def reading_ms(nbytes: int, speed: dict[str, float]) -> float:
    """Return the milliseconds in which so many bytes are read, at the higher of the speeds."""
    return 1000 * nbytes / max(speed.values())


def save(json_file: Path | None, figures: dict[str, Any], targets: Sequence[Target]) -> None:
    """Print the targets, and write them with all figures."""
    for target in targets:
        value = f"not measured: {target.reason}" if target.measured is None else f"{target.measured:.4g}"
        print(f"{target.what}: {value}")
    if json_file is not None:
        content = {"targets": [asdict(target) for target in targets], "figures": figures}
        write_text_atomically(json_file, json.dumps(content, indent=1) + "\n")
