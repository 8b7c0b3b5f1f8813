"""Kinds of sentences that their vectors show: a liking, a danger, a plan, an outcome, and questions about them.

The lists of cues (:mod:`mlret.memory.text.cues`) know the commonest words; *prawns made my lips swell* and *I could
live on toast* have none of them. Here, logistic regressions on the vector of a text find what words do not: one for
each kind, with as many weights as the vector has dimensions, for all languages together. They belong to one encoder:
``scripts/fit_sentence_kinds.py`` fits them to the bundled one. Memories with other encoders use the lists alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

STATEMENTS = ("like", "harm", "plan", "outcome", "cancelled", "ended", "changed", "corrected", "lack")
"""Kinds of statements, named as the cues."""
QUESTIONS = ("q_harm", "q_result", "q_lack")
"""Kinds of questions: about dangers, about what came of something, and about what is missing or not so."""
SURE, LIKELY = 0.9, 0.5
"""Probabilities from which a text is taken as of a kind: where that alone would do, and beside other evidence."""

BUNDLED = Path(__file__).with_name("sentence_kinds.npz")
"""The file of those that are fitted to the bundled encoder."""
Vectors = NDArray[np.floating]


class Shown(NamedTuple):
    """The kinds of statements that a text surely is, and those that it is likely to be."""

    sure: frozenset[str] = frozenset()
    likely: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SentenceKinds:
    """Logistic regressions on the vectors of one encoder.

    Attributes
    ----------
    fingerprint
        Fingerprint of the encoder.
    weights
        ``(dims + 1, kinds)`` float32: one column for each of :data:`STATEMENTS` and then of :data:`QUESTIONS`; the last
        row is added to each sum.
    """

    fingerprint: str
    weights: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read regressions from a file that ``scripts/fit_sentence_kinds.py`` wrote."""
        with np.load(path) as stored:
            return cls(str(stored["fingerprint"]), stored["weights"].astype(np.float32))

    def statements(self, vectors: Vectors) -> dict[str, NDArray[np.float64]]:
        """Return how probable each of :data:`STATEMENTS` is.

        Parameters
        ----------
        vectors
            ``(n, dims)`` vectors of texts, of unit length.

        Returns
        -------
        dict
            Kind -> ``(n,)`` float64 between 0 and 1.
        """
        return self._probabilities(vectors, STATEMENTS, 0)

    def questions(self, vector: Vectors) -> dict[str, float]:
        """Return how probable each of :data:`QUESTIONS` is, between 0 and 1.

        Parameters
        ----------
        vector
            ``(dims,)``: the vector of a question, of unit length.
        """
        found = self._probabilities(vector[None], QUESTIONS, len(STATEMENTS))
        return {kind: float(one[0]) for kind, one in found.items()}

    def shown(self, vectors: Vectors) -> list[Shown]:
        """Return the kinds of statements that each of some texts is.

        Parameters
        ----------
        vectors
            ``(n, dims)`` vectors of texts, of unit length.
        """
        found = self.statements(vectors)
        return [
            Shown(*(frozenset(kind for kind in STATEMENTS if found[kind][place] >= least) for least in (SURE, LIKELY)))
            for place in range(len(vectors))
        ]

    def _probabilities(self, vectors: Vectors, kinds: Sequence[str], start: int) -> dict[str, NDArray[np.float64]]:
        columns = self.weights[:, start : start + len(kinds)]
        sums = np.asarray(vectors, dtype=np.float32) @ columns[:-1] + columns[-1]
        return dict(zip(kinds, (1 / (1 + np.exp(-sums.astype(np.float64)))).T, strict=True))


@lru_cache(maxsize=1)
def _bundled() -> SentenceKinds:
    return SentenceKinds.read(BUNDLED)


def bundled_kinds(fingerprint: str, dims: int) -> SentenceKinds | None:
    """Return the regressions that come with mlret for an encoder; ``None`` for other encoders or shortened vectors."""
    found = _bundled()
    return found if found.fingerprint == fingerprint and len(found.weights) == dims + 1 else None
