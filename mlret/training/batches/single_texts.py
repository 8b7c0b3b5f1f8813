"""Single texts in every language: the sides of aligned pairs, and running text of documents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlret.training.batches.packed import PackedTexts
from mlret.training.batches.pairs import Pairs, TranslationPairs
from mlret.training.batches.passages import Passages

# How often the source of a pair is drawn in place of its translation. The sources of all pairs are few languages.
_SOURCE_SHARE = 0.15


class SingleTexts(Pairs):
    """Texts of pairs and passages, one at a time. Keys ``(n, 1)`` are rows of ``texts``.

    At each visit of a pair, one of its sides is drawn. Passages are counted behind the texts of all pairs; in ``rows``
    they are negative, -1 being the first passage.

    Parameters
    ----------
    pairs
        Aligned texts.
    passages
        Running text, or ``None``.
    share
        The share of batches of passages.
    """

    def __init__(self, pairs: TranslationPairs, passages: Passages | None, *, share: float) -> None:
        self._pairs = pairs
        self.texts, self.rows = pairs.texts, list(pairs.rows)
        self.languages, self.weights = list(pairs.languages), pairs.weights
        if passages is not None:
            self.texts = PackedTexts.joined([pairs.texts, passages.texts])
            self.rows += [-1 - rows for rows in passages.rows]
            self.languages += passages.languages
            self.weights = np.concatenate([(1 - share) * pairs.weights, share * passages.weights])

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        if len(rows) and rows[0] < 0:
            return (len(self._pairs.texts) - 1 - rows)[:, None]
        sides = (random.random(len(rows)) >= _SOURCE_SHARE).astype(np.int64)
        return self._pairs.draw(rows, random)[np.arange(len(rows)), sides][:, None]

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        return anchors
