"""The pictures of an evaluation of the memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mlret.eval.report import Picture, source_of
from mlret.reporting import plots


def memory_pictures(results: Mapping[str, Any]) -> list[Picture]:
    """Return the plot of lookup by pair of languages from the content of ``report.json``."""
    system = f"{next(iter(results['systems']))}, fused"
    groups = results["figures"][system]
    labels = [group[: len(group) // 2] for group in groups if group == "-".join([group[: len(group) // 2]] * 2)]
    values = [[groups[f"{a}-{b}"]["recall@1"] if a != b else None for b in labels] for a in labels]
    title = f"Records found first by queries in another language (recall@1)\n{system}"
    draw = partial(
        plots.heat_map,
        title,
        labels,
        labels,
        values,
        row_label="query",
        column_label="records",
        source=source_of(results),
    )
    return [Picture("lookup", draw)]
