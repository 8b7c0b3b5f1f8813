"""Published scores of other systems, shown beside our own and always labelled with their source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Published:
    """Published scores of one system on one metric.

    Attributes
    ----------
    system
        The system's name as its authors use it.
    source
        Who published the scores, and where.
    scores
        Group -> score from 0 to 1; ``"average"`` is the source's own average.
    """

    system: str
    source: str
    scores: dict[str, float]


def published(benchmark: str, metric: str) -> list[Published]:
    """Return the published scores for a benchmark and a metric.

    Parameters
    ----------
    benchmark
        The benchmark's name on the command line.
    metric
        The metric's name, e.g. ``"mrr@100"``.

    Returns
    -------
    list of Published
        One for each system; empty if mlret knows none.
    """
    entries = _all().get(benchmark, {}).get(metric, {})
    return [Published(system, entry["source"], entry["scores"]) for system, entry in entries.items()]


@cache
def _all() -> dict[str, Any]:
    return dict(yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8")))
