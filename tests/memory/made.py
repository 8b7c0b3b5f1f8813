"""Memories whose vectors are determined by their texts, and an independent search over their records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlret.data.scripts import scripts_of, share_script
from mlret.index.index import Index
from mlret.index.lexical.ngrams import ngrams
from mlret.memory.memory import THRESHOLDS, Memory
from mlret.memory.records import MemoryRecord
from mlret.memory.storage import tables
from mlret.memory.text.duplicates import DuplicateThresholds
from tests.index.made import encoder, vector_of


def open_memory(path: Path) -> Memory:
    """Open a memory with given vectors; create it if it does not exist."""
    if not path.exists():
        Index.create(path, encoder(), kind="memory", schema=tables.SCHEMA).close()
    return Memory.open(path, encoder())


def add(memory: Memory, text: str, scope: dict[str, str], **about: Any) -> Any:
    """Add a text with its vector."""
    return memory.add(text, scope, vector=vector_of(text), **{"language": "en", "dedupe": False, **about})


def keep(memory: Memory, thresholds: DuplicateThresholds) -> None:
    """Give a memory thresholds, as calibrating does."""
    with memory.folder.writing():
        memory.folder.store.commit(lambda c: tables.write_setting(c, THRESHOLDS, thresholds.to_dict()))


def brute_force(
    records: Sequence[MemoryRecord], query: str, language: str, k: int, depth: int = 100
) -> list[tuple[str, float]]:
    """Return ids and scores of the hybrid ranking, record by record; of ties at a channel's cut-off the older wins.

    The cosine and BM25 over character n-grams are each cut to ``depth``; then the mean of the standard scores over the
    channels that apply is mapped to between 0 and 1. ``records`` must be in the order in which they were stored.
    """
    vector = vector_of(query).astype(np.float64)
    cosines = [round(float(vector_of(record.text).astype(np.float64) @ vector), 6) for record in records]
    counts = [Counter(ngrams(record.text)) for record in records]
    mean = sum(count.total() for count in counts) / len(records)
    words = [0.0] * len(records)
    for gram in set(ngrams(query)):
        holding = [place for place, count in enumerate(counts) if gram in count]
        weight = math.log1p((len(records) - len(holding) + 0.5) / (len(holding) + 0.5))
        for place in holding:
            times = min(3, counts[place][gram])
            norm = 1.2 * (1 - 0.75 + 0.75 * counts[place].total() / mean)
            words[place] += weight * times * 2.2 / (times + norm)
    words = [round(one, 9) for one in words]
    by_meaning = sorted(range(len(records)), key=lambda place: (-cosines[place], place))[:depth]
    by_words = [p for p in sorted(range(len(records)), key=lambda p: (-words[p], p)) if words[p] > 0][:depth]
    pool = sorted({*by_meaning, *by_words})
    scripts = scripts_of(query)
    applies = {
        place: records[place].language in (None, language) and share_script(scripts, scripts_of(records[place].text))
        for place in pool
    }
    dense = _standard({place: cosines[place] for place in pool})
    lowest = min((words[place] for place in by_words), default=None)
    found = {place: words[place] for place in by_words}
    counted = {place: found.get(place, lowest) for place in pool if applies[place] or place in found}
    lexical = _standard(counted) if lowest is not None else {}
    scores = {}
    if not dense and not lexical:  # all scores are equal
        alone = sorted((record.id, round((1 + cosines[place]) / 2, 6)) for place, record in enumerate(records))
        return alone[:k]
    for place in pool:
        both = lexical.get(place)
        alone = dense.get(place)
        if both is None or (not applies[place] and alone is not None and both <= alone):
            scores[place] = alone if alone is not None else 0.0
        else:
            parts = [one for one in (alone, both) if one is not None]
            scores[place] = sum(parts) / len(parts)
    ranked = sorted(
        ((records[place].id, round(score, 6)) for place, score in scores.items()), key=lambda one: (-one[1], one[0])
    )
    return [(id, round(1 / (1 + math.exp(-score)), 6)) for id, score in ranked[:k]]


def _standard(values: dict[int, Any]) -> dict[int, float]:
    """Return standard scores; none if all scores are equal."""
    some = np.array(list(values.values()), dtype=np.float64)
    if not len(some) or np.ptp(some) == 0:
        return {}
    return {place: (value - some.mean()) / some.std() for place, value in values.items()}


def same_ranking(
    found: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]], close: float = 2e-6
) -> bool:
    """Return whether two rankings agree, except for the order of ties within rounding."""
    if len(found) != len(expected):
        return False
    if any(abs(one[1] - other[1]) > close for one, other in zip(found, expected, strict=True)):
        return False
    scores = dict(expected)
    worst = expected[-1][1] if expected else 0.0
    return all(abs(scores[id] - score) <= close if id in scores else score <= worst + close for id, score in found)
