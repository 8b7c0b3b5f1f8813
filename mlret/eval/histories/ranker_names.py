"""The names of the systems that can be compared on histories, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlret.eval.histories.mem0_ranker import Mem0Ranker
from mlret.eval.histories.rankers import Bm25Ranker, ChannelRanker, HistoryRanker, MemoryRanker, RandomRanker

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder

SYSTEMS = ("memory", "hybrid", "dense", "lexical", "bm25", "random", "mem0")
WITH_ENCODER = ("memory", "hybrid", "dense", "mem0")


def make_rankers(systems: Sequence[str], encoders: Sequence[Encoder], seed: int) -> list[Callable[[], HistoryRanker]]:
    """Return functions that open the systems, in the order in which they are named.

    Parameters
    ----------
    systems
        Names of :data:`SYSTEMS`. Those of :data:`WITH_ENCODER` are opened once for each encoder.
    encoders
        The encoders.
    seed
        Seed of the random ranking.
    """
    found: list[Callable[[], HistoryRanker]] = []
    for system in systems:
        if system in WITH_ENCODER:
            found += [_opener(system, encoder) for encoder in encoders]
        elif system == "lexical":
            found.append(lambda: ChannelRanker("BM25 over character n-grams", "lexical", None))
        elif system == "bm25":
            found.append(Bm25Ranker)
        else:
            found.append(lambda: RandomRanker(seed))
    return found


def _opener(system: str, encoder: Encoder) -> Callable[[], HistoryRanker]:
    name = f"{encoder.name}, {system}"

    def open_ranker() -> HistoryRanker:
        if system == "memory":
            return MemoryRanker(name, encoder)
        if system == "mem0":
            return Mem0Ranker(name, encoder)
        channel = "fused" if system == "hybrid" else "dense"
        return ChannelRanker(name, channel, encoder)

    return open_ranker
