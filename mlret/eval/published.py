"""Published scores of other systems, shown beside our own and always labelled with their source."""

from __future__ import annotations

from dataclasses import dataclass


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
