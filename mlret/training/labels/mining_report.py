"""Summarise what mining found over all queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlret.training.labels.resumable import Figures


@dataclass
class MiningReport:
    """Summary of a call of :func:`mlret.training.labels.mining.mine_to_file` over all queries.

    Attributes
    ----------
    asked
        Number of negatives requested for each query.
    queries
        Number of queries.
    negatives
        Number of negatives -> number of queries that got so many.
    positives, passed, near, outside
        Totals of the attributes of :class:`mlret.training.labels.mining.Mined`.
    positive_score, negative_score
        Sum of the scores, and number of queries that have one.
    """

    asked: int
    queries: int = 0
    negatives: dict[int, int] = field(default_factory=dict)
    positives: int = 0
    passed: int = 0
    near: int = 0
    outside: int = 0
    positive_score: tuple[float, int] = (0.0, 0)
    negative_score: tuple[float, int] = (0.0, 0)

    def count(self, figures: Figures) -> None:
        """Add the figures of a query."""
        self.queries += 1
        mined = int(figures["mined"])
        self.negatives[mined] = self.negatives.get(mined, 0) + 1
        for name in ("positives", "passed", "near", "outside"):
            setattr(self, name, getattr(self, name) + int(figures[name]))
        for name in ("positive_score", "negative_score"):
            if name in figures:
                total, number = getattr(self, name)
                setattr(self, name, (total + figures[name], number + 1))

    @property
    def mined(self) -> int:
        """Total number of negatives."""
        return sum(number * queries for number, queries in self.negatives.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        return {
            "queries": self.queries,
            "negatives": self.mined,
            "negatives_per_query": self.mined / self.queries if self.queries else 0.0,
            "queries_with_all": self.negatives.get(self.asked, 0),
            "queries_with_none": self.negatives.get(0, 0),
            "dropped_positives": self.positives,
            "dropped_first_ranks": self.passed,
            "dropped_near_positive": self.near,
            "dropped_out_of_bounds": self.outside,
            "mean_positive_score": _mean(self.positive_score),
            "mean_best_negative_score": _mean(self.negative_score),
        }


def _mean(summed: tuple[float, int]) -> float | None:
    return summed[0] / summed[1] if summed[1] else None
