"""Figures that others printed, to stand beside ours: always labelled as published, always with their source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Published:
    """One system's scores on one metric.

    Attributes
    ----------
    system
        As its authors call it.
    source
        Who printed the figures, and where.
    scores
        Group -> share from 0 to 1; ``"average"`` is the source's own.
    """

    system: str
    source: str
    scores: dict[str, float]


def published(benchmark: str, metric: str) -> list[Published]:
    """What is in print for a benchmark and a metric; nothing where mlret knows of none."""
    entries = _all().get(benchmark, {}).get(metric, {})
    return [Published(system, entry["source"], entry["scores"]) for system, entry in entries.items()]


@cache
def _all() -> dict[str, Any]:
    return dict(yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8")))
