"""Running text cut into passages of many sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.training.batches.packed import PackedDocuments, PackedTexts
from mlret.training.batches.pairs import Pairs, sampling_weights
from mlret.training.stages import StageSettings


class Passages(Pairs):
    """Documents cut into passages of the stage's maximum length. Keys ``(n, 1)`` are rows of ``texts``.

    Parameters
    ----------
    documents
        The tokenized text.
    stage
        The settings that hold the length of passages and the sampling of languages.
    languages
        The languages to draw from; all languages by default.

    Raises
    ------
    InputError
        If there is no text in one of the languages.
    """

    def __init__(
        self, documents: PackedDocuments, stage: StageSettings, *, languages: Sequence[str] | None = None
    ) -> None:
        self.languages = documents.languages if languages is None else [*languages]
        if missing := set(self.languages) - set(documents.languages):
            raise InputError(f"stage {stage.name!r}: the sources hold no documents in {', '.join(sorted(missing))}")
        room = stage.max_length - 2
        ends = documents.sentences.offsets[documents.first]
        counts = -(-np.diff(ends) // room)
        owner = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = ends[owner] + within * room
        self.texts = PackedTexts(documents.sentences.ids, np.append(starts, ends[-1]))
        language = documents.language[owner]
        self.rows = [np.flatnonzero(language == documents.languages.index(code)) for code in self.languages]
        self.weights = sampling_weights([len(rows) for rows in self.rows], stage.alpha)
        self._owner = owner

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        return rows[:, None]

    def document(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._owner[anchors]
