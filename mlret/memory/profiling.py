"""Summaries of what is known of a user, by topics and time, made of records that are cited; no model is called."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.filtering.filters import Where
from mlret.memory.base import OpenMemory
from mlret.memory.records import DERIVED_FROM, MemoryRecord
from mlret.memory.scope import Scope
from mlret.memory.search.selection import Selection
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.features import facts_of, words_of
from mlret.memory.times import Instant

MOST = 500
"""Number of records, the newest ones, that a profile is made of by default."""
_WORDS = 3  # Number of words that name a topic without a tag.
_NEAR = 0.03  # Mean cosine, of centred vectors, above which two groups of records are one topic.


@dataclass(frozen=True, slots=True)
class Topic:
    """Records about one thing.

    Attributes
    ----------
    name
        The tag of the records, or the words that distinguish them from the other records without tags.
    records
        The records, newest first.
    since, until
        The earliest and the latest time of a record.
    """

    name: str
    records: tuple[MemoryRecord, ...]
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a scope.

    Attributes
    ----------
    topics
        The topics, those with the most records first.
    left
        Number of older records that were not looked at.
    """

    topics: tuple[Topic, ...]
    left: int

    @property
    def text(self) -> str:
        """The profile as Markdown: a heading for each topic, and a line with day, text and id for each record."""
        lines = []
        for topic in self.topics:
            lines.append(f"## {topic.name}")
            lines += [f"- {_time(one):%Y-%m-%d}: {' '.join(one.text.split())} [{one.id}]" for one in topic.records]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return topics with texts, ids and times as JSON values."""
        return {
            "topics": [
                {
                    "name": topic.name,
                    "since": topic.since.isoformat(),
                    "until": topic.until.isoformat(),
                    "records": [
                        {"id": one.id, "text": one.text, "time": _time(one).isoformat()} for one in topic.records
                    ],
                }
                for topic in self.topics
            ],
            "left": self.left,
        }


class MemoryProfiling(OpenMemory):
    """Mixin with the method of :class:`mlret.memory.memory.Memory` that summarises what is known."""

    def profile(
        self,
        scope: Scope | None = None,
        *,
        where: Where | None = None,
        as_of: Instant | None = None,
        most: int = MOST,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Profile:
        """Return what is known of a user: the current records by topics, each newest first. No model is called.

        Records with tags are grouped by them, and the others by the similarity of their vectors. What an assistant said
        is excluded, and so are records from which a fact or summary was derived that is shown itself.

        Parameters
        ----------
        scope
            The scope to summarise.
        where
            A filter on metadata, ``tags`` and ``lang``.
        as_of
            What was known to be valid at this instant, instead of now.
        most
            Maximum number of records, the newest ones.
        user, agent, run
            Names of the scope, instead of ``scope`` or in addition to it.

        Returns
        -------
        Profile
            The topics with their records; ``text`` is Markdown that cites the id of each.

        Raises
        ------
        InputError
            If a value cannot be used.

        Examples
        --------
        >>> profile = memory.profile(user="anna")
        >>> sorted(record.id for topic in profile.topics for record in topic.records)
        ['home', 'nuts']
        >>> [topic.name for topic in profile.topics if topic.records[0].tags]
        ['address']
        """
        if type(most) is not int or most < 1:
            raise InputError(f"most is {most!r}; give a number of records, 1 or more")
        store = self._memory(scope, user=user, agent=agent, run=run)
        selection = Selection(store.scope, where, as_of=as_of)
        with store.lock:
            positions = selection.positions(store)
            rows = store.columns.row[positions]
            newest = positions[np.argsort(rows, kind="stable")][-most:]
            records = [one for one in store.fetch(newest) if one.source is None or one.source.role != "assistant"]
            vectors = _vectors(store, records, dict(_rows(store, newest)))
        replaced = {link.target for one in records for link in one.links if link.type == DERIVED_FROM}
        kept = [place for place, one in enumerate(records) if one.id not in replaced]
        topics = _topics([records[place] for place in kept], vectors[kept] if len(vectors) else None)
        return Profile(tuple(topics), len(positions) - len(newest))


def _rows(store: MemoryStore, positions: NDArray[np.int64]) -> list[tuple[str, int]]:
    columns = store.columns
    return [(columns.ids.by_number[int(columns.record[p])], int(columns.row[p])) for p in positions.tolist()]


def _vectors(store: MemoryStore, records: Sequence[MemoryRecord], rows: dict[str, int]) -> NDArray[np.float32]:
    """Return the vectors of records with length 1, ``(n, dims)``; no row if the store has one for each token."""
    if store.store.manifest.similarity != "cosine" or not records:
        return np.zeros((0, 1), dtype=np.float32)
    found = store.store.vectors_of([rows[one.id] for one in records])
    matrix = np.stack([np.asarray(found[rows[one.id]], dtype=np.float32) for one in records])
    unit: NDArray[np.float32] = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    return unit


def _topics(records: Sequence[MemoryRecord], vectors: NDArray[np.float32] | None) -> list[Topic]:
    used = Counter(tag for one in records for tag in one.tags)
    tagged: dict[str, list[MemoryRecord]] = {}
    for one in records:
        if one.tags:
            tagged.setdefault(max(one.tags, key=lambda tag: (used[tag], tag)), []).append(one)
    rest = [place for place, one in enumerate(records) if not one.tags]
    others = [records[place] for place in rest]
    groups = _similar(None if vectors is None else vectors[rest], len(others))
    topics = [_topic(name, some) for name, some in tagged.items()]
    topics += [_topic(name, [others[place] for place in group]) for name, group in _named(others, groups)]
    return sorted(topics, key=lambda topic: (-len(topic.records), -topic.until.timestamp(), topic.name))


def _similar(vectors: NDArray[np.float32] | None, count: int) -> list[list[int]]:
    """Return groups of records by average linkage: the two groups that are nearest are joined while they are near.

    The mean of all vectors is subtracted first, because all texts are similar to most encoders, and what they have in
    common distinguishes none of them.
    """
    if vectors is None or count < 2:
        return [list(range(count))] if count else []
    centred = vectors - vectors.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    near = centred @ centred.T
    np.fill_diagonal(near, -np.inf)
    groups: dict[int, list[int]] = {place: [place] for place in range(count)}
    for _ in range(count - 1):
        one, other = (int(place) for place in np.unravel_index(near.argmax(), near.shape))
        if near[one, other] < _NEAR:
            break
        sizes = len(groups[one]), len(groups[other])
        joined = (sizes[0] * near[one] + sizes[1] * near[other]) / sum(sizes)
        near[one], near[:, one] = joined, joined
        near[one, one] = near[other] = near[:, other] = -np.inf
        groups[one] += groups.pop(other)
    return [sorted(group) for group in groups.values()]


def _named(records: Sequence[MemoryRecord], groups: Sequence[list[int]]) -> list[tuple[str, list[int]]]:
    """Return each group with the words that more of its records have than of the others."""
    words = [set(words_of(facts_of(one.text, one.language))) for one in records]
    used = Counter(word for some in words for word in some)
    found = []
    for group in groups:
        mine = Counter(word for place in group for word in words[place])

        def weight(word: str, mine: Counter[str] = mine) -> float:
            return mine[word] * math.log((1 + len(records)) / used[word]) * min(len(word), 8)

        best = sorted(mine, key=lambda word: (-weight(word), word))[:_WORDS]
        found.append((" ".join(best), group))
    return found


def _topic(name: str, records: Sequence[MemoryRecord]) -> Topic:
    ordered = sorted(records, key=lambda one: (-_time(one).timestamp(), one.id))
    return Topic(name, tuple(ordered), _time(ordered[-1]), _time(ordered[0]))


def _time(record: MemoryRecord) -> datetime:
    return record.event_time[0] if record.event_time is not None else record.recorded_at
