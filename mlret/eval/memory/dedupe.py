"""Duplicates across languages: how many translations are recognised, and how often a text is merged wrongly.

For each pair of languages, half of the texts are stored in one of them. :func:`mlret.memory.text.duplicates.judge` then
judges texts in the other language, as it does on a write: translations of stored texts, texts without a stored
translation, and near misses, which differ from a stored text in one number, month, weekday or negation. The thresholds
are calibrated on other texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from mlret.eval.memory.near_misses import NearMiss
from mlret.memory.text.duplicates import CANDIDATES, NEIGHBOURS, Candidate, DuplicateThresholds, judge, promising
from mlret.memory.text.features import Facts, facts_of
from mlret.memory.text.merge_guards import conflicts


@dataclass
class Merges:
    """Counts over all pairs of languages.

    ``right`` and ``wrong`` are the texts that were called duplicates of the right and of a wrong record;
    ``translations`` is the number of texts whose translation is stored. ``near`` maps each kind of near miss to the
    number that were judged and the number that were merged into their original.
    """

    right: int = 0
    wrong: int = 0
    translations: int = 0
    near: dict[str, list[int]] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        """Precision of the detected duplicates, without near misses, in [0, 1]; 1 if none was detected."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def precision_with_near_misses(self) -> float:
        """Precision of the detected duplicates including near misses, in [0, 1]; 1 if none was detected."""
        merged = sum(merged for _, merged in self.near.values())
        total = self.right + self.wrong + merged
        return self.right / total if total else 1.0

    @property
    def recall(self) -> float:
        """Recall over the texts whose translation is stored, in [0, 1]."""
        return self.right / max(1, self.translations)


@dataclass(frozen=True)
class Dedupe:
    """Duplicates found with and without guards, and how often guards block a pair regardless of its vectors.

    Attributes
    ----------
    guarded, bare
        What was merged with guards and without them.
    blocked
        Kind -> share of near misses that a guard blocks; ``"translation"`` -> share of true pairs, ideally none.
    counts
        Kind -> number of pairs.
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
) -> Dedupe:
    """Judge texts in one language against a memory in another, for every ordered pair of languages.

    Parameters
    ----------
    texts, vectors
        Language -> ``n`` texts, translations of each other, and their ``(n, dims)`` vectors.
    misses
        Language -> near misses: the row of the original text, the changed text, and its vector.
    thresholds
        Thresholds calibrated on other texts.
    """
    guarded, bare = Merges(), Merges()
    seen: dict[str, list[bool]] = {"translation": []}
    facts = {language: [facts_of(text, language) for text in some] for language, some in texts.items()}
    missed = {language: [facts_of(one.text, language) for _, one, _ in some] for language, some in misses.items()}
    count = len(next(iter(texts.values())))
    stored = np.sort(np.random.default_rng(0).permutation(count)[: count // 2])
    for memory_language, text_language in permutations(texts, 2):
        memory = _Memory(
            memory_language, [texts[memory_language][row] for row in stored], vectors[memory_language][stored]
        )
        for row, text in enumerate(texts[text_language]):
            _count(memory, text, text_language, vectors[text_language][row], row, stored, thresholds, guarded, bare)
            _note(seen, "translation", facts[memory_language][row], facts[text_language][row])
        for (row, one, vector), of in zip(misses[text_language], missed[text_language], strict=True):
            _note(seen, one.kind, facts[memory_language][row], of)
            if row in stored:
                for kept, merged in zip(
                    (guarded, bare), memory.judge(one.text, text_language, vector, thresholds), strict=True
                ):
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
    """Stored texts in one language that other texts are judged against."""

    def __init__(self, language: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._language, self._texts, self._vectors = language, texts, vectors
        among = vectors @ vectors.T
        np.fill_diagonal(among, -1)
        self._others = np.sort(among, axis=1)[:, ::-1][:, :NEIGHBOURS]

    def judge(
        self, text: str, language: str, vector: NDArray[np.float32], thresholds: DuplicateThresholds
    ) -> tuple[int | None, int | None]:
        """Return the rows that a text is merged into with and without guards; ``None`` if it is not merged."""
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
