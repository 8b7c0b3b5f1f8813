"""Batches of one language, of texts of like length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mlret.training.batches.pairs import Batchable

_BATCHES_SORTED_TOGETHER = 8


class LanguageBatchSampler(Sampler[list[NDArray[np.int64]]]):
    """Draw ``batches`` batches, each from one group of pairs, the group by its weight.

    Within a group the pairs come in random order, each once before any comes again; a few batches' worth is sorted
    by length before it is cut, so that a batch pads little and its negatives are of like length. Every batch is full;
    a group smaller than a batch fills it by coming round again. The draw depends on the seed alone, so that skipping
    the first batches goes on where an interrupted run was.

    Parameters
    ----------
    pairs
        What to draw from.
    batch_size
        Pairs in a batch.
    batches
        How many.
    seed
        The same seed gives the same batches.
    """

    def __init__(self, pairs: Batchable, *, batch_size: int, batches: int, seed: int) -> None:
        self.batch_size = batch_size
        self.drop_last = False
        self._pairs = pairs
        self._batches = batches
        self._seed = seed

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[NDArray[np.int64]]]:
        """Batches of keys ``(1 + k,)`` int64: the group, and what ``draw`` made of the thing."""
        random = np.random.default_rng(self._seed)
        streams = [self._endless(group, random) for group in range(len(self._pairs.weights))]
        for group in random.choice(len(streams), size=self._batches, p=self._pairs.weights):
            yield next(streams[group])

    def _endless(self, group: int, random: np.random.Generator) -> Iterator[list[NDArray[np.int64]]]:
        rows = self._pairs.rows[group]
        order = np.empty(0, np.int64)
        while True:
            while len(order) < self.batch_size:
                order = np.concatenate([order, random.permutation(rows)])
            # Never further than this pass goes, or a pair would come again before others came once.
            together = min(_BATCHES_SORTED_TOGETHER, len(order) // self.batch_size)
            chosen, order = np.split(order, [together * self.batch_size])
            pairs = self._pairs.draw(chosen, random)
            pairs = pairs[np.argsort(self._pairs.lengths(pairs), kind="stable")]
            keys = np.concatenate([np.full((len(pairs), 1), group), pairs], axis=1)
            batches = np.split(keys, together)
            for position in random.permutation(together):
                yield list(batches[position])
