"""Search records in one language with queries in another: recall, and consistency across query languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mlret.eval.memory.channels import SYSTEMS, Records, ranks, top, within

METRICS = ("recall@1", "recall@5")
CONSISTENCY = "consistency@5"


@dataclass
class Lookup:
    """Results of the lookup evaluation.

    Attributes
    ----------
    pairs
        System -> (language of the queries, language of the records) -> metric -> ``(q,)`` scores of the queries.
    consistency
        System -> language of the records -> mean overlap of the five best records between two query languages.
    """

    pairs: dict[str, dict[tuple[str, str], dict[str, NDArray[np.float64]]]] = field(default_factory=dict)
    consistency: dict[str, dict[str, float]] = field(default_factory=dict)

    def mean(self, system: str) -> dict[str, float]:
        """Return the mean of each metric over all ordered pairs of two languages, equally weighted."""
        pairs = [scores for (asked, stored), scores in self.pairs[system].items() if asked != stored]
        found = {metric: float(np.mean([scores[metric].mean() for scores in pairs])) for metric in METRICS}
        return {**found, CONSISTENCY: float(np.mean(list(self.consistency[system].values())))}


def look_up(
    records: Mapping[str, Records],
    queries: Mapping[str, Sequence[str]],
    vectors: Mapping[str, NDArray[np.float32]],
    gold: NDArray[np.int64],
) -> Lookup:
    """Search for every query in every language among the records of each language in turn.

    Parameters
    ----------
    records
        Language -> the records in that language, the same ones in each.
    queries, vectors
        Language -> ``q`` queries, the same in each, and their ``(q, dims)`` vectors.
    gold
        ``(q,)``: the row of the record that answers each query.
    """
    found = Lookup({system: {} for system in SYSTEMS}, {system: {} for system in SYSTEMS})
    for stored, of in records.items():
        best: dict[str, dict[str, list[set[int]]]] = {system: {} for system in SYSTEMS}
        for asked, texts in queries.items():
            for system, scores in of.search(texts, asked, vectors[asked]).items():
                place = ranks(scores, gold)
                found.pairs[system][asked, stored] = {"recall@1": within(place, 1), "recall@5": within(place, 5)}
                best[system][asked] = top(scores, 5)
        for system, sets in best.items():
            overlaps = [
                len(one & other) / 5
                for first, second in combinations(sets.values(), 2)
                for one, other in zip(first, second, strict=True)
            ]
            found.consistency[system][stored] = float(np.mean(overlaps))
    return found
