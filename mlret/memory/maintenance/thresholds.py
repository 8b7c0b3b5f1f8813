"""Calibrate the margins at which two texts are duplicates or related, for the encoder in use.

The calibration simulates memories of short texts in random languages, made of sentences that exist in several: for some
new texts a translation is stored, for as many none is, and then the nearest text is a wrong one. The threshold is the
lowest at which the verdicts are as precise as requested. Near misses (such as a changed number) are left to the guards:
no threshold on a vector separates them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.data.languages import normalise_language
from mlret.data.sample import load_parallel_sentences, load_sample
from mlret.errors import InputError
from mlret.memory.text.duplicates import CANDIDATES, NEIGHBOURS, DuplicateThresholds
from mlret.memory.text.features import Facts, facts_of
from mlret.memory.text.merge_guards import conflicts, unchecked

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder

BUNDLED = Path(__file__).with_name("thresholds.json")
PRECISION = 0.98
"""Of the duplicates between languages, by default."""
_UNRELATED_LINKED = 0.05  # Share of texts without a related record that may be linked.
_MEMORIES = 20
_ANSWERS_KEPT = 0.9  # Share of the right answers that must pass the threshold.
_LEAST = 30  # Minimum number of verdicts that a precision is computed from.
_Vectors = NDArray[np.float32]


class _Judged(NamedTuple):
    """The results for new texts, ``(n,)`` each: the best candidate that may be a duplicate, and the best of all."""

    margins: NDArray[np.float64]  # -inf if no candidate is mutual, passes the guards and has a margin above 0.
    same: NDArray[np.bool_]  # Whether the candidate is a translation.
    apart: NDArray[np.float64]  # Margin of the nearest record of another group.
    stored: NDArray[np.bool_]  # Whether a translation is in the memory.


def calibrate(
    encoder: Encoder,
    texts: Mapping[str, Sequence[str]] | None = None,
    groups: Sequence[str] | None = None,
    *,
    precision: float = PRECISION,
    seed: int = 0,
) -> DuplicateThresholds:
    """Compute the duplicate thresholds of an encoder.

    Parameters
    ----------
    encoder
        The encoder; it encodes all texts once.
    texts
        Language -> ``n`` texts, where text ``i`` of each language is a translation of text ``i`` of the others; by
        default the sentences of the bundled sample. No text may occur in the data that results are later reported on.
    groups
        ``(n,)``: topic of each text. Texts of one group are related; one in twenty texts that have none of their group
        in the memory may be linked. By default, each text is a group of its own.
    precision
        Required precision of duplicates between languages, above 0 and at most 1.
    seed
        Seed for which texts are stored, and in which language.

    Returns
    -------
    DuplicateThresholds
        The thresholds.

    Raises
    ------
    InputError
        If there are fewer than two languages or fewer than 2 ``NEIGHBOURS`` + 1 texts, languages differ in their number
        of texts, or another value cannot be used.
    """
    if not 0 < precision <= 1:
        raise InputError(f"the precision is {precision}; give a part of one, such as 0.95")
    questions: list[tuple[str, str, str]] = []
    if texts is None:
        sample = load_parallel_sentences()
        texts, groups, questions = sample.texts, sample.topics, _questions()
    count = len(next(iter(texts.values()), ()))
    if len(texts) < 2 or count <= 2 * NEIGHBOURS or any(len(some) != count for some in texts.values()):
        raise InputError(
            f"{len(texts)} languages with {', '.join(str(len(some)) for some in texts.values()) or 'no'} texts: "
            f"calibration needs two languages or more, with as many texts each, at least {2 * NEIGHBOURS + 1}"
        )
    if groups is not None and len(groups) != count:
        raise InputError(f"{len(groups)} groups for {count} texts: give one for each text")
    codes = [normalise_language(language).partition("-")[0] for language in texts]
    every = [text for some in texts.values() for text in some]
    encoded = encoder.encode(every, language=[code for code in codes for _ in range(count)])
    vectors = encoded.reshape(len(codes), count, -1)
    facts = [[facts_of(text, code) for text in some] for code, some in zip(codes, texts.values(), strict=True)]
    names, group = np.unique(np.array(groups if groups is not None else np.arange(count)), return_inverse=True)
    memories = list(_memories(len(codes), count, np.random.default_rng(seed)))
    densities = _densities(vectors, memories)
    judged = _join([_judge_all(vectors, facts, group, densities, *memory) for memory in memories])
    duplicate, hits = _threshold(judged.margins, judged.same, precision)
    related = math.ceil(float(np.quantile(judged.apart, 1 - _UNRELATED_LINKED)) * 1e6) / 1e6
    if questions:
        asked = np.array([codes.index(language) for _, language, _ in questions])
        about = np.searchsorted(names, [topic for *_, topic in questions])
        queries = encoder.encode([text for text, *_ in questions], language=[code for _, code, _ in questions])
    else:
        asked, about, queries = np.repeat(np.arange(len(codes)), count), np.tile(group, len(codes)), encoded
    usual = dict(zip(codes, densities.round(6).tolist(), strict=True))
    return DuplicateThresholds(
        fingerprint=encoder.fingerprint,
        duplicate=duplicate,
        related=min(related, duplicate),
        answer=_answer(queries, densities[asked], about, vectors, group, np.random.default_rng(seed)),
        densities={"": round(float(densities.mean()), 6), **usual},
        precision=precision,
        recall=round(hits / int(judged.stored.sum()), 4),
        texts=len(codes) * count,
    )


def _memories(
    languages: int, count: int, random: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return random memories: the indices of the stored texts, and the language of each."""
    memories = []
    for _ in range(_MEMORIES):
        rows = np.sort(random.permutation(count)[: max(2 * NEIGHBOURS, count // 2)])
        memories.append((rows, random.integers(languages, size=len(rows))))
    return memories


def _densities(
    vectors: _Vectors, memories: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.float64]:
    """Return the mean cosine of each language's texts with the nearest that say something else: ``(languages,)``."""
    found = np.zeros((len(memories), len(vectors)))
    for number, (rows, languages) in enumerate(memories):
        stored = vectors[languages, rows]
        for language, some in enumerate(vectors):
            cosines = some @ stored.T
            cosines[rows, np.arange(len(rows))] = -1  # Excludes the translation.
            found[number, language] = np.sort(cosines, axis=1)[:, -NEIGHBOURS:].mean()
    return np.asarray(found.mean(axis=0), dtype=np.float64)


def _judge_all(
    vectors: _Vectors,
    facts: Sequence[Sequence[Facts]],
    groups: NDArray[np.int64],
    densities: NDArray[np.float64],
    rows: NDArray[np.int64],
    languages: NDArray[np.int64],
) -> _Judged:
    """Judge every text in every language against a memory, as :func:`mlret.memory.text.duplicates.judge` does."""
    stored = vectors[languages, rows]
    among = stored @ stored.T
    np.fill_diagonal(among, -1)
    others = np.sort(among, axis=1)[:, -NEIGHBOURS:]
    there = np.maximum(others.mean(axis=1), densities[languages])
    parts = []
    for language, some in enumerate(vectors):
        cosines = (some @ stored.T).astype(np.float64)
        # A text is never compared with itself.
        mine = languages == language
        cosines[rows[mine], np.flatnonzero(mine)] = -1
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : CANDIDATES + NEIGHBOURS]
        nearest = np.take_along_axis(cosines, order, axis=1)
        candidates = order[:, :CANDIDATES]
        margins = np.empty(candidates.shape)
        allowed = np.zeros(candidates.shape, dtype=bool)
        for place, one in enumerate(candidates.T):
            rest = np.delete(nearest, place, axis=1)[:, :NEIGHBOURS].mean(axis=1)
            margins[:, place] = nearest[:, place] - (np.maximum(rest, densities[language]) + there[one]) / 2
            mutual = (nearest[:, place] >= nearest[:, 0]) & (nearest[:, place] >= others[one, -1])
            for text in np.flatnonzero(mutual & (margins[:, place] > 0)).tolist():
                of = facts[int(languages[one[text]])][int(rows[one[text]])]
                new = facts[language][text]
                allowed[text, place] = not conflicts(new, of) and not unchecked(new, of)
        every = np.arange(len(some))
        possible = np.where(allowed, margins, -np.inf)
        chosen = possible.argmax(axis=1)
        # The usual density is the lower bound that judging uses, so this margin is at most too high.
        strange = np.where(groups[rows][None, :] == groups[:, None], -np.inf, cosines - there[None, :] / 2)
        parts.append(
            _Judged(
                margins=possible[every, chosen],
                same=rows[candidates[every, chosen]] == every,
                apart=strange.max(axis=1) - densities[language] / 2,
                stored=np.isin(every, rows[~mine]),
            )
        )
    return _join(parts)


def _answer(
    queries: _Vectors,
    usual: NDArray[np.float64],
    about: NDArray[np.int64],
    vectors: _Vectors,
    groups: NDArray[np.int64],
    random: np.random.Generator,
) -> float:
    """Return the confidence that most correct searches reach; -1 if no search is correct.

    A search is correct if its best record is of the group that the query is about.
    """
    found = []
    for _ in range(_MEMORIES):
        kept = random.permutation(groups.max() + 1)[: max(2, (groups.max() + 1) // 2)]
        rows = np.flatnonzero(np.isin(groups, kept))
        cosines = queries @ vectors[random.integers(len(vectors), size=len(rows)), rows].T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : NEIGHBOURS + 1]
        right = groups[rows[best[:, 0]]] == about
        nearest = np.take_along_axis(cosines, best, axis=1)
        found.append((nearest[:, 0] - np.maximum(nearest[:, 1:].mean(axis=1), usual))[right])
    confidences = np.concatenate(found)
    return round(float(np.quantile(confidences, 1 - _ANSWERS_KEPT)), 6) if len(confidences) else -1.0


def _questions() -> list[tuple[str, str, str]]:
    """Return the questions of the sample: text, language and topic."""
    sample = load_sample()
    topics = {passage.id: passage.metadata["topic"] for passage in sample.passages}
    return [
        (question.text, str(question.language), topics[next(iter(sample.qrels[id]))])
        for id, question in sample.questions.items()
    ]


def _threshold(margins: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> tuple[float, int]:
    """Return the lowest margin with the precision and the number of correct verdicts; infinity and 0 without any."""
    order = np.argsort(-margins, kind="stable")[: np.count_nonzero(margins > -np.inf)]
    hits = np.cumsum(right[order])
    enough = np.flatnonzero((hits >= precision * np.arange(1, len(order) + 1)) & (np.arange(len(order)) >= _LEAST - 1))
    if not len(enough):
        return math.inf, 0
    last = int(enough[-1])
    return math.floor(float(margins[order[last]]) * 1e6) / 1e6, int(hits[last])


def _join(parts: Sequence[_Judged]) -> _Judged:
    return _Judged(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@lru_cache(maxsize=1)
def _bundled() -> dict[str, DuplicateThresholds]:
    found = json.loads(BUNDLED.read_text(encoding="utf-8"))
    return {thresholds["fingerprint"]: DuplicateThresholds.from_dict(thresholds) for thresholds in found}


def bundled_thresholds(fingerprint: str) -> DuplicateThresholds | None:
    """Return the thresholds bundled for an encoder, as computed by :func:`calibrate`; ``None`` if there are none."""
    return _bundled().get(fingerprint)
