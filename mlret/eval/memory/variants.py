"""The ways to ask a memory that its benchmarks compare: the defaults, and the defaults with one feature switched."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlret.index.search import Mode
from mlret.memory.search.ranking import CHANNELS_ALONE, Ranking


@dataclass(frozen=True)
class Variant:
    """A way to ask: the defaults, or the defaults with one feature switched.

    Attributes
    ----------
    name
        What is switched, for tables.
    ranking
        Terms that are added to the score.
    mode
        Channels that are searched.
    compared
        Whether texts are compared with the records before them when they are added.
    """

    name: str
    ranking: Ranking = field(default_factory=Ranking)
    mode: Mode = "hybrid"
    compared: bool = True


DEFAULTS = "defaults"
VARIANTS = (
    Variant(DEFAULTS),
    Variant("meaning alone", mode="dense"),
    Variant("words alone", mode="lexical"),
    Variant("no terms", CHANNELS_ALONE),
    Variant("no terms, meaning alone", CHANNELS_ALONE, mode="dense"),
    Variant("no terms, words alone", CHANNELS_ALONE, mode="lexical"),
    Variant("without contiguity", Ranking(contiguity=0)),
    Variant("without window", Ranking(window=0)),
    Variant("without links", Ranking(links=0)),
    Variant("without dates", Ranking(dates=0)),
    Variant("half of dates", Ranking(dates=1)),
    Variant("without speaker", Ranking(speaker=0)),
    Variant("half of speaker", Ranking(speaker=1)),
    Variant("without persons", Ranking(persons=0)),
    Variant("without cues", Ranking(cues=0)),
    Variant("half of cues", Ranking(cues=1)),
    Variant("without occasions", Ranking(occasions=False)),
    Variant("without succession", Ranking(succession=False)),
    Variant("without collapsing", Ranking(collapse=False)),
    Variant("with decay", Ranking(decay=0.5, tau_days=365)),
    Variant("by session", Ranking(sessions=True)),
    Variant("nothing compared on adding", compared=False),
)
"""The ways to ask that the benchmarks compare; the first is that of a memory as it comes."""
