"""Pairs of words with the same meaning, in many languages."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from mlret.training.batches.packed import PackedTexts
from mlret.training.batches.pairs import Pairs, group_weights
from mlret.training.stages import LexicalStage
from mlret.training.text.training_text import TrainingText


class ConceptPairs(Pairs):
    """Pairs of two words of one concept, each in any language that has a word for it (BabelBERT, arXiv 2208.01018).

    A word that belongs to several concepts occurs once for each. All anchors of a batch are in one language, which is
    drawn in proportion to its number of words ** alpha. The other word is drawn again at each visit of an anchor.

    Parameters
    ----------
    text
        The aligned pairs of a recipe. Both sides are words of the pair's concept.
    tokenizer
        The tokenizer whose ids are stored.
    stage
        The settings that select the groups of sources.
    """

    def __init__(self, text: TrainingText, tokenizer: PreTrainedTokenizerFast, stage: LexicalStage) -> None:
        numbers: dict[tuple[str, str], int] = {}
        words: dict[tuple[int, str, str], None] = {}
        for pair in text.pairs:
            if pair.group in stage.groups:
                number = numbers.setdefault((pair.group, pair.concept), len(numbers))
                words[number, pair.source_language, pair.source] = None
                words[number, pair.language, pair.target] = None
        # Sorted, so that the words of a concept are adjacent.
        entries = sorted(words)
        self.texts = PackedTexts.of([word for _, _, word in entries], tokenizer, max_length=stage.max_length)
        self._spoken = [language for _, language, _ in entries]
        self._concept = np.asarray([number for number, _, _ in entries], dtype=np.int64)
        self._first = np.searchsorted(self._concept, np.arange(len(numbers) + 1))
        sizes = np.diff(self._first)[self._concept]
        usable = np.flatnonzero((self.texts.lengths > 0) & (sizes > 1))
        names = [group for group, _ in numbers]
        members: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in map(int, usable):
            members[names[entries[row][0]], entries[row][1]].append(row)
        groups = sorted(members)
        self.rows = [np.asarray(members[key], dtype=np.int64) for key in groups]
        self.languages = [language for _, language in groups]
        self.weights = group_weights(self.rows, [name for name, _ in groups], stage.groups, stage.alpha)

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        first, end = self._first[self._concept[rows]], self._first[self._concept[rows] + 1]
        other = random.integers(first, end - 1)  # one less, because the word itself is excluded
        return np.stack([rows, other + (other >= rows)], axis=1)

    def languages_of(self, group: int, rows: NDArray[np.int64]) -> list[str]:
        return [self._spoken[row] for row in map(int, rows)]

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the concept of each anchor: words of one concept are not negatives of each other."""
        return self._concept[anchors]
