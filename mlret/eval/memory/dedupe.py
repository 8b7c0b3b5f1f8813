"""Duplicates across languages: how many translations are recognised, and how often what is none is merged.

For each pair of languages half of the texts are stored in one of them. What comes next, in the other, is judged by
:func:`mlret.memory.duplicates.judge`, as on a write: the translations of what is stored, the texts of which no
translation is stored, and near misses, which differ from a stored text in one number, month, weekday or negation. The
thresholds come from other texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from mlret.eval.memory.near_misses import NearMiss
from mlret.memory.duplicates import CANDIDATES, NEIGHBOURS, Candidate, DuplicateThresholds, judge, promising
from mlret.memory.facts import Facts, facts_of
from mlret.memory.guards import conflicts


@dataclass
class Merges:
    """Counts over all pairs of languages.

    ``right`` and ``wrong``: translations, and texts without a stored translation, that were called duplicates of the
    right and of a wrong record; ``translations``: all that could be found. ``near``: kind -> near misses judged, and
    how many of them were merged into what they were made of.
    """

    right: int = 0
    wrong: int = 0
    translations: int = 0
    near: dict[str, list[int]] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        """Of the duplicates, near misses apart; 1 where there are none."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def precision_with_near_misses(self) -> float:
        """The same where near misses are judged, too."""
        merged = sum(merged for _, merged in self.near.values())
        total = self.right + self.wrong + merged
        return self.right / total if total else 1.0

    @property
    def recall(self) -> float:
        """Of the translations that are stored."""
        return self.right / max(1, self.translations)


@dataclass(frozen=True)
class Dedupe:
    """With guards and without; and what the guards do to all pairs there are, whatever their vectors.

    Attributes
    ----------
    guarded, bare
        What was merged.
    blocked
        Kind -> the part of near misses that a guard blocks; ``"translation"``: of true pairs, which none should.
    counts
        How many of each there are.
    """

    guarded: Merges
    bare: Merges
    blocked: dict[str, float]
    counts: dict[str, int]


def measure_dedupe(
    texts: Mapping[str, Sequence[str]],
    vectors: Mapping[str, NDArray[np.float32]],
    misses: Mapping[str, Sequence[tuple[int, NearMiss, NDArray[np.float32]]]],
    thresholds: DuplicateThresholds,
    *,
    seed: int = 0,
) -> Dedupe:
    """Judge what comes next, for every ordered pair of languages.

    Parameters
    ----------
    texts, vectors
        Language -> ``n`` texts, translations of each other, and their ``(n, dims)`` vectors.
    misses
        Language -> near misses: of which text, the changed one, and its vector.
    thresholds
        Calibrated on other texts.
    seed
        Of what is stored.
    """
    guarded, bare = Merges(), Merges()
    seen: dict[str, list[bool]] = {"translation": []}
    facts = {language: [facts_of(text, language) for text in some] for language, some in texts.items()}
    missed = {language: [facts_of(one.text, language) for _, one, _ in some] for language, some in misses.items()}
    count = len(next(iter(texts.values())))
    stored = np.sort(np.random.default_rng(seed).permutation(count)[: count // 2])
    for there, here in permutations(texts, 2):
        memory = _Memory(there, [texts[there][row] for row in stored], vectors[there][stored])
        for row, text in enumerate(texts[here]):
            _count(memory, text, here, vectors[here][row], row, stored, thresholds, guarded, bare)
            _note(seen, "translation", facts[there][row], facts[here][row])
        for (row, one, vector), of in zip(misses[here], missed[here], strict=True):
            _note(seen, one.kind, facts[there][row], of)
            if row in stored:
                for kept, merged in zip((guarded, bare), memory.judge(one.text, here, vector, thresholds), strict=True):
                    tally = kept.near.setdefault(one.kind, [0, 0])
                    tally[0] += 1
                    tally[1] += merged is not None and stored[merged] == row
    blocked = {kind: float(np.mean(values)) for kind, values in seen.items()}
    return Dedupe(guarded, bare, blocked, {kind: len(values) for kind, values in seen.items()})


def _note(seen: dict[str, list[bool]], kind: str, first: Facts, second: Facts) -> None:
    seen.setdefault(kind, []).append(bool(conflicts(first, second)))


def _count(
    memory: _Memory,
    text: str,
    language: str,
    vector: NDArray[np.float32],
    row: int,
    stored: NDArray[np.int64],
    thresholds: DuplicateThresholds,
    guarded: Merges,
    bare: Merges,
) -> None:
    for kept, merged in zip((guarded, bare), memory.judge(text, language, vector, thresholds), strict=True):
        kept.translations += row in stored
        if merged is not None:
            right = bool(stored[merged] == row)
            kept.right += right
            kept.wrong += not right


class _Memory:
    """Texts of one language, to be judged against."""

    def __init__(self, language: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._language, self._texts, self._vectors = language, texts, vectors
        among = vectors @ vectors.T
        np.fill_diagonal(among, -1)
        self._others = np.sort(among, axis=1)[:, ::-1][:, :NEIGHBOURS]

    def judge(
        self, text: str, language: str, vector: NDArray[np.float32], thresholds: DuplicateThresholds
    ) -> tuple[int | None, int | None]:
        """The record that a text is merged into, with guards and without; ``None`` for none."""
        cosines = self._vectors @ vector
        order = np.argsort(-cosines, kind="stable")[: CANDIDATES + NEIGHBOURS]
        candidates = [
            Candidate(str(one), self._texts[one], self._language, float(cosines[one]), self._others[one])
            for one in order[:CANDIDATES]
            if promising(float(cosines[one]), language, self._language, thresholds)
        ]
        if not candidates:
            return None, None
        verdict = judge(text, language, candidates, cosines[order], thresholds)
        passed = [one for one in verdict.evidence if one.mutual and one.margin >= thresholds.duplicate]
        merged = int(verdict.id) if verdict.kind == "duplicate" and verdict.id is not None else None
        return merged, int(passed[0].id) if passed else None
