"""A sampler of batches in one language, of texts of similar length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mlret.training.batches.pairs import Batchable

_BATCHES_SORTED_TOGETHER = 8


class LanguageBatchSampler(Sampler[list[NDArray[np.int64]]]):
    """Draw batches, each from one group of pairs; groups are drawn by their weights.

    Within a group, pairs come in random order, and each comes once before any comes again. A few batches' worth of
    pairs is sorted by length before it is split, so that a batch has little padding and its negatives are of similar
    length. Every batch is full: a group that is smaller than a batch fills it by repeating its pairs. The batches
    depend on the seed alone, so an interrupted run resumes by skipping the first batches.

    Parameters
    ----------
    pairs
        The groups to draw from.
    batch_size
        The number of pairs in a batch.
    batches
        The number of batches.
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
        """Yield batches of keys ``(1 + k,)`` int64: the group, then the key that ``draw`` returned."""
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
            # Only full batches of this pass: otherwise a pair would come again before others came once.
            together = min(_BATCHES_SORTED_TOGETHER, len(order) // self.batch_size)
            chosen, order = np.split(order, [together * self.batch_size])
            pairs = self._pairs.draw(chosen, random)
            pairs = pairs[np.argsort(self._pairs.lengths(pairs), kind="stable")]
            keys = np.concatenate([np.full((len(pairs), 1), group), pairs], axis=1)
            batches = np.split(keys, together)
            for position in random.permutation(together):
                yield list(batches[position])
