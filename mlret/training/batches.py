"""Batches of one language, of texts of like length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mlret.training.pack import PackedTexts, TextPairs

_BATCHES_SORTED_TOGETHER = 8


class LanguageBatchSampler(Sampler[list[int]]):
    """Draw ``steps`` batches, each from one group of pairs, the group by its weight.

    Within a group the pairs come in random order, each once a pass; a few batches' worth is sorted by length
    before it is cut, so that a batch pads little and its negatives are of like length. A group smaller than a
    batch gives a smaller batch.

    Parameters
    ----------
    texts, pairs
        What to draw from.
    batch_size
        Pairs in a batch.
    steps
        Batches in all.
    seed
        The same seed gives the same batches.
    """

    def __init__(self, texts: PackedTexts, pairs: TextPairs, *, batch_size: int, steps: int, seed: int) -> None:
        self.batch_size = batch_size
        self._steps = steps
        self._seed = seed
        self._weights = pairs.weights
        order = np.argsort(pairs.group, kind="stable")
        bounds = np.searchsorted(pairs.group[order], np.arange(len(pairs.weights) + 1))
        self._rows = [order[a:b] for a, b in pairwise(bounds)]
        lengths = texts.lengths
        self._length = np.maximum(lengths[pairs.anchor], lengths[pairs.positive])

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng(self._seed)
        queues: dict[int, list[NDArray[np.int64]]] = {}
        for group in random.choice(len(self._weights), size=self._steps, p=self._weights):
            if not queues.get(group):
                queues[group] = self._one_pass(self._rows[group], random)
            yield queues[group].pop().tolist()

    def _one_pass(self, rows: NDArray[np.int64], random: np.random.Generator) -> list[NDArray[np.int64]]:
        rows = random.permutation(rows)
        together = self.batch_size * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(rows), together):
            window = rows[start : start + together]
            window = window[np.argsort(self._length[window], kind="stable")]
            batches += [window[i : i + self.batch_size] for i in range(0, len(window), self.batch_size)]
        whole = [batch for batch in batches if len(batch) * 2 >= self.batch_size] or batches
        return [whole[i] for i in random.permutation(len(whole))]
