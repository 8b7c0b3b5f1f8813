"""Counts what the actors of a build have done, for the progress of the process that started it."""

from __future__ import annotations


class Tally:
    """An actor without a processor of its own, on the node of the process that asks it."""

    def __init__(self) -> None:
        # Shard -> what was added, replaced and skipped.
        self._done: dict[int, list[int]] = {}

    def begin(self, shard: int) -> None:
        """Forget what was counted of a shard, since it is begun again, perhaps after its node was lost."""
        self._done[shard] = [0, 0, 0]

    def add(self, shard: int, added: int, replaced: int, skipped: int) -> None:
        """Count a batch of documents of a shard."""
        counts = self._done.setdefault(shard, [0, 0, 0])
        for place, count in enumerate((added, replaced, skipped)):
            counts[place] += count

    def totals(self) -> tuple[int, int, int]:
        """Return how many documents were added, replaced and skipped."""
        added, replaced, skipped = (sum(counts[place] for counts in self._done.values()) for place in range(3))
        return added, replaced, skipped
